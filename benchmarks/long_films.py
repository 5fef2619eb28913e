"""Films of minutes: do seams show, does the character stay the same, do lips keep up?

    python -m benchmarks.long_films --films 8 --seconds 180

Stories of the test split whose characters go on speaking -> films by the model, pass by pass -> per
film: the picture's change at each seam among the changes of all frames, what the judge reads of
the last two seconds against the first two, the drift of colours (CIE 1976 dE) between those, and r
of the mouth in the first and in the last ten seconds; results/long_films.json.
"""

import argparse
import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import mean, share
from benchmarks.machine import keep
from benchmarks.toon_stories import JUDGE, load_pipeline
from openmocha.continuation import passes
from openmocha.evaluation.toon_scores import LOOKS, pearson
from openmocha.media import FPS, read_film
from openmocha.pipeline import MoChaPipeline
from openmocha.toon.films import Film, film_from_story
from openmocha.toon.judge import Judge, load_judge
from openmocha.toon.labels import NO_ANSWER, visible_labels
from openmocha.toon.sentences import sentence
from openmocha.toon.stories import make_story

SOURCES = ("close-up", "medium close-up")
ENDS = 2 * FPS  # frames that the character is read from


def long_story(seed: int, seconds: float, frames: range = range(1)) -> Film:
    """A character of the test split who speaks sentence after sentence; `frames` are drawn."""
    story = make_story(seed, SOURCES[seed % 2], split="test")
    (clip,) = story.clips
    rng = np.random.default_rng(seed)
    words = " ".join(sentence(rng, "test") for _ in range(round(seconds)))
    story = dataclasses.replace(story, clips=(dataclasses.replace(clip, words=words),))
    return film_from_story(story, num_frames=round(seconds * FPS), frames=frames)


def seams_of(num_frames: int, pipeline: MoChaPipeline) -> list[int]:
    """The first frame that each pass but the first one makes anew."""
    kind = pipeline.backbone.format
    total, longest = (kind.num_latents(n) for n in (num_frames, pipeline.sampling.num_frames))
    later = list(passes(total, longest))[1:]
    return [kind.frames_per_latent * (one.start + one.known) for one in later]


def row_of(film: Film, frames: np.ndarray, seams: list[int], judge: Judge) -> dict[str, Any]:
    """What is measured of one film."""
    first, last = judge.read(frames[:ENDS]), judge.read(frames[-ENDS:])
    labels = visible_labels(film.truth.story, film.truth.story.clips[0])
    asked = [name for name in LOOKS if labels[name][0] != NO_ANSWER]
    seen = [(first.attribute(name), last.attribute(name)) for name in asked]
    pairs = zip(frames, frames[1:], strict=False)
    change = np.array([np.abs(b.astype(int) - a).mean() for a, b in pairs])
    ranks = [float((change < change[seam - 1]).mean()) for seam in seams]
    ten = 10 * FPS
    openings = [judge.read(frames[where]).mouth[:, 0, 0] for where in (np.s_[:ten], np.s_[-ten:])]
    truth = film.truth.mouth[: len(frames), 0]
    return {
        "seed": film.truth.story.seed,
        "camera": film.truth.story.clips[0].camera,
        "same": [a == b for a, b in seen],
        "dE": colour_drift(frames[:ENDS], frames[-ENDS:]),
        "dE_at_once": colour_drift(frames[:ENDS], frames[ENDS : 2 * ENDS]),
        "seam_ranks": ranks,
        "r_first": pearson(openings[0], truth[:ten]),
        "r_last": pearson(openings[1], truth[-ten:]),
    }


def colour_drift(first: np.ndarray, last: np.ndarray) -> float:
    """CIE 1976 dE between the mean colours of two stretches of frames, the mean of a grid of 4 x 4
    fields: small movements stay within a field."""
    import cv2

    means = []
    for frames in (first, last):
        picture = frames.astype(np.float32).mean(0) / 255
        fields = cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA)
        means.append(cv2.cvtColor(fields, cv2.COLOR_RGB2LAB))
    return float(np.linalg.norm(means[0] - means[1], axis=-1).mean())


def true_drift(seed: int, seconds: float) -> dict[str, float]:
    """The same drifts of the true film, whose colours stay: people move, and so does the camera."""
    num_frames = round(seconds * FPS)
    first = long_story(seed, seconds, range(2 * ENDS)).frames
    last = long_story(seed, seconds, range(num_frames - ENDS, num_frames)).frames
    return {
        "true_dE": colour_drift(first[:ENDS], last),
        "true_dE_at_once": colour_drift(first[:ENDS], first[ENDS:]),
    }


def film_path(options: argparse.Namespace, seed: int) -> Path:
    """Where a film is kept."""
    return Path(options.out) / f"{seed}-{options.seconds:.0f}.mp4"


def main() -> None:
    """Make the films that are not there yet, measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="toon")
    parser.add_argument("--films", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--out", type=Path, default=Path("runs/long_films"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pipeline, made = load_pipeline(options.model), False
    for seed in range(options.films):
        film = long_story(seed, options.seconds)
        path = film_path(options, seed)
        if not path.exists():
            started = time.monotonic()
            pipeline.stream(film.caption, film.speech, seed=seed).save(path)
            made = True
            print(f"{path}: {time.monotonic() - started:.0f} s", flush=True)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    judge, rows = load_judge(JUDGE), []
    for seed in range(options.films):
        frames = read_film(film_path(options, seed)).frames
        film = long_story(seed, options.seconds)
        row = row_of(film, frames, seams_of(len(frames), pipeline), judge)
        rows.append(row | true_drift(seed, options.seconds))
        print(json.dumps(rows[-1]), flush=True)
    figures = {
        "character the same": share([same for row in rows for same in row["same"]]),
        "dE of the last two seconds to the first": mean([row["dE"] for row in rows]),
        "dE of the third and fourth second to the first": mean([row["dE_at_once"] for row in rows]),
        "dE of true films, last two seconds to the first": mean([row["true_dE"] for row in rows]),
        "dE of true films, third and fourth second": mean([row["true_dE_at_once"] for row in rows]),
        "seams above the 95th percentile of all changes": share(
            [rank > 0.95 for row in rows for rank in row["seam_ranks"]]
        ),
        "r, first ten seconds": mean([row["r_first"] for row in rows]),
        "r, last ten seconds": mean([row["r_last"] for row in rows]),
    }
    if made:  # of films that were there, nobody knows
        figures["peak memory while films were made, MiB"] = peak_mib
    print(json.dumps(figures, indent=1))
    content = {"seconds": options.seconds, "films": options.films}
    if options.seconds >= 60:
        content |= {"figures": figures, "rows": rows}
        keep("long_films", content)


if __name__ == "__main__":
    main()
