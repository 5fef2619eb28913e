"""Two-clip conversations: is the right person seen, does the picture cut where it should?

    python -m benchmarks.conversations --count 24

Dialogues of the test split; each turn is a recording of its own. A film of a take per clip
(takes.py) beside a film of the same sound in one pass, as in the paper. The judge reads who is
seen; results/conversations.json.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import mean, share
from benchmarks.machine import keep
from benchmarks.toon_stories import JUDGE, load_pipeline
from openmocha.contact_sheet import SheetFrames, contact_sheet, write_png
from openmocha.evaluation.toon_scores import identity_right
from openmocha.evaluation.toon_sync import load_toon_sync, score_frames
from openmocha.media import FPS, SPEECH_RATE_HZ, load_speech, write_film
from openmocha.output import MoChaOutput
from openmocha.prompt import Script, parse_prompt
from openmocha.takes import GAP_S
from openmocha.toon.cuts import find_cut
from openmocha.toon.films import Film, make_film
from openmocha.toon.judge import load_judge
from openmocha.toon.turns import spoken_turns

PICTURED = 1  # the first story with near shots, whatever it looks like
NEAR = 2  # frames between the cut that is seen and the middle of the pause
Row = dict[str, Any]


def script_of(film: Film, folder: Path) -> tuple[Script, int]:
    """The story's template with a recording for each clip, and the frame amid their pause."""
    script, clips, first_s = parse_prompt(film.caption), [], 0.0
    turns = spoken_turns(film.truth.story, len(film.truth.mouth), FPS)
    for number, (clip, turn) in enumerate(zip(script.clips, turns, strict=True)):
        start_s, end_s = turn.spans[0][0], turn.spans[-1][1]
        sound = turn.speech[round(start_s * SPEECH_RATE_HZ) : round(end_s * SPEECH_RATE_HZ)]
        path = folder / f"{film.truth.story.seed}-{number}.mp4"
        num_frames = int(np.ceil((end_s - start_s) * FPS))
        write_film(path, np.zeros((num_frames, 16, 16, 3), np.uint8), sound, FPS, {})
        clips.append(replace(clip, speech=path))
        first_s = first_s or len(load_speech(path)) / SPEECH_RATE_HZ  # as coded, so a bit longer
    return replace(script, clips=tuple(clips)), round((first_s + GAP_S / 2) * FPS)


class Measures:
    """The judge and Toon-Sync, loaded once."""

    def __init__(self) -> None:
        self.judge, self.sync = load_judge(JUDGE), load_toon_sync()

    def row(self, film: Film, made: MoChaOutput, pause: int) -> Row:
        """Right person in either clip; a cut in the pause; Toon-Sync-C."""
        judged, found = self.judge.read(made.frames), find_cut(made.frames)
        truth = replace(film.truth, cut_frame=pause)
        assert made.speech is not None
        return {
            "right": [identity_right(judged, truth, number) for number in range(2)],
            "cut": found is not None and abs(found - pause) <= NEAR,
            "sync_c": score_frames(made.frames, made.speech, self.sync).toon_sync_c,
        }


def figures(rows: list[Row]) -> Row:
    """Shares and means with their intervals."""
    return {
        "right person in clip": share([bool(right) for row in rows for right in row["right"]]),
        "cut amid the pause": share([row["cut"] for row in rows]),
        "Toon-Sync-C": mean([row["sync_c"] for row in rows if np.isfinite(row["sync_c"])]),
    }


def write_picture(pipeline: Any, folder: Path, path: Path) -> None:
    """The README's picture: a dialogue whose first clip comes again, a frame per half second."""
    film = make_film(PICTURED, "dialogue", split="test", frames=range(1))
    script, _ = script_of(film, folder)
    again = replace(script, clips=(*script.clips, script.clips[0]))
    shown = SheetFrames()
    shown(pipeline(again, seed=PICTURED).frames)
    write_png(path, contact_sheet(shown.kept, columns=8))


def main() -> None:
    """Make both films of every dialogue, measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="toon")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--picture", type=Path, help="only draw the README's picture")
    options = parser.parse_args()
    pipeline = load_pipeline(options.model)
    if options.picture is not None:
        with tempfile.TemporaryDirectory() as folder:
            return write_picture(pipeline, Path(folder), options.picture)
    measures = Measures()
    rows: dict[str, list[Row]] = {"a take per clip": [], "one pass": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.count):
            film = make_film(seed, "dialogue", split="test", frames=range(1))
            script, pause = script_of(film, Path(folder))
            for (name, kept), together in zip(rows.items(), (False, True), strict=True):
                made = pipeline(script, seed=seed, together=together)
                kept.append(measures.row(film, made, pause))
                print(seed, name, kept[-1], flush=True)
    result = {name: figures(kept) for name, kept in rows.items()}
    print(json.dumps(result, indent=1))
    content = {"count": options.count, "figures": result}
    keep("conversations", content)


if __name__ == "__main__":
    main()
