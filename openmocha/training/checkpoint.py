"""Checkpoints that survive kill -9 at any moment, and whose damage is noticed.

    folder/step-00001200/*.safetensors   model, EMA and moments, one file per rank (DCP)
                         state.json      where training stands, and the configuration that made it
                         manifest.json   sha256 of every file above

Everything is written into a temporary folder that is renamed at the end, and renamed again before
it is deleted, so a folder that has its final name is whole. No file is a pickle.
"""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import (  # type: ignore[attr-defined]
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

from openmocha.training.parallel import Ranks, wait_for_all


def training_tensors(
    model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Everything training changes, flat and by name; the tensors are the live ones, not copies."""
    tensors: dict[str, Tensor] = {}
    for prefix, network in (("model", model), ("ema", ema)):
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in model.named_parameters():
        moments = optimizer.state[parameter]
        tensors |= {f"{key}.{name}": moment for key, moment in moments.items()}
    return tensors


def prepare_adamw(model: nn.Module, optimizer: torch.optim.AdamW) -> None:
    """Give AdamW its zero moments now, so that every checkpoint has the same names."""
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)


def save(
    folder: Path, tensors: dict[str, Tensor], state: dict[str, Any], ranks: Ranks, keep: int = 2
) -> Path:
    """Write one checkpoint (called by all ranks together); `state["step"]` names it. Returns its
    folder.

    The newest `keep` checkpoints stay.
    """
    final = folder / f"step-{state['step']:08d}"
    temporary = folder / f".{final.name}.tmp"
    if ranks.first:
        for leftover in folder.glob(".step-*.tmp"):
            shutil.rmtree(leftover)
        temporary.mkdir(parents=True)
    wait_for_all(ranks)
    with warnings.catch_warnings():
        # torch says that a process without a group saves alone, which is meant.
        warnings.simplefilter("ignore")
        dcp.save(  # type: ignore[attr-defined]
            tensors,
            storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
            no_dist=ranks.world == 1,
        )
    wait_for_all(ranks)
    if ranks.first:
        _write_json(temporary / "state.json", state)
        _write_json(temporary / "manifest.json", {p.name: _sha256(p) for p in _files(temporary)})
        if final.exists():
            _remove(final)
        temporary.rename(final)
        _sync_folder(folder)
        for old in checkpoints(folder)[:-keep]:
            _remove(old)
    wait_for_all(ranks)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "manifest.json").exists())


def verify(checkpoint: Path) -> None:
    """Compare every file with the manifest. Raises ValueError naming one missing or altered."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name, digest in manifest.items():
        path = checkpoint / name
        if not path.exists() or _sha256(path) != digest:
            problem = "altered" if path.exists() else "missing"
            raise ValueError(
                f"{path} is {problem} (its sha256 is not the one written with the checkpoint); "
                f"delete {checkpoint} to go on from the checkpoint before it"
            )


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The JSON half of a checkpoint."""
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
    return state


def load_tensors(checkpoint: Path, tensors: dict[str, Tensor], ranks: Ranks) -> None:
    """Fill `tensors` in place from a checkpoint written by any number of ranks; call verify first.

    Raises ValueError where the checkpoint holds other names or shapes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(  # type: ignore[attr-defined]
                tensors,
                storage_reader=HuggingFaceStorageReader(str(checkpoint)),
                no_dist=ranks.world == 1,
            )
    except dcp.api.CheckpointException as error:  # derives from BaseException
        raise ValueError(f"{checkpoint} does not fit this model: {error}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: Any) -> None:
    with path.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(checkpoint: Path) -> None:
    # By another name it is no checkpoint, wherever the deletion stops; the next save sweeps.
    shutil.rmtree(checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.old.tmp")))
