"""The metrics that look at one film and its speech, ready to work.

open_scorer("sync", settings) -> Scorer -> values, note, details of a film

Everything heavy is imported only where a metric is asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from openmocha.curation.endpoint import Endpoint
from openmocha.evaluation.mochabench import Item
from openmocha.evaluation.score_table import content_hash

NO_FACE = "no face that could be followed"
FREE_BY = "free measures 1"  # the number goes up when any of them changes


CHOICES = {
    "variant": ("mochabench", "original"),
    "path": ("fast", "compatible"),
    "faces": ("photo", "toon"),
}


@dataclass(frozen=True)
class Settings:
    """How films are scored. weights: a folder or hub repository of SyncNet's. faces: photo or toon,
    for the measures without weights. endpoint: of the judge. Raises ValueError for names that there
    are not."""

    weights: str | None = None
    variant: str = "mochabench"
    path: str = "fast"
    device: str = "cpu"
    faces: str = "photo"
    endpoint: Endpoint | None = None
    num_frames: int = 32
    lip_advice: bool = True

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            given = getattr(self, name)
            if given not in known:
                raise ValueError(f"{name} is {given!r}; expected {' or '.join(known)}")


class Scorer(NamedTuple):
    """`by` names it with its settings; `score` gives values, a note, and details of one film."""

    by: str
    score: Callable[[Item, Path], tuple[dict[str, float], str, dict[str, Any]]]


def open_scorer(metric: str, settings: Settings) -> Scorer:
    """A metric ready to work. Raises ValueError or OSError where its weights are not there."""
    if metric == "sync":
        return _syncnet(settings)
    if metric == "toon-sync":
        return _toon_sync()
    return _free(settings.faces)


def _syncnet(settings: Settings) -> Scorer:
    from openmocha.evaluation.syncnet import load_scorer, score_film
    from openmocha.evaluation.syncnet.weights import (
        PROVENANCE,
        S3FD_FILES,
        SYNCNET_FILES,
        weights_folder,
    )

    if settings.weights is None:
        raise ValueError(
            "Sync-C and Sync-D need SyncNet's public weights: give the folder with "
            f"syncnet_v2.model and sfd_face.pth as --weights; {PROVENANCE}"
        )
    folder = weights_folder(settings.weights)
    variant, path = cast(Any, settings.variant), cast(Any, settings.path)  # load_scorer checks them
    scorer = load_scorer(folder, variant, path, settings.device)
    files = [folder / name for name in (*SYNCNET_FILES, *S3FD_FILES)]
    by = f"SyncNet, {variant} variant, {path} path, {_weights_id(files)}"

    def score(item: Item, film: Path) -> tuple[dict[str, float], str, dict[str, Any]]:
        found = score_film(film, item.speech, scorer)
        details = {"offsets": list(found.offsets), "num_tracks": found.num_tracks}
        if not found.has_face:  # 0 and 0, as the public script stores them: no values here
            return {}, found.note or NO_FACE, details
        return {"sync_c": found.sync_c, "sync_d": found.sync_d}, found.note, details

    return Scorer(by, score)


def _toon_sync() -> Scorer:
    from openmocha.evaluation.toon_sync import WEIGHTS, load_toon_sync, score_film

    scorer = load_toon_sync()

    def score(item: Item, film: Path) -> tuple[dict[str, float], str, dict[str, Any]]:
        found = score_film(film, item.speech, scorer)
        details = {"offsets": list(found.offsets), "num_tracks": found.num_tracks}
        if not found.has_face:
            return {}, found.note or NO_FACE, details
        values = {"toon_sync_c": found.toon_sync_c, "toon_sync_d": found.toon_sync_d}
        return values, found.note, details

    return Scorer(f"Toon-Sync, {_weights_id(sorted((WEIGHTS / 'toon_sync').iterdir()))}", score)


def _weights_id(files: Sequence[Path]) -> str:
    """Which weights: a short hash of each file that is there."""
    hashes = [content_hash(path) for path in files]
    return "weights " + "+".join(name[:12] for name in hashes if name)


def _free(faces: str) -> Scorer:
    from openmocha.curation.faces import face_finder
    from openmocha.evaluation.free_measures import measure_film

    find_faces = face_finder(faces)

    def score(item: Item, film: Path) -> tuple[dict[str, float], str, dict[str, Any]]:
        measured = measure_film(film, item.speech, item.prompt, find_faces=find_faces)
        return measured, "", {}

    return Scorer(f"{FREE_BY}, {faces} faces", score)
