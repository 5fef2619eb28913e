"""From the words that describe a character to the colours and proportions it is drawn with.

Drawing units: the head of a grown person is 100 units tall, its centre is the origin, x runs to
the viewer's right and y runs down.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from openmocha.toon.palette import (
    ACCENT_RGB,
    CLOTH_RGB,
    FUR_RGB,
    HAIR_RGB,
    INK,
    LIGHT_TINT,
    METAL_RGB,
    RGB,
    SKIN_RGB,
    colour_of,
    darker,
    lighter,
    luma,
    mix,
)
from openmocha.toon.stories import Character

ANIMALS = ("cat", "dog", "fox", "bear", "rabbit")
# Half width and half height of the head.
_HEAD_SIZE = {
    "person": (42.0, 50.0),
    "cat": (50.0, 44.0),
    "dog": (44.0, 47.0),
    "fox": (50.0, 45.0),
    "bear": (49.0, 47.0),
    "rabbit": (43.0, 46.0),
    "robot": (45.0, 46.0),
}
_IRIS: tuple[RGB, ...] = ((92, 56, 30), (52, 104, 176), (62, 128, 80), (60, 44, 40))
# Height of the trunk and of the legs as a share of a grown young person's.
_BUILD = {
    "child": (0.6, 0.56),
    "young": (1.0, 1.0),
    "middle-aged": (1.0, 0.98),
    "elderly": (0.94, 0.9),
}


@dataclass(frozen=True)
class Look:
    """Everything about one character that does not move."""

    character: Character
    skin: RGB
    shade: RGB
    glint: RGB
    outline: RGB
    hair: RGB
    hair_shade: RGB
    hair_glint: RGB
    brow: RGB
    cloth: RGB
    cloth_shade: RGB
    cloth_glint: RGB
    accent: RGB
    lips: RGB
    lips_shade: RGB
    iris: RGB
    rim: RGB
    trousers: RGB
    rx: float
    ry: float
    jaw: float
    eye: float
    eye_y: float
    mouth_y: float
    lip: float
    shoulder: float
    trunk: float
    legs: float

    @property
    def species(self) -> str:
        return self.character.species

    @property
    def feminine(self) -> bool:
        return self.character.gender == "female"

    @property
    def animal(self) -> bool:
        return self.character.species in ANIMALS


@dataclass(frozen=True)
class Turn:
    """A turned head as an ellipsoid: where points of its front are seen."""

    rx: float
    ry: float
    sin_yaw: float
    cos_yaw: float
    sin_pitch: float
    cos_pitch: float

    @property
    def side(self) -> int:
        """-1 or 1 for a head that faces left or right, 0 for one that faces the camera.

        A shake of a head that faces the camera stays 0, or ears and ponytails would jump.
        """
        return 0 if abs(self.sin_yaw) < 0.38 else 1 if self.sin_yaw > 0 else -1

    def at(self, x: float, y: float, lift: float = 0.0) -> tuple[float, float]:
        """Screen position of the point in front of (x, y), `lift` units above the surface."""
        depth = 1.0 - (x / self.rx) ** 2 - 0.35 * (y / self.ry) ** 2
        z = 0.86 * self.rx * math.sqrt(max(depth, 0.0)) + lift
        return (
            x * self.cos_yaw + z * self.sin_yaw,
            y * self.cos_pitch - 0.6 * z * self.sin_pitch,
        )


def turn_of(look: Look, yaw: float, pitch: float) -> Turn:
    """`yaw` and `pitch` in radians; positive looks to the viewer's right and up."""
    return Turn(look.rx, look.ry, math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch))


def _body_colour(character: Character) -> RGB:
    if character.species == "person":
        return colour_of(SKIN_RGB, character.skin, "skin")
    if character.species == "robot":
        return colour_of(METAL_RGB, character.skin, "metal")
    return colour_of(FUR_RGB, character.skin, "fur")


def _lip_colour(character: Character, skin: RGB) -> RGB:
    if character.species == "robot":
        return (128, 236, 255)
    if character.species != "person":
        return mix(darker(skin, 0.45), (150, 60, 70), 0.45)
    red = (206, 40, 62) if character.gender == "female" else (176, 64, 62)
    return mix(skin, red, 0.66 if character.gender == "female" else 0.5)


@lru_cache(maxsize=256)
def make_look(character: Character, light: str) -> Look:
    """The colours and proportions of a character; raises ValueError for unknown words."""
    if character.species not in _HEAD_SIZE:
        raise ValueError(
            f"unknown species {character.species!r}; expected one of {', '.join(_HEAD_SIZE)}"
        )
    if light not in LIGHT_TINT:
        raise ValueError(f"unknown light {light!r}; expected one of {', '.join(LIGHT_TINT)}")
    skin = _body_colour(character)
    hair = colour_of(HAIR_RGB, character.hair_colour, "hair colour")
    cloth = colour_of(CLOTH_RGB, character.clothes_colour, "clothes colour")
    person, child = character.species == "person", character.age == "child"
    feminine = character.gender == "female"
    lips = _lip_colour(character, skin)
    rx, ry = _HEAD_SIZE[character.species]
    if person and child:
        rx, ry = 44.0, 47.0
    trunk, legs = _BUILD[character.age]
    brow = hair if person else darker(skin, 0.55)
    if luma(brow) > 170:
        brow = darker(brow, 0.3)
    return Look(
        character=character,
        skin=skin,
        shade=mix(darker(skin, 0.3), (200, 60, 40), 0.1 if person else 0.0),
        glint=lighter(skin, 0.4),
        outline=darker(skin, 0.55),
        hair=hair,
        hair_shade=darker(hair, 0.28),
        hair_glint=lighter(hair, 0.34),
        brow=darker(brow, 0.2),
        cloth=cloth,
        cloth_shade=darker(cloth, 0.3),
        cloth_glint=lighter(cloth, 0.28),
        accent=ACCENT_RGB[character.clothes_colour],
        lips=lips,
        lips_shade=mix(lips, (96, 16, 40), 0.3),
        iris=_IRIS[character.voice_seed % 4] if person else INK,
        rim=LIGHT_TINT[light][2],
        trousers=(58, 64, 96) if luma(cloth) > 70 else (116, 122, 150),
        rx=rx,
        ry=ry,
        jaw=(30.0 if feminine else 34.0) + (3.0 if child else 0.0),
        eye=11.6 if child else (10.4 if feminine else 9.6),
        eye_y=4.0 if child else -1.0,
        mouth_y=26.0,
        lip=(1.25 if feminine else 0.95) if person else 0.75,
        shoulder=(42.0 if child else 53.0 if feminine else 61.0),
        trunk=trunk,
        legs=legs,
    )
