"""What the speech tokens know: a linear probe reads mouths and speakers from them.

    python -m benchmarks.speech_encoder --encoder runs/speech_encoder/final

Sound of toon stories (no pictures) -> tokens of all layers -> ridge regression fitted on stories of
the train split -> r of each mouth parameter on unseen stories and voices, film by film, next to
what loudness alone reaches; who has the word in dialogues; and the probe on MoChaBench's recordings
of real people, whose pauses silero finds -> benchmarks/results/speech_encoder.json and a table.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from benchmarks.intervals import bootstrap_mean
from benchmarks.loudness import FPS, SAMPLE_RATE_HZ, fit, loudness, predict
from benchmarks.machine import keep
from openmocha.evaluation.toon_scores import pearson
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.toon.augment import augment
from openmocha.toon.mouths import MOUTH, mouth_track

FRAMES = 128
SOURCES = ("close-up", "medium close-up", "dialogue")
RIDGE = 30.0


@dataclass(frozen=True)
class Sound:
    """A story's speech (samples,), its true mouth (T, 4), and who has the word (T,) 0 or 1."""

    source: str
    speech: np.ndarray
    mouth: np.ndarray
    second: np.ndarray


def story_sound(seed: int, source: str, split: str) -> Sound:
    """What a story sounds like, and the mouth of whoever speaks."""
    from openmocha.toon.stories import make_story
    from openmocha.toon.turns import spoken_turns

    turns = spoken_turns(make_story(seed, source, split), FRAMES, FPS)
    mouth = sum((mouth_track(t.phones, FRAMES, FPS) for t in turns), np.zeros((FRAMES, 4)))
    speech = sum((t.speech for t in turns), np.zeros(round(FRAMES / FPS * SAMPLE_RATE_HZ)))
    second = np.zeros(FRAMES)
    if len(turns) == 2 and turns[1].phones:
        second[round(turns[1].phones[0].start_s * FPS) :] = 1
    return Sound(source, speech.astype(np.float32), mouth, second)


def features(encoder: SpeechEncoder, speech: np.ndarray, num_frames: int) -> np.ndarray:
    """(T, layers * width + 1): the tokens and a constant."""
    tokens = rearrange(encoder.encode(speech, num_frames), "t n d -> t (n d)").numpy()
    return np.concatenate([tokens, np.ones((num_frames, 1), np.float32)], axis=1)


def fit_probe(inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray:
    """Ridge regression (features, targets)."""
    x, y = np.concatenate(inputs).astype(np.float64), np.concatenate(targets)
    return np.asarray(np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y))


def unseen_scores(
    encoder: SpeechEncoder, probe: np.ndarray, train: list[Sound], test: list[Sound]
) -> dict[str, Any]:
    """r per mouth parameter, clean and through a recording chain; loudness; dialogue turns."""
    rng = np.random.default_rng(0)
    scores: dict[str, list[float]] = {}
    settings = fit([(s.speech, s.mouth[:, 0]) for s in train if s.source != "dialogue"][:60])
    for sound in test:
        heard = {"clean": sound.speech, "augmented": augment(sound.speech, rng)}
        for name, speech in heard.items():
            read = features(encoder, speech, FRAMES) @ probe
            if sound.source == "dialogue":
                right = np.mean((read[:, 4] > 0.5) == (sound.second > 0.5))
                scores.setdefault(f"{name}/frames with the right speaker", []).append(float(right))
                continue
            for i, parameter in enumerate(MOUTH):
                if sound.mouth[:, i].std() > 0.02:
                    r = pearson(read[:, i], sound.mouth[:, i])
                    scores.setdefault(f"{name}/r {parameter}", []).append(r)
        if sound.source != "dialogue":
            alone = pearson(predict(sound.speech, FRAMES, settings), sound.mouth[:, 0])
            scores.setdefault("loudness alone/r open", []).append(alone)
    return {name: bootstrap_mean(values) for name, values in scores.items()}


def real_scores(encoder: SpeechEncoder, probe: np.ndarray, benchmark: Path) -> dict[str, Any]:
    """The probe's opening on real recordings: in pauses, in speech, and r with loudness."""
    from benchmarks.real_speech import pauses, recordings, voice_activity

    rows = []
    for recording in recordings(benchmark):
        speech = recording.speech
        num_frames = round(len(speech) / SAMPLE_RATE_HZ * FPS)
        opening = (features(encoder, speech, num_frames) @ probe)[:, 0]
        voice = voice_activity(speech, num_frames)
        pause, spoken = pauses(voice), voice >= 0.5
        loud = loudness(speech, num_frames) ** 0.5
        rows.append(
            {
                "name": recording.name,
                "pause": float(np.median(opening[pause])) if pause.any() else np.nan,
                "speech": float(np.median(opening[spoken])),
                "loud": float(np.median(opening[loud > np.percentile(loud, 85)])),
                "spread": float(np.subtract(*np.percentile(opening[spoken], [90, 10]))),
                "r": pearson(opening, loud),
                "r_shifted": pearson(np.roll(opening, FPS // 2), loud),
            }
        )
    keys = ("pause", "speech", "loud", "spread", "r", "r_shifted")
    report: dict[str, Any] = {
        key: bootstrap_mean([r[key] for r in rows if not np.isnan(r[key])]) for key in keys
    }
    closed = [r["pause"] < 0.15 for r in rows if not np.isnan(r["pause"])]
    return report | {"recordings": len(rows), "with pauses": len(closed), "closed": sum(closed)}


def encode_seconds(encoder: SpeechEncoder) -> float:
    """Median seconds for 5.3 s of speech on one thread."""
    torch.set_num_threads(1)
    speech = np.random.default_rng(0).standard_normal(85333).astype(np.float32)
    times = []
    for _ in range(11):
        start = time.perf_counter()
        encoder.encode(speech, FRAMES)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    """Fit, score, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--encoder", type=Path, default=Path("openmocha/weights/toon/speech_encoder")
    )
    parser.add_argument("--train", type=int, default=150, help="stories per source")
    parser.add_argument("--test", type=int, default=60, help="stories per source")
    parser.add_argument("--benchmark", type=Path, help="MoChaBench's benchmark folder")
    parser.add_argument("--name", default="speech_encoder", help="of the result file")
    options = parser.parse_args()
    encoder = SpeechEncoder.from_pretrained(options.encoder)
    train, test = (
        [story_sound(seed, source, split) for source in SOURCES for seed in range(count)]
        for split, count in (("train", options.train), ("test", options.test))
    )
    targets = [np.concatenate([s.mouth, s.second[:, None]], axis=1) for s in train]
    probe = fit_probe([features(encoder, s.speech, FRAMES) for s in train], targets)
    report = {"unseen voices": unseen_scores(encoder, probe, train, test)}
    if options.benchmark:
        report["real recordings"] = real_scores(encoder, probe, options.benchmark)
    for part, rows in report.items():
        for name, value in rows.items():
            text = value if isinstance(value, int) else "{:.3f} [{:.3f}, {:.3f}]".format(*value)
            print(f"| {part} | {name} | {text} |")
    seconds = encode_seconds(encoder)
    print(f"| speed | seconds for 5.3 s of speech, one thread | {seconds:.3f} |")
    content = {"figures": report, "encode_s": seconds}
    keep(options.name, content)


if __name__ == "__main__":
    main()
