"""How well curation finds what is wrong with films whose truth is known: toon programmes of unseen
stories and voices, curated as a user would.

    python -m benchmarks.curation_toon --programmes 6 --scenes 39

Precision and recall of each kind of fault (for its own reason), cuts, spans of speech, shot sizes,
who speaks, conversations; results/curation_toon.json.
"""

import argparse
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep
from openmocha.curation.engines import Engine
from openmocha.curation.pipeline import curate
from openmocha.curation.settings import settings_for
from openmocha.media import FPS
from openmocha.toon.programmes import FAULTS, render_programme

Row = dict[str, Any]
FIRST_SEED = 3000  # thresholds were chosen on programmes 11 to 13 and 40 to 69 of the split "train"
LONG_PAUSE_S = 0.4  # shorter ones may be bridged by a detector and by its truth
NEAR_S = 0.1


def render(folder: Path, num_programmes: int, num_scenes: int) -> None:
    """The programmes that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(FIRST_SEED, FIRST_SEED + num_programmes):
        if not (folder / f"{seed}.json").exists():
            render_programme(seed, num_scenes, folder / f"{seed}.mp4", split="test")


def scenes_of(folder: Path, rows: list[Row]) -> list[tuple[Row, list[Row]]]:
    """Each true scene with the clips whose middle lies in it."""
    found = []
    for file in sorted(folder.glob("*.json")):
        clips = [r for r in rows if Path(r["path"]).stem == file.stem]
        for truth in json.loads(file.read_text())["scenes"]:
            start, end = span_of(truth)
            inside = [r for r in clips if start <= (r["start_s"] + r["end_s"]) / 2 < end]
            found.append((truth, inside))
    return found


def span_of(truth: Row) -> tuple[float, float]:
    first = truth["first_frame"] / FPS
    return first, first + truth["num_frames"] / FPS


def reasons(scenes: list[tuple[Row, list[Row]]]) -> dict[str, Any]:
    """Precision and recall of every fault's own reason, and of keeping what is good; by clips."""
    pairs = Counter(
        (FAULTS.get(truth["kind"], "kept"), row["reason"] or "kept")
        for truth, rows in scenes
        for row in rows
        if not row["parts"]
    )
    result = {}
    for reason in ["kept", *FAULTS.values()]:
        right = pairs[reason, reason]
        true = sum(n for (truth, _), n in pairs.items() if truth == reason)
        given = sum(n for (_, said), n in pairs.items() if said == reason)
        result[reason] = {
            "precision": round(right / max(given, 1), 4),
            "recall": round(right / max(true, 1), 4),
            "clips": true,
        }
    mistaken = [[a, b, n] for (a, b), n in sorted(pairs.items()) if a != b]
    return {"reasons": result, "mistaken": mistaken}


def cuts(folder: Path, rows: list[Row]) -> dict[str, Any]:
    """F1 of cuts, exact to the frame."""
    hits = found = true = 0
    for file in sorted(folder.glob("*.json")):
        scenes = json.loads(file.read_text())["scenes"]
        truth = {s["first_frame"] for s in scenes[1:]} | {
            c for s in scenes for c in s["cut_frames"]
        }
        clips = [r for r in rows if Path(r["path"]).stem == file.stem and not r["parts"]]
        by_scene = {r["scene"]: r["start_s"] for r in reversed(clips)}
        starts = {round(s * FPS) for s in by_scene.values() if s > 0}
        hits, found, true = hits + len(starts & truth), found + len(starts), true + len(truth)
    return {"f1": round(2 * hits / (found + true), 4), "found": found, "true": true, "hits": hits}


def speech_edges(scenes: list[tuple[Row, list[Row]]]) -> dict[str, Any]:
    """The share of beginnings and ends of speech that are found within 0.1 s, of all scenes in
    which speech is heard clearly; of each scene in which some are not, how far those are off."""
    off: list[float] = []
    missed: list[list[float]] = []
    for truth, rows in scenes:
        if truth["kind"] in ("music", "noise", "loud background"):
            continue
        found = [span for row in rows if not row["parts"] for span in row["speech_s"]]
        edges = [(span[k], k) for span in long_spans(truth["speech_s"]) for k in (0, 1)]
        here = [min((abs(f[k] - at) for f in found), default=9.0) for at, k in edges]
        off += here
        missed.append([round(error, 2) for error in here if error > NEAR_S])
    return {
        "within_0.1_s": round(float((np.array(off) <= NEAR_S).mean()), 4),
        "median_s": round(float(np.median(off)), 4),
        "edges": len(off),
        "missed_by_scene_s": [errors for errors in missed if errors],
    }


def long_spans(spans: list[list[float]]) -> list[list[float]]:
    """Spans with pauses shorter than 0.4 s closed."""
    joined: list[list[float]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < LONG_PAUSE_S:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    return [span for span in joined if span[1] - span[0] >= 0.25]


def descriptions(scenes: list[tuple[Row, list[Row]]]) -> dict[str, Any]:
    """Shot sizes and speakers of kept clips, and conversations of two clips."""
    shots, speakers, conversations = [], [], []
    claimed = sum(bool(row["parts"]) for _, rows in scenes for row in rows)
    for truth, rows in scenes:
        if truth["kind"] == "dialogue":
            start, end = span_of(truth)
            both = [r for r in rows if r["parts"]]
            conversations.append(
                any(abs(r["start_s"] - start) + abs(r["end_s"] - end) < NEAR_S for r in both)
            )
            continue
        for row in rows:
            if row["reason"] is None and truth["kind"] in ("talk", "pair"):
                shots.append(row["shot"] == truth["shot"])
                speakers.append(row["speaker"] == truth["speaker"])
    return {
        "shot": round(float(np.mean(shots)), 4),
        "speaker": round(float(np.mean(speakers)), 4),
        "clips": len(shots),
        "conversations": {
            "true": len(conversations),
            "claimed": claimed,
            "recall": round(float(np.mean(conversations)), 4),
            "precision": round(sum(conversations) / max(claimed, 1), 4),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programmes", type=int, default=6)
    parser.add_argument("--scenes", type=int, default=39)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "programmes")
    given = parser.parse_args()
    films = given.folder / f"{given.programmes}x{given.scenes}"
    render(films, given.programmes, given.scenes)
    engine = Engine("cores", os.cpu_count() or 1)
    rows = curate([films], given.folder / "dataset", settings_for("toon"), engine, print).rows
    rows = [row | {"parts": row.get("parts")} for row in rows if row.get("clip_id")]
    scenes = scenes_of(films, rows)
    result = {
        "programmes": given.programmes,
        "scenes": len(scenes),
        **reasons(scenes),
        "cuts": cuts(films, rows),
        "speech": speech_edges(scenes),
        **descriptions(scenes),
    }
    print(json.dumps(result, indent=1))
    keep("curation_toon", result)


if __name__ == "__main__":
    main()
