"""Are photographed and drawn films told apart (`faces: auto`)?

    python -m benchmarks.curation_kinds ../shared/mochabench/mocha-generation

Drawn ones are 90 of the toon film set, of unseen stories and three sizes; photographed ones are
those of the folder, save --drawn, names of which show drawings. results/curation_kinds.json.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.intervals import share
from benchmarks.machine import keep
from openmocha.curation.kind import film_kind
from openmocha.curation.measure import unfit
from openmocha.curation.pipeline import list_sources
from openmocha.curation.settings import settings_for
from openmocha.media import write_film
from openmocha.toon.films import make_film

SOURCES = ("close-up", "medium close-up", "medium")
SIZES = ((128, 128), (256, 256), (160, 96))
DRAWINGS = ["2_woman_anime_comb_hair.mp4"]
FIRST_SEED = 4000  # of the test split; the balance was set on films of the training split


def kinds_of(place: Path, work: Path) -> dict[str, str]:
    """What each film is taken for, by its path within `place`; what is no film is left out."""
    sources = list_sources([place], work, settings_for("auto"))
    return {str(s.path.relative_to(place)): film_kind(s) for s in sources if unfit(s) is None}


def drawn_films(folder: Path, count: int) -> None:
    """Unseen stories, three sources and three sizes in turn."""
    for number in range(count):
        width, height = SIZES[number // len(SOURCES) % len(SIZES)]
        source = SOURCES[number % len(SOURCES)]
        film = make_film(FIRST_SEED + number, source, split="test", width=width, height=height)
        silence = np.zeros(16_000, np.float32)
        write_film(folder / f"{number:03d}.mp4", film.frames, silence)


def main() -> None:
    """Measure, print, and write results/curation_kinds.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", type=Path)
    parser.add_argument("--count", type=int, default=90, help="drawn films")
    parser.add_argument("--drawn", nargs="*", default=DRAWINGS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "drawn"
        made.mkdir()
        drawn_films(made, given.count)
        drawn = kinds_of(made, Path(folder) / "work")
        started = time.process_time()
        photographed = kinds_of(given.films, Path(folder) / "work")
        core_s = (time.process_time() - started) / len(photographed)
    drawings = [path for path in photographed if Path(path).name in given.drawn]
    others = {path: photographed.pop(path) for path in drawings}
    result: dict[str, Any] = {
        "drawn taken as drawn": share([kind == "toon" for kind in drawn.values()]),
        "photographed taken as photographed": share([k == "photo" for k in photographed.values()]),
        "drawings by other hands": others,
        "core_s_per_film": round(core_s, 2),
    }
    print(json.dumps(result, indent=1))
    keep("curation_kinds", result)


if __name__ == "__main__":
    main()
