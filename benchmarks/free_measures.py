"""Are the measures without weights worth reading? Mouth motion against loudness on films of people.

    python -m benchmarks.free_measures ../shared/mochabench

MoChaBench's own films with their own speech, with the speech moved by known amounts, and with the
speeches of the other items; against the published Sync-C and Sync-D of the same films. The gate of
a measure that may stand in for lip-sync: shifts found within a frame, AUC above 0.7, Spearman above
0.3 with the published scores. results/free_measures.json.
"""

import argparse
import csv
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.intervals import share
from benchmarks.machine import keep
from openmocha.curation.clips import scenes
from openmocha.curation.faces import photo_faces
from openmocha.curation.settings import Thresholds
from openmocha.evaluation.free_measures import measure_film, watch_film
from openmocha.evaluation.mochabench import Item, film_path, read_benchmark
from openmocha.evaluation.mouth_and_loudness import (
    LARGEST_LAG,
    frame_edges,
    lagged_correlations,
    loudness,
    mouth_motion,
    peak,
)

Array = np.ndarray[Any, Any]
SHIFTS = (-8, -5, -3, -1, 1, 3, 5, 8)  # frames
GATE = {"shift_within_one_frame": 0.9, "auc": 0.7, "spearman_sync_c": 0.3}


@dataclass(frozen=True)
class Mouth:
    """A film's mouth motion (n,), and when its frames begin and end (n + 1,)."""

    item: Item
    motion: Array
    edges_s: Array

    def against(self, speech: Path, late_frames: float = 0.0) -> dict[str, float]:
        """The peak with a speech that begins some frames later."""
        late_s = late_frames * float(np.median(np.diff(self.edges_s)))
        loud = loudness(speech, self.edges_s - late_s)
        return peak(lagged_correlations(loud, self.motion, LARGEST_LAG))


def read_mouth(item: Item, film: Path, find_faces: Any) -> Mouth:
    watched = watch_film(film, find_faces).watched
    motion = mouth_motion(watched, scenes(watched, Thresholds().cut))
    return Mouth(item, motion, frame_edges(watched))


def published(file: Path) -> dict[str, tuple[float, float, list[int]]]:
    """Sync-C, Sync-D and the offset of each face crop in frames, by category/context_id."""
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    return {
        row["video"].replace("\\", "/").removesuffix(".mp4"): (
            float(row["best_conf"]),
            float(row["min_dist"]),
            json.loads(row["offsets"]),
        )
        for row in rows
    }


def shifts(mouths: list[Mouth]) -> dict[str, Any]:
    """Does the lag follow when the speech is moved? Where it would leave the 15 frames that are
    looked at, it cannot."""
    hits: dict[int, list[bool]] = {shift: [] for shift in SHIFTS}
    for mouth in mouths:
        own = mouth.against(mouth.item.speech)["mouth_lag"]
        for shift in SHIFTS:
            if abs(own - shift) <= LARGEST_LAG:
                found = mouth.against(mouth.item.speech, shift)["mouth_lag"]
                hits[shift].append(abs(found - (own - shift)) <= 1)
    return {
        "all": share([hit for found in hits.values() for hit in found]),
        "by_shift": {str(shift): round(float(np.mean(found)), 3) for shift, found in hits.items()},
    }


def swapped(mouths: list[Mouth]) -> list[float]:
    """Every film with every speech that is not its own; items may share one."""
    content = {mouth.item.name: mouth.item.speech.read_bytes() for mouth in mouths}
    return [
        mouth.against(other.item.speech)["mouth_r"]
        for mouth in mouths
        for other in mouths
        if content[mouth.item.name] != content[other.item.name]
    ]


def auc(own: list[float], other: list[float]) -> float:
    """The chance that a film's own speech has the larger correlation."""
    a, b = np.array(own)[:, None], np.array(other)
    return float((a > b).mean() + 0.5 * (a == b).mean())


def rank_agreement(values: list[float], scores: list[float]) -> dict[str, float]:
    """Spearman's rho with its 95% bootstrap interval over films."""
    x, y = np.array(values), np.array(scores)
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(x), size=len(x)) for _ in range(2000)]
    low, high = np.percentile([spearmanr(x[d], y[d])[0] for d in draws], [2.5, 97.5])
    return {"rho": float(spearmanr(x, y)[0]), "low": float(low), "high": float(high), "n": len(x)}


def measures_of(items: list[Item], films: Path) -> dict[str, Any]:
    """Mean and spread of every measure, and how often the shots are as the prompt says."""
    find_faces = photo_faces()
    start_s = time.process_time()
    rows = [
        measure_film(film_path(films, item), item.speech, item.prompt, find_faces) for item in items
    ]
    spent_s = time.process_time() - start_s
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        "processor_s_per_film": round(spent_s / len(rows), 2),
        **{
            name: {"mean": round(float(np.nanmean(v)), 4), "sd": round(float(np.nanstd(v)), 4)}
            for name, v in columns.items()
        },
    }


def judge(result: dict[str, Any]) -> dict[str, bool]:
    """Which gates are passed."""
    values = {
        "shift_within_one_frame": result["shift"]["all"]["value"],
        "auc": result["auc_swapped"],
        "spearman_sync_c": result["sync_c"]["rho"],
    }
    return {name: values[name] > least for name, least in GATE.items()}


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of MoChaBench")
    folder = parser.parse_args().folder
    films = folder / "mocha-generation"
    items = [
        item
        for item in read_benchmark(folder)
        if film_path(films, item).is_file() and item.speech.is_file()
    ]
    read = partial(read_mouth, find_faces=photo_faces())
    mouths = [read(item, film_path(films, item)) for item in items]
    mouths = [m for m in mouths if np.isfinite(m.against(m.item.speech)["mouth_r"])]
    own = [mouth.against(mouth.item.speech) for mouth in mouths]
    scores = published(folder / "eval-lipsync/mocha-eval-results/sync_scores.csv")
    r = [found["mouth_r"] for found in own]
    result = {
        "films": len(items),
        "with_a_mouth": len(mouths),
        "own_r_mean": float(np.mean(r)),
        "own_lags": sorted(int(found["mouth_lag"]) for found in own),
        "own_lag_within_two_frames": share([abs(found["mouth_lag"]) <= 2 for found in own]),
        "published_offset_within_one_frame": share(
            [min(map(abs, scores[m.item.name][2])) <= 1 for m in mouths]
        ),
        "shift": shifts(mouths),
        "auc_swapped": auc(r, swapped(mouths)),
        "sync_c": rank_agreement(r, [scores[m.item.name][0] for m in mouths]),
        "sync_d": rank_agreement(r, [scores[m.item.name][1] for m in mouths]),
    }
    result |= {"gate": GATE, "passed": judge(result), "measures": measures_of(items, films)}
    result = rounded(result)
    print(json.dumps(result, indent=1))
    keep("free_measures", result)


if __name__ == "__main__":
    main()
