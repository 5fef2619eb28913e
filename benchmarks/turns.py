"""Is a conversation in one recording parted where the second voice begins?

    python -m benchmarks.turns --count 200

Dialogues of the test split, whose turns are known, as they are and in white noise of 20 and 10 dB
-> how often the second turn is found within 0.1 s -> a table and benchmarks/results/turns.json.
Where ../shared is there, also MoChaBench's two-clip recordings of real voices: nobody tells their
turns, but MoCha's own films cut once, amid the pause if there is one: the found turn should begin
at most a second after the cut, or 0.3 s before it.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import share
from benchmarks.machine import keep
from benchmarks.real_speech import MOCHABENCH, recordings
from openmocha.media import FPS, Speech, read_film
from openmocha.toon.cuts import find_cut
from openmocha.toon.stories import make_story
from openmocha.toon.turns import num_samples, spoken_turns
from openmocha.turns import starts_of_turns

NUM_FRAMES = 128
SNR_DB = (None, 20, 10)
NEAR_S = (-0.1, 0.1)
NEAR_CUT_S = (-0.3, 1.0)


def noisy(speech: Speech, snr_db: int | None, rng: np.random.Generator) -> Speech:
    """White noise at a level below that of the speech."""
    if snr_db is None:
        return speech
    level = np.sqrt(np.square(speech).mean()) * 10 ** (-snr_db / 20)
    return (speech + level * rng.standard_normal(len(speech))).astype(np.float32)


def found_near(speech: Speech, start_s: float, between_s: tuple[float, float]) -> bool:
    """Whether the second turn is found between these distances from `start_s`; not, where no turns
    are found."""
    try:
        (found,) = starts_of_turns(speech, 2)
    except ValueError:
        return False
    return between_s[0] <= found - start_s <= between_s[1]


def real_cuts(benchmark: Path) -> list[bool]:
    """Whether the turn found in each real two-clip recording begins near the cut of MoCha's film of
    it."""
    films, hits = benchmark.parent / "mocha-generation", []
    for recording in recordings(benchmark):
        path = films / f"{recording.name}.mp4"
        if "2clip" in recording.name and path.exists():
            film = read_film(path)
            cut = find_cut(film.frames)
            assert cut is not None  # two-clip films cut once (benchmarks.curation_photo)
            hits.append(found_near(recording.speech, cut / film.fps, NEAR_CUT_S))
    return hits


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    hits: dict[str, list[bool]] = {}
    rng = np.random.default_rng(0)
    for seed in range(options.count):
        turns = spoken_turns(make_story(seed, "dialogue", "test"), NUM_FRAMES, FPS)
        speech = np.zeros(num_samples(NUM_FRAMES, FPS), np.float32) + sum(t.speech for t in turns)
        for snr_db in SNR_DB:
            name = "clean" if snr_db is None else f"noise at {snr_db} dB"
            mixed = noisy(speech, snr_db, rng)
            start_s = turns[1].spans[0][0]
            hits.setdefault(name, []).append(found_near(mixed, start_s, NEAR_S))
    figures: dict[str, Any] = {name: share(found) for name, found in hits.items()}
    if MOCHABENCH.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figures["real recordings"] = share(real_cuts(MOCHABENCH))
    print(json.dumps(figures, indent=1))
    content = {"count": options.count, "figures": figures}
    keep("turns", content)


if __name__ == "__main__":
    main()
