"""A reader of latents: what a small network sees in a latent frame, and what that teaches a model.

    latents -> of each cell: is this the head, the body, the place? -> means over each
            -> the judge's questions (toon/labels.py), and poses of the body, the face and the lips
    noisy latents - sigma velocity = latents as the model expects them -> reader -> as in the truth?

A brow is a few numbers of a latent, and counts as such in the mean squared error; the reader counts
it as what it tells. It learns from latents of stories that are drawn for it, and has nothing of the
judge, which reads pixels.

Dimension letters: N latent frames of any films, C latent channels, h w latent rows/cols, A
attributes, K channels of a pose (latent_truth.py); B batch, F latent frames.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as nnf
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openmocha.precision import mixed_precision
from openmocha.toon.labels import NO_ANSWER
from openmocha.training.fit import FitConfig, fit
from openmocha.training.latent_truth import ANSWERS, CHANNELS
from openmocha.training.samples import Batch
from openmocha.training.seen_latents import seen_latents

WEIGHTS_FILE = "model.safetensors"
WIDTH = 96
MAPS = 4  # of attention: the head, the body, the place ...
MAX_NOISE = 0.3  # noise level: what a model expects is never quite what an encoder makes
BATCH = 256
CLASSES = [len(values) for values in ANSWERS.values()]


class LatentReader(nn.Module):
    """Latents (N, C, h, w) -> scores of all answers (N, sum of CLASSES), and poses (N, K) at a
    deviation of 1."""

    pose_mean: Tensor
    pose_deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels + 2, WIDTH, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 1),
            )
            for _ in range(3)
        )  # fmt: skip
        self.where = nn.Conv2d(WIDTH, MAPS, 1)
        self.heads = nn.Sequential(
            nn.Linear((MAPS + 1) * WIDTH, 2 * WIDTH), nn.SiLU(),
            nn.Linear(2 * WIDTH, sum(CLASSES) + len(CHANNELS)),
        )  # fmt: skip
        self.register_buffer("pose_mean", torch.zeros(len(CHANNELS)))
        self.register_buffer("pose_deviation", torch.ones(len(CHANNELS)))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and poses."""
        cells = self.input(torch.cat([latents, rows_and_columns(latents)], dim=1))
        for layer in self.layers:
            cells = cells + layer(cells)
        where = rearrange(self.where(cells), "n m h w -> n m (h w)").softmax(-1)
        cells = rearrange(cells, "n d h w -> n (h w) d")
        seen = torch.cat([where @ cells, cells.mean(1, keepdim=True)], dim=1)
        read = self.heads(rearrange(seen, "n m d -> n (m d)"))
        return read[:, : sum(CLASSES)], read[:, sum(CLASSES) :]

    def standard(self, poses: Tensor) -> Tensor:
        """Poses (N, K) at a deviation of 1."""
        return (poses - self.pose_mean) / self.pose_deviation


def rows_and_columns(latents: Tensor) -> Tensor:
    """Where each cell is, (N, 2, h, w), from -1 to 1."""
    sides = [torch.linspace(-1, 1, side).to(latents) for side in latents.shape[2:]]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij"))
    return places.expand(len(latents), -1, -1, -1)


def misread(
    reader: LatentReader, latents: Tensor, answers: Tensor, poses: Tensor
) -> tuple[Tensor, Tensor]:
    """Of latents (N, C, h, w), two means (N,) over what has an answer (else 0): how surprising the
    answers (N, A) are, 1 for a guess among equals, and errors of poses (N, K), squared, over their
    variance."""
    scores, read = (part.float() for part in reader(latents))
    parts = zip(scores.split(CLASSES, dim=1), answers.unbind(1), CLASSES, strict=True)
    surprise = [
        nnf.cross_entropy(part, answer, ignore_index=NO_ANSWER, reduction="none") / math.log(count)
        for part, answer, count in parts
    ]
    wanted = reader.standard(poses)
    errors = (read - wanted.nan_to_num()).square()
    return mean_of(torch.stack(surprise, 1), answers != NO_ANSWER), mean_of(errors, ~wanted.isnan())


def mean_of(values: Tensor, known: Tensor) -> Tensor:
    """Means (N,) of those of (N, n) values that are known; 0 where none is."""
    return (values * known).sum(1) / known.sum(1).clamp(min=1)


@dataclass(frozen=True)
class Reading:
    """A reader beside a training's objective, and how much counts what it misreads."""

    reader: LatentReader
    weight: float = 0.3

    def loss(self, batch: Batch, expected: Tensor, sigma: Tensor) -> Tensor:
        """What is misread in the latents that a model expects (B, C, F, h, w). Behind much noise
        (sigma (B, F)) they are blurred, as they should be, and count less; known ones do not."""
        latents = rearrange(expected, "B C F h w -> (B F) C h w")
        answers, poses = (rearrange(x, "B F n -> (B F) n") for x in (batch.answers, batch.poses))
        told, posed = misread(self.reader, latents, answers, poses)
        clear = rearrange((1 - sigma) * (sigma > 0), "B F -> (B F)")
        return self.weight * (clear * (told + posed)).mean()


@dataclass(frozen=True)
class Read:
    """Latent frames (N, C, h, w), and what is to be read from them (N, A) and (N, K)."""

    latents: Tensor
    answers: Tensor
    poses: Tensor


def train_latent_reader(
    vae: Path,
    folder: Path,
    *,
    files: int = 60,
    workers: int = 2,
    time_budget_s: float = 300.0,
    seed: int = 0,
) -> LatentReader:
    """Train a reader on latents of the VAE in folder `vae`, `files` files of stories that are drawn
    for it (seen_latents.py), and leave it in `folder`. The last file is measured on.

    Raises ValueError for fewer than two files.
    """
    if files < 2:
        raise ValueError(f"files is {files}; expected two or more, one of them to measure on")
    torch.manual_seed(seed)
    seen = seen_latents(folder / "seen", vae, files, workers)
    latents, answers, poses = (torch.from_numpy(seen[n]) for n in ("latents", "answers", "poses"))
    read = Read(latents, answers.long(), poses)
    last = len(latents) * (files - 1) // files
    reader = LatentReader(latents.shape[1])
    reader.pose_mean.copy_(poses.nanmean(0))
    reader.pose_deviation.copy_((poses - reader.pose_mean).square().nanmean(0).sqrt())
    fitted = fit(
        reader,
        batches(read, last, seed),
        reading_loss,
        folder / "training",
        FitConfig(time_budget_s=time_budget_s, learning_rate=2e-3, evaluate_every_s=120),
        partial(evaluate, read=read, first=last),
    )
    assert isinstance(fitted, LatentReader)
    save_file(fitted.state_dict(), folder / WEIGHTS_FILE)
    return fitted


def load_latent_reader(folder: Path) -> LatentReader:
    """What train_latent_reader left; frozen."""
    weights = load_file(folder / WEIGHTS_FILE)
    reader = LatentReader(weights["input.weight"].shape[1] - 2)
    reader.load_state_dict(weights)
    return reader.eval().requires_grad_(False)


def batches(read: Read, last: int, seed: int) -> Iterator[Read]:
    """Frames before `last` at random, for ever, with a noise level of their own each."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(last, (BATCH,), generator=generator)
        latents = read.latents[chosen].float()
        sigma = MAX_NOISE * torch.rand(BATCH, 1, 1, 1, generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = (1 - sigma) * latents + sigma * noise
        yield Read(noisy, read.answers[chosen], read.poses[chosen])


def reading_loss(reader: nn.Module, batch: Read) -> tuple[Tensor, dict[str, float]]:
    """Answers and poses alike."""
    assert isinstance(reader, LatentReader)
    with mixed_precision():
        parts = misread(reader, batch.latents, batch.answers, batch.poses)
    told, posed = (part.mean() for part in parts)
    return told + posed, {"told": told.item(), "posed": posed.item()}


@torch.no_grad()
def evaluate(reader: nn.Module, read: Read, first: int) -> dict[str, float]:
    """On the frames from `first` on: what is misread, shares of right answers, R2 of poses."""
    assert isinstance(reader, LatentReader)
    latents, answers, poses = read.latents[first:].float(), read.answers[first:], read.poses[first:]
    told, posed = misread(reader, latents, answers, poses)
    scores, found = reader(latents)
    right = [part.argmax(1) for part in scores.split(CLASSES, dim=1)]
    hits = mean_of((torch.stack(right, 1) == answers).float().T, (answers != NO_ANSWER).T)
    wrong = (found - reader.standard(poses)).square().nanmean(0)
    measures = {"told": told.mean().item(), "posed": posed.mean().item()}
    measures |= dict(zip(ANSWERS, hits.tolist(), strict=True))
    return measures | dict(zip(CHANNELS, (1 - wrong).tolist(), strict=True))
