"""Crops of films for the VAE, drawn by other processes while it learns.

worker processes draw crops of films -> a pool in memory -> square windows, most on mouths
"""

import itertools
import multiprocessing
import os
import queue
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

# Close-ups a little more often than the rest: mouths are what the VAE is judged on.
SOURCE_SHARES = {
    "close-up": 0.3,
    "medium close-up": 0.25,
    "medium": 0.15,
    "dialogue": 0.15,
    "text": 0.15,
}
SIZES = {(128, 128): 0.8, (160, 96): 0.1, (96, 160): 0.1}  # (width, height)
CROP_FRAMES = 12  # three groups, so that the middle one has both neighbours
FILM_FRAMES = 128


@dataclass(frozen=True)
class Crop:
    """Twelve frames of a film: uint8 (12, H, W, 3), and a mask (12, H, W) of its mouths.

    opening: (12,) in 0..1, how far the mouth is open; NaN where more than one character is seen.
    """

    frames: NDArray[np.uint8]
    mouth: NDArray[np.bool_]
    opening: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Windows of crops: video (B, 12, 3, H, W) in [-1, 1], and what a Crop says of each."""

    video: Tensor
    mouth: Tensor  # (B, 12, H, W)
    opening: Tensor  # (B, 12)

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class Batching:
    """What a batch holds, and how many crops it is drawn from."""

    window_shares: tuple[tuple[int, float], ...] = ((80, 0.5), (128, 0.5))
    mouth_share: float = 0.75  # of windows: must hold a mouth, where the crop has one
    groups: int = 48  # of four frames of 64x64 pixels; larger windows come in smaller batches
    pool_crops: int = 1500
    first_crops: int = 64


DrawCrop = Callable[[int, str], Crop]


def draw_crop(seed: int, split: str) -> Crop:
    """A crop of a film of the toon set; seed and split decide source, size and place in time."""
    from openmocha.toon.films import make_film

    rng = np.random.default_rng([seed, 7])
    source = rng.choice(list(SOURCE_SHARES), p=list(SOURCE_SHARES.values()))
    width, height = list(SIZES)[rng.choice(len(SIZES), p=list(SIZES.values()))]
    start = 4 * int(rng.integers((FILM_FRAMES - CROP_FRAMES) // 4 + 1))
    frames = range(start, start + CROP_FRAMES)
    film = make_film(seed, str(source), split=split, width=width, height=height, frames=frames)
    boxes = film.truth.mouth_boxes[frames.start : frames.stop]
    opening = film.truth.mouth[frames.start : frames.stop, 0].copy()
    if boxes.shape[1] != 1:
        opening[:] = np.nan
    return Crop(film.frames, mouth_mask(boxes, height, width), opening)


def mouth_mask(
    boxes: NDArray[np.floating], height: int, width: int, margin: float = 0.25
) -> NDArray[np.bool_]:
    """Mouth boxes (t, n, 4) x0 y0 x1 y1 in pixels -> mask (t, H, W) of them and a margin around.

    The margin is a share of the box's width on every side. A box without area marks nothing.
    """
    boxes = np.nan_to_num(boxes)[..., None, None]
    x0, y0, x1, y1 = boxes[:, :, 0], boxes[:, :, 1], boxes[:, :, 2], boxes[:, :, 3]
    side = margin * (x1 - x0)
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    inside = (x > x0 - side) & (x < x1 + side) & (y > y0 - side) & (y < y1 + side)
    return np.asarray((inside & (x1 > x0) & (y1 > y0)).any(axis=1))


def draw_forever(
    crops: "multiprocessing.Queue[Crop]", draw: DrawCrop, seed: int, step: int
) -> None:
    """The life of a drawing process: crops of seed, seed + step, ... into the queue."""
    torch.set_num_threads(1)
    os.nice(5)  # training comes first: crops can be seen again
    for number in itertools.count(seed, step):
        crops.put(draw(number, "train"))


def drawn_batches(
    settings: Batching, draw: DrawCrop, seed: int, workers: int
) -> Generator[Batch, None, None]:
    """Endless batches from a pool of crops that `workers` processes keep renewing.

    The pool decouples both sides: training never waits for the drawing, and sees a crop
    again only as often as the drawing is slower.
    """
    context = multiprocessing.get_context("spawn")
    crops: multiprocessing.Queue[Crop] = context.Queue(maxsize=32)
    processes = [
        context.Process(target=draw_forever, args=(crops, draw, seed + i, workers), daemon=True)
        for i in range(workers)
    ]
    rng = np.random.default_rng(seed)
    pool: list[Crop] = []
    try:
        for process in processes:
            process.start()
        while True:
            _renew(pool, crops, settings, rng, processes)
            yield make_batch(pool, settings, rng)
    finally:
        for process in processes:
            process.kill()


def _renew(
    pool: list[Crop],
    crops: "multiprocessing.Queue[Crop]",
    settings: Batching,
    rng: np.random.Generator,
    processes: Sequence[multiprocessing.process.BaseProcess],
) -> None:
    """Move what is drawn into the pool; wait only for the first crops."""
    while True:
        # A pool that nobody renews would be learnt by heart.
        if not all(process.is_alive() for process in processes):
            raise RuntimeError("a drawing process died; its traceback is above")
        try:
            waiting = len(pool) < settings.first_crops
            crop = crops.get(timeout=1) if waiting else crops.get_nowait()
        except queue.Empty:
            if waiting:
                continue
            return
        if len(pool) < settings.pool_crops:
            pool.append(crop)
        else:
            pool[int(rng.integers(len(pool)))] = crop


def make_batch(pool: Sequence[Crop], settings: Batching, rng: np.random.Generator) -> Batch:
    """Square windows of one size; `mouth_share` of them must hold a mouth, the others lie anywhere;
    half are mirrored. The network is convolutional without normalisation: windows serve films of
    any size.
    """
    sizes, shares = zip(*settings.window_shares, strict=True)
    size = int(rng.choice(sizes, p=shares))
    count = max(1, settings.groups * 64 * 64 * 4 // (CROP_FRAMES * size * size))
    videos: list[NDArray[np.uint8]] = []
    masks: list[NDArray[np.bool_]] = []
    openings: list[NDArray[np.float32]] = []
    while len(videos) < count:
        crop = pool[int(rng.integers(len(pool)))]
        if min(crop.mouth.shape[1:]) < size:
            continue
        rows, columns = place_window(crop, size, rng, settings.mouth_share)
        turn = slice(None, None, int(rng.choice((-1, 1))))
        videos.append(crop.frames[:, rows, columns][:, :, turn])
        masks.append(crop.mouth[:, rows, columns][:, :, turn])
        openings.append(crop.opening)
    mouth, opening = (torch.from_numpy(np.stack(part)) for part in (masks, openings))
    return Batch(to_video(np.stack(videos)), mouth, opening)


def place_window(
    crop: Crop, size: int, rng: np.random.Generator, mouth_share: float
) -> tuple[slice, slice]:
    """Rows and columns of a window; with a chance of `mouth_share` one that covers a pixel of a
    mouth."""
    height, width = crop.mouth.shape[1:]
    top = int(rng.integers(height - size + 1))
    left = int(rng.integers(width - size + 1))
    at = np.flatnonzero(crop.mouth[CROP_FRAMES // 2])
    if len(at) and rng.random() < mouth_share:
        row, column = divmod(int(rng.choice(at)), width)
        top = int(np.clip(row - rng.integers(size), 0, height - size))
        left = int(np.clip(column - rng.integers(size), 0, width - size))
    return slice(top, top + size), slice(left, left + size)


def to_video(frames: NDArray[np.uint8]) -> Tensor:
    """Frames uint8 (B, T, H, W, 3) -> video float (B, T, 3, H, W) in [-1, 1]."""
    return rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "b t h w c -> b t c h w")
