"""Weights in half the space: each row of a matrix as int8 with one scale of its own.

    python -m openmocha.models.eight_bits runs/toon/model caption_reader vae:encoder.

rounds the weights of one part of a model folder, or those that begin with a name, where they lie.
A row's largest weight is 127 steps, so no weight moves by more than 1/254 of it.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from openmocha.models import store

SCALE = ".scale"  # of the tensor whose name stands before it
FEWEST = 4096  # numbers of a tensor that is worth it
PARTS = ("vae", "caption_reader", "transformer", "transformer_guided")  # read by `restored`


def rounded(weights: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Weights by name, the matrices and kernels among those that begin with `prefix` as int8, and
    their scales (rows,) in float32."""
    result: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if not name.startswith(prefix) or weight.ndim < 2 or weight.numel() < FEWEST:
            result[name] = weight
            continue
        rows = weight.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        result[name] = (rows / scale[:, None]).round().to(torch.int8).view(weight.shape)
        result[name + SCALE] = scale
    return result


def restored(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `rounded` was given, nearly, in float32; weights that were not rounded as they are."""
    result = {}
    for name, weight in weights.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in weights:
            continue
        if weight.dtype == torch.int8:
            rows = weight.float().flatten(1) * rearrange(weights[name + SCALE], "R -> R 1")
            weight = rows.view(weight.shape)
        result[name] = weight.float()
    return result


def round_part(folder: Path, part: str, prefix: str = "") -> None:
    """Round a part of a model folder in place and renew its checksums.

    Raises ValueError for a part that cannot be kept so, or weights that are rounded already or not
    there.
    """
    if part not in PARTS:
        raise ValueError(f"{part!r} is read as it lies; eight bits are for {', '.join(PARTS)}")
    path = folder / part / "model.safetensors"
    weights = load_file(path)
    result = rounded(weights, prefix)
    before = [w for name, w in weights.items() if name.startswith(prefix)]
    if any(w.dtype == torch.int8 for w in before) or len(result) == len(weights):
        raise ValueError(
            f"{path} has no weights {prefix + '...' if prefix else ''} left to round; start from "
            "the part as it was trained"
        )
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(result, temporary)
    temporary.rename(path)
    store.write_checksums(folder)


def main() -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description="Round parts of a model folder to eight bits.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="+", help="PART or PART:PREFIX")
    given = parser.parse_args()
    for wanted in given.parts:
        part, _, prefix = wanted.partition(":")
        round_part(given.folder, part, prefix)


if __name__ == "__main__":
    main()
