"""Stick figures of what is directed, for a network that is told where it is done.

    directions (acts.py) -> head, elbows and hands in the picture (framing.py) -> figures (T, K)

Dimension letters: T frames, F latent frames, K numbers of a figure (models/figures.py).
"""

from functools import lru_cache

import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray

from openmocha.models.figures import FACE, JOINTS, MOMENTS
from openmocha.toon.acts import DIRECTIONS, average_directions
from openmocha.toon.framing import joints, stand
from openmocha.toon.looks import Look, make_look
from openmocha.toon.poses import Arm
from openmocha.toon.stories import Clip, Story

HEAD = 50.0  # half a head, in head units


def figure(
    story: Story,
    clip: Clip,
    person: int,
    directions: NDArray[np.float32],
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Figures (T, K) of one person of a clip, in a picture of such a shape; `directions` (T, ...)
    are what they do (acts.py)."""
    cast = clip.cast[person]
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


@lru_cache(maxsize=32)  # every step of a film asks for the same
def average_figures(
    story: Story, latents: range, rows: int, cols: int, frames_per_latent: int, fps: float
) -> NDArray[np.float32]:
    """Figures (F, MOMENTS K) of some latent frames of a take of the one person of a story's one
    shot, who does what they do in an average way, in a picture of such a shape."""
    clip = story.clips[0]
    shown = range(frames_per_latent * latents.start, frames_per_latent * latents.stop)
    directed = average_directions(clip.cast[0], shown, fps)
    return latent_figures(figure(story, clip, 0, directed, cols, rows), frames_per_latent)


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
