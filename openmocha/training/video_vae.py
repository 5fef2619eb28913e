"""Train the toon VAE on films drawn while it learns.

    crops (film_crops.py) -> encode, decode -> weighted L1 + edges + motion

The encoder starts at principal components (principal.py) and learns with the decoder, on a leash:
its latents may not go far from those components, so that they stay smooth over space and easy to
generate. Meanwhile a linear map reads from the latents of a mouth how far it is open in each of the
four frames: what speech decides then lies in plain directions of the latents, where a transformer
finds it. Then the encoder is frozen, and the decoder learns on from latents with noise.

    python -m openmocha.training.video_vae runs/video_vae --minutes 30
"""

import argparse
import copy
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from openmocha.models.video_vae import VideoVAE
from openmocha.precision import matrix_dtype, mixed_precision
from openmocha.training.film_crops import (
    Batch,
    Batching,
    Crop,
    DrawCrop,
    draw_crop,
    drawn_batches,
    to_video,
)
from openmocha.training.fit import Evaluation, FitConfig, LossFunction, fit
from openmocha.training.muon import Muon
from openmocha.training.principal import start_at_principal_components
from openmocha.training.shards import FRAMES_PER_LATENT

OPENING_VARIANCE = 0.05  # of mouths in films, about


class ReadableVAE(nn.Module):
    """A VideoVAE in training, with the linear map that reads opening (r,) from a cell's latent."""

    def __init__(self, vae: VideoVAE) -> None:
        super().__init__()
        self.vae = vae
        self.read = nn.Linear(vae.config.latent_channels, vae.config.frames_per_latent)
        nn.init.zeros_(self.read.weight)


@dataclass(frozen=True)
class VideoVAETraining:
    """What the loss weighs and what a batch holds."""

    mouth_weight: float = 10.0
    edge_weight: float = 1.0
    # of the squared error of what moves within a latent's frames: of mouths; of the rest a
    # mouth_weight-th of it
    motion_weight: float = 300.0
    joint_share: float = 0.5  # of the time in which the encoder learns too
    leash: float = 0.02  # weight of the encoder's distance to where it started
    read_weight: float = 0.2  # of the error of opening read from latents, in deviations
    # of the mean deviation of a latent, while the decoder learns alone: a model's latents are never
    # quite a film's, least of all those of mouths
    max_noise: float = 0.4
    batches: Batching = Batching()


def reconstruction_loss(
    prediction: Tensor, batch: Batch, settings: VideoVAETraining
) -> tuple[Tensor, dict[str, float]]:
    """Weighted L1 of pixels and of their differences to the next pixel right and below, and
    squares of what moves within a latent's frames.

    Mouth pixels count `mouth_weight` times. Both videos are (B, T, 3, H, W). With L1 alone decoders
    drew the frames of a latent all alike: while they can only guess which is which, the best guess
    is the median, which stays where it is; that of squares is the mean, which moves at once.
    """
    difference = prediction - batch.video
    # Half the memory traffic; the derivative of L1 needs no more than signs and weights.
    error = difference.to(matrix_dtype(prediction.device))
    weight = 1 + (settings.mouth_weight - 1) * batch.mouth[:, :, None].to(error.dtype)
    magnitude = error.abs()
    pixels = (weight * magnitude).mean(dtype=torch.float32)
    across = (weight[..., 1:] * error.diff(dim=-1).abs()).mean(dtype=torch.float32)
    down = (weight[..., 1:, :] * error.diff(dim=-2).abs()).mean(dtype=torch.float32)
    moved = (weight * within_latents(difference).square()).mean(dtype=torch.float32)
    motion = moved / settings.mouth_weight
    loss = pixels + settings.edge_weight * (across + down) + settings.motion_weight * motion
    missed = moved.detach() / motion_energy(batch.video, weight)
    mean = magnitude.detach().mean(dtype=torch.float32)
    return loss, {"l1": float(mean), "motion_missed": float(missed)}


def within_latents(video: Tensor) -> Tensor:
    """What moves within the four frames of a latent: video (B, T, C, H, W) less their mean."""
    groups = rearrange(video, "b (f r) c h w -> b f r c h w", r=FRAMES_PER_LATENT)
    moving = groups - groups.mean(dim=2, keepdim=True)
    return rearrange(moving, "b f r c h w -> b (f r) c h w")


def motion_energy(video: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean square of what moves within latents: all of it is missed where a latent's
    frames are alike."""
    moving = within_latents(video).square()
    return (weight * moving).mean(dtype=torch.float32).clamp(min=1e-8)


def add_latent_noise(latents: Tensor, max_noise: float) -> Tensor:
    """Noise of a deviation between 0 and `max_noise`, one per latent frame.

    It takes the place of the KL term: what the decoder must not rely on is fine detail of the
    latents, and their scale is already fixed by normalisation.
    """
    deviation = max_noise * torch.rand(latents.shape[0], 1, 1, 1, device=latents.device)
    return latents + deviation * torch.randn_like(latents)


def joint_loss(
    network: nn.Module, batch: Batch, settings: VideoVAETraining, origin: VideoVAE
) -> tuple[Tensor, dict[str, float]]:
    """How well films come back, how far their latents have gone from `origin`'s, and how well the
    opening of mouths is read from them."""
    assert isinstance(network, ReadableVAE)
    with mixed_precision(batch.video.device):
        latents = network.vae.encode(batch.video)
        with torch.no_grad():
            original = origin.encode(batch.video)
        prediction = network.vae.decode_raw(latents)
    loss, measures = reconstruction_loss(prediction, batch, settings)
    distance = (latents - original).square().mean()
    misread = reading_error(network.read, latents, batch)
    measures |= {"distance": float(distance.detach()), "misread": float(misread.detach())}
    return loss + settings.leash * distance + settings.read_weight * misread, measures


def reading_error(read: nn.Module, latents: Tensor, batch: Batch) -> Tensor:
    """Squared error of opening read from latents (B, C, F, h, w), over the opening's variance.

    Cells count by how much of them is mouth; 0 where no single character's mouth is in sight.
    """
    frames, rows, columns = latents.shape[2:]
    cells = reduce(
        batch.mouth.float(),
        "b (f r) (h i) (w j) -> b f h w",
        "mean",
        f=frames,
        h=rows,
        w=columns,
    )
    opening = rearrange(batch.opening, "b (f r) -> b f 1 1 r", f=frames)
    cells = cells * opening[..., 0].isfinite()
    opening = opening.nan_to_num()
    error = (read(rearrange(latents, "b c f h w -> b f h w c")) - opening).square().mean(-1)
    relative: Tensor = (cells * error).sum() / (OPENING_VARIANCE * cells.sum()).clamp(min=1e-3)
    return relative


def decoder_loss(
    vae: nn.Module, batch: Batch, settings: VideoVAETraining
) -> tuple[Tensor, dict[str, float]]:
    """How well films come back from latents that noise was added to."""
    assert isinstance(vae, VideoVAE)
    with mixed_precision(batch.video.device):
        with torch.no_grad():
            latents = rearrange(vae.encode(batch.video), "b c f h w -> (b f) c h w")
        latents = add_latent_noise(latents, settings.max_noise)
        prediction = vae.decode_raw(_films(latents, batch))
    return reconstruction_loss(prediction, batch, settings)


def _films(latents: Tensor, batch: Batch) -> Tensor:
    return rearrange(latents, "(b f) c h w -> b c f h w", b=batch.video.shape[0])


@torch.no_grad()
def measure_latents(vae: VideoVAE, crops: Sequence[Crop]) -> None:
    """Set latent_mean and latent_scale from whole frames of `crops`.

    The scale is the square root of the deviation: strong components stay the stronger ones, so that
    denoising settles them first, and fine detail is not blown up to their size. The variances of
    the scaled channels are 1 on average.
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for crop in crops:
        raw = vae.encode_raw(to_video(crop.frames[None])).double()
        total = total + reduce(raw, "n c h w -> c", "sum")
        squares = squares + reduce(raw**2, "n c h w -> c", "sum")
        count += raw.numel() // raw.shape[1]
    vae.latent_mean.copy_(total / count)
    deviation = (squares / count - (total / count) ** 2).sqrt()
    vae.latent_scale.copy_((deviation * deviation.mean()).sqrt())


def psnr(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of videos (..., 3, H, W) in [-1, 1]: 10 log10(4 / MSE).

    With a mask (..., H, W) only the pixels where it is true count; NaN when there are none.
    """
    squares = reduce((prediction - target) ** 2, "... c h w -> ... h w", "mean")
    error = squares.mean() if mask is None else squares[mask].mean()
    return float(10 * torch.log10(4 / error))


def motion_missed(decoded: Tensor, video: Tensor, mask: Tensor) -> float:
    """The squared error of what moves within latents under a mask (B, T, H, W), over its square:
    more than 1 where it moves wrongly, NaN where nothing moves."""
    moving, error = (
        reduce(within_latents(v) ** 2, "b t c h w -> b t h w", "mean")
        for v in (video, decoded - video)
    )
    energy = float(moving[mask].sum())
    return float(error[mask].sum()) / energy if energy > 0 else float("nan")


@torch.no_grad()
def evaluate(vae: nn.Module, crops: Sequence[Crop]) -> dict[str, float]:
    """PSNR of whole frames and of mouths, and how much of mouths' motion within latents is missed,
    the mean over crops."""
    assert isinstance(vae, VideoVAE)
    device, rows = vae.latent_mean.device, []
    for crop in crops:
        video, mouth = to_video(crop.frames[None]), torch.from_numpy(crop.mouth)[None]
        decoded = vae.decode(vae.encode(video.to(device))).cpu()
        missed = motion_missed(decoded, video, mouth)
        rows.append([psnr(decoded, video), psnr(decoded, video, mouth), missed])
    names = ("psnr", "mouth_psnr", "mouth_motion_missed")
    return dict(zip(names, np.nanmean(np.array(rows), axis=0).tolist(), strict=True))


@torch.no_grad()
def evaluate_reading(network: nn.Module, crops: Sequence[Crop]) -> dict[str, float]:
    """As evaluate, and the error of opening read from latents over the opening's variance."""
    assert isinstance(network, ReadableVAE)
    device, misread = network.vae.latent_mean.device, []
    for crop in crops:
        if np.isfinite(crop.opening).all() and crop.mouth.any():
            mouth, opening = (torch.from_numpy(x[None]) for x in (crop.mouth, crop.opening))
            batch = Batch(to_video(crop.frames[None]), mouth, opening).to(device)
            latents = network.vae.encode(batch.video)
            misread.append(float(reading_error(network.read, latents, batch)))
    return evaluate(network.vae, crops) | {"misread": float(np.mean(misread))}


def train_video_vae(
    folder: Path,
    *,
    time_budget_s: float = 1800.0,
    seed: int = 0,
    workers: int = 1,
    settings: VideoVAETraining | None = None,
    start: Path | None = None,
    device: torch.device | str = "cpu",
    draw: DrawCrop = draw_crop,
    held_out: int = 32,
    encoder_crops: int = 320,
) -> VideoVAE:
    """Train a VideoVAE and leave it in `folder`/final, weights in bfloat16.

    Args:
        settings: with a joint_share of 0 the encoder, and with it all latents, stay as they are.
        start: folder of a VideoVAE to train on, on a leash to its own latents. None starts anew.
        device: where it trains; the VAE that is returned is there, too.
        draw: gives the crop of a seed and a split ("train" or "test").
        held_out: crops of test films to measure on.
        encoder_crops: crops of training films whose principal components the encoder starts from.
    """
    settings = settings or VideoVAETraining()
    torch.manual_seed(seed)
    tests = [draw(number, "test") for number in range(held_out)]
    with closing(drawn_batches(settings.batches, draw, seed, workers)) as drawn:
        batches = (batch.to(torch.device(device)) for batch in drawn)
        if start is None:
            vae = make_vae([draw(seed + number, "train") for number in range(encoder_crops)])
        else:
            vae = VideoVAE.from_pretrained(start)
        vae = vae.to(device)
        joint_s = settings.joint_share * time_budget_s
        if joint_s > 0:
            loss = partial(joint_loss, settings=settings, origin=copy.deepcopy(vae))
            measure = partial(evaluate_reading, crops=tests)
            readable = ReadableVAE(vae).to(device)
            network = _fit(readable, batches, loss, folder / "joint", joint_s, measure)
            assert isinstance(network, ReadableVAE)
            vae = _round_encoder(network.vae)
        vae.requires_grad_(True).encoder.requires_grad_(False)
        loss = partial(decoder_loss, settings=settings)
        decoder_s = time_budget_s - joint_s
        measure = partial(evaluate, crops=tests)
        fitted = _fit(vae, batches, loss, folder / "decoder", decoder_s, measure)
    assert isinstance(fitted, VideoVAE)
    fitted.save_pretrained(folder / "final", torch.bfloat16)
    return fitted


def make_vae(crops: Sequence[Crop]) -> VideoVAE:
    """A VideoVAE with its encoder at the principal components of `crops`; its decoder is random."""
    vae = VideoVAE()
    videos = [to_video(crop.frames[None])[0] for crop in crops]
    start_at_principal_components(vae, videos, [torch.from_numpy(crop.mouth) for crop in crops])
    measure_latents(vae, crops)
    return vae


def _round_encoder(vae: VideoVAE) -> VideoVAE:
    """To bfloat16 and back: what ships is what makes the latents."""
    vae.encoder.to(torch.bfloat16).float()
    return vae


def _fit(
    network: nn.Module,
    batches: Iterator[Batch],
    loss: LossFunction,
    folder: Path,
    time_budget_s: float,
    measure: Evaluation,
) -> nn.Module:
    config = FitConfig(time_budget_s=time_budget_s, learning_rate=2e-3, evaluate_every_s=120)
    # Muon learns more in a step than AdamW does, which counts where minutes are few.
    return fit(
        network,
        batches,
        loss,
        folder,
        config,
        measure,
        lambda parameters, config: Muon(parameters, lr=config.learning_rate),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="train on this VideoVAE")
    parser.add_argument("--joint-share", type=float, help="0: its encoder stays as it is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = VideoVAETraining()
    if options.joint_share is not None:
        settings = replace(settings, joint_share=options.joint_share)
    train_video_vae(
        options.folder,
        time_budget_s=60 * options.minutes,
        seed=options.seed,
        workers=options.workers,
        device="cuda" if torch.cuda.is_available() else "cpu",
        settings=settings,
        start=options.start,
    )


if __name__ == "__main__":
    main()
