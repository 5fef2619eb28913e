"""Scenes of six clips and four people: is the right one of the four seen, does it cut in between?

    python -m benchmarks.scenes --count 12

Two dialogues of the test split as one script: both people of the first, both of the second, and the
first two once more; a recording for each clip. The judge compares whoever is seen with all four;
of the five largest changes of the picture, each should be a cut. Writes results/scenes.json.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conversations import NEAR, script_of
from benchmarks.intervals import share
from benchmarks.machine import keep
from benchmarks.toon_stories import JUDGE, load_pipeline
from openmocha.evaluation.toon_scores import GUARD, look_likelihood
from openmocha.media import FPS, load_speech
from openmocha.prompt import Character, Clip, Script
from openmocha.takes import cuts_between
from openmocha.toon.films import Film, make_film
from openmocha.toon.judge import Judge, load_judge

ORDER = (0, 1, 2, 3, 0, 1)  # who speaks in which clip


@dataclass(frozen=True)
class Scene:
    """A script, the two stories whose people it shows, and the frames at which it should cut."""

    script: Script
    films: tuple[Film, Film]
    cuts: tuple[int, ...]


def make_scene(number: int, folder: Path) -> Scene:
    """Dialogues 2 `number` and 2 `number` + 1 of the test split as one script."""
    seeds = (2 * number, 2 * number + 1)
    first, second = (make_film(seed, "dialogue", split="test", frames=range(1)) for seed in seeds)
    (one, _), (two, _) = script_of(first, folder), script_of(second, folder)
    four = [*one.clips, *(renamed_clip(clip) for clip in two.clips)]
    people = (*one.characters, *(renamed_character(who) for who in two.characters))
    script = Script(people, tuple(four[who] for who in ORDER))
    speeches = [load_speech(file) for file in script.speech_files]
    return Scene(script, (first, second), tuple(cuts_between(speeches, FPS, step=1)))


def renamed(text: str) -> str:
    """Person1 and Person2 become Person3 and Person4."""
    return text.replace("Person1", "Person3").replace("Person2", "Person4")


def renamed_clip(clip: Clip) -> Clip:
    return replace(clip, text=renamed(clip.text))


def renamed_character(who: Character) -> Character:
    return Character(renamed(who.tag), renamed(who.description))


def measure(scene: Scene, frames: np.ndarray, judge: Judge) -> dict[str, Any]:
    """Who is seen in each clip, and how many of the cuts are where they should be."""
    judged = judge.read(frames)
    clips = [(film.truth.story, clip) for film in scene.films for clip in film.truth.story.clips]
    edges = (0, *scene.cuts, len(frames))
    seen = []
    for start, stop in pairwise(edges):
        where = slice(start + GUARD, stop - NEAR)
        seen.append(int(np.argmax([look_likelihood(judged, where, *one) for one in clips])))
    found = largest_changes(frames, len(scene.cuts))
    near = [any(abs(cut - at) <= NEAR for at in found) for cut in scene.cuts]
    return {"seen": seen, "cut": near}


def largest_changes(frames: np.ndarray, count: int) -> Sequence[int]:
    """The frames before which the picture changes most, none within half a second of another."""
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3))
    found: list[int] = []
    for at in np.argsort(-change) + 1:
        if all(abs(at - other) > FPS // 2 for other in found):
            found.append(int(at))
    return found[:count]


def main() -> None:
    """Make, measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon")
    parser.add_argument("--count", type=int, default=12)
    options = parser.parse_args()
    pipeline, judge, rows = load_pipeline(options.model), load_judge(JUDGE), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            scene = make_scene(number, Path(folder))
            made = pipeline(scene.script, seed=number)
            rows.append(measure(scene, made.frames, judge))
            print(number, rows[-1], flush=True)
    figures = {
        "right one of four people in clip": share(
            [seen == asked for row in rows for seen, asked in zip(row["seen"], ORDER, strict=True)]
        ),
        "cut amid the pause": share([cut for row in rows for cut in row["cut"]]),
    }
    print(json.dumps(figures, indent=1))
    content = {"count": options.count, "figures": figures}
    keep("scenes", content)


if __name__ == "__main__":
    main()
