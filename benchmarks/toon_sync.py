"""Is Toon-Sync fit to be used? Are shifts of the sound found, is own speech told from others'?

python -m benchmarks.toon_sync --films 120 --first-seed 1000

Films of unseen stories and voices, drawn, written as mp4 and read again, faces found by the finder:
nothing of the truth is used. The gates: shifts of -5 to 5 frames found exactly in 95% of all
cases, area under the ROC curve of own against swapped speech 0.98. Exits 1 where one is missed.
Films 0 to 119 were looked at while the network was made; those from 1000 on were not.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.intervals import share
from benchmarks.machine import keep
from openmocha.evaluation.toon_sync import (
    ToonSyncScorer,
    load_toon_sync,
    mouths_of,
    parts_of,
    score_mouths,
)
from openmocha.media import load_speech, read_film, write_film
from openmocha.toon.films import FPS, make_film
from openmocha.toon.voices import SAMPLE_RATE_HZ

SOURCES = ("close-up", "medium close-up", "medium", "dialogue")
SHIFTS = range(-5, 6)
SWAPS = 3  # other films' speeches for each film
LEAST_FILMS = len(SOURCES) * (SWAPS + 1)  # with fewer, a film's own speech would be among them
GATES = {"shifts found exactly": 0.95, "auc": 0.98}


def main() -> None:
    """Measure, print, and write results/toon_sync.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=120)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--split", default="test", choices=("train", "test"))
    parser.add_argument("--weights", type=Path, help="folder of another network")
    options = parser.parse_args()
    if options.films < LEAST_FILMS:
        parser.error(f"--films {options.films}: expected {LEAST_FILMS} or more, to swap speeches")
    torch.set_num_threads(1)
    scorer = load_toon_sync(options.weights)
    films = [film_of(options.first_seed + i, options.split) for i in range(options.films)]
    rows = [row_of(number, films, scorer) for number in range(len(films))]
    figures = {source: figures_of([r for r in rows if r["source"] == source]) for source in SOURCES}
    figures["all"] = figures_of(rows)
    for source, found in figures.items():
        print(source, json.dumps(found))
    asked = {name: getattr(options, name) for name in ("films", "first_seed", "split")}
    if options.weights is None and options.split == "test":
        keep("toon_sync", {**asked, "figures": figures})
    missed = [name for name, gate in GATES.items() if figures["all"][name]["value"] < gate]
    if missed:
        raise SystemExit(f"gates missed: {', '.join(missed)}")


def film_of(seed: int, split: str) -> dict[str, Any]:
    """A film as a user's file would give it: pixels through H.264, sound through AAC."""
    source = SOURCES[seed % len(SOURCES)]
    film = make_film(seed, source, split=split)
    assert film.speech is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_film(path, film.frames, film.speech, FPS, {})
        return {"source": source, "frames": read_film(path).frames, "speech": load_speech(path)}


def row_of(number: int, films: list[dict[str, Any]], scorer: ToonSyncScorer) -> dict[str, Any]:
    """Offsets found for all shifts, and confidences of own and others' speech."""
    film = films[number]
    mouths = mouths_of(partial(parts_of, film["frames"]), scorer)
    found = {k: score_mouths(mouths, shifted(film["speech"], k), scorer) for k in SHIFTS}
    others = [films[(number + 4 * (i + 1)) % len(films)] for i in range(SWAPS)]  # same source
    swapped = [score_mouths(mouths, other["speech"], scorer) for other in others]
    seen = found[0].has_face
    return {
        "source": film["source"],
        "has_face": seen,
        # sound that comes k frames late fits lips of k frames before: SyncNet's sign
        "exact": [seen and found[k].offsets[0] == -k for k in SHIFTS],
        "own": found[0].toon_sync_c,
        "distance": found[0].toon_sync_d,
        "swapped": [s.toon_sync_c for s in swapped if s.has_face],
    }


def shifted(speech: np.ndarray, frames: int) -> np.ndarray:
    """The speech `frames` later (earlier if negative), silence where there is none."""
    moved = np.zeros_like(speech)
    samples = round(frames / FPS * SAMPLE_RATE_HZ)
    if samples >= 0:
        moved[samples:] = speech[: len(speech) - samples]
    else:
        moved[:samples] = speech[-samples:]
    return moved


def figures_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The two gates, and the usual values."""
    seen = [row for row in rows if row["has_face"]]
    own = np.array([row["own"] for row in seen])
    swapped = np.array([c for row in seen for c in row["swapped"]])
    rng = np.random.default_rng(0)
    drawn = [auc_of([seen[i] for i in rng.integers(len(seen), size=len(seen))]) for _ in range(500)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "faces": share([row["has_face"] for row in rows]),
        "shifts found exactly": share([hit for row in rows for hit in row["exact"]]),
        "auc": {"value": auc_of(seen), "low": float(low), "high": float(high), "n": len(seen)},
        "toon_sync_c": float(own.mean()),
        "toon_sync_d": float(np.mean([row["distance"] for row in seen])),
        "toon_sync_c of swapped": float(swapped.mean()),
    }


def auc_of(rows: list[dict[str, Any]]) -> float:
    """How often a film's own speech has a higher C than a foreign one on any film."""
    own = np.array([row["own"] for row in rows])
    swapped = np.array([c for row in rows for c in row["swapped"]])
    return float(np.mean(own[:, None] > swapped))


if __name__ == "__main__":
    main()
