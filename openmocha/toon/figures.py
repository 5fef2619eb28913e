"""Where a character is in a shot: head, elbows and hands, and a stick figure of what is directed.

    look, clip, cast -> where the head is in the picture, and its size
    look, arm -> shoulder, elbow, hand around the head, in head units (looks.py)
    directions (acts.py) -> figure (T, K)

Dimension letters: T frames, F latent frames, K numbers of a figure (models/figures.py).
"""

import math

import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray

from openmocha.models.figures import FACE, JOINTS, MOMENTS
from openmocha.toon.acts import DIRECTIONS
from openmocha.toon.looks import Look, make_look
from openmocha.toon.poses import Arm
from openmocha.toon.stories import Cast, Clip, Story

Point = tuple[float, float]
HEAD = 50.0  # half a head, in head units
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


def figure(
    story: Story, clip: Clip, directions: NDArray[np.float32], width: int, height: int
) -> NDArray[np.float32]:
    """Figures (T, K) of the one person of a clip, in a picture of such a shape; `directions` (T,
    ...) are what they do (acts.py)."""
    (cast,) = clip.cast
    look = make_look(story.characters[cast.character], story.light)
    x, y, scale = stand(look, clip, cast, width, height)
    directed = dict(zip(DIRECTIONS, directions.T, strict=True))
    around = np.array([limbs(look, *body) for body in zip(*bodies(directed), strict=True)])
    placed = np.concatenate([np.zeros((len(around), 2)), around], axis=1) * scale
    placed += [x - width / 2, y - height / 2] * (1 + len(JOINTS))
    placed *= 2 / min(width, height)
    size = np.full((len(placed), 1), HEAD * scale * 2 / min(width, height))
    face = np.stack([directed[name] for name in FACE], axis=1)
    return np.concatenate([size, placed[:, :2], face, placed[:, 2:]], axis=1).astype(np.float32)


def bodies(directed: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
    """Left arm (T, 3), right arm (T, 3) and shrug (T,)."""
    left, right = (
        np.stack([directed[f"{side} {part}"] for part in ("lift", "reach", "bend")], axis=1)
        for side in ("left", "right")
    )
    return left, right, directed["shrug"]


def limbs(
    look: Look, left: NDArray[np.float32], right: NDArray[np.float32], shrug: float
) -> list[float]:
    """x and y of JOINTS around the head, in head units."""
    found: list[float] = []
    for arm, side in ((left, -1.0), (right, 1.0)):
        lift, reach, bend = np.clip(arm, (0, -1, 0), 1).tolist()
        _, elbow, hand = joints(look, Arm(lift, reach, bend), side, float(np.clip(shrug, 0, 1)))
        found += [*elbow, *hand]
    return found


def latent_figures(figures: NDArray[np.float32], frames_per_latent: int) -> NDArray[np.float32]:
    """(T, K) -> (F, MOMENTS K): the means over each half of what a latent frame stands for."""
    half = frames_per_latent // MOMENTS
    return rearrange(
        reduce(figures, "(F m r) K -> F m K", "mean", m=MOMENTS, r=half), "F m K -> F (m K)"
    )
