"""Two people in one shot who take turns: does the right one talk, and the other keep their mouth
still?

    python -m benchmarks.two_in_a_shot --count 24

Dialogues of the test split as a script that shows both people in one medium shot all the time; each
turn is a recording of its own. The judge reads whose mouth moves in which turn, and whether the
picture cuts, which it should not. Writes results/two_in_a_shot.json.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conversations import NEAR, script_of
from benchmarks.intervals import mean, share
from benchmarks.machine import keep
from benchmarks.toon_stories import JUDGE, load_pipeline
from openmocha.contact_sheet import SheetFrames, contact_sheet, write_png
from openmocha.evaluation.toon_scores import GUARD
from openmocha.prompt import Clip, Script
from openmocha.toon.captions import background
from openmocha.toon.cuts import find_cut
from openmocha.toon.films import make_film
from openmocha.toon.judge import Judge, load_judge
from openmocha.toon.stories import story_rng

TAGS = ("Person1", "Person2")  # from left to right


def make_script(number: int, folder: Path) -> tuple[Script, int]:
    """Dialogue `number` of the test split in one shot, and the frame between its two turns."""
    film = make_film(number, "dialogue", split="test", frames=range(1))
    script, turn = script_of(film, folder)
    scene = " ".join(background(story_rng("shot", number), film.truth.story, 0.0))
    words = "A medium shot of Person1 on the left and Person2 on the right, who are talking."
    clips = (
        Clip(f"{words} {scene}", tag, clip.speech)
        for tag, clip in zip(TAGS, script.clips, strict=True)
    )
    return replace(script, clips=tuple(clips), gaps=None), turn


def measure(frames: np.ndarray, turn: int, judge: Judge) -> dict[str, Any]:
    """How much the mouths of speaker and listener move in each turn, and whether it cuts."""
    judged = judge.read(frames)
    moves = []
    for speaker, where in enumerate((slice(0, turn - NEAR), slice(turn + GUARD, None))):
        motion = np.abs(np.diff(judged.mouth[where, :2, 0], axis=0)).mean(0)
        moves.append([float(motion[speaker]), float(motion[1 - speaker])])
    return {"moves": moves, "two": judged.num_people() == 2, "cut": find_cut(frames) is not None}


def main() -> None:
    """Make, measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--together", action="store_true", help="one take, as in the paper")
    parser.add_argument("--picture", type=Path, help="a frame per half second of the first film")
    parser.add_argument("--name", default="two_in_a_shot", help="of the file in benchmarks/results")
    options = parser.parse_args()
    pipeline, judge, rows = load_pipeline(options.model), load_judge(JUDGE), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            script, turn = make_script(number, Path(folder))
            made = pipeline(script, seed=number, together=options.together)
            rows.append(measure(made.frames, turn, judge))
            if options.picture is not None and number == 0:
                shown = SheetFrames()
                shown(made.frames)
                write_png(options.picture, contact_sheet(shown.kept, columns=8))
            print(number, rows[-1], flush=True)
    moves = [turn for row in rows for turn in row["moves"]]
    figures = {
        "right one talks": share([speaker > listener for speaker, listener in moves]),
        "motion of the speaker's mouth": mean([speaker for speaker, _ in moves]),
        "motion of the listener's mouth": mean([listener for _, listener in moves]),
        "right one talks, where the judge sees two": share(
            [speaker > listener for row in rows if row["two"] for speaker, listener in row["moves"]]
        ),
        "two people": share([row["two"] for row in rows]),
        "no cut": share([not row["cut"] for row in rows]),
    }
    print(json.dumps(figures, indent=1))
    model = Path(options.model).name  # where it lies is nobody else's business
    made_with = {"model": model, "count": options.count, "together": options.together}
    content = {**made_with, "figures": figures}
    keep(options.name, content)


if __name__ == "__main__":
    main()
