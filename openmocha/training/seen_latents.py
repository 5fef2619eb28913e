"""Latent frames for the reader of latents to learn from, with their truth.

    story -> poses with mouths of every shape (no speech is needed to draw one) -> some frames
    -> latents, answers, poses; files of them: seen/00000.npz

Stories that are drawn for a moment only are many more than films: who and what is learnt from
stories, not from moments.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from openmocha.models.video_vae import VideoVAE
from openmocha.toon.camera import clip_views
from openmocha.toon.films import NUM_FRAMES, Scene, draw_scenes
from openmocha.toon.motion import clip_motion
from openmocha.toon.stories import make_story
from openmocha.training.judge_pool import random_mouths, with_speaker
from openmocha.training.latent_truth import latent_truth
from openmocha.training.shards import FRAMES_PER_LATENT, encode_crops

SOURCES = ("close-up", "medium close-up", "medium", "text")
SPAN = 5  # latent frames that are drawn; the outer ones are there for those between
STORIES = 256  # of a file
SIDE = 128  # pixels

Seen = dict[str, NDArray[Any]]  # latents (N, C, h, w) float16, answers (N, A) int8, poses (N, K)


@torch.inference_mode()
def draw_seen(vae: VideoVAE, seed: int) -> Seen:
    """The inner latent frames of a moment of story `seed` of the training split."""
    rng = np.random.default_rng([seed, 11])
    story = make_story(seed, SOURCES[seed % len(SOURCES)], "train")
    clip = with_speaker(rng, story.clips[0])
    story = dataclasses.replace(story, clips=(clip, *story.clips[1:]))
    mouth = slow_mouths(rng)
    talking = (0.2, NUM_FRAMES / 24 - 0.2)
    poses = clip_motion(story, clip, NUM_FRAMES, mouth, (0.6, 1.4, 2.5, 3.7), talking).poses
    scene = Scene(clip, 0, poses, clip_views(story, clip, NUM_FRAMES), mouth)
    start = int(rng.integers(NUM_FRAMES // FRAMES_PER_LATENT - SPAN + 1))
    shown = range(FRAMES_PER_LATENT * start, FRAMES_PER_LATENT * (start + SPAN))
    pixels, _ = draw_scenes(story, [scene], shown, NUM_FRAMES, SIDE, SIDE)
    answers, read = latent_truth(story, [scene])
    inner = slice(start + 1, start + SPAN - 1)
    latents = encode_crops(pixels[None], vae)[0, :, 1:-1]
    return {
        "latents": rearrange(latents, "c f h w -> f c h w"),
        "answers": answers[inner],
        "poses": read[inner],
    }


def slow_mouths(rng: np.random.Generator) -> NDArray[np.float32]:
    """Mouths (T, 4) of every shape, which move about as fast as speech makes them."""
    mouths = random_mouths(rng, NUM_FRAMES + 2)
    slow: NDArray[np.float32] = (mouths[:-2] + 2 * mouths[1:-1] + mouths[2:]) / 4
    return slow


def write_seen(vae: VideoVAE, folder: Path, number: int) -> Path:
    """File `number`, of STORIES stories, unless it is there."""
    path = folder / f"{number:05d}.npz"
    if not path.exists():
        seeds = range(number * STORIES, (number + 1) * STORIES)
        parts = [draw_seen(vae, seed) for seed in seeds]
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, **joined(parts))  # type: ignore[arg-type]
        temporary.replace(path)
    return path


def joined(parts: Sequence[Seen]) -> Seen:
    """The latent frames of all parts, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def seen_latents(folder: Path, vae: Path, files: int, workers: int) -> Seen:
    """All of `files` files, those that are not in `folder` drawn first by `workers` processes
    (0: by this one)."""
    folder.mkdir(parents=True, exist_ok=True)
    if workers == 0:
        net = VideoVAE.from_pretrained(vae).eval()
        paths = [write_seen(net, folder, number) for number in range(files)]
    else:
        with get_context("spawn").Pool(workers, _start_worker, (vae,)) as pool:
            paths = pool.map(partial(_write, folder), range(files), chunksize=1)
            pool.close()
            pool.join()
    kept = [np.load(path) for path in paths]
    return joined([dict(part) for part in kept])


_vae: VideoVAE  # of this worker process


def _start_worker(vae: Path) -> None:
    global _vae
    torch.set_num_threads(1)
    _vae = VideoVAE.from_pretrained(vae).eval()


def _write(folder: Path, number: int) -> Path:
    return write_seen(_vae, folder, number)
