"""MoCha-Demo's checkpoint: its configuration in our names, and its weights laid over the base
model's.

    model.ckpt (or safetensors) -> names without prefix -> overlay on HunyuanVideo -> report
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

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


def overlay(
    places: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    checkpoint: Mapping[str, Tensor],
    allow_partial: bool = False,
) -> tuple[dict[str, Tensor], OverlayReport]:
    """The base model's tensors, and a checkpoint's laid over them by name.

    One leading "transformer." is taken off. `places` are the model's parameters (shapes suffice).
    Raises ValueError with the report where anything is missing, unexpected or misshaped, unless
    `allow_partial`: then what does not fit stays the base model's.
    """
    given = {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint.items()}
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
    return dict(base) | {name: given[name] for name in fitting}, report
