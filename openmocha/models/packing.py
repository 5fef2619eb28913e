"""Weights in a quarter of the bytes of float32, so that a model fits into the package.

A matrix becomes int8 with one float16 scale per row (the row's largest value is 127); vectors and
small tables become float16. The error of a weight is at most 1/254 of its row's largest one.
"""

import torch
from einops import rearrange
from torch import Tensor

SCALE = ".row_scale"
FEWEST_VALUES = 2**14  # below it a matrix is not worth packing


def pack_rows(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (rows, columns) -> int8 and `name.row_scale` (rows,); the rest -> float16."""
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim != 2 or weight.numel() < FEWEST_VALUES:
            packed[name] = weight.half()
            continue
        # Rounded up to float16's 11 bits, so that no value exceeds 127 steps.
        scale = (weight.float().abs().amax(1) / 127 * (1 + 2**-10)).half().clamp_min(2**-24)
        steps = weight.float() / rearrange(scale.float(), "rows -> rows 1")
        packed[name] = steps.round().clamp(-127, 127).to(torch.int8)
        packed[name + SCALE] = scale
    return packed


def unpack_rows(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `pack_rows` packed, as float32; weights that are not packed stay as they are."""
    unpacked: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name.endswith(SCALE):
            continue
        scale = weights.get(name + SCALE)
        if scale is not None:
            weight = weight.float() * rearrange(scale.float(), "rows -> rows 1")
        unpacked[name] = weight
    return unpacked
