"""MoCha-Demo's checkpoint: its configuration in our names, and its weights laid over the base
model's.

    model.ckpt (or safetensors) -> names without prefix -> overlay on HunyuanVideo -> report
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

PREFIX = "transformer."
# Of the demo's configuration; the lists are its literals, whatever the number of blocks.
DUAL_HEARING, SINGLE_HEARING = tuple(range(0, 20, 2)), tuple(range(0, 40, 2))


@dataclass(frozen=True)
class OverlayReport:
    """Which names of a checkpoint did not find their place, and which places got nothing."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = [
            f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for kind, names in vars(self).items()
            if names
        ]
        return "; ".join(parts) or "complete"


def model_settings(demo: Mapping[str, Any]) -> dict[str, Any]:
    """The demo's config as arguments of HunyuanMoChaTransformer3DModel.

    Raises ValueError for what the demo itself cannot do.
    """
    settings = {k: v for k, v in demo.items() if not k.startswith(("_", "audio_", "image_"))}
    settings["rope_axes_dim"] = tuple(settings["rope_axes_dim"])
    if demo.get("image_condition_type") == "token_replace":
        raise ValueError(
            "image_condition_type token_replace does not exist in MoCha-Demo; an image is a clean "
            "first latent frame, without another timestep"
        )
    width = demo["num_attention_heads"] * demo["attention_head_dim"]
    if demo.get("audio_out_dim", width) != width:
        raise ValueError(f"audio_out_dim is {demo['audio_out_dim']}; it must be the width {width}")
    for kind, literals in (("dual", DUAL_HEARING), ("single", SINGLE_HEARING)):
        chosen = demo.get(f"audio_inject_layers_{kind}")
        settings[f"hearing_{kind}_blocks"] = literals if chosen is None else tuple(chosen)
    return settings


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors by name from one file, mapped rather than copied; nothing in it is executed.

    Raises FileNotFoundError, or ValueError for a file that holds anything but tensors by name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; check the path")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # pickles fail in many ways, all of them mean the same to a user
        raise ValueError(
            f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}); expected tensors by "
            "name, in a file of torch.save or safetensors"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"checkpoint {path} holds other things than tensors; expected names only")
    return {str(name): tensor for name, tensor in content.items()}


@torch.no_grad()
def overlay(
    model: nn.Module, tensors: Mapping[str, Tensor], allow_partial: bool = False
) -> OverlayReport:
    """Copy a checkpoint's tensors over the model's by name, in the model's dtype.

    One leading "transformer." is taken off. What the checkpoint lacks keeps its value (the base
    model's). Raises ValueError with the report where anything is missing, unexpected or
    misshaped, before a single value has changed, unless `allow_partial`.
    """
    places = dict(model.named_parameters())
    given = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    fitting = {n for n in places.keys() & given.keys() if places[n].shape == given[n].shape}
    report = OverlayReport(
        missing=tuple(name for name in places if name not in given),
        unexpected=tuple(name for name in given if name not in places),
        misshaped=tuple(name for name in places if name in given and name not in fitting),
    )
    if not report.complete and not allow_partial:
        raise ValueError(
            f"the checkpoint does not fit the model: {report}; allow a partial checkpoint to keep "
            "the base model's weights where it has none"
        )
    for name in fitting:
        places[name].copy_(given[name])
    return report
