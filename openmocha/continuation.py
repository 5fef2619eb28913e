"""Takes of any length: one pass after the other, each going on from the end of the one before.

    latent frames   0 . . . . . . . . . 31
    second pass               24 . . . . . . . . . 55      24 .. 31 are known, and stay as they are

The known frames have the noise level 0, as clean prefixes had in training, so the same weights go
on with a film. They carry who is seen, where, and how everything moves. What a pass adds to them
is a little brighter, a little further to the side, and after minutes nothing is as it was: so
later passes are drawn towards the scene of the first one, its mean over time (as ILVR draws towards
the low frequencies of a picture, Choi et al. 2021).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from openmocha.flow import predicted_latents

KNOWN = 1 / 4  # of a pass: 1.3 s of 5.3 s, which costs a third more than none would
HELD_ABOVE = 0.6  # noise level; below it nothing is settled any more but details
HOLD = 2 / 3  # of the way back to the scene in each step, times the share of a pass that is new


@dataclass(frozen=True)
class Pass:
    """Latent frames `start` to `stop` of a take of `total`; the first `known` of them were made
    before. `hidden` of the take's frames are the end of an earlier one, and seen there."""

    start: int
    stop: int
    known: int
    total: int
    hidden: int = 0

    @property
    def shown(self) -> tuple[int, int]:
        """The first of the pass's latent frames that become frames after it, and where they end:
        the last one waits for its right neighbour, which the decoder sees, unless the take ends."""
        first = self.known - 1 if self.start else self.hidden
        return first, self.stop - self.start - (self.stop < self.total)


def overlap_of(longest: int) -> int:
    """How many latent frames two passes share."""
    return max(2, round(KNOWN * longest))


def passes(total: int, longest: int, overlap: int | None = None, hidden: int = 0) -> Iterator[Pass]:
    """The passes of a take of `total` latent frames, none longer than `longest`.

    Raises ValueError where passes of that length cannot share `overlap` latent frames.

    >>> [(one.start, one.stop, one.known) for one in passes(70, 32)]
    [(0, 32, 0), (24, 56, 8), (48, 70, 8)]
    """
    overlap = overlap_of(longest) if overlap is None else overlap
    if total > longest and not 2 <= overlap < longest:
        raise ValueError(
            f"passes of {longest} latent frames cannot share {overlap}; 2 or more, and less than a "
            "pass, make a longer film"
        )
    stop = min(longest, total)
    yield Pass(0, stop, hidden, total, hidden)
    while stop < total:
        start = stop - overlap
        stop = min(start + longest, total)
        yield Pass(start, stop, overlap, total, hidden)


def scene_of(latents: Tensor) -> Tensor:
    """What stays in latents (1, C, F, h, w), moving as they do: their mean over time, with F = 1.

    >>> scene_of(torch.tensor([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1, 1)).item()
    3.0
    """
    return latents.mean(2, keepdim=True)


def holding_scene(
    velocity: Tensor, latents: Tensor, sigma: float, scene: Tensor, known: int
) -> Tensor:
    """The velocity at noise level `sigma` whose clean latents, where they are made anew, have come
    nearer to the scene; `known` first frames stay as they are. What moves in them is not touched.

    velocity, latents: (1, C, F, h, w); scene: (1, C, 1, h, w), as of scene_of.
    """
    if sigma < HELD_ABOVE:
        return velocity
    level = velocity.new_full((1,), sigma)
    clean = predicted_latents(latents[:, :, known:], velocity[:, :, known:], level)
    hold = HOLD * clean.shape[2] / latents.shape[2]  # few frames tell little of a scene
    back = hold * (scene_of(clean) - scene) / sigma
    return torch.cat([velocity[:, :, :known], velocity[:, :, known:] + back], dim=2)
