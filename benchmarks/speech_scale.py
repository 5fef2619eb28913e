"""Does strong speech guidance over-act? Mouths and gestures at several scales, beside true films'.

    python -m benchmarks.speech_scale --films 12

Unseen stories in close shots -> a film at each scale of speech guidance (quality "high": "fast" has
its own) -> the judge: how far the mouth opens (its spread and its 95th percentile over the film),
and how large the beats of head and hands are -> their means, and the share of films that are within
the central 95% of true films; results/speech_scale.json.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import mean, share
from benchmarks.machine import keep
from benchmarks.toon_stories import JUDGE, load_pipeline
from openmocha.evaluation.toon_scores import CLOSE, beats, pearson
from openmocha.toon.films import Film, make_film
from openmocha.toon.judge import Judge, load_judge

SCALES = (1.0, 3.0, 6.0, 9.0, 12.0)
FIRST_SEED = 500  # beyond the stories of toon_stories
MIDDLE = (2.5, 97.5)  # percentiles of true films


@dataclass(frozen=True)
class Acting:
    """What is seen of one film: the opening's deviation and 95th percentile, the deviation of
    beats, and r of the opening with the truth."""

    spread: float
    widest: float
    beats: float
    r: float


def main() -> None:
    """Make the films, judge, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon", help="name or folder")
    parser.add_argument("--films", type=int, default=12, help="at each scale")
    parser.add_argument("--true-films", type=int, default=80)
    options = parser.parse_args()
    judge, pipeline = load_judge(JUDGE), load_pipeline(options.model)
    true = [acting(judge, film, film.frames) for film in close_films(options.true_films)]
    report = {"true films": figures(true, true)}
    for scale in SCALES:
        made = []
        for film in close_films(options.films):
            seed = film.truth.story.seed
            output = pipeline(film.caption, film.speech, speech_guidance_scale=scale, seed=seed)
            made.append(acting(judge, film, output.frames))
        report[f"speech guidance {scale:g}"] = figures(made, true)
        print(f"speech guidance {scale:g}: {len(made)} films", flush=True)
    print(json.dumps(report, indent=1))
    content = {"model": Path(options.model).name, "figures": report}
    keep("speech_scale", content)


def close_films(count: int) -> Iterator[Film]:
    """True films of the test split, close-ups and medium close-ups in turn."""
    for number in range(count):
        yield make_film(FIRST_SEED + number, CLOSE[number % len(CLOSE)], split="test")


def acting(judge: Judge, film: Film, frames: np.ndarray) -> Acting:
    """How much a film's speaker moves mouth, head and hands."""
    judged = judge.read(frames)
    opening = judged.mouth[:, 0, 0]
    return Acting(
        spread=float(opening.std()),
        widest=float(np.percentile(opening, 95)),
        beats=float(beats(judged.pose[:, 0]).std()),
        r=pearson(opening, film.truth.mouth[: len(frames), 0]),
    )


def figures(films: list[Acting], true: list[Acting]) -> dict[str, Any]:
    """Means over films, and the share of them within the middle of true ones in each measure."""
    result: dict[str, Any] = {}
    for name in ("spread", "widest", "beats"):
        low, high = np.percentile([getattr(film, name) for film in true], MIDDLE)
        values = [getattr(film, name) for film in films]
        result[name] = mean(values)
        result[f"{name} within true films' range"] = share([bool(low <= v <= high) for v in values])
    return result | {"r": mean([film.r for film in films])}


if __name__ == "__main__":
    main()
