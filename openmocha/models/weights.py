"""Tensors by name from files, and models built around them without holding them twice.

    safetensors or torch.save, whole or sharded -> mapped tensors -> assembled model

Mapped tensors are read from the disk when they are first used, and shared with the file until then.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

INDEX_ENDING = ".safetensors.index.json"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a file, or from all files of a folder; nothing in them is executed.

    Raises FileNotFoundError for a file or shard that is missing, ValueError for one that is
    truncated or holds anything but tensors by name.
    """
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {path} does not exist; check the path")
    if path.is_dir():
        files = weight_files(path)
        return {name: tensor for file in files for name, tensor in read_weights(file).items()}
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a network's weights: the shards of its index, or the one file there is.

    Raises FileNotFoundError for a missing shard, or where there is nothing.
    """
    indices = _plainest_first(folder.glob(f"*{INDEX_ENDING}"))
    if indices:
        shards = sorted(set(json.loads(indices[0].read_text())["weight_map"].values()))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {len(missing)} of {len(shards)} files of weights "
                f"({', '.join(missing[:3])}); download or copy them again"
            )
        return [folder / name for name in shards]
    for pattern in ("*.safetensors", "*.pth", "*.ckpt"):
        found = _plainest_first(folder.glob(pattern))
        if found:
            return found[:1]
    raise FileNotFoundError(f"{folder} holds no weights: expected *.safetensors; check the path")


def _plainest_first(files: Iterable[Path]) -> list[Path]:
    """model.safetensors before model.fp16.safetensors."""
    return sorted(files, key=lambda file: (len(file.name), file.name))


def check_safetensors(path: Path) -> None:
    """Raise ValueError for a file that is truncated or no safetensors, without reading it whole."""
    try:
        with safe_open(path, "pt"):  # type: ignore[no-untyped-call]
            pass
    except Exception as error:  # safetensors' own class derives from Exception alone
        raise ValueError(
            f"weights {path} cannot be read ({str(error).splitlines()[0]}); the file is truncated "
            "or no safetensors: download or copy it again"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    check_safetensors(path)
    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # pickles fail in many ways, all of them mean the same to a user
        raise ValueError(
            f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}); expected tensors by "
            "name, in a file of torch.save or safetensors"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"checkpoint {path} holds other things than tensors; expected names only")
    return {str(name): tensor for name, tensor in content.items()}


def assemble(
    model_class: Any, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> Any:
    """A diffusers model with these weights, taken over rather than copied where their dtype is
    right; parameters that `tensors` lacks start fresh (`init_speech_weights`).

    Raises ValueError for a name or shape that the model has no place for.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = model_class(**settings)
    places = dict(model.named_parameters())
    wrong = [n for n, t in tensors.items() if n not in places or places[n].shape != t.shape]
    if wrong:
        raise ValueError(
            f"{len(wrong)} tensors have no place in a {model_class.__name__} of this size "
            f"({', '.join(wrong[:3])}); check that weights and config are of one model"
        )
    fresh = places.keys() - tensors
    _start_fresh(model, fresh)
    if fresh:
        model.init_speech_weights()
    precise = model_class._keep_in_fp32_modules or ()
    for name, parameter in list(model.named_parameters()):
        own = torch.float32 if any(part in name.split(".") for part in precise) else dtype
        value = tensors.get(name, parameter.data).to(own)
        _place(model, name, nn.Parameter(value, requires_grad=False))
    return model


def _start_fresh(model: nn.Module, names: set[str]) -> None:
    """Real memory for these parameters: layers as torch starts them, norms and mixes at one."""
    for prefix, module in model.named_modules():
        own = [name for name, _ in module.named_parameters(recurse=False)]
        own = [name for name in own if f"{prefix}.{name}".lstrip(".") in names]
        for name in own:
            shape = getattr(module, name).shape
            setattr(module, name, nn.Parameter(torch.ones(shape)))
        if own and hasattr(module, "reset_parameters"):
            module.reset_parameters()


def _place(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    module, _, last = name.rpartition(".")
    setattr(model.get_submodule(module), last, parameter)


def tensor_sizes(files: Sequence[Path]) -> dict[str, int]:
    """Number of elements of every tensor by name, from the files' headers. Pickled files have no
    header: they are opened, but not read."""
    sizes: dict[str, int] = {}
    for file in files:
        if file.suffix == ".safetensors":
            check_safetensors(file)
            with safe_open(file, "pt") as content:  # type: ignore[no-untyped-call]
                names = list(content.keys())
                sizes |= {n: math.prod(content.get_slice(n).get_shape()) for n in names}
        else:
            sizes |= {name: tensor.numel() for name, tensor in _read_pickle(file).items()}
    return sizes
