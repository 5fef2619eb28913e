"""Train the finder of drawn faces on frames drawn meanwhile: nobody, one, two, or a crowd.

python -m openmocha.training.face_finder runs/face_finder --minutes 20
"""

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openmocha.toon.face_finder import CELL, FaceFinder, targets
from openmocha.toon.judge import FRAME_SIZE, letterbox
from openmocha.toon.programmes import with_crowd
from openmocha.toon.stories import Story, make_story
from openmocha.training.judge_pool import random_mouths

SIZES = ((128, 128), (176, 96), (256, 144), (96, 160))
CLIP_FRAMES, FRAMES_PER_STORY = 48, 4
SMALLEST_FACE = 6.0  # pixels of the letterboxed frame; less is the edge of somebody
Sample = tuple[np.ndarray, np.ndarray]  # frame uint8 (128, 128, 3), boxes (N, 8) in its pixels


def samples(seed: int, split: str) -> Iterator[Sample]:
    """Endless frames with the boxes of all faces in them and their mouths."""
    rng = np.random.default_rng([seed, split == "test"])
    while True:
        kind = rng.choice(["nobody", "crowd", "story"], p=[0.15, 0.2, 0.65])
        source = ("text", "medium")[int(rng.integers(2))] if kind == "story" else "medium"
        story = make_story(int(rng.integers(2**31)), source, split)
        if kind == "crowd":
            story = with_crowd(rng, story)
        yield from draw_story(rng, story, empty=kind == "nobody")


def draw_story(rng: np.random.Generator, story: Story, empty: bool) -> Iterator[Sample]:
    """Some frames of a story's first clip."""
    from openmocha.toon.camera import clip_views
    from openmocha.toon.drawing import draw_frame
    from openmocha.toon.motion import clip_motion

    clip = story.clips[0]
    clip = dataclasses.replace(clip, speaker=int(rng.integers(len(clip.cast))))
    story = dataclasses.replace(story, clips=(clip,))
    mouths = random_mouths(rng, CLIP_FRAMES)
    poses = clip_motion(story, clip, CLIP_FRAMES, mouths, (0.6,), (0.2, 2)).poses
    views = clip_views(story, clip, CLIP_FRAMES)
    shown = dataclasses.replace(clip, cast=()) if empty else clip
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    for t in rng.choice(CLIP_FRAMES, FRAMES_PER_STORY, replace=False):
        now = () if empty else poses[t]
        drawn = draw_frame(story, shown, now, views[t], width, height)
        images, offset, scale = letterbox(drawn.pixels[None])
        frame = ((images[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        boxes = np.concatenate([drawn.faces, drawn.mouths], axis=1) * scale + np.tile(offset, 4)
        seen = (boxes[:, 2:4] - boxes[:, :2]).min(axis=1) >= SMALLEST_FACE
        yield frame, boxes[seen].astype(np.float32)


def loss_of(finder: FaceFinder, batch: list[Sample]) -> Tensor:
    """Focal loss of the centres (the paper's equation 1) and L1 of the boxes at them."""
    frames = torch.from_numpy(np.stack([frame for frame, _ in batch]))
    centres, boxes = finder(frames.permute(0, 3, 1, 2).float() / 127.5 - 1)
    heat, wanted, at = truth_maps([boxes for _, boxes in batch])
    p = centres.sigmoid().clamp(1e-5, 1 - 1e-5)
    here = heat == 1
    focal = torch.where(here, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log())
    num_faces = max(len(wanted), 1)
    given = boxes[at[0], :, at[1], at[2]]
    return focal.sum() / num_faces + F.l1_loss(given, wanted, reduction="sum") / num_faces


def truth_maps(boxes: list[np.ndarray]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Heat (B, h, w), box targets (N, 8) of all faces, and their frame, row and column (N,)."""
    cells = FRAME_SIZE // CELL
    heat = torch.zeros(len(boxes), cells, cells)
    number = torch.cat([torch.full((len(b),), i) for i, b in enumerate(boxes)]).long()
    pixels = torch.from_numpy(np.concatenate(boxes))
    middle = (pixels[:, :2] + pixels[:, 2:4]) / 2 / CELL
    columns, rows = middle.long().clamp(0, cells - 1).unbind(-1)
    ticks = torch.arange(cells) + 0.5
    for i, row, column, box in zip(number, rows, columns, pixels, strict=True):
        spread = float((box[2:4] - box[:2]).mean()) / CELL / 8 + 0.4
        squared = (ticks[:, None] - row - 0.5) ** 2 + (ticks - column - 0.5) ** 2
        heat[i] = torch.maximum(heat[i], torch.exp(-squared / (2 * spread**2)))
    heat[number, rows, columns] = 1.0
    return heat, targets(pixels, rows, columns), (number, rows, columns)


def train_face_finder(folder: Path, *, time_budget_s: float, seed: int = 0) -> FaceFinder:
    """Train for a time on one core and save to `folder`/final."""
    torch.manual_seed(seed)
    finder = FaceFinder().train()
    optimizer = torch.optim.AdamW(finder.parameters(), lr=2e-3, weight_decay=0.01)
    source = samples(seed, "train")
    pool = [next(source) for _ in range(256)]
    rng = np.random.default_rng(seed)
    started, step, done = time.monotonic(), 0, 0.0
    while done < 1:
        done = (time.monotonic() - started) / time_budget_s
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * max(0.02, 1 - done)
        for _ in range(8):  # new frames come into the pool for old ones
            fresh = next(source)
            if len(pool) < 8192:
                pool.append(fresh)
            else:
                pool[int(rng.integers(len(pool)))] = fresh
        loss = loss_of(finder, [pool[i] for i in rng.integers(len(pool), size=32)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(finder.parameters(), 5.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step} ({done:.0%}): loss {float(loss.detach()):.3f}", flush=True)
        step += 1
    finder.eval().save_pretrained(folder / "final")
    return finder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    train_face_finder(given.folder, time_budget_s=60 * given.minutes)
