"""The camera of a shot: how it moves, and where in the scene a latent frame of it is.

A view in the scene is (zoom, x, y) as in models/places.py: that of people, for what is behind them
moves half as much.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from openmocha.toon.poses import View
from openmocha.toon.stories import Clip, Story, story_rng

FOCUS_Y = 0.42  # what a camera closes in on, from the top of the frame's middle square
ZOOM, PAN = 0.24, 0.18  # of an average move
PAN_ZOOM = 1.06  # nobody is nearer to the edge than in a shot at rest


def clip_way(clip: Clip, size: float = 1.0) -> tuple[View, View]:
    """First and last view of a clip; a move of size 1 is an average one."""
    near, rest = View(zoom=1.0 + ZOOM * size), View()
    if clip.camera.startswith("zoom"):
        return (rest, near) if clip.camera == "zoom in" else (near, rest)
    if not clip.camera.startswith("pan"):
        return rest, rest
    # Off-centre people come no nearer to the edge than the shot has them.
    position = clip.cast[0].position if len(clip.cast) == 1 else "center"
    middle = {"left": -0.5, "center": 0.0, "right": 0.5}[position]
    way = 0.5 if clip.camera == "pan right" else -0.5
    first, last = (PAN * size * (middle + end) for end in (-way, way))
    return View(PAN_ZOOM, (first, 0.0)), View(PAN_ZOOM, (last, 0.0))


def clip_views(story: Story, clip: Clip, num_frames: int) -> list[View]:
    """The camera in every frame of a clip: it moves evenly from the first to the last."""
    rng = story_rng("camera", story.split, story.source, story.seed, story.clips.index(clip))
    first, last = clip_way(clip, rng.uniform(0.75, 1.25))
    along = np.linspace(0.0, 1.0, num_frames)
    along = 0.8 * along + 0.2 * along * along * (3 - 2 * along)
    ends = np.array([(view.zoom, *view.pan) for view in (first, last)])
    views = ends[0] + along[:, None] * (ends[1] - ends[0])
    return [View(zoom, (x, y)) for zoom, x, y in views.tolist()]


def story_views(story: Story, cut_frame: int | None, num_frames: int) -> list[View]:
    """The camera in every frame of a story's film, which cuts to its second clip at `cut_frame`."""
    ends = [0, *([] if cut_frame is None else [cut_frame]), num_frames]
    lengths = [stop - start for start, stop in pairwise(ends)]
    parts = zip(story.clips, lengths, strict=True)
    return [view for clip, length in parts for view in clip_views(story, clip, length)]


def at_rest(story: Story) -> Story:
    """The same story, whose camera does not move."""
    clips = [replace(clip, camera="static") for clip in story.clips]
    return replace(story, clips=tuple(clips))


def in_scene(view: View) -> tuple[float, float, float]:
    """What a view shows of the scene: zoom, x and y of its middle in half short sides."""
    focus = 2 * FOCUS_Y - 1
    return view.zoom, 2 * view.pan[0], focus * (1 - 1 / view.zoom) - 2 * view.pan[1]


def latent_views(views: Sequence[View], frames_per_latent: int) -> np.ndarray[Any, Any]:
    """Views in the scene float32 (F, 3) of latent frames: the means of their frames."""
    seen = np.array([in_scene(view) for view in views], np.float32)
    means: np.ndarray[Any, Any] = seen.reshape(-1, frames_per_latent, 3).mean(1)
    return means
