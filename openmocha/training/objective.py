"""What the transformer is trained to do: predict the velocity of noisy latents (flow.py has the
convention).

Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Tensor

from openmocha.flow import add_noise, sample_sigma, velocity_target
from openmocha.models.figures import limb_cells
from openmocha.training.samples import Batch


@dataclass(frozen=True)
class Objective:
    """How noise levels are drawn and errors weighed; the defaults are the paper's, as far as
    stated.

    Of the samples of two or more latent frames, `independent_share` get a noise level for each
    frame and `prefix_share` a clean beginning; the same weights then continue films and start from
    images.
    `mouth_weight` counts the error of latent cells with a mouth that often, `limb_weight` of those
    that a figure has an elbow or a hand in; 1 is off.
    Noise levels are shifted by `sigma_shift` F^`length_shift`: the frames of a clip repeat each
    other, so a long clip shows through noise that hides a single frame (Esser et al. 2024, 5.3.2,
    say so of large images). 0 treats all lengths alike.
    """

    independent_share: float = 0.2
    prefix_share: float = 0.2
    mouth_weight: float = 1.0
    limb_weight: float = 1.0
    sigma_mean: float = 0.0
    sigma_std: float = 1.0
    sigma_shift: float = 1.0
    length_shift: float = 0.0


# Half of the crops have a noise level for each frame: what neighbours show leaves only mouths to
# learn. Long crops repeat themselves and so see more noise, but little noise often enough: where it
# is rare, pictures stay blotched.
TOON_OBJECTIVE = Objective(
    independent_share=0.5,
    prefix_share=0.15,
    mouth_weight=12.0,
    limb_weight=6.0,
    sigma_std=1.2,
    length_shift=0.1,
)


@dataclass(frozen=True)
class Corrupted:
    """Network input and target of one batch."""

    noisy: Tensor  # (B, C, F, h, w)
    sigma: Tensor  # (B, F)
    target: Tensor  # (B, C, F, h, w)
    weights: Tensor  # (B, F, h, w)


def corrupt(batch: Batch, objective: Objective) -> Corrupted:
    """Add noise to a batch; a sample's noise comes from its own seed, on whichever rank it is."""
    noises, sigmas = [], []
    for latents, seed in zip(batch.latents, batch.seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        noises.append(torch.randn(latents.shape, generator=generator))
        sigmas.append(frame_sigmas(latents.shape[1], generator, objective))
    noise = torch.stack(noises).to(batch.latents.device)
    sigma = torch.stack(sigmas).to(batch.latents.device)
    # A clean frame has no noise to predict.
    noised = rearrange(sigma > 0, "B F -> B F 1 1").float()
    weights = 1 + (objective.mouth_weight - 1) * batch.mouth_cells
    if objective.limb_weight != 1:
        rows, cols = batch.latents.shape[-2:]
        limbs = limb_cells(batch.figures, rows, cols, batch.views)
        weights = weights + (objective.limb_weight - 1) * limbs
    return Corrupted(
        noisy=add_noise(batch.latents, noise, sigma),
        sigma=sigma,
        target=velocity_target(batch.latents, noise),
        weights=noised * weights,
    )


def frame_sigmas(num_frames: int, generator: torch.Generator, objective: Objective) -> Tensor:
    """Noise levels (F,) of a sample: one level, one for each frame, or one after a clean prefix."""
    draw = torch.rand((), generator=generator).item() if num_frames > 1 else 1.0
    independent = draw < objective.independent_share
    sigma = sample_sigma(
        (num_frames if independent else 1,),
        generator,
        mean=objective.sigma_mean,
        std=objective.sigma_std,
        shift=objective.sigma_shift * num_frames**objective.length_shift,
    ).expand(num_frames)
    if not independent and draw < objective.independent_share + objective.prefix_share:
        prefix = int(torch.randint(1, num_frames, (), generator=generator))
        sigma = sigma.clone()
        sigma[:prefix] = 0
    return sigma


def weighted_loss(velocity: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Squared error (paper eq. 3), weighted by cell within each sample, then averaged over samples.

    Samples count alike whatever their weights, so the mean over ranks is the loss of the whole
    batch.
    """
    error = reduce((velocity - target).square(), "B C F h w -> B F h w", "mean")
    each = reduce(weights * error, "B F h w -> B", "sum") / reduce(weights, "B F h w -> B", "sum")
    return each.mean()
