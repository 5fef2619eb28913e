"""Lips that are in the latents are drawn: the VAE's decoder learns from what the model makes.

    pairs of films and the model's latents (own_latents.py) -> a reader of lips (latent_lips.py)
    films' latents + noise -> decoder -> as in the film: weighted L1 + edges + motion
    the model's latents    -> decoder -> encoder -> reader: as far open as in the film?
                                      -> beside mouths, and in colour, as it was drawn before

What a transformer makes says well how far a mouth is open, but it is never quite what an encoder
makes, least of all in mouths: a decoder that has only seen films' latents draws something else
there. The encoder stays as it is, and with it all latents.

    python -m openmocha.training.drawn_lips runs/lips --model toon --minutes 60
"""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import rearrange, reduce
from numpy.typing import NDArray
from torch import Tensor, nn

from openmocha.backbones.paper import PaperBackbone
from openmocha.models.video_vae import VideoVAE
from openmocha.precision import mixed_precision
from openmocha.sampling import Sampling
from openmocha.training.film_crops import Batch, to_video
from openmocha.training.fit import FitConfig, fit
from openmocha.training.latent_lips import LatentLips, train_latent_lips
from openmocha.training.model_step import model_of, step_parser
from openmocha.training.muon import Muon
from openmocha.training.own_latents import Pair, make_pair, make_pairs
from openmocha.training.run_encoders import digest
from openmocha.training.shards import FRAMES_PER_LATENT, bind_to_networks
from openmocha.training.video_vae import (
    OPENING_VARIANCE,
    VideoVAETraining,
    add_latent_noise,
    motion_missed,
    psnr,
    reconstruction_loss,
)

WINDOW_LATENTS = 5  # latent frames; the first and the last are there for those between
CLOSED, NEARLY_CLOSED = 0.15, 0.1  # openings: of lips that are closed, and read so with a margin
COLOUR_CELL = 8  # pixels: colours of squares of this size stay as they were


@dataclass(frozen=True)
class DrawnLipsTraining:
    """How pairs are made, what a batch holds of them, and what the loss weighs."""

    levels: tuple[float, float] = (0.65, 0.93)  # of noise that the model starts from
    making_share: float = 0.3  # of the time, in which pairs are made
    reader_steps: int = 3000
    whole_share: float = 0.5  # of batches of whole frames; the others are windows on mouths
    whole_films: int = 2  # in a batch of whole frames
    mouth_windows: int = 5  # in a batch of windows on mouths
    mouth_cells: int = 5  # rows and columns of latents in such a window
    read_films: int = 2  # in a batch, whose lips are read
    own_share: float = 0.55  # of those: with the model's latents; the others with the film's
    lips_weight: float = 0.5  # of the error of what is read, over the opening's variance
    closed_weight: float = 2.0  # more for closed lips that are read as open
    likeness_weight: float = 5.0  # of the distance to what was drawn before
    films: VideoVAETraining = VideoVAETraining()


@dataclass(frozen=True)
class Windows:
    """Latents (B, C, F, h, w), what the frames between the first and the last of them show, and
    how far the mouth is open there (in `shown`)."""

    latents: Tensor
    shown: Batch

    def to(self, device: torch.device) -> "Windows":
        """The windows with their tensors on `device`."""
        return Windows(self.latents.to(device), self.shown.to(device))


@dataclass(frozen=True)
class LipsBatch:
    """Windows that shall come back as in the film, and whole frames whose lips are read."""

    films: Windows
    read: Windows

    def to(self, device: torch.device) -> "LipsBatch":
        """The batch with its tensors on `device`."""
        return LipsBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


def train_drawn_lips(
    backbone: PaperBackbone,
    sampling: Sampling,
    folder: Path,
    *,
    time_budget_s: float = 3600.0,
    seed: int = 0,
    settings: DrawnLipsTraining = DrawnLipsTraining(),  # noqa: B008
    held_out: int = 8,
) -> VideoVAE:
    """Train the decoder of `backbone`'s VAE on, and leave the VAE in `folder`/final, in float32.

    `folder`/pairs keeps the pairs (9 MB each at 128x128; all are held in memory), `held_out` of
    them to measure on. What is there from before is used again; a folder serves one model.
    Raises ValueError where it holds pairs of another.
    """
    torch.manual_seed(seed)
    ends = time.monotonic() + time_budget_s
    make = partial(make_pair, backbone, sampling, settings.levels)
    making_s = settings.making_share * time_budget_s
    made_by = {"transformer": digest(backbone.transformer), "video_vae": digest(backbone.vae)}
    bind_to_networks(folder / "pairs", made_by)
    pairs = make_pairs(make, folder / "pairs", making_s, seed, at_least=2 * held_out)
    tests, pairs = pairs[:held_out], pairs[held_out:]
    reader = train_latent_lips(pairs, settings.reader_steps, backbone.device)
    before = copy.deepcopy(backbone.vae).requires_grad_(False)
    vae = copy.deepcopy(before)
    vae.decoder.requires_grad_(True)
    left_s = max(1.0, ends - time.monotonic())
    fitted = fit(
        vae,
        endless_batches(pairs, settings, seed, backbone.device),
        partial(drawn_lips_loss, settings=settings, reader=reader, before=before),
        folder / "training",
        FitConfig(time_budget_s=left_s, learning_rate=1e-3, evaluate_every_s=120),
        partial(evaluate, pairs=tests, reader=reader),
        lambda parameters, config: Muon(parameters, lr=config.learning_rate),
    )
    assert isinstance(fitted, VideoVAE)
    # not rounded: the encoder must come back bit for bit
    fitted.save_pretrained(folder / "final")
    return fitted


def drawn_lips_loss(
    vae: nn.Module,
    batch: LipsBatch,
    settings: DrawnLipsTraining,
    reader: LatentLips,
    before: VideoVAE,
) -> tuple[Tensor, dict[str, float]]:
    """Films that come back, lips that are read as in the film, and all else as before."""
    assert isinstance(vae, VideoVAE)
    frames = rearrange(batch.films.latents, "b c f h w -> (b f) c h w")
    noisy = add_latent_noise(frames, settings.films.max_noise)
    noisy = rearrange(noisy, "(b f) c h w -> b c f h w", f=WINDOW_LATENTS)
    with mixed_precision(noisy.device):
        films = decode_between(vae, noisy)
        drawn = decode_between(vae, batch.read.latents)
        seen = vae.encode(drawn.clamp(-1, 1))
        with torch.no_grad():
            drawn_before = decode_between(before, batch.read.latents)
    loss, measures = reconstruction_loss(films, batch.films.shown, settings.films)
    read = reader(rearrange(seen, "b c f h w -> (b f) c h w").float())
    opening = rearrange(batch.read.shown.opening, "b (f r) -> (b f) r", r=FRAMES_PER_LATENT)
    misread = misreading(read, opening, settings.closed_weight)
    distance = distance_beside_mouths(drawn - drawn_before, batch.read.shown.mouth)
    measures |= {"misread": float(misread.detach()), "distance": float(distance.detach())}
    return loss + settings.lips_weight * misread + settings.likeness_weight * distance, measures


def misreading(read: Tensor, opening: Tensor, closed_weight: float) -> Tensor:
    """Mean squared error of openings that are read, over their variance. Closed lips are a moment
    in a word, which an average would leave open: those that are not read as closed count more."""
    left_open = (opening <= CLOSED) & (read > NEARLY_CLOSED)
    errors = (read - opening).square() * (1 + closed_weight * left_open)
    return errors.mean() / OPENING_VARIANCE


def decode_between(vae: VideoVAE, latents: Tensor) -> Tensor:
    """The frames (B, T, 3, H, W) of all latents (B, C, F, h, w) but the first and the last."""
    return vae.decode_raw(latents)[:, FRAMES_PER_LATENT:-FRAMES_PER_LATENT].float()


def distance_beside_mouths(change: Tensor, mouth: Tensor) -> Tensor:
    """How much has changed where no mouth (B, T, H, W) is near, and in the colour of squares, mouth
    or not; `change` (B, T, 3, H, W)."""
    near = nnf.max_pool2d(mouth.float(), COLOUR_CELL + 1, stride=1, padding=COLOUR_CELL // 2)
    elsewhere = (change.abs() * (1 - near[:, :, None])).mean()
    colour = change - change.mean(dim=2, keepdim=True)
    side = {"i": COLOUR_CELL, "j": COLOUR_CELL}
    squares = reduce(colour, "b t c (h i) (w j) -> b t c h w", "mean", **side)
    return elsewhere + squares.abs().mean()


def endless_batches(
    pairs: Sequence[Pair], settings: DrawnLipsTraining, seed: int, device: torch.device
) -> Iterator[LipsBatch]:
    """Batches for ever."""
    rng = np.random.default_rng(seed)
    known = [pair for pair in pairs if pair.is_read]
    while True:
        films = draw_films(pairs, settings, rng)
        yield LipsBatch(films, draw_read(known, settings, rng)).to(device)


def draw_films(
    pairs: Sequence[Pair], settings: DrawnLipsTraining, rng: np.random.Generator
) -> Windows:
    """Whole frames, or windows on mouths, with the films' own latents."""
    whole = rng.random() < settings.whole_share
    count = settings.whole_films if whole else settings.mouth_windows
    parts: list[tuple[NDArray[Any], ...]] = []
    while len(parts) < count:
        pair = pairs[int(rng.integers(len(pairs)))]
        when, shown = draw_time(pair, rng)
        rows, columns = pair.encoded.shape[2:]
        side = pair.frames.shape[1] // rows
        space = (slice(0, rows), slice(0, columns))
        if not whole:
            seen = reduce(pair.mouth[shown], "t (h i) (w j) -> h w", "max", i=side, j=side)
            if not seen.any():
                continue
            space = cells_around(seen, settings.mouth_cells, rng)
        where = (shown, *(slice(side * c.start, side * c.stop) for c in space))
        latents = pair.encoded[:, when, *space]
        parts.append((latents, pair.frames[where], pair.mouth[where], pair.opening[shown]))
    return as_windows(parts)


def draw_read(
    pairs: Sequence[Pair], settings: DrawnLipsTraining, rng: np.random.Generator
) -> Windows:
    """Whole frames with the model's latents, some with the film's."""
    parts = []
    for _ in range(settings.read_films):
        pair = pairs[int(rng.integers(len(pairs)))]
        when, shown = draw_time(pair, rng)
        latents = pair.own if rng.random() < settings.own_share else pair.encoded
        part = (latents[:, when], pair.frames[shown], pair.mouth[shown], pair.opening[shown])
        parts.append(part)
    return as_windows(parts)


def draw_time(pair: Pair, rng: np.random.Generator) -> tuple[slice, slice]:
    """A window's latent frames, and the frames that those between the outer ones show."""
    first = int(rng.integers(pair.encoded.shape[1] - WINDOW_LATENTS + 1))
    last = first + WINDOW_LATENTS
    shown = slice(FRAMES_PER_LATENT * (first + 1), FRAMES_PER_LATENT * (last - 1))
    return slice(first, last), shown


def cells_around(
    seen: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> tuple[slice, slice]:
    """`size` rows and columns of cells, fewer in a smaller frame, around one of those (h, w) that
    are `seen`."""
    size = min(size, *seen.shape)
    cell = rng.choice(np.argwhere(seen))
    row, column = np.clip(cell - rng.integers(size, size=2), 0, np.array(seen.shape) - size)
    return slice(row, row + size), slice(column, column + size)


def as_windows(parts: Sequence[tuple[NDArray[Any], ...]]) -> Windows:
    """Latents, frames, mouths and openings of windows of one size, stacked."""
    latents, frames, mouth, opening = (np.stack(part) for part in zip(*parts, strict=True))
    batch = Batch(to_video(frames), torch.from_numpy(mouth), torch.from_numpy(opening))
    return Windows(torch.from_numpy(latents).float(), batch)


@torch.no_grad()
def evaluate(vae: nn.Module, pairs: Sequence[Pair], reader: LatentLips) -> dict[str, float]:
    """Means over pairs. Of films from their own latents: PSNR, and the motion of mouths that is
    missed. From the model's: how far mouths are misread, over the opening's variance."""
    assert isinstance(vae, VideoVAE)
    rows = []
    for pair in pairs:
        encoded, own = (
            torch.from_numpy(latents[None]).float().to(vae.latent_mean.device)
            for latents in (pair.encoded, pair.own)
        )
        video, mouth = to_video(pair.frames[None]), torch.from_numpy(pair.mouth[None])
        decoded = vae.decode(encoded).cpu()
        seen = vae.encode(vae.decode(own))
        read = reader(rearrange(seen, "1 c f h w -> f c h w")).flatten().cpu().numpy()
        misread = float(np.square(read - pair.opening).mean()) / OPENING_VARIANCE
        rows.append([psnr(decoded, video), motion_missed(decoded, video, mouth), misread])
    names = ("psnr", "mouth_motion_missed", "misread")
    return dict(zip(names, np.nanmean(np.array(rows), axis=0).tolist(), strict=True))


def main() -> None:
    """Command line; see the module docstring."""
    parser = step_parser(__doc__ or "")
    options = parser.parse_args()
    backbone, sampling = model_of(options)
    train_drawn_lips(
        backbone,
        sampling,
        options.folder,
        time_budget_s=60 * options.minutes,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
