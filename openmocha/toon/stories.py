"""Who is seen where, who speaks and what they say: everything of a film but its drawing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
