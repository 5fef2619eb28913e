"""A prompt retold in toon's own words: what of it can be drawn, and what it leaves open settled.

    prompt -> caption reader -> answers to the judge's questions -> story -> caption

A small model draws what its captions say and smears what they leave open: a skin that nobody told
becomes something between all skins. So what the reader is sure of is kept, the rest is drawn by lot
from what it thinks likely, and the model is told everything.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

from openmocha.toon import labels, stories
from openmocha.toon.caption_reader import CLIPS, KINDS, SPEAKERS
from openmocha.toon.captions import caption_of
from openmocha.toon.stories import Cast, Character, Clip, Story

SURE = 0.5  # probability from which the likeliest answer is taken
QUESTIONS = {kind: questions for kind, _, questions in KINDS}


def retold(answers: dict[str, Tensor], seed: int, speaking: bool) -> str:
    """The caption of the story that `answers` tell of: logits (1, slots of the kind, answers) by
    question, as CaptionReader.answers gives them. `seed` draws the lots; where somebody is heard
    `speaking`, somebody is seen to."""
    lots = Lots({name: value[0].float().softmax(-1) for name, value in answers.items()}, seed)
    place = {name: lots.choose("story", name, 0) for name in QUESTIONS["story"]}
    number = 1 + (lots.choose("clip", "shown", 1) == "present")
    characters: list[Character] = []
    clips = [told_clip(lots, k, characters, speaking) for k in range(number)]
    source = "dialogue" if number == CLIPS else "text"
    return caption_of(Story(seed, source, tuple(characters), tuple(clips), **place), drop=0.0)


def told_clip(lots: "Lots", number: int, characters: list[Character], speaking: bool) -> Clip:
    """One clip; whom it shows is added to `characters`."""
    shot, camera = (lots.choose("clip", name, number) for name in ("shot", "camera"))
    first = labels.PEOPLE * number
    both = number == 0 and lots.choose("person", "present", first + 1) == "present"
    both = both and lots.choose("clip", "shown", 1) == "absent"  # one each, where there are two
    cast = []
    for slot in range(first, first + 1 + both):
        facing, position, emotion = (
            lots.choose("person", name, slot) for name in ("facing", "position", "emotion")
        )
        action = lots.choose("person", "action", slot, stories.SHOT_ACTIONS[shot])
        if both:
            position = stories.POSITIONS[0 if slot == first else -1]
        cast.append(Cast(len(characters), facing, position, emotion, action))
        characters.append(told_character(lots, slot))
    possible = SPEAKERS[1 if speaking else 0 : 2 + both]
    speaker = SPEAKERS.index(lots.choose("clip", "speaker", number, possible)) - 1
    return Clip(shot, camera, tuple(cast), None if speaker < 0 else speaker, "")


def told_character(lots: "Lots", slot: int) -> Character:
    """One person, animal or robot."""
    told = {name: lots.choose("person", name, slot) for name in ("species", "age", "gender")}
    kinds = {"person": stories.SKIN, "robot": stories.METAL}
    skin = lots.choose("person", "skin", slot, kinds.get(told["species"], stories.FUR))
    worn = ("hair_colour", "hair_style", "clothes", "clothes_colour", "accessory")
    looks = {name: lots.choose("person", name, slot) for name in worn}
    return Character(**told, skin=skin, **looks, voice_seed=0)


class Lots:
    """Answers by question and slot. The same seed draws alike for prompts that say much the same,
    so that a person stays who they are from clip to clip."""

    def __init__(self, likely: dict[str, Tensor], seed: int) -> None:
        self.likely, self.seed = likely, seed

    def choose(
        self, kind: str, name: str, slot: int, allowed: tuple[str, ...] | None = None
    ) -> str:
        """The answer to a question about a slot, among those `allowed`."""
        words = QUESTIONS[kind][name]
        chances = self.likely[f"{kind} {name}"][slot]
        if allowed is not None:
            chances = chances * torch.tensor([word in allowed for word in words])
        chances = chances / chances.sum()
        if chances.max() >= SURE:
            return words[int(chances.argmax())]
        key = (self.seed, zlib.crc32(f"{kind} {name}".encode()), slot)
        drawn = np.random.default_rng(key).random()
        return words[min(int((chances.cumsum(0) < drawn).sum()), len(words) - 1)]
