"""Muon: momentum whose update is made orthogonal, for networks that train for minutes or hours.

Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024): the update of a
matrix is replaced by the nearest matrix with equal singular values, so that no direction of it is
learnt slowly. Scaled to the size of AdamW's updates as in Liu et al., "Muon is scalable for LLM
training" (2025), section 2.2, so that one learning rate serves both. Kernels of convolutions are
matrices (out, in*k*k); vectors are left to AdamW's rule.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from openmocha.precision import matrix_dtype

UPDATE_RMS = 0.2  # of AdamW, measured by Liu et al.
MOMENTS = ("exp_avg", "exp_avg_sq")
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for parameters of two and more dimensions, AdamW for the rest and for
    groups whose `orthogonal` is False (embeddings, first and last layers)."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 1e-2,
    ) -> None:
        settings = {"momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        super().__init__(parameters, {"lr": lr, "orthogonal": True, **settings})
        for group in self.param_groups:
            for parameter in group["params"]:
                moments = ("exp_avg",) if _orthogonal(parameter, group) else MOMENTS
                # AdamW's names and the step for all: checkpoints then need not know the rule.
                self.state[parameter] = {key: torch.zeros_like(parameter) for key in moments}
                self.state[parameter]["step"] = torch.zeros(())

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                self.state[parameter]["step"] += 1
                if _orthogonal(parameter, group):
                    alike.setdefault(parameter.shape, []).append(parameter)
                else:
                    _move(parameter, _vector_update(parameter, self.state[parameter], group), group)
            for parameters in alike.values():
                states = [self.state[parameter] for parameter in parameters]
                updates = _matrix_updates(parameters, states, group)
                for parameter, update in zip(parameters, updates, strict=True):
                    _move(parameter, update, group)


def _move(parameter: nn.Parameter, update: Tensor, group: dict[str, Any]) -> None:
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(update, alpha=-group["lr"])


def _orthogonal(parameter: Tensor, group: dict[str, Any]) -> bool:
    return parameter.ndim >= 2 and bool(group["orthogonal"])


def _matrix_updates(
    parameters: Sequence[nn.Parameter], states: Sequence[dict[str, Tensor]], group: dict[str, Any]
) -> Iterable[Tensor]:
    """Updates of parameters of one shape, computed together: small products alone take longer."""
    directions = []
    for parameter, state in zip(parameters, states, strict=True):
        assert parameter.grad is not None
        state["exp_avg"].lerp_(parameter.grad, 1 - group["momentum"])
        nesterov = parameter.grad.lerp(state["exp_avg"], group["momentum"])
        directions.append(rearrange(nesterov, "out ... -> out (...)"))
    matrices = torch.stack(directions)
    scale = UPDATE_RMS * math.sqrt(max(matrices.shape[1:]))
    return (scale * orthogonalise(matrices)).reshape(-1, *parameters[0].shape).unbind()


def _vector_update(
    parameter: nn.Parameter, state: dict[str, Tensor], group: dict[str, Any]
) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    first, second = group["betas"]
    state["exp_avg"].lerp_(gradient, 1 - first)
    state["exp_avg_sq"].lerp_(gradient**2, 1 - second)
    step = float(state["step"])
    mean = state["exp_avg"] / (1 - first**step)
    scale: Tensor = (state["exp_avg_sq"] / (1 - second**step)).sqrt() + 1e-8
    update: Tensor = mean / scale
    return update


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push all singular values of each matrix (..., m, n) towards 1 (0.7 to 1.2 after five steps).

    The quintic Newton-Schulz iteration of Muon, in bfloat16 where that is fast.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(matrix_dtype(matrices.device)).reshape(-1, *matrices.shape[-2:])
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).contiguous()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        # a x + (b gram + c gram gram) x
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype).reshape(matrices.shape)
