"""The transformer's optimizer: AdamW, or Muon for the matrices of its blocks."""

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from openmocha.training import checkpoint
from openmocha.training.muon import Muon


def make_optimizer(
    model: nn.Module,
    name: str,
    speech_rate: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 1e-2,
) -> torch.optim.Optimizer:
    """AdamW or Muon, with its moments there already; learning rates are set step by step.

    Raises ValueError for another name, and for Muon on a sharded model: it needs whole matrices.
    """
    slower = 1 / 3 if name == "muon" else 1.0
    groups = parameter_groups(model, speech_rate, slower)
    settings: dict[str, Any] = {"betas": betas, "weight_decay": weight_decay}
    if name == "adamw":
        adamw = torch.optim.AdamW(groups, lr=0.0, **settings)
        checkpoint.prepare_adamw(model, adamw)
        return adamw
    if name != "muon":
        raise ValueError(f"optimizer is {name!r}; choose adamw or muon")
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        raise ValueError('optimizer "muon" needs whole matrices; use "adamw" for a sharded model')
    return Muon(groups, lr=0.0, **settings)


def parameter_groups(model: nn.Module, speech_rate: float, slower: float) -> list[dict[str, Any]]:
    """Groups of parameters, each with the `scale` of its learning rate: all but speech, and the
    speech projector and attention of every block (MoCha-Demo calls them audio).

    Matrices of the blocks are `orthogonal`. All else (first and last layers, embeddings, tables,
    vectors) learns by AdamW's rule beside Muon, at `slower` times its rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        speech, inside = "speech" in name or "audio_" in name, name.startswith("blocks.")
        orthogonal = inside and parameter.ndim == 2 and not name.endswith(".modulation")
        groups.setdefault((speech, orthogonal), []).append(parameter)
    return [
        {
            "params": groups[speech, orthogonal],
            "scale": (speech_rate if speech else 1.0) * (1.0 if orthogonal else slower),
            "orthogonal": orthogonal,
        }
        for speech, orthogonal in sorted(groups)
    ]
