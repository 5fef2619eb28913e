"""SyncNet's word on kept clips, where a user has its weights (setting `syncnet`).

kept clip -> frames at 25 a second, faces, tracks -> lips against speech -> sync_c, sync_offset

It costs more than all else together, so it is asked last, and only about clips that everything
else keeps. An answer lies in a file named after the clip and the weights: asked once.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.cut import clip_frames, clip_speech
from openmocha.curation.engines import Engine, run
from openmocha.curation.filters import syncnet
from openmocha.curation.probe import Unfit
from openmocha.curation.settings import Settings
from openmocha.whole_file import remove_parts, write_text

Row = dict[str, Any]
Array = np.ndarray[Any, Any]

VERSION = 1  # raise it when clips are scored otherwise than before
FPS, RATE_HZ = 25, 16_000  # SyncNet's
LARGEST_SIDE = 720  # of the shorter side of the frames; the faces are scaled to 224 anyway


@dataclass(frozen=True)
class SyncJob:
    """One clip to be scored, with which weights, and the file for the answer."""

    path: Path
    start_s: float
    end_s: float
    weights: str
    answer: Path


def sync_rows(
    rows: list[Row], folder: Path, settings: Settings, engine: Engine, say: Callable[[str], None]
) -> list[Row]:
    """Ask SyncNet about each kept clip (a conversation's two, not the whole); columns sync_c and
    sync_offset, None where it finds no face. Without weights in the settings nothing happens.

    Raises ValueError for weights that are absent or do not fit.
    """
    if settings.syncnet is None:
        return rows
    _scorer(settings.syncnet)  # wrong weights are said before the work
    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    jobs = {job_of(row, folder, settings.syncnet): row for row in rows if asked(row)}
    say(f"SyncNet is asked about {len(jobs)} clips")
    for job, found in run(engine, sync_of, list(jobs)):
        jobs[job] |= found or {"reason": "set aside: its reader died three times"}
    for row in jobs.values():
        row["reason"] = row["reason"] or syncnet(row, settings.thresholds)
    return without_halves(rows)


def asked(row: Row) -> bool:
    """Of kept clips; SyncNet knows photographed faces only."""
    return row["reason"] is None and not row.get("parts") and row["faces"] == "photo"


def job_of(row: Row, folder: Path, weights: str) -> SyncJob:
    key = hashlib.sha256(json.dumps([VERSION, weights]).encode()).hexdigest()[:10]
    answer = folder / f"{row['clip_id']}-{key}.json"
    return SyncJob(Path(row["path"]), row["start_s"], row["end_s"], weights, answer)


def without_halves(rows: list[Row]) -> list[Row]:
    """A conversation of which a half is dropped is dropped with it; the other half goes alone."""
    by_id = {row["clip_id"]: row for row in rows if row.get("clip_id")}
    for row in rows:
        halves = [by_id[part] for part in row.get("parts") or []]
        reasons = [half["reason"] for half in halves if half["reason"] is not None]
        if row["reason"] is None and reasons:
            row["reason"] = reasons[0]
            for half in halves:
                del half["part_of"]
    return rows


def sync_of(job: SyncJob) -> Row:
    """The columns of one clip: its answer of an earlier run, or a new one."""
    if job.answer.exists():
        found: Row = json.loads(job.answer.read_text())
        return found
    try:
        columns = score_clip(job.path, job.start_s, job.end_s, _scorer(job.weights))
    except Unfit as unfit:
        columns = {"reason": str(unfit)}
    try:
        write_text(job.answer, json.dumps(columns))
    except OSError as error:
        return {"reason": f"set aside: {error}"}
    return columns


@cache
def _scorer(weights: str) -> Any:
    """Loaded once in each process; on a GPU where there is one."""
    import torch

    from openmocha.evaluation.syncnet import load_scorer

    return load_scorer(weights, device="cuda" if torch.cuda.is_available() else "cpu")


def score_clip(path: Path, start_s: float, end_s: float, scorer: Any) -> Row:
    """sync_c and sync_offset (frames at 25 a second, + where lips come after the sound) of the
    most confident face. Raises Unfit where the clip cannot be cut out."""
    from openmocha.evaluation.syncnet.scoring import find_boxes, score_tracks
    from openmocha.evaluation.syncnet.tracks import find_tracks

    times_s = start_s + (np.arange(int((end_s - start_s) * FPS + 1e-3)) + 0.5) / FPS
    frames = clip_frames(path, start_s, times_s, LARGEST_SIDE)
    speech = clip_speech(path, start_s, round(len(frames) / FPS * RATE_HZ))
    samples = np.round(speech.clip(-1, 1) * 32767).astype(np.int16)
    boxes = find_boxes(frames, scorer.find_faces)
    tracks = find_tracks(boxes, [(0, len(frames))], scorer.variant, min_face=scorer.min_face)
    scores = score_tracks(frames, tracks, samples, scorer.network)
    return best_of([(s.confidence, s.offset) for s in scores if s is not None])


def best_of(scores: Sequence[tuple[float, int]]) -> Row:
    """The columns from the (confidence, offset) of a clip's faces."""
    confidence, offset = max(scores, default=(None, None), key=lambda s: s[0])
    return {
        "sync_c": None if confidence is None else round(confidence, 4),
        "sync_offset": offset,
    }
