"""Toon films as training clips: which moments of a film are drawn, and the plan of all shards.

    seed, source -> story, speech, mouth track -> moments -> pixels of those moments -> TrainingClip

A film is spoken once and only its chosen moments are drawn. Single moments are chosen so that mouth
shapes are spread over what the film's speaker shows; longer crops are spread over its time.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from einops import rearrange

from openmocha.models.figures import NUM_FIGURE
from openmocha.toon.camera import latent_views
from openmocha.toon.captions import DROP, caption_of
from openmocha.toon.figures import figure, latent_figures
from openmocha.toon.films import FPS, NUM_FRAMES, Scene, draw_scenes, film_scenes
from openmocha.toon.stories import Story, make_story
from openmocha.toon.turns import cut_frame, spoken_turns
from openmocha.training.latent_truth import latent_truth
from openmocha.training.shards import (
    FRAMES_PER_LATENT,
    Encoders,
    TrainingClip,
    manifest_path,
    write_shard,
)

Array = np.ndarray[Any, Any]

OTHER_SIZES = ((160, 96), (96, 160))


@dataclass(frozen=True)
class ShardPlan:
    """One shard: `num_films` films from seed `first_seed` on, `num_crops` crops of each."""

    name: str
    source: str
    first_seed: int
    num_films: int
    latent_frames: int
    num_crops: int
    width: int = 128
    height: int = 128
    pixels_per_cell: int = 16
    from_start: bool = False  # one crop, the film's beginning

    def clips(self) -> Iterator[TrainingClip]:
        """Its films, drawn as they are asked for."""
        for seed in range(self.first_seed, self.first_seed + self.num_films):
            yield toon_clip(seed, self)


class Planned(Protocol):
    """A shard to be written: its name, and what goes into it. Pickled into the worker processes."""

    @property
    def name(self) -> str: ...

    def clips(self) -> Iterator[TrainingClip]: ...


AnyPlan = TypeVar("AnyPlan", bound=Planned)


def toon_clip(seed: int, plan: ShardPlan) -> TrainingClip:
    """Draw the crops of one film. Raises ValueError as make_story does."""
    story = make_story(seed, plan.source, "train")
    turns = spoken_turns(story, NUM_FRAMES, FPS)
    cut = cut_frame(turns[1].spans[0][0], FPS) if len(story.clips) == 2 else None
    scenes = film_scenes(story, turns, cut, NUM_FRAMES)
    mouth = np.concatenate([scene.mouth for scene in scenes])
    answers, poses = latent_truth(story, scenes)
    rng = np.random.default_rng(seed)
    starts = [0]
    if not plan.from_start:
        starts = crop_starts(mouth, plan.latent_frames, plan.num_crops, rng)
    crops, cells = [], []
    for start in starts:
        first = FRAMES_PER_LATENT * start
        shown = range(first, first + FRAMES_PER_LATENT * plan.latent_frames)
        pixels, boxes = draw_scenes(story, scenes, shown, NUM_FRAMES, plan.width, plan.height)
        crops.append(pixels)
        shown_boxes = boxes[shown.start : shown.stop]
        cells.append(mouth_cells(shown_boxes, plan.height, plan.width, plan.pixels_per_cell))
    return TrainingClip(
        source=plan.source,
        seed=seed,
        caption=told(story, seed),
        num_frames=NUM_FRAMES,
        crops=np.stack(crops),
        starts=starts,
        speech=None if plan.source == "text" else np.sum([t.speech for t in turns], axis=0),
        mouth_cells=np.stack(cells),
        cut_frame=cut,
        views=latent_views([v for scene in scenes for v in scene.views], FRAMES_PER_LATENT),
        answers=answers,
        poses=poses,
        figures=film_figures(story, scenes, plan.width, plan.height),
    )


def film_figures(story: Story, scenes: Sequence[Scene], width: int, height: int) -> Array:
    """Figures of a film's latent frames (F, K); NaN where two are seen, for one is told of one."""
    parts = []
    for scene in scenes:
        if len(scene.clip.cast) == 1:
            figures = figure(story, scene.clip, 0, scene.directions[0], width, height)
            parts.append(latent_figures(figures, FRAMES_PER_LATENT))
        else:
            num_latents = len(scene.poses) // FRAMES_PER_LATENT
            parts.append(np.full((num_latents, NUM_FIGURE), np.nan, np.float32))
    return np.concatenate(parts)


def told(story: Story, seed: int) -> str:
    """Every other caption leaves nothing out, as the prompts do that films are made from."""
    return caption_of(story, DROP if seed % 2 else 0.0)


def crop_starts(
    mouth: Array, latent_frames: int, num_crops: int, rng: np.random.Generator
) -> list[int]:
    """First latent frames of `num_crops` crops of a film whose mouth track is (T, 4).

    Single latents: half of them as far from each other in mouth shape as the film allows, the rest
    at random, so that rare shapes are seen often and common ones stay common.
    """
    last = len(mouth) // FRAMES_PER_LATENT - latent_frames
    if latent_frames > 1:
        places = (np.arange(num_crops) + rng.random(num_crops)) / num_crops
        return [int(place * (last + 1)) for place in places]
    shapes = rearrange(mouth, "(F r) shape -> F (r shape)", r=FRAMES_PER_LATENT)
    chosen = far_apart(shapes, (num_crops + 1) // 2, rng)
    rest = rng.permutation([f for f in range(last + 1) if f not in chosen])
    return sorted(chosen + rest[: num_crops - len(chosen)].tolist())


def far_apart(points: Array, count: int, rng: np.random.Generator) -> list[int]:
    """Farthest-point sampling: `count` rows of `points`, the first one at random."""
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return chosen


def mouth_cells(boxes: Array, height: int, width: int, pixels_per_cell: int) -> Array:
    """Latent cells that a mouth touches: boxes (4 F, n, 4) in pixels -> uint8 (F, h, w)."""
    rows, columns = height // pixels_per_cell, width // pixels_per_cell
    cells = np.zeros((len(boxes) // FRAMES_PER_LATENT, rows, columns), np.uint8)
    for frame, mouths in enumerate(np.nan_to_num(boxes) / pixels_per_cell):
        for x0, y0, x1, y1 in mouths:
            if x1 > x0 and y1 > y0:
                top, left = max(0, int(y0)), max(0, int(x0))
                latent = cells[frame // FRAMES_PER_LATENT]
                latent[top : int(np.ceil(y1)), left : int(np.ceil(x1))] = 1
    return cells


# Films of each source: whole ones (which serve as short crops and single latents too), single
# latents of more stories, singles of other sizes.
TOON_FILMS = {
    "text": (1024, 2048, 64),
    "close-up": (1600, 2048, 64),
    "medium close-up": (1600, 1536, 64),
    "medium": (1024, 1536, 64),
    "dialogue": (2048, 1024, 64),
}
# Name, latent frames, crops of each film, films of a shard, sizes (width, height).
KINDS = (
    ("films", 32, 1, 64, ((128, 128),)),
    ("singles", 1, 12, 256, ((128, 128),)),
    ("sizes", 1, 8, 64, OTHER_SIZES),
)


def toon_plan(scale: float = 1.0, pixels_per_cell: int = 16) -> list[ShardPlan]:
    """All shards of the toon recipe: films, singles, other sizes, sources taking turns.

    `scale` multiplies the number of films; every kind of every source keeps at least one film.
    `pixels_per_cell` is the VAE's.
    """
    shards = []
    for kind_index, (kind, latent_frames, num_crops, films_per_shard, sizes) in enumerate(KINDS):
        lanes = []
        for source_index, (source, counts) in enumerate(TOON_FILMS.items()):
            for size_index, (width, height) in enumerate(sizes):
                lane = ShardPlan(
                    name=f"{kind}-{width}x{height}-{source.replace(' ', '-')}",
                    source=source,
                    first_seed=10_000_000 * source_index + 1_000_000 * (kind_index + size_index),
                    num_films=max(1, round(counts[kind_index] * scale)),
                    latent_frames=latent_frames,
                    num_crops=num_crops,
                    width=width,
                    height=height,
                    pixels_per_cell=pixels_per_cell,
                )
                lanes.append(split_plan(lane, films_per_shard))
        shards += [s for column in zip_longest(*lanes) for s in column if s is not None]
    return shards


def split_plan(plan: ShardPlan, films_per_shard: int) -> list[ShardPlan]:
    """A plan of many films as plans of at most `films_per_shard`, numbered."""
    return [
        replace(
            plan,
            name=f"{plan.name}-{number:04d}",
            first_seed=plan.first_seed + done,
            num_films=min(films_per_shard, plan.num_films - done),
        )
        for number, done in enumerate(range(0, plan.num_films, films_per_shard))
    ]


def write_plan(
    folder: Path,
    plan: Sequence[AnyPlan],
    load_encoders: Callable[[], Encoders],
    workers: int = 2,
) -> Iterator[AnyPlan]:
    """Write the shards that are not finished yet, `workers` at a time; yields each as it is done.

    `load_encoders` is called once in every worker process.
    """
    missing = [shard for shard in plan if not manifest_path(folder / shard.name).exists()]
    # A fresh interpreter for each: forking beside torch's threads can hang.
    with get_context("spawn").Pool(workers, _start_worker, (load_encoders,)) as pool:
        yield from pool.imap_unordered(partial(_write_planned, folder), missing)
        pool.close()
        pool.join()


_encoders: Encoders  # of this worker process


def _start_worker(load_encoders: Callable[[], Encoders]) -> None:
    global _encoders
    # The processes are the parallelism, and training, where it runs beside them, goes first.
    torch.set_num_threads(1)
    os.nice(5)
    _encoders = load_encoders()


def _write_planned(folder: Path, plan: AnyPlan) -> AnyPlan:
    write_shard(folder / plan.name, plan.clips(), _encoders)
    return plan
