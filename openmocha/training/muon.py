"""Muon: momentum whose update is made orthogonal, for the small convolutional networks.

Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024): the update of a
matrix is replaced by the nearest matrix with equal singular values, so that no direction of it is
learnt slowly. Scaled to the size of AdamW's updates as in Liu et al., "Muon is scalable for LLM
training" (2025), section 2.2, so that one learning rate serves both. Kernels of convolutions are
matrices (out, in*k*k); vectors are left to AdamW's rule.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from openmocha.precision import matrix_dtype

UPDATE_RMS = 0.2  # of AdamW, measured by Liu et al.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for parameters of two and more dimensions, AdamW for the rest."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 1e-2,
    ) -> None:
        settings = {"momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        super().__init__(parameters, {"lr": lr, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                update = (_matrix_update if parameter.ndim >= 2 else _vector_update)(
                    parameter.grad, state, group
                )
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"])


def _matrix_update(gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    state["momentum"].lerp_(gradient, 1 - group["momentum"])
    nesterov = gradient.lerp(state["momentum"], group["momentum"])
    matrix = rearrange(nesterov, "out ... -> out (...)")
    update = orthogonalise(matrix).reshape(gradient.shape)
    return update * (UPDATE_RMS * math.sqrt(max(matrix.shape)))


def _vector_update(gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    if not state:
        state |= {"first": torch.zeros_like(gradient), "second": torch.zeros_like(gradient)}
        state["step"] = torch.zeros(())
    first, second = group["betas"]
    state["step"] += 1
    state["first"].lerp_(gradient, 1 - first)
    state["second"].lerp_(gradient**2, 1 - second)
    step = float(state["step"])
    mean = state["first"] / (1 - first**step)
    scale: Tensor = (state["second"] / (1 - second**step)).sqrt() + 1e-8
    update: Tensor = mean / scale
    return update


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Push all singular values of a matrix towards 1 (0.7 to 1.2 after five steps).

    The quintic Newton-Schulz iteration of Muon, in bfloat16 where that is fast.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.to(matrix_dtype(matrix.device))
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result
