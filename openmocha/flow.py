"""Flow matching: noising, target, noise levels, Euler step, guidance; states the convention.

    sigma in [0, 1], 1 = pure noise, 0 = data
    x_sigma  = (1 - sigma) * latents + sigma * noise
    velocity = noise - latents = d x_sigma / d sigma

The paper (eqs. 1-3) writes t = 1 - sigma and v = latents - noise: the same loss, the sign turned.
diffusers' FlowMatchEulerDiscreteScheduler uses our sign; its `timestep` is 1000 * sigma.

`sigma` is (B,), one noise level for each sample, or (B, F), one for each latent frame. With a clean
prefix (sigma = 0 on the first frames) the same weights continue a film or start from an image.

Dimension letters: B batch, C channels, F latent frames, h w latent rows and columns.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor


def per_frame(sigma: Tensor, num_latent_frames: int) -> Tensor:
    """Noise level of every latent frame, (B,) or (B, F) -> (B, F). Raises ValueError otherwise."""
    if sigma.ndim == 1:
        return sigma[:, None].expand(-1, num_latent_frames)
    if sigma.ndim == 2 and sigma.shape[1] == num_latent_frames:
        return sigma
    raise ValueError(
        f"sigma has shape {tuple(sigma.shape)}; expected (batch,) or (batch, {num_latent_frames}), "
        f"one level for each of the {num_latent_frames} latent frames"
    )


def _level(sigma: Tensor, latents: Tensor) -> Tensor:
    return rearrange(per_frame(sigma, latents.shape[2]), "B F -> B 1 F 1 1").to(latents.dtype)


def add_noise(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_sigma = (1 - sigma) latents + sigma noise (eq. 1). latents, noise (B, C, F, h, w)."""
    level = _level(sigma, latents)
    return (1 - level) * latents + level * noise


def velocity_target(latents: Tensor, noise: Tensor) -> Tensor:
    """What the network is trained to predict: noise - latents (eq. 2 with the sign turned)."""
    return noise - latents


def predicted_latents(noisy: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents that a velocity at x_sigma points to: x_sigma - sigma velocity."""
    return noisy - _level(sigma, noisy) * velocity


def preconditioning(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a network of plain size 1 has to be scaled by at noise level sigma: (input, skip, out).

    velocity = skip * x_sigma + out * network(input * x_sigma)

    For latents of deviation 1: input brings x_sigma to deviation 1, skip * x_sigma is the best
    linear guess of the velocity, and what is left of it has deviation out (Karras et al. 2022,
    appendix B.6, carried over to flow matching).
    """
    variance = sigma**2 + (1 - sigma) ** 2
    scale = variance.rsqrt()
    return scale, (2 * sigma - 1) / variance, scale


def euler_step(noisy: Tensor, velocity: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """One Euler step from noise level sigma to next_sigma, each (B,) or (B, F).

    A latent frame whose level does not change (a clean prefix) keeps its values to the bit.
    """
    return noisy + (_level(next_sigma, noisy) - _level(sigma, noisy)) * velocity


def shift_sigma(sigma: Tensor, shift: float) -> Tensor:
    """Move levels towards 1: shift sigma / (1 + (shift - 1) sigma) (Esser et al. 2024, eq. 23).

    Raises ValueError where shift is not above 0.
    """
    if shift <= 0:
        raise ValueError(f"shift is {shift}; it must be above 0 (1 = no shift)")
    return shift * sigma / (1 + (shift - 1) * sigma)


def sigma_schedule(num_steps: int, shift: float = 1.0) -> Tensor:
    """The noise levels of a sampler: (num_steps + 1,) float32, from exactly 1 down to exactly 0.

    >>> sigma_schedule(4).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; a film needs at least one sampling step")
    return shift_sigma(torch.linspace(1, 0, num_steps + 1), shift)


def sample_sigma(
    shape: Sequence[int],
    generator: torch.Generator | None = None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    shift: float = 1.0,
) -> Tensor:
    """Training levels: sigmoid(mean + std z), z normal, then shifted (Esser et al. 2024, 3.1).

    shape (B,) draws one level for each sample, (B, F) one for each latent frame.
    """
    return shift_sigma(torch.sigmoid(mean + std * torch.randn(shape, generator=generator)), shift)


def guidance_weights(text_scale: float, speech_scale: float) -> tuple[float, float, float]:
    """Classifier-free guidance on text and on speech separately, as weights of three velocities:
    without conditions, with text alone, with text and speech.

    null + text_scale (text - null) + speech_scale (full - text)

    Scales (1, 1) give the last alone, (1, 0) the one with text, (0, 0) the one without conditions;
    with equal scales the one with text alone has no weight and need not be computed.
    """
    return 1 - text_scale, text_scale - speech_scale, speech_scale
