"""A small network that reads from latents how far a mouth is open in each of their frames.

    latents + noise -> of each cell: is this the mouth? how far is it open? -> the mouth's mean

Read from what the encoder makes of a picture, it says whether lips that are in the latents are to
be seen in the picture, too.

Dimension letters: N latent frames of any films, C latent channels, h w latent rows/cols, r frames
per latent.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import rearrange, reduce
from torch import Tensor, nn

from openmocha.training.own_latents import Pair
from openmocha.training.shards import FRAMES_PER_LATENT

WIDTH = 48
MAX_NOISE = 0.3  # noise level: what a model makes is never quite what an encoder makes
BATCH = 256
LEARNING_RATE = 2e-3


class LatentLips(nn.Module):
    """Latents (N, C, h, w) -> opening (N, r)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 1), nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 1), nn.SiLU(),
            nn.Conv2d(WIDTH, 1 + FRAMES_PER_LATENT, 1),
        )  # fmt: skip

    def cells(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """How likely each cell is the mouth (N, h w), and how far open if so (N, r, h w)."""
        answers = rearrange(self.layers(latents), "n a h w -> n a (h w)")
        return answers[:, 0].softmax(-1), answers[:, 1:]

    def forward(self, latents: Tensor) -> Tensor:
        """Opening (N, r)."""
        mouth, opening = self.cells(latents)
        return (opening * mouth[:, None]).sum(-1)


def train_latent_lips(pairs: Sequence[Pair], steps: int, device: torch.device) -> LatentLips:
    """Learn to read the films' own latents of those pairs whose opening is known; frozen after.

    Raises ValueError where there is none.
    """
    known = [pair for pair in pairs if pair.is_read]
    if not known:
        raise ValueError("no pair shows one near mouth alone; make more pairs")
    latents = stacked([pair.encoded for pair in known], "c f h w -> f c h w")
    opening = stacked([pair.opening for pair in known], "(f r) -> f r", r=FRAMES_PER_LATENT)
    mouths = [mouth_cells(pair) for pair in known]
    cells = stacked(mouths, "f h w -> f (h w)")
    net = LatentLips(latents.shape[1]).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    for _ in range(steps):
        chosen = torch.randint(len(latents), (BATCH,))
        given = with_noise(latents[chosen].float())
        parts = (x.to(device) for x in (given, opening[chosen].float(), cells[chosen].float()))
        loss = lips_loss(net, *parts)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def stacked(parts: Sequence[np.ndarray], pattern: str, **sizes: int) -> Tensor:
    """Arrays of films, rearranged so that latent frames come first, one after the other."""
    return torch.from_numpy(np.concatenate([rearrange(part, pattern, **sizes) for part in parts]))


def mouth_cells(pair: Pair) -> np.ndarray:
    """(F, h, w): the latents that a mouth touches."""
    frames, rows, columns = pair.encoded.shape[1:]
    sizes = {"f": frames, "h": rows, "w": columns}
    return np.asarray(reduce(pair.mouth, "(f r) (h i) (w j) -> f h w", "max", **sizes))


def with_noise(latents: Tensor) -> Tensor:
    """A noise level between 0 and MAX_NOISE for each latent frame (N, C, h, w)."""
    sigma = MAX_NOISE * torch.rand(len(latents), 1, 1, 1)
    return (1 - sigma) * latents + sigma * torch.randn_like(latents)


def lips_loss(net: LatentLips, latents: Tensor, opening: Tensor, cells: Tensor) -> Tensor:
    """Errors of what is read (N, r) in all and in each of the mouth's cells (N, h w), and how much
    is read elsewhere."""
    mouth, read = net.cells(latents)
    whole = nnf.mse_loss((read * mouth[:, None]).sum(-1), opening)
    each = ((read - opening[..., None]).square().mean(1) * cells).sum() / cells.sum().clamp(min=1)
    elsewhere = -((mouth * cells).sum(-1) + 1e-6).log().mean()
    return whole + 0.5 * each + 0.05 * elsewhere
