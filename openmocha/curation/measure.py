"""The costly part of a curation, film by film: decode once, store what was measured, never again.

A measurement lies under the film's id, in a file whose name carries a hash of the settings that it
depends on; the file appears when it is complete. So a rerun skips what is there, and a changed
setting redoes only what depends on it.
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from openmocha.curation.clips import Film
from openmocha.curation.faces import FaceFinder, face_finder
from openmocha.curation.listen import Heard, listen
from openmocha.curation.probe import Unfit, probe
from openmocha.curation.settings import Settings
from openmocha.curation.watch import Watched, watch
from openmocha.whole_file import remove_parts, write_bytes, write_text

# Raise a number when its step measures otherwise than before.
VERSIONS = {"probe": 1, "kind": 1, "watch": 1, "listen": 5}
Measured = TypeVar("Measured", Watched, Heard)


@dataclass(frozen=True)
class Source:
    """A file to be curated: its path, and the id of its content ("" where it cannot be read)."""

    path: Path
    film_id: str
    work: Path  # folder of all films' measurements
    settings: Settings

    @property
    def folder(self) -> Path:
        return self.work / self.film_id[:2] / self.film_id


def measure(source: Source) -> str | None:
    """Measure a film, or the parts of it that are missing. Returns None, or why not: a failure
    that is the file's own is stored like a measurement, one of the machine is not."""
    try:
        reason = unfit(source)
        if reason is not None:
            return reason
        for name, key, step in _costly(source):
            reason = stored(source, name, key, step)
            if reason:
                return reason
        return None
    except (OSError, MemoryError) as error:
        return set_aside(error)


def set_aside(error: OSError | MemoryError) -> str:
    """The reason of a film that the next run shall try again: not its own fault."""
    if isinstance(error, MemoryError):
        return "set aside: out of memory"
    return f"set aside: {error.strerror or error}"


def unfit(source: Source) -> str | None:
    """Why a file is of no use, known before anything is decoded. Raises OSError for the machine's
    faults."""
    source.folder.mkdir(parents=True, exist_ok=True)
    remove_parts(source.folder)
    return stored(source, "probe", asdict(source.settings.limits), lambda: _probe(source))


def _costly(source: Source) -> list[tuple[str, Any, Callable[[], bytes]]]:
    faces, looks_per_s = source.settings.faces, source.settings.looks_per_s
    return [
        ("listen", None, lambda: _packed(listen(source.path))),
        (
            "watch",
            [faces, looks_per_s],
            lambda: _packed(watch(source.path, _finder(faces), looks_per_s)),
        ),
    ]


@cache
def _finder(faces: str) -> FaceFinder:
    """Loaded once in each process."""
    return face_finder(faces)


def _probe(source: Source) -> bytes:
    return json.dumps(probe(source.path, source.settings.limits)).encode()


def stored(source: Source, name: str, key: Any, step: Callable[[], bytes]) -> str | None:
    """Run a step unless its result is there; returns the stored reason where the film is unfit."""
    path = stored_path(source, name, key)
    failed = path.with_suffix(".unfit.json")
    if failed.exists():
        return str(json.loads(failed.read_text())["reason"])
    if path.exists():
        return None
    try:
        write_bytes(path, step())
    except Unfit as unfit:
        write_text(failed, json.dumps({"reason": str(unfit)}))
        return str(unfit)
    return None


def stored_path(source: Source, name: str, key: Any) -> Path:
    digest = hashlib.sha256(json.dumps([VERSIONS[name], key]).encode()).hexdigest()[:10]
    return source.folder / f"{name}-{digest}"


def read_probe(source: Source) -> dict[str, Any]:
    """Columns of the file, or {"reason": ...}."""
    path = stored_path(source, "probe", asdict(source.settings.limits))
    failed = path.with_suffix(".unfit.json")
    found: dict[str, Any] = json.loads((failed if failed.exists() else path).read_text())
    return found


def read_film(source: Source) -> Film:
    """A film's stored measurements."""
    keys = {name: key for name, key, _ in _costly(source)}
    watched, heard = (stored_path(source, name, keys[name]) for name in ("watch", "listen"))
    return Film(_unpacked(Watched, watched), _unpacked(Heard, heard))


def _packed(measured: Watched | Heard) -> bytes:
    """The arrays of a measurement as one .npz, the same bytes every time."""
    file = io.BytesIO()
    np.savez(file, **{f.name: getattr(measured, f.name) for f in fields(measured)})
    return file.getvalue()


def _unpacked(kind: type[Measured], path: Path) -> Measured:
    with np.load(path, allow_pickle=False) as arrays:
        return kind(**{f.name: arrays[f.name] for f in fields(kind)})
