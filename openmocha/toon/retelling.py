"""A prompt retold in toon's own words: what of it can be drawn, and what it leaves open settled.

    prompt -> caption reader -> answers to the judge's questions -> story (whose caption is told)

A small model draws what its captions say and smears what they leave open: a skin that nobody told
becomes something between all skins. So what the reader is sure of is kept. Of the rest, people do
what is plain (they face the camera, which does not move), looks and places are drawn by lot from
what the reader thinks likely, and the model is told nearly everything.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from openmocha.toon import labels, stories
from openmocha.toon.caption_reader import CLIPS, KINDS, SPEAKERS
from openmocha.toon.stories import Cast, Character, Clip, Story

SURE = 0.5  # probability from which the likeliest answer is taken
NOT_BALD = 0.9  # of having a colour of hair, above which a head is bald only if that is as sure
PLAIN = {
    "camera": "static",
    "facing": "camera",
    "position": "center",
    "action": "none",
    "emotion": "neutral",
    "light": "soft daylight",
}
QUESTIONS = {kind: questions for kind, _, questions in KINDS}
Answers = dict[str, Tensor]  # logits (1, slots of the kind, answers) by question, of CaptionReader


@dataclass(frozen=True)
class People:
    """Whom a script shows in a shot: tags from left to right, what is answered of each where they
    are two, and who of them speaks, where the script says it."""

    who: tuple[str, ...] = ()
    each: Sequence[Answers] = ()
    speaker: int | None = None


NOBODY = People()


@dataclass
class Retelling:
    """The prompts of one film, one after the other: its people keep their looks, and its place
    what has been settled of it.

    `seed` draws the lots. Where a voice is heard, `speaking`, somebody is seen to speak.
    """

    seed: int
    speaking: bool
    people: dict[str, Character] = field(default_factory=dict)
    place: dict[str, str] = field(default_factory=dict)

    def story(self, answers: Answers, num_clips: int, people: People = NOBODY) -> Story:
        """The story of one or two clips that the answers tell of; of a single one a script may say
        more of its `people`, who keep their looks."""
        lots = Lots(answers, self.seed)
        for name in QUESTIONS["story"]:
            self.place[name] = lots.choose("story", name, 0, settled=self.place.get(name))
        characters: list[Character] = []
        clips = [
            self._clip(lots, number, num_clips, characters, people) for number in range(num_clips)
        ]
        if len(people.who) == len(characters):
            named = zip(people.who, characters, strict=True)
            characters = [self.people.setdefault(tag, drawn) for tag, drawn in named]
        source = "dialogue" if num_clips == CLIPS else "text"
        return Story(self.seed, source, tuple(characters), tuple(clips), **self.place)

    def _clip(
        self,
        lots: "Lots",
        number: int,
        num_clips: int,
        characters: list[Character],
        people: People,
    ) -> Clip:
        """One clip; whom it shows is added to `characters`: one each, where there are two clips."""
        shot, camera = (lots.choose("clip", name, number) for name in ("shot", "camera"))
        first = labels.PEOPLE * number
        asked = [(lots, first), (lots, first + 1)]
        both = num_clips == 1 and lots.choose("person", "present", first + 1) == "present"
        if people.each:
            asked = [(Lots(one, self.seed + k), 0) for k, one in enumerate(people.each)]
            both = True
        cast: list[Cast] = []
        for of, slot in asked[: 1 + both]:
            facing, position, emotion = (
                of.choose("person", name, slot) for name in ("facing", "position", "emotion")
            )
            action = of.choose("person", "action", slot, stories.SHOT_ACTIONS[shot])
            if both:
                position = stories.POSITIONS[-1 if cast else 0]
            cast.append(Cast(len(characters), facing, position, emotion, action))
            characters.append(told_character(of, slot))
        if self.speaking and people.speaker is not None:
            return Clip(shot, camera, tuple(cast), people.speaker, "")
        possible = SPEAKERS[1 if self.speaking else 0 : 2 + both]
        speaker = SPEAKERS.index(lots.choose("clip", "speaker", number, possible)) - 1
        return Clip(shot, camera, tuple(cast), None if speaker < 0 else speaker, "")


def without_feelings(story: Story) -> Story:
    """The same story, everybody neutral."""
    calm = [
        replace(clip, cast=tuple(replace(one, emotion="neutral") for one in clip.cast))
        for clip in story.clips
    ]
    return replace(story, clips=tuple(calm))


def alone(story: Story, number: int) -> Story:
    """The story of one shot with only one of its people, who stays where they are; silent, unless
    it is they who speak."""
    clip = story.clips[0]
    one = clip.cast[number]
    speaker = 0 if clip.speaker == number else None
    shown = replace(clip, cast=(replace(one, character=0),), speaker=speaker)
    return replace(story, characters=(story.characters[one.character],), clips=(shown,))


def told_character(lots: "Lots", slot: int) -> Character:
    """One person, animal or robot, with what toon's characters can have at once."""
    species, age, gender = (
        lots.choose("person", name, slot) for name in ("species", "age", "gender")
    )
    kinds = {"person": stories.SKIN, "robot": stories.METAL}
    skin = lots.choose("person", "skin", slot, kinds.get(species, stories.FUR))
    has_hair = lots.chance("person", "hair_colour", slot) >= NOT_BALD
    bald = has_hair and lots.chance("person", "hair_style", slot, "bald") < NOT_BALD
    styles = tuple(style for style in stories.HAIR_STYLES if not (bald and style == "bald"))
    hair_style = lots.choose("person", "hair_style", slot, styles)
    never = {"beard"} if gender == "female" or age == "child" or species != "person" else set()
    never |= {"earrings"} if hair_style in ("long", "curly") or species != "person" else set()
    never |= {"hat"} if hair_style in ("bald", "bun") and species == "person" else set()
    extras = tuple(extra for extra in stories.ACCESSORIES if extra not in never)
    return Character(
        species, age, gender, skin,
        lots.choose("person", "hair_colour", slot), hair_style,
        lots.choose("person", "clothes", slot), lots.choose("person", "clothes_colour", slot),
        lots.choose("person", "accessory", slot, extras), voice_seed=0,
    )  # fmt: skip


class Lots:
    """Answers by question and slot: the likeliest where one is sure, else the plain one, else one
    drawn by lot."""

    def __init__(self, answers: Answers, seed: int) -> None:
        self.likely = {name: value[0].float().softmax(-1) for name, value in answers.items()}
        self.seed = seed

    def chance(self, kind: str, name: str, slot: int, word: str | None = None) -> float:
        """How likely an answer is; the likeliest if none is named."""
        chances = self.likely[f"{kind} {name}"][slot]
        return float(chances.max() if word is None else chances[QUESTIONS[kind][name].index(word)])

    def choose(
        self,
        kind: str,
        name: str,
        slot: int,
        allowed: tuple[str, ...] | None = None,
        settled: str | None = None,
    ) -> str:
        """The answer to a question about a slot, among those `allowed`; what was `settled` before
        stands where nothing is sure."""
        words = QUESTIONS[kind][name]
        allowed = words if allowed is None else allowed
        chances = self.likely[f"{kind} {name}"][slot][[words.index(word) for word in allowed]]
        chances = chances + 1e-12  # all alike, where none of those allowed is likely
        chances = chances / chances.sum()
        if chances.max() >= SURE:
            return allowed[int(chances.argmax())]
        if settled is not None:
            return settled
        if name in PLAIN:
            return PLAIN[name]
        key = (self.seed, zlib.crc32(f"{kind} {name}".encode()), slot)
        drawn = np.random.default_rng(key).random()
        return allowed[min(int((chances.cumsum(0) < drawn).sum()), len(allowed) - 1)]
