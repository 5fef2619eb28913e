"""Where to set thresholds: each one swept, alone, over what a dataset has measured.

Against labels (a CSV of spans with the reason each ought to have, empty where it is good), the
sweep tells what share of good clips stays and of bad ones goes. Without labels the lips' threshold
is swept against the dataset's own clips with their sound swapped and moved: that truth is free.
"""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.clips import Clip
from openmocha.curation.filters import reason_to_drop
from openmocha.curation.lips import (
    LipReader,
    compare,
    heard_in,
    opening_track,
    reader_path,
)
from openmocha.curation.listen import MEL_RATE_HZ
from openmocha.curation.manifest import read_manifest
from openmocha.curation.measure import Source, read_film
from openmocha.curation.settings import KINDS, Settings, Thresholds, load_settings

Row = dict[str, Any]
Array = np.ndarray[Any, Any]

SWEPT = {
    "speech_share": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "dynamic_range_db": (10, 14, 16, 18, 20, 25),
    "face_share": (0.5, 0.6, 0.7, 0.8, 0.9),
    "face_height": (0.06, 0.09, 0.12, 0.16, 0.2, 0.3),
    "frozen": (0.02, 0.05, 0.1, 0.15, 0.3),
    "lip_score": (-0.2, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9),
}
Sweeps = dict[str, list[dict[str, float]]]
SHIFTS_S = (-1.0, -0.5, -0.3, -0.2, 0.2, 0.3, 0.5, 1.0)
PARTNERS = 8  # clips whose sound each clip is given
CLIPS = 400


class NothingToSweep(ValueError):
    """There are too few clips of a kind."""


def tune(dataset: Path, labels: Path | None = None) -> dict[str, Any]:
    """Sweep thresholds over a dataset, its photographed and its drawn films apart. Returns the
    sweeps by kind ("photo", "toon"), and a table of them in words.

    Raises ValueError where the dataset is not one, or holds nothing to sweep over.
    """
    rows = [row for row in read_manifest(dataset) if row["clip_id"] and not row["parts"]]
    if rows and "faces" not in rows[0]:
        raise ValueError(
            f"{dataset} was curated by an older version, which did not note whose faces are "
            "drawn; curate it again (no film is decoded anew)"
        )
    settings = load_settings(dataset / "settings.json")
    told = None if labels is None else read_labels(labels)
    sweeps, tables, nothing = {}, [], []
    for kind in KINDS:
        own = [row for row in rows if row["faces"] == kind]
        try:
            sweeps[kind], table = tune_kind(own, dataset, settings.of(kind), told)
        except NothingToSweep as reason:
            nothing.append(f"{kind}: {reason}")
        else:
            tables.append(f"{kind}\n{table}")
    if not sweeps:
        raise ValueError(f"{dataset} holds nothing to sweep over. {'. '.join(nothing)}")
    return {"sweeps": sweeps, "table": "\n\n".join(tables)}


def tune_kind(
    rows: list[Row], dataset: Path, settings: Settings, labels: list[Row] | None
) -> tuple[Sweeps, str]:
    """The sweeps over the clips of photographed, or of drawn, films, and their table."""
    if labels is not None:
        sweeps = sweep_labels(labelled(rows, labels), settings.thresholds)
        return sweeps, labels_table(sweeps, settings.thresholds)
    sweep = sweep_lips(rows, dataset, settings)
    return {"lip_score": sweep}, lips_table(sweep, settings.thresholds)


# --- against labels ------------------------------------------------------------------------------


def read_labels(path: Path) -> list[Row]:
    """Spans and their reasons. Raises ValueError for a file without the columns."""
    columns = {"path", "start_s", "end_s", "reason"}
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not columns <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} has the columns {reader.fieldnames}; expected {columns}")
        return [
            row | {"start_s": float(row["start_s"]), "end_s": float(row["end_s"])} for row in reader
        ]


def labelled(rows: list[Row], labels: list[Row]) -> list[tuple[Row, bool]]:
    """Clips that a label covers at least half of, and whether it calls them good."""
    found = []
    for row in rows:
        for label in labels:
            if Path(label["path"]).name != Path(row["path"]).name:
                continue
            shared = min(row["end_s"], label["end_s"]) - max(row["start_s"], label["start_s"])
            if shared >= 0.5 * row["duration_s"]:
                found.append((row, not label["reason"].strip()))
                break
    if not found:
        raise NothingToSweep("no clip lies in a labelled span; are the paths the same?")
    return found


def sweep_labels(clips: list[tuple[Row, bool]], thresholds: Thresholds) -> Sweeps:
    """For each threshold and value: the share of good clips kept, of bad ones dropped."""

    def kept(changed: Thresholds, good: bool) -> float:
        chosen = [reason_to_drop(row, changed) is None for row, g in clips if g == good]
        return float(np.mean(chosen)) if chosen else float("nan")

    sweeps = {}
    for name, values in SWEPT.items():
        changed: list[dict[str, Any]] = [{name: value} for value in values]
        changes = [(c[name], replace(thresholds, **c)) for c in changed]
        sweeps[name] = [
            {"value": v, "good_kept": kept(t, True), "bad_dropped": 1 - kept(t, False)}
            for v, t in changes
        ]
    return sweeps


def labels_table(sweeps: Sweeps, thresholds: Thresholds) -> str:
    lines = []
    for name, points in sweeps.items():
        lines.append(f"{name} (now {getattr(thresholds, name):g})")
        lines += [
            f"  {p['value']:>6g}: {p['good_kept']:.1%} of good clips kept, "
            f"{p['bad_dropped']:.1%} of bad ones dropped"
            for p in points
        ]
    return "\n".join(lines)


# --- against the films' own sound, swapped and moved ---------------------------------------------


def sweep_lips(rows: list[Row], dataset: Path, settings: Settings) -> list[dict[str, float]]:
    """For each value of lip_score: the share kept of clips as they are, swapped, and shifted."""
    judged = sorted((r for r in rows if r["lip_score"] is not None), key=lambda r: r["clip_id"])
    if len(judged) < 2:
        raise NothingToSweep(f"the lips of {len(judged)} clips were judged; 2 are needed")
    reader = LipReader.load(reader_path(dataset, settings.faces))
    heard = [open_clip(row, dataset, settings, reader) for row in judged[:CLIPS]]
    own = np.array([score(heard_in(clip)) for clip, score in heard])
    swapped = np.array(
        [
            score(heard_in(heard[(i + step) % len(heard)][0]))
            for i, (_, score) in enumerate(heard)
            for step in range(1, min(PARTNERS, len(heard) - 1) + 1)
        ]
    )
    shifted = np.array(
        [score(moved(clip, shift_s)) for clip, score in heard for shift_s in SHIFTS_S]
    )
    return [
        {"value": v, "own_kept": share(own, v), "swapped_kept": share(swapped, v),
         "shifted_kept": share(shifted, v)}
        for v in SWEPT["lip_score"]
    ]  # fmt: skip


def open_clip(
    row: Row, dataset: Path, settings: Settings, reader: LipReader
) -> tuple[Clip, Callable[[Array], float]]:
    """A clip, and what scores any sound against the mouth of its speaker."""
    source = Source(Path(row["path"]), row["film_id"], dataset / "work", settings)
    clip = Clip(read_film(source), row["scene"], row["start_s"], row["end_s"])
    opening = opening_track(clip, clip.people[row["speaker"]])

    def score(mel: Array) -> float:
        length = min(len(mel), len(opening))
        return compare(reader.guess(row["film_id"], mel)[:length], opening[:length]).score

    return clip, score


def moved(clip: Clip, shift_s: float) -> Array:
    """Mel frames of the clip's sound, later by `shift_s`; the ends repeat what is nearest."""
    mel = heard_in(clip)
    places = np.arange(len(mel)) - round(shift_s * MEL_RATE_HZ)
    return mel[np.clip(places, 0, len(mel) - 1)]


def share(scores: Array, threshold: float) -> float:
    return round(float((scores >= threshold).mean()), 4)


def lips_table(sweep: list[dict[str, float]], thresholds: Thresholds) -> str:
    lines = [f"lip_score (now {thresholds.lip_score:g}): clips kept with their own sound, ..."]
    lines += [
        f"  {p['value']:>6g}: own {p['own_kept']:.1%}, swapped {p['swapped_kept']:.1%}, "
        f"shifted {p['shifted_kept']:.1%}"
        for p in sweep
    ]
    return "\n".join(lines)
