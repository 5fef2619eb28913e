"""The README's pictures and films: those of unseen stories beside the true ones, not selected.

    python -m benchmarks.contact_sheet runs/toon_stories --output docs/films.png
    python -m benchmarks.contact_sheet runs/toon_stories --worst 6 --output docs/failures.png
    python -m benchmarks.contact_sheet runs/toon_stories --play docs

Takes the films that benchmarks.toon_stories has kept: the first two close-ups and medium close-ups,
the first medium shot and the first dialogue, or those that failed most. With --play the first
close-up and the first dialogue as films with sound, the true film to the right.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.toon_stories import film_path
from openmocha.contact_sheet import write_png
from openmocha.media import FPS, write_film
from openmocha.toon.films import make_film

STORIES = (
    (0, "close-up"),
    (1, "close-up"),
    (6, "medium close-up"),
    (7, "medium close-up"),
    (11, "medium"),
    (15, "dialogue"),
)
PLAYED = (STORIES[0], STORIES[-1])
SHOWN = range(8, 128, 20)  # frames, from left to right


def main() -> None:
    """Read the kept films, draw the true ones, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("films", type=Path, help="folder of benchmarks.toon_stories")
    parser.add_argument("--output", type=Path, default=Path("docs/films.png"))
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--worst", type=int, help="instead so many films that obey least")
    other.add_argument("--play", type=Path, help="instead two films, into this folder")
    options = parser.parse_args()
    if options.play is not None:
        return play(options.films, options.play)
    stories = STORIES if options.worst is None else worst(options.films, options.worst)
    rows = []
    for seed, source in stories:
        with np.load(film_path(options.films, seed, source)) as kept:
            rows.append(kept["frames"])
        rows.append(make_film(seed, source, split="test").frames)
    write_png(options.output, np.concatenate([strip(frames) for frames in rows]))


def play(films: Path, folder: Path) -> None:
    """Write PLAYED as mp4."""
    for seed, source in PLAYED:
        true = make_film(seed, source, split="test")
        with np.load(film_path(films, seed, source)) as kept:
            both = np.concatenate([kept["frames"], true.frames], axis=2)
        write_film(folder / f"{source}.mp4", both, true.speech, FPS, {"prompt": true.caption})


def worst(films: Path, count: int) -> list[tuple[int, str]]:
    """The stories whose films have the fewest attributes right, the worst first."""
    rows = json.loads((films / "rows.json").read_text())["generated"]

    def obeyed(row: dict[str, Any]) -> float:
        return float(np.mean([asked == seen for _, asked, seen in row["attributes"]]))

    return [(row["seed"], row["source"]) for row in sorted(rows, key=obeyed)[:count]]


def strip(frames: np.ndarray) -> np.ndarray:
    """Some frames of a film (T, H, W, 3) side by side."""
    return np.concatenate([frames[t] for t in SHOWN], axis=1)


if __name__ == "__main__":
    main()
