"""Train Toon-Sync (toon/sync.py) on drawn films and their voices, drawn beforehand.

stories of the training split -> crops of the speaker's mouth, mel bands -> batches of a second of
several films -> each lip window shall be nearest to its own speech among all of the batch -> final/

Speech of the same film a frame away is as wrong as that of another film, so that offsets are found
to the frame. Both embeddings must also tell the true shape of the mouth, which costs nothing here
and saves most of the time that finding it out by comparing alone would take.

python -m openmocha.training.toon_sync runs/toon_sync --minutes 25
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from openmocha.precision import mixed_precision
from openmocha.toon.judge import FRAME_SIZE, Window, crop_around, letterbox
from openmocha.toon.sync import (
    LIP_FRAMES,
    LIPS_WINDOW,
    SIZE,
    ToonSync,
    load_toon_sync,
    log_mel,
    mel_windows,
    smoothed,
)
from openmocha.training.fit import FitConfig, fit

SOURCES = ("close-up", "medium close-up", "medium", "dialogue")
SHARES = (0.2, 0.2, 0.45, 0.15)  # small mouths are the hard ones
KEPT = Window(size=48, side=1.5 * LIPS_WINDOW.side)  # what is kept of a frame: a crop with a margin
FILMS_A_BATCH, WINDOWS_A_FILM = 12, 20
MOUTHS_WEIGHT = 20.0


@dataclass(frozen=True)
class Sample:
    """A shot of one speaker: crops uint8 (T, 3, 48, 48) and true mouths (T, 4), the film's mel
    bands (M, S), and which frame of the film the first crop is."""

    crops: Tensor
    mouth: Tensor
    bands: Tensor
    first_frame: int


@dataclass(frozen=True)
class Batch:
    """Lip windows (B, 15, size, size), the mel windows (B, M, 24) that belong to them, and the
    five true mouths of each (B, 20)."""

    lips: Tensor
    speech: Tensor
    mouths: Tensor


class Learner(nn.Module):
    """The network, and linear readers of mouth shapes that are thrown away after training."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ToonSync()
        width = self.network.width
        self.mouths_of_lips = nn.Linear(width, 4 * LIP_FRAMES)
        self.mouths_of_speech = nn.Linear(width, 4 * LIP_FRAMES)


def shots_of(seed: int, split: str) -> list[Sample]:
    """The shots of film `seed` in which somebody speaks, by the truth's mouth boxes."""
    from openmocha.toon.augment import augment
    from openmocha.toon.films import make_film

    rng = np.random.default_rng([seed, 11])
    source = str(rng.choice(SOURCES, p=SHARES))
    side = int(rng.choice([64, 96, 128], p=[0.25, 0.15, 0.6]))
    film = make_film(seed, source, split=split, width=side, height=side)
    assert film.speech is not None
    speech = augment(film.speech, rng) if rng.random() < 0.6 else film.speech
    bands = log_mel(speech)
    cut = film.truth.cut_frame
    edges = [0, len(film.frames)] if cut is None else [0, cut, len(film.frames)]
    shots = []
    for clip, start, stop in zip(film.truth.story.clips, edges, edges[1:], strict=False):
        if clip.speaker is None or stop - start < WINDOWS_A_FILM + LIP_FRAMES:
            continue
        images, offset, scale = letterbox(film.frames[start:stop])
        boxes = smoothed(film.truth.mouth_boxes[start:stop, clip.speaker])
        pixels = torch.from_numpy(boxes) * scale + torch.tensor(offset).repeat(2)
        crops = crop_around(images, (pixels / FRAME_SIZE).float()[:, None], KEPT)
        stored = ((crops + 1) * 127.5).round().to(torch.uint8)
        mouth = torch.from_numpy(film.truth.mouth[start:stop])
        shots.append(Sample(stored, mouth, bands, start))
    return shots


def draw_shots(first_seed: int, count: int, workers: int) -> Iterator[Sample]:
    """The shots of films of the training split from `first_seed` on."""
    context = multiprocessing.get_context("spawn")
    seeds = range(first_seed, first_seed + count)
    with context.Pool(workers, _start_worker) as pool:
        for shots in pool.imap(_train_shots, seeds, chunksize=8):
            for crops, mouth, bands, first in shots:
                tensors = [torch.from_numpy(array) for array in (crops, mouth, bands)]
                yield Sample(tensors[0], tensors[1], tensors[2], first)


def _start_worker() -> None:
    torch.set_num_threads(1)
    os.nice(5)


def _train_shots(seed: int) -> list[tuple[Any, Any, Any, int]]:
    # Plain arrays: tensors between processes cost a file handle each.
    return [
        (s.crops.numpy(), s.mouth.numpy(), s.bands.numpy(), s.first_frame)
        for s in shots_of(seed, "train")
    ]


def batches(shots: list[Sample], rng: np.random.Generator) -> Iterator[Batch]:
    """Endless batches: consecutive windows of several shots, roughened."""
    while True:
        lips, speech, mouths = [], [], []
        for number in rng.choice(len(shots), FILMS_A_BATCH, replace=False):
            shot = shots[int(number)]
            start = int(rng.integers(len(shot.crops) - WINDOWS_A_FILM - LIP_FRAMES + 2))
            taken = slice(start, start + WINDOWS_A_FILM + LIP_FRAMES - 1)
            windows = roughened(shot.crops[taken], rng).unfold(0, LIP_FRAMES, 1)
            shapes = shot.mouth[taken].unfold(0, LIP_FRAMES, 1)
            mouths.append(rearrange(shapes, "W shape f -> W (f shape)"))
            lips.append(rearrange(windows, "W C h w f -> W (f C) h w"))
            first = shot.first_frame + start
            speech.append(mel_windows(shot.bands, np.arange(first, first + WINDOWS_A_FILM))[0])
        yield Batch(torch.cat(lips), torch.cat(speech), torch.cat(mouths))


def roughened(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops uint8 (T, 3, 48, 48) -> (T, 3, size, size) in [-1, 1], as a generated film would show
    them and a finder would cut them: moved, scaled, mirrored, blurred, tinted, with noise."""
    images = crops.float() / 127.5 - 1
    if rng.random() < 0.4:  # a smaller picture, seen enlarged
        small = int(rng.integers(8, 32))
        images = F.interpolate(images, size=(small, small), mode="area")
    num = len(images)
    scale = LIPS_WINDOW.side / KEPT.side * np.exp(0.12 * rng.standard_normal())
    drift = np.cumsum(rng.standard_normal((num, 2)) * 0.006, axis=0)
    centre = rng.uniform(-0.09, 0.09, 2) + drift - drift.mean(0)
    turn = float(rng.choice((-1, 1)))
    matrix = torch.zeros(num, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = turn * scale, scale
    matrix[:, :, 2] = torch.from_numpy(centre).float()
    grid = F.affine_grid(matrix, [num, 3, SIZE, SIZE], align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False, padding_mode="border")
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (1, 3, 1, 1))).float()
    shade = torch.from_numpy(rng.uniform(-0.15, 0.15, (1, 3, 1, 1))).float()
    noise = float(rng.choice([0.0, rng.uniform(0, 0.1)]))
    return (moved * gain + shade + noise * torch.randn(moved.shape)).clamp(-1, 1)


def sync_loss(learner: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of finding each lip window's speech, and each speech window's lips; and the
    squared error of the mouths read from either."""
    assert isinstance(learner, Learner)
    network = learner.network
    with mixed_precision(batch.lips.device):
        lips, speech = network.embed_lips(batch.lips), network.embed_speech(batch.speech)
    lips, speech = lips.float(), speech.float()
    likeness = network.sharpness.exp() * lips @ speech.T
    own = torch.arange(len(lips))
    matched = (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)) / 2
    seen = F.mse_loss(learner.mouths_of_lips(lips), batch.mouths)
    heard = F.mse_loss(learner.mouths_of_speech(speech), batch.mouths)
    found = likeness.detach().argmax(1)
    return matched + MOUTHS_WEIGHT * (seen + heard), {
        "found": float((found == own).float().mean()),
        "within_two": float(((found - own).abs() <= 2).float().mean()),
        "matched": float(matched.detach()),
        "seen": float(seen.detach()),
        "heard": float(heard.detach()),
    }


def train_toon_sync(
    folder: Path,
    *,
    time_budget_s: float,
    num_films: int = 2500,
    seed: int = 0,
    workers: int = 1,
    start: Path | None = None,
) -> ToonSync:
    """Draw `num_films` films, train for a time on them, and save to `folder`/final.

    Training goes on from the network saved in `start`, on other films for another `seed`.
    """
    torch.manual_seed(seed)
    shots = list(draw_shots(50_000_000 + 100_000 * seed, num_films, workers))
    config = FitConfig(
        time_budget_s=time_budget_s,
        learning_rate=2e-3,
        final_learning_rate=2e-5,
        weight_decay=5e-2,
        warmup_steps=50,
        ema_decay=0.998,
    )
    source = batches(shots, np.random.default_rng(seed))
    learner = Learner()
    if start is not None:
        learner.network.load_state_dict(load_toon_sync(start).state_dict())
    trained = fit(learner, source, sync_loss, folder, config)
    assert isinstance(trained, Learner)
    trained.network.save_pretrained(folder / "final")
    return trained.network


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=25.0, help="of training, without drawing")
    parser.add_argument("--films", type=int, default=2500)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw films")
    parser.add_argument("--start", type=Path, help="folder of a network to go on from")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other films")
    given = parser.parse_args()
    torch.set_num_threads(1)
    train_toon_sync(
        given.folder,
        time_budget_s=60 * given.minutes,
        num_films=given.films,
        seed=given.seed,
        workers=given.workers,
        start=given.start,
    )
