"""Where a character is in a shot: the head in the picture, elbows and hands around it.

look, clip, cast -> where the head is, and pixels per head unit (looks.py)
look, arm -> shoulder, elbow, hand around the head, in head units
"""

import math

from openmocha.toon.looks import Look
from openmocha.toon.poses import Arm
from openmocha.toon.stories import Cast, Clip

Point = tuple[float, float]
# Of each shot: pixels per head unit at a short side of 128, the height of the head's centre as a
# share of the short side, and how far off the middle "left" and "right" are.
_FRAMING = {
    "close-up": (0.83, 0.41, 0.10),
    "medium close-up": (0.52, 0.36, 0.16),
    "medium": (0.33, 0.28, 0.2),
    "wide": (0.156, 0.2, 0.25),
}
_SIDE = {"left": -1.0, "center": 0.0, "right": 1.0, "far left": -2.0, "far right": 2.0}
_PAIR_SCALE = {"close-up": 0.58, "medium close-up": 0.86, "medium": 0.9, "wide": 1.0}
SHOULDER_Y = 74.0
_UPPER_ARM, _FOREARM = 78.0, 68.0


def hip_y(look: Look) -> float:
    return SHOULDER_Y + 176.0 * look.trunk


def feet_y(look: Look) -> float:
    """Where the feet stand below the head's centre, in head units."""
    return hip_y(look) + 292.0 * look.legs


def stand(
    look: Look, clip: Clip, cast: Cast, width: int, height: int
) -> tuple[float, float, float]:
    """Where the head's centre is in pixels, and pixels per head unit."""
    short = min(width, height)
    scale, head, aside = _FRAMING[clip.shot]
    pair = len(clip.cast) > 1
    if pair:
        scale *= _PAIR_SCALE[clip.shot]
        aside = 0.25 if clip.shot != "wide" else 0.2
        head += 0.06 if clip.shot == "close-up" else 0.02
    child = look.character.age == "child"
    if clip.shot == "wide":
        head = 0.94 - feet_y(look) * scale / 128
    elif clip.shot == "medium" and child:
        head, scale = head + 0.04, scale * 1.1
    if look.species == "rabbit" and clip.shot != "wide":
        head += 0.05
    spare = 0.22 * (width - short) / short
    x = width / 2 + _SIDE[cast.position] * (aside + spare) * short
    y = (height - short) * 0.5 + head * short
    return x, y, scale * short / 128


def joints(look: Look, arm: Arm, side: float, shrug: float) -> tuple[Point, Point, Point]:
    """Shoulder, elbow and hand. Angles run from hanging (0) outwards and up (180 degrees)."""
    size = 0.5 + 0.5 * look.trunk
    shoulder = (side * (look.shoulder - 7), SHOULDER_Y + 12 - 9 * shrug)
    outward = (arm.reach + 1.0) / 2.0
    upper = 9.0 + arm.lift * (25.0 + 70.0 * outward)
    fold = max(-1.0, min(1.0, 1.4 * arm.reach + 0.2))
    lower = min(upper + 138.0 * arm.bend * fold + 6.0 + 62.0 * arm.lift**2, 190.0)
    elbow = _step(shoulder, side, upper, _UPPER_ARM * size)
    return shoulder, elbow, _step(elbow, side, lower, _FOREARM * size)


def _step(start: Point, side: float, degrees: float, length: float) -> Point:
    angle = math.radians(degrees)
    return start[0] + side * length * math.sin(angle), start[1] + length * math.cos(angle)
