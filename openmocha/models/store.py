"""Name -> model folder, and the checks that its files are the ones that were saved.

A model folder has diffusers' layout (model_index.json, transformer/, vae/, ...), weights as
safetensors only, and checksums.json with the size and sha256 of every file, written last.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKSUMS = "checksums.json"
INDEX = "model_index.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class KnownModel:
    """A model that can be asked for by name."""

    name: str
    folder: Path
    licence: str
    summary: str


KNOWN_MODELS = (
    KnownModel(
        "toon",
        Path(__file__).resolve().parents[1] / "weights" / "toon",
        "Apache-2.0 (its text encoder all-MiniLM-L6-v2: Apache-2.0, own package)",
        "drawn people, animals and robots; 128 frames at 128x128; inside this package",
    ),
)


def model_folder(name: str | os.PathLike[str], say: Callable[[str], None] | None = None) -> Path:
    """The folder of a known model, of a path that holds a model_index.json, or of a hub repository
    "owner/name", which is downloaded; `say` is told how much.

    Raises ValueError for an unknown name (with the nearest known one) or a repository that cannot
    be fetched, FileNotFoundError for a folder that is missing or holds no model.
    """
    for model in KNOWN_MODELS:
        if str(name) == model.name:
            return _with_index(model.folder, f"model {name}")
    folder = Path(name)
    if folder.is_dir():
        return _with_index(folder, f"model folder {name}")
    if isinstance(name, str) and os.sep not in name:
        known = [model.name for model in KNOWN_MODELS]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"unknown model {name!r}{hint} (known: {', '.join(known)}, or a folder's path)"
        )
    if isinstance(name, str) and HUB_ID.fullmatch(name):
        from openmocha.models.hub import open_public

        return _with_index(open_public(name, say), f"model {name}")
    raise FileNotFoundError(f"model folder {name} does not exist; check the path")


def _with_index(folder: Path, name: str) -> Path:
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{name} is not complete: {folder / INDEX} is missing")
    return folder


def read_json(path: Path, keys: Iterable[str] = ()) -> dict[str, Any]:
    """One of a model folder's small settings files. Raises ValueError if `keys` are not in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); restore the file") from error
    missing = set(keys) - set(content)
    if missing or not isinstance(content, dict):
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; restore the file")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one of a model folder's small settings files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_checksums(folder: str | os.PathLike[str]) -> None:
    """Record size and sha256 of every file in a model folder: the last step of saving a model."""
    folder = Path(folder)
    record = {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": sha256(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != CHECKSUMS
    }
    part = folder / f".{CHECKSUMS}.part"
    part.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(part, folder / CHECKSUMS)


def verify(folder: str | os.PathLike[str]) -> None:
    """Check every file against checksums.json.

    Raises FileNotFoundError for a missing file, ValueError for a truncated or altered one, and for
    weights or settings that the list does not know.
    """
    folder = Path(folder)
    entries = _read_checksums(folder)
    for file in sorted((*folder.rglob("*.safetensors"), *folder.rglob("*.json"))):
        name = file.relative_to(folder).as_posix()
        if name != CHECKSUMS and name not in entries:
            raise ValueError(
                f"model file {file} is not in {CHECKSUMS}; remove it, or restore the list"
            )
    for name, (num_bytes, expected) in entries.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"model file {file} is missing; restore the model folder")
        size = file.stat().st_size
        if size != num_bytes:
            raise ValueError(
                f"model file {file} has {size} bytes, expected {num_bytes}: it is "
                f"{'truncated' if size < num_bytes else 'altered'}; restore it"
            )
        digest = sha256(file)
        if digest != expected:
            raise ValueError(
                f"model file {file} was altered (sha256 {digest[:12]}..., expected "
                f"{expected[:12]}...); restore it"
            )


def check_large(folder: Path) -> None:
    """A diffusers folder: checksums where it has them (diffusers' own have none), else that every
    file of weights is there and whole."""
    if (folder / CHECKSUMS).is_file():
        verify(folder)
        return
    from openmocha.models.weights import check_safetensors, weight_files

    for name, kind in read_json(folder / INDEX).items():
        if isinstance(kind, list) and (folder / name / "config.json").is_file():
            for file in weight_files(folder / name):
                check_safetensors(file)


def identity(name: str | os.PathLike[str]) -> str | None:
    """Which weights and settings make a model's films: a digest of its folder's checksums, without
    those of its judge, which only looks at them; None where it has none.

    Raises what model_folder raises, and ValueError where the checksums are damaged.
    """
    folder = model_folder(name)
    if not (folder / CHECKSUMS).is_file():
        return None
    entries = sorted(_read_checksums(folder).items())
    making = [(file, digest) for file, (_, digest) in entries if not file.startswith("judge/")]
    return hashlib.sha256(json.dumps(making).encode()).hexdigest()[:16]


def _read_checksums(folder: Path) -> dict[str, tuple[int, str]]:
    path = folder / CHECKSUMS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing, so the weights cannot be checked; restore it, or write it with "
            "openmocha.models.store.write_checksums if you trust the folder"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        entries = {name: (int(e["bytes"]), str(e["sha256"])) for name, e in record.items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a list of checksums; restore the file") from error
    return entries


def sha256(file: Path) -> str:
    """Hex digest of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
