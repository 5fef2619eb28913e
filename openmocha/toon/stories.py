"""Who is seen where, who speaks and what they say: everything of a film but its drawing.

A story is drawn from its seed, source and split alone. Every attribute that a caption can name is
likely enough to be learnt, and likely pairs (grey hair and old age, green and a forest) are only
preferences, so that text controls each attribute on its own.
"""

import zlib
from dataclasses import dataclass

import numpy as np

SPECIES = ("person", "cat", "dog", "fox", "bear", "rabbit", "robot")
AGES = ("child", "young", "middle-aged", "elderly")
GENDERS = ("female", "male")
SKIN = ("pale", "light", "tan", "brown", "dark brown")
FUR = ("orange", "grey", "white", "brown", "black", "cream")
METAL = ("silver", "blue", "red", "gold", "teal")
HAIR_COLOURS = ("black", "brown", "blond", "red", "grey", "white", "blue", "pink")
HAIR_STYLES = ("short", "long", "curly", "bun", "ponytail", "bald")
CLOTHES = ("t-shirt", "coat", "suit", "hoodie", "sweater", "dress")
COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "white",
    "black",
    "grey",
    "brown",
)
ACCESSORIES = ("none", "glasses", "hat", "headphones", "earrings", "beard", "scarf")
PLACES = (
    "wall",
    "living room",
    "kitchen",
    "office",
    "park",
    "forest",
    "beach",
    "street",
    "city at night",
    "stage",
    "snowfield",
)
LIGHTS = ("soft daylight", "warm evening light", "cool night light")
SHOTS = ("close-up", "medium close-up", "medium", "wide")
FACINGS = ("camera", "left", "right")
POSITIONS = ("left", "center", "right")
CAMERAS = ("static", "zoom in", "zoom out", "pan left", "pan right")
EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "worried")
ACTIONS = ("none", "nod", "shake head", "wave", "raise hand", "point", "hands together", "shrug")
SOURCES = ("close-up", "medium close-up", "medium", "dialogue", "text")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Character:
    """One character. `skin` is the colour of the fur of an animal and of the metal of a robot;
    `voice_seed` picks the voice."""

    species: str
    age: str
    gender: str
    skin: str
    hair_colour: str
    hair_style: str
    clothes: str
    clothes_colour: str
    accessory: str
    voice_seed: int


@dataclass(frozen=True)
class Cast:
    """One visible character in a clip; `character` is an index into the story's characters."""

    character: int
    facing: str
    position: str
    emotion: str
    action: str


@dataclass(frozen=True)
class Clip:
    """One continuous shot. `cast` runs from left to right; `speaker` is an index into it."""

    shot: str
    camera: str
    cast: tuple[Cast, ...]
    speaker: int | None
    words: str


@dataclass(frozen=True)
class Story:
    """A film of one clip, or of two clips with a cut between them, in one place."""

    seed: int
    source: str
    characters: tuple[Character, ...]
    clips: tuple[Clip, ...]
    place: str
    background_colour: str
    light: str
    split: str = "train"


# Colours that a place tends to have. Just over half of the films take one of these.
PLACE_COLOURS = {
    "wall": COLOURS,
    "living room": ("orange", "brown", "pink", "yellow", "grey"),
    "kitchen": ("white", "yellow", "blue", "orange"),
    "office": ("grey", "blue", "white", "brown"),
    "park": ("green", "yellow", "blue"),
    "forest": ("green", "brown"),
    "beach": ("blue", "yellow", "orange"),
    "street": ("grey", "red", "brown", "blue"),
    "city at night": ("blue", "purple", "black"),
    "stage": ("red", "purple", "black"),
    "snowfield": ("white", "blue"),
}
HEAD_ACTIONS = ("none", "nod", "shake head")
SHOT_ACTIONS = {
    "close-up": HEAD_ACTIONS,
    "medium close-up": (*HEAD_ACTIONS, "wave", "raise hand", "shrug"),
    "medium": ACTIONS,
    "wide": ACTIONS,
}


def story_rng(*key: int | str) -> np.random.Generator:
    """A generator that depends on `key` alone, on every machine and in every process."""
    words = [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key]
    return np.random.default_rng(words)


def pick(rng: np.random.Generator, values: tuple[str, ...], *weights: float) -> str:
    """One of `values`; weights, where given, need not sum to 1."""
    if not weights:
        return values[int(rng.integers(len(values)))]
    assert len(weights) == len(values)
    edges = np.cumsum(weights)
    index = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return values[min(index, len(values) - 1)]


def make_story(seed: int, source: str, split: str = "train") -> Story:
    """The story of film `seed` of a source.

    seed: 0 or more.  source: one of SOURCES.  split: "train" or "test"; the two share no story,
    sentence or voice.  Raises ValueError for another source or split, or a negative seed.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}; expected one of {', '.join(SOURCES)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected train or test")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    rng = story_rng("story", split, source, seed)
    place = pick(rng, PLACES)
    natural = rng.random() < 0.55
    background = pick(rng, PLACE_COLOURS[place] if natural else COLOURS)
    light = make_light(rng, place)
    two_clips = source == "dialogue"
    shot = first_shot(rng, source)
    two_in_shot = shot in ("medium", "wide") and not two_clips and rng.random() < 0.25
    characters = [make_character(rng, background)]
    if two_clips or two_in_shot:
        characters.append(make_partner(rng, background, characters[0]))
    if two_clips:
        clips = dialogue_clips(rng, shot, split)
    elif two_in_shot:
        clips = (two_shot(rng, shot, source, split),)
    else:
        clips = (single_shot(rng, shot, source, split),)
    return Story(seed, source, tuple(characters), clips, place, background, light, split)


def make_light(rng: np.random.Generator, place: str) -> str:
    if place == "city at night":
        return pick(rng, LIGHTS, 0.05, 0.15, 0.8)
    return pick(rng, LIGHTS, 0.5, 0.28, 0.22)


def first_shot(rng: np.random.Generator, source: str) -> str:
    if source in ("close-up", "medium close-up"):
        return source
    weights = {"medium": (0, 0, 3, 1), "dialogue": (4, 4, 3, 0), "text": (6, 5, 6, 3)}[source]
    return pick(rng, SHOTS, *weights)


def make_character(rng: np.random.Generator, background: str) -> Character:
    """One character whose clothes stand out from a background of colour `background`."""
    species = pick(rng, SPECIES, 14, 1, 1, 1, 1, 1, 1)
    age = pick(rng, AGES, 4, 6, 5, 5)
    gender = pick(rng, GENDERS)
    colour = pick(rng, tuple(c for c in COLOURS if c != background))
    voice_seed = int(rng.integers(2**31))
    dress = 3.0 if gender == "female" else 0.0
    clothes = pick(rng, CLOTHES, 3, 3, 3, 3, 3, dress)
    if species != "person":
        skin = pick(rng, METAL if species == "robot" else FUR)
        extra = pick(rng, ("none", "glasses", "hat", "headphones", "scarf"), 8, 3, 3, 3, 3)
        # Animals and robots have no hair of their own: these two fields are neither drawn nor told.
        return Character(
            species, age, gender, skin, "black", "bald", clothes, colour, extra, voice_seed
        )
    hair_style = make_hair_style(rng, age, gender)
    hair_colour = make_hair_colour(rng, age)
    accessory = make_accessory(rng, age, gender, hair_style)
    skin = pick(rng, SKIN)
    return Character(
        species, age, gender, skin, hair_colour, hair_style, clothes, colour, accessory, voice_seed
    )


def make_hair_style(rng: np.random.Generator, age: str, gender: str) -> str:
    if gender == "female":
        return pick(rng, HAIR_STYLES, 4, 7, 5, 4, 4, 0.3)
    bald = {"child": 0.2, "young": 0.8, "middle-aged": 3.0, "elderly": 4.0}[age]
    return pick(rng, HAIR_STYLES, 9, 2.5, 4, 0.7, 1, bald)


def make_hair_colour(rng: np.random.Generator, age: str) -> str:
    if age == "elderly":
        return pick(rng, HAIR_COLOURS, 1, 1, 1, 0.7, 7, 6, 0.5, 0.5)
    grey = 2.0 if age == "middle-aged" else 0.3
    return pick(rng, HAIR_COLOURS, 5, 5, 5, 4, grey, 0.5, 1.5, 1.5)


def make_accessory(rng: np.random.Generator, age: str, gender: str, hair_style: str) -> str:
    """A hat would hide that a head is bald or has a bun, and long or curly hair hides earrings."""
    grown = age != "child"
    ears_bare = hair_style in ("short", "bun", "ponytail", "bald")
    hat = 0.0 if hair_style in ("bald", "bun") else 3.0
    earrings = (4.0 if gender == "female" else 0.5) if ears_bare else 0.0
    beard = 5.0 if gender == "male" and grown else 0.0
    return pick(rng, ACCESSORIES, 8, 3.5, hat, 2.5, earrings, beard, 2.5)


def make_partner(rng: np.random.Generator, background: str, other: Character) -> Character:
    """A second character who cannot be taken for `other`: other clothes, another look and voice."""
    while True:
        partner = make_character(rng, background)
        looks = ("species", "gender", "age", "skin", "hair_colour", "hair_style", "accessory")
        different = sum(getattr(partner, name) != getattr(other, name) for name in looks)
        if partner.clothes_colour != other.clothes_colour and different >= 2:
            return partner


def make_cast(
    rng: np.random.Generator, character: int, shot: str, facing: str, position: str
) -> Cast:
    emotion = pick(rng, EMOTIONS, 4, 3, 3, 3, 3, 3)
    actions = SHOT_ACTIONS[shot]
    if rng.random() < 0.45:
        return Cast(character, facing, position, emotion, "none")
    return Cast(character, facing, position, emotion, pick(rng, actions[1:]))


def make_camera(rng: np.random.Generator) -> str:
    return pick(rng, CAMERAS, 8, 2, 2, 2, 2)


def single_shot(rng: np.random.Generator, shot: str, source: str, split: str) -> Clip:
    facing, position = pick(rng, FACINGS, 2, 1, 1), pick(rng, POSITIONS, 1, 2, 1)
    cast = make_cast(rng, 0, shot, facing, position)
    camera = make_camera(rng)
    if source == "text" and rng.random() < 0.15:
        return Clip(shot, camera, (cast,), None, "")
    return Clip(shot, camera, (cast,), 0, make_words(rng, split, long_share=0.85))


def two_shot(rng: np.random.Generator, shot: str, source: str, split: str) -> Clip:
    """Two people in one shot: one speaks, the other listens."""
    facings = ("right", "left") if rng.random() < 0.6 else (pick(rng, FACINGS), pick(rng, FACINGS))
    order = (0, 1) if rng.random() < 0.5 else (1, 0)
    cast = tuple(
        make_cast(rng, who, shot, facing, side)
        for who, facing, side in zip(order, facings, ("left", "right"), strict=True)
    )
    speaker: int | None = int(rng.integers(2))
    if source == "text" and rng.random() < 0.15:
        speaker = None
    words = make_words(rng, split, long_share=0.85) if speaker is not None else ""
    return Clip(shot, make_camera(rng), cast, speaker, words)


def dialogue_clips(rng: np.random.Generator, shot: str, split: str) -> tuple[Clip, ...]:
    """Shot and reverse shot: two clips in one place, one character in each, who speaks there."""
    shots = (shot, shot if rng.random() < 0.7 else first_shot(rng, "dialogue"))
    facings = [pick(rng, FACINGS, 2, 1, 1), pick(rng, FACINGS, 2, 1, 1)]
    positions = [pick(rng, POSITIONS, 1, 2, 1), pick(rng, POSITIONS, 1, 2, 1)]
    if rng.random() < 0.5:
        facings = ["right", "left"] if rng.random() < 0.5 else ["left", "right"]
    return tuple(
        Clip(
            shots[i],
            make_camera(rng),
            (make_cast(rng, i, shots[i], facings[i], positions[i]),),
            0,
            make_words(rng, split, long_share=0.0),
        )
        for i in range(2)
    )


def make_words(rng: np.random.Generator, split: str, long_share: float) -> str:
    """Sentences for one turn: about 14 words (a whole film) with chance `long_share`, else fewer.

    Words that do not fit the film are never spoken: what is heard is in the film's truth.
    """
    from openmocha.toon.sentences import sentence

    wanted = 14 if rng.random() < long_share else int(rng.integers(3, 8))
    words = sentence(rng, split)
    while len(words.split()) < wanted:
        words += " " + sentence(rng, split)
    return words
