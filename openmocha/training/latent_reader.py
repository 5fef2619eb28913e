"""A reader of latents: what a small network sees in a latent frame, and what that teaches a model.

    latents -> of each cell: is this the person? what are they like? -> means over the person
    noisy latents - sigma velocity = latents as the model expects them -> reader -> as in the truth?

A brow is a few numbers of a latent, and counts as such in the mean squared error; the reader counts
it as what it tells. It learns from the training films' own latents, and knows nothing of the judge.

Dimension letters: N latent frames of any films, C latent channels, h w latent rows/cols, A
attributes, K channels of a pose (latent_truth.py); B batch, F latent frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
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
VIEWS = 4  # maps of attention: the head, the body, the place ...
MAX_NOISE = 0.3  # what a model expects is never quite what an encoder makes
CLASSES = [len(values) for values in ANSWERS.values()]
BATCH = 256


class LatentReader(nn.Module):
    """Latents (N, C, h, w) -> scores of all answers (N, sum of classes) and poses (N, K), which
    stand at deviations of 1."""

    pose_mean: Tensor
    pose_deviation: Tensor

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels + 2, WIDTH, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 1),
            )
            for _ in range(3)
        )  # fmt: skip
        self.where = nn.Conv2d(WIDTH, VIEWS, 1)
        seen = (VIEWS + 1) * WIDTH
        self.heads = nn.Sequential(
            nn.Linear(seen, 2 * WIDTH), nn.SiLU(), nn.Linear(2 * WIDTH, sum(CLASSES) + len(CHANNELS))
        )  # fmt: skip
        self.register_buffer("pose_mean", torch.zeros(len(CHANNELS)))
        self.register_buffer("pose_deviation", torch.ones(len(CHANNELS)))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and poses."""
        rows, columns = latents.shape[2:]
        y = torch.linspace(-1, 1, rows).to(latents).expand(len(latents), 1, columns, rows).mT
        x = torch.linspace(-1, 1, columns).to(latents).expand(len(latents), 1, rows, columns)
        cells = self.input(torch.cat([latents, x, y], dim=1))
        for layer in self.layers:
            cells = cells + layer(cells)
        where = rearrange(self.where(cells), "n v h w -> n v (h w)").softmax(-1)
        cells = rearrange(cells, "n d h w -> n (h w) d")
        seen = torch.cat([where @ cells, cells.mean(1, keepdim=True)], dim=1)
        read = self.heads(rearrange(seen, "n v d -> n (v d)"))
        return read[:, : sum(CLASSES)], read[:, sum(CLASSES) :]

    def standard(self, poses: Tensor) -> Tensor:
        """Poses (N, K) as they are read."""
        return (poses - self.pose_mean) / self.pose_deviation


def misread(
    reader: LatentReader, latents: Tensor, answers: Tensor, poses: Tensor
) -> tuple[Tensor, Tensor]:
    """Of latents (N, C, h, w): how surprising the answers (N, A) are, 1 for guessing among equals,
    and the squared error of poses (N, K) over their variance; means over what has an answer."""
    scores, read = (part.float() for part in reader(latents))
    surprise = []
    for part, answer in zip(scores.split(CLASSES, dim=1), answers.unbind(1), strict=True):
        each = nnf.cross_entropy(part, answer, ignore_index=NO_ANSWER, reduction="none")
        surprise.append(each / float(np.log(part.shape[1])))
    known = answers != NO_ANSWER
    told = (torch.stack(surprise, 1) * known).sum(1) / known.sum(1).clamp(min=1)
    wanted = reader.standard(poses)
    there = wanted.isfinite()
    wrong = (read - wanted.nan_to_num()).square() * there
    return told, wrong.sum(1) / there.sum(1).clamp(min=1)


@dataclass(frozen=True)
class Reading:
    """A reader beside the objective, and how much what it reads counts."""

    reader: LatentReader
    weight: float = 0.3

    def loss(self, batch: Batch, expected: Tensor, sigma: Tensor) -> Tensor:
        """What is misread in the latents that a model expects (B, C, F, h, w); those behind much
        noise (sigma (B, F)) are blurred as they should be, and count less."""
        frames = rearrange(expected, "b c f h w -> (b f) c h w")
        answers = rearrange(batch.answers, "b f a -> (b f) a")
        told, posed = misread(self.reader, frames, answers, rearrange(batch.poses, "b f k -> (b f) k"))
        clear = rearrange((1 - sigma) * (sigma > 0), "b f -> (b f)")
        return self.weight * (clear * (told + posed)).mean()


@dataclass(frozen=True)
class Read:
    """Latent frames and what is to be read from them."""

    latents: Tensor  # (N, C, h, w)
    answers: Tensor  # (N, A) int64
    poses: Tensor  # (N, K)


def train_latent_reader(
    vae: Path,
    folder: Path,
    *,
    files: int = 80,
    workers: int = 2,
    time_budget_s: float = 600.0,
    seed: int = 0,
) -> LatentReader:
    """Train a reader on latents of the VAE in folder `vae`, `files` files of stories that are drawn
    for it (seen_latents.py), and leave it in `folder`/final.

    The last file is measured on.
    """
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
        told, posed = misread(reader, batch.latents, batch.answers, batch.poses)
    told, posed = told.mean(), posed.mean()
    return told + posed, {"told": told.item(), "posed": posed.item()}


@torch.no_grad()
def evaluate(reader: nn.Module, read: Read, first: int) -> dict[str, float]:
    """On the frames from `first` on: shares of right answers, and R2 of poses."""
    assert isinstance(reader, LatentReader)
    scores, poses = reader(read.latents[first:].float())
    answers = read.answers[first:]
    measures = {}
    for name, part, answer in zip(ANSWERS, scores.split(CLASSES, dim=1), answers.unbind(1), strict=True):
        known = answer != NO_ANSWER
        measures[name] = float((part.argmax(1) == answer)[known].float().mean())
    wrong = (poses - reader.standard(read.poses[first:])).square().nanmean(0)
    return measures | dict(zip(CHANNELS, (1 - wrong).tolist(), strict=True))
