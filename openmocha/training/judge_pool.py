"""Frames for the judge to learn from: shards of single frames with their truth.

story -> poses with mouths of every shape (no speech is needed to draw one) -> frames + labels ->
pool/<split>-<number>.npz. A shard depends on the seed, the split and its number alone.
"""

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openmocha.toon.judge import FRAME_SIZE, letterbox_array
from openmocha.toon.labels import PEOPLE, pose_labels, visible_labels
from openmocha.toon.stories import Clip, Story, make_story

Sample = dict[str, np.ndarray]

FRAMES_PER_SHARD = 1024
FRAMES_PER_STORY = 4
CLIP_FRAMES = 64
TEST_SHARDS = 1
SOURCES = ("close-up", "medium close-up", "medium", "text")
SOURCE_SHARES = (0.25, 0.25, 0.2, 0.3)
SIZES = ((128, 128), (128, 80), (80, 128), (128, 96), (96, 128))  # width, height
SIZE_SHARES = (0.88, 0.03, 0.03, 0.03, 0.03)
SHARDS_IN_MEMORY = 16
STEPS_PER_SHARD = 20  # a new shard joins those in memory after so many steps


@contextmanager
def draw_pool(pool: Path, *, workers: int, seed: int, num_shards: int = 120) -> Iterator[None]:
    """Draw shards into `pool` in `workers` background processes for as long as the block runs.

    Test shards come first, then training shards up to `num_shards`; those there are kept.
    """
    pool.mkdir(parents=True, exist_ok=True)
    context = get_context("forkserver")
    drawers = [
        context.Process(target=_draw, args=(pool, seed, worker, workers, num_shards), daemon=True)
        for worker in range(workers)
    ]
    for drawer in drawers:
        drawer.start()
    try:
        yield
    finally:
        for drawer in drawers:
            drawer.terminate()
            drawer.join()


def _draw(pool: Path, seed: int, worker: int, workers: int, num_shards: int) -> None:
    os.nice(2)
    jobs = [("test", number) for number in range(TEST_SHARDS)]
    jobs += [("train", number) for number in range(num_shards)]
    trainer = parent_process()
    for split, number in jobs[worker::workers]:
        if trainer is not None and not trainer.is_alive():
            return  # killed without a chance to stop its drawers
        path = pool / f"{split}-{number:05d}.npz"
        if not path.exists():
            write_shard(path, draw_shard(seed, split, number))


def pool_shards(pool: Path, split: str) -> list[Path]:
    """The finished shards of a split, in order."""
    return sorted(pool.glob(f"{split}-?????.npz"))


def write_shard(path: Path, samples: Sample) -> None:
    """Write a shard aside, then rename it, so that a reader never sees half of one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **samples)  # type: ignore[arg-type]
    temporary.replace(path)


def read_shard(path: Path) -> Sample:
    """All arrays of a shard; see `draw_story` for what they are."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def draw_shard(seed: int, split: str, number: int, frames: int = FRAMES_PER_SHARD) -> Sample:
    """One shard of `frames` frames, a few from each of many stories."""
    rng = np.random.default_rng([seed, ("train", "test").index(split), number])
    samples: list[Sample] = []
    while len(samples) < frames:
        source = SOURCES[rng.choice(len(SOURCES), p=SOURCE_SHARES)]
        story = make_story(int(rng.integers(2**31)), source, split)
        samples += draw_story(rng, story)
    order = rng.permutation(len(samples))[:frames]
    return {name: np.stack([samples[i][name] for i in order]) for name in samples[0]}


def draw_story(rng: np.random.Generator, story: Story) -> list[Sample]:
    """Frames of a story's first clip, each with random mouths.

    Keys: frames uint8 (128, 128, 3), mouth (P, 4) and boxes (P, 4, in 0..1) float16, pose
    (P, len(POSE)) float16, all NaN for an absent person; labels as of labels.visible_labels.
    """
    from openmocha.toon.camera import clip_views
    from openmocha.toon.drawing import draw_frame
    from openmocha.toon.motion import clip_motion

    clip = with_speaker(rng, story.clips[0])
    story = dataclasses.replace(story, clips=(clip, *story.clips[1:]))
    mouths = random_mouths(rng, CLIP_FRAMES)
    talking = (0.2, CLIP_FRAMES / 24 - 0.2)
    poses = clip_motion(story, clip, CLIP_FRAMES, mouths, (0.6, 1.4), talking).poses
    views = clip_views(story, clip, CLIP_FRAMES)
    width, height = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
    labels = visible_labels(story, clip)
    samples = []
    for t in rng.choice(CLIP_FRAMES, FRAMES_PER_STORY, replace=False):
        pixels, boxes, _ = draw_frame(story, clip, poses[t], views[t], width, height)
        frame, offset, scale = letterbox_array(pixels)
        shapes, places = np.full((2, PEOPLE, 4), np.nan, np.float16)
        shapes[: len(clip.cast)] = [pose.mouth for pose in poses[t]]
        places[: len(clip.cast)] = (boxes * scale + np.tile(offset, 2)) / FRAME_SIZE
        truth = {"mouth": shapes, "boxes": places, "pose": pose_labels(poses[t]).astype(np.float16)}
        samples.append({"frames": frame, **truth, **labels})
    return samples


def with_speaker(rng: np.random.Generator, clip: Clip) -> Clip:
    """Somebody talks, so that silent films teach mouths too."""
    return dataclasses.replace(clip, speaker=int(rng.integers(len(clip.cast))))


def random_mouths(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """(num_frames, 4) mouths of every shape that speech makes, the closed one often."""
    opening = np.where(rng.random(num_frames) < 0.25, 0.0, rng.random(num_frames) ** 1.3)
    spread = np.clip(rng.normal(0, 0.45, num_frames), -1, 1)
    closed = opening < 0.15
    pressed = np.where(closed & (rng.random(num_frames) < 0.4), rng.random(num_frames), 0.0)
    teeth = np.where(rng.random(num_frames) < 0.35, rng.random(num_frames), 0.0)
    rest = rng.random(num_frames) < 0.12
    mouths = np.stack([opening, spread, pressed, teeth * (1 - pressed)], axis=1)
    return np.where(rest[:, None], 0.0, mouths).astype(np.float32)


def batches(pool: Path, seed: int, size: int) -> Iterator[dict[str, Tensor]]:
    """Endless batches of random frames of the shards there are, new ones first."""
    rng = np.random.default_rng(seed)
    memory: list[dict[str, np.ndarray]] = []
    used: set[Path] = set()
    step = 0
    while True:
        if step % STEPS_PER_SHARD == 0 or not memory:
            shards = pool_shards(pool, "train")
            while not shards:
                time.sleep(1.0)
                shards = pool_shards(pool, "train")
            fresh = [shard for shard in shards if shard not in used]
            path = fresh[0] if fresh else shards[int(rng.integers(len(shards)))]
            used.add(path)
            memory = memory[-(SHARDS_IN_MEMORY - 1) :] + [read_shard(path)]
        picks = rng.integers(len(memory), size=size)
        yield _collate(memory, picks, rng)
        step += 1


def _collate(
    memory: list[dict[str, np.ndarray]], picks: np.ndarray, rng: np.random.Generator
) -> dict[str, Tensor]:
    rows = [rng.integers(len(memory[pick]["frames"])) for pick in picks]
    return {
        name: torch.from_numpy(
            np.stack([memory[p][name][r] for p, r in zip(picks, rows, strict=True)])
        )
        for name in memory[0]
    }
