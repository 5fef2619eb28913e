"""Start a video VAE's encoder at principal components: the best linear encoder, in closed form.

Latents of neighbouring cells then stay alike where the picture does, as diffusion wants them: an
encoder trained against latent noise makes them white instead (it spends its power on what the
neighbours do not tell), and a white latent has no coarse part to begin a film with.

Dimension letters: N patches, D values of a patch.
"""

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from openmocha.models.video_vae import VideoVAE


@torch.no_grad()
def start_at_principal_components(
    vae: VideoVAE, videos: Sequence[Tensor], masks: Sequence[Tensor], mouth_weight: float = 3.0
) -> None:
    """Set the encoder's convolutions, level by level; its residual blocks start as the identity.

    Args:
        videos: each (T, 3, H, W) in [-1, 1], T a multiple of 4.
        masks: for each video (T, H, W), true at mouths, whose patches count `mouth_weight` times.
    """
    convolutions = [layer for layer in vae.encoder if isinstance(layer, nn.Conv2d)]
    *projections, last = convolutions
    r = vae.config.frames_per_latent
    maps = [rearrange(video, "(f r) c h w -> f (r c) h w", r=r) for video in videos]
    mouths = [rearrange(mask.float(), "(f r) h w -> f r h w", r=r) for mask in masks]
    for level, projection in enumerate(projections, start=2):
        step = 4 if level == 2 else 2
        maps = [nn.functional.pixel_unshuffle(x, step) for x in maps]
        counts = weights(mouths, 2**level, mouth_weight)
        set_projection(projection, components(maps, counts, projection.out_channels))
        maps = [projection(x) for x in maps]
    set_projection(last, torch.eye(last.out_channels, last.in_channels))


def weights(mouths: Sequence[Tensor], size: int, mouth_weight: float) -> list[Tensor]:
    """How often each patch of size x size pixels counts: (f, h, w) for each film."""
    touched = [reduce(m, "f r (h i) (w j) -> f h w", "max", i=size, j=size) for m in mouths]
    return [1 + (mouth_weight - 1) * mouth for mouth in touched]


def components(maps: Sequence[Tensor], counts: Sequence[Tensor], number: int) -> Tensor:
    """The leading principal axes (number, D) of all cells of maps (f, D, h, w), orthonormal."""
    second, mean, total = torch.zeros(()), torch.zeros(()), torch.zeros(())
    for values, count in zip(maps, counts, strict=True):
        x = rearrange(values, "f D h w -> (f h w) D").double()
        n = rearrange(count, "f h w -> (f h w) 1").double()
        second, mean, total = second + (n * x).T @ x, mean + (n * x).sum(0), total + n.sum()
    covariance = second / total - torch.outer(mean, mean) / total**2
    axes: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :number].T.float()
    return axes


def set_projection(convolution: nn.Conv2d, axes: Tensor) -> None:
    """Make a convolution the projection onto `axes` (out, in) of each place alone."""
    nn.init.zeros_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    centre = convolution.kernel_size[0] // 2
    convolution.weight[:, :, centre, centre] = axes
