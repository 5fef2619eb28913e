"""Where a real recording says p, b or m, by two recognisers that agree (pocketsphinx, English).

    recording -> words, and the phones in them -> p, b, m | that a loop of phones hears there too
    python -m benchmarks.labials --count 20       # how many are right, in voices that are known

Nobody has written down what the recordings of MoChaBench say. Words bring in what sounds likely in
a sentence, the loop of phones knows nothing but sounds: each alone is often wrong. Synthetic voices
are harder than people's, which the recognisers learnt from.
"""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.intervals import share
from benchmarks.machine import keep
from openmocha.evaluation.toon_scores import CLOSE, PRESSED
from openmocha.toon.films import make_film

LABIALS = ("P", "B", "M")
HOP_S = 0.01
APART_S = 0.03  # at most, between a true phone and what is heard of it
Span = tuple[float, float]  # seconds


def heard_labials(speech: np.ndarray) -> list[Span]:
    """Where both hear one of the three in `speech` (samples,) at 16 kHz, perhaps not the same: the
    times of those in words that lie half or more in one of the loop's."""
    sound = (speech / max(np.abs(speech).max(), 1e-9) * 30_000).astype(np.int16).tobytes()
    loop = labials_of_loop(sound)
    return [
        (start, stop)
        for start, stop in labials_of_words(sound)
        if any(min(end, stop) - max(begin, start) >= (stop - start) / 2 for begin, end in loop)
    ]


def labials_of_words(sound: bytes) -> list[Span]:
    """By the likeliest words, whose phones are then aligned with the sound."""
    words = recogniser("words")
    decode(words, sound)
    if words.hyp() is None:
        return []
    words.set_alignment()  # the next decoding aligns what this one found
    decode(words, sound)
    phones = [phone for word in words.get_alignment() for phone in word]
    words.activate_search()
    found = [(p.start, p.start + p.duration) for p in phones if p.name in LABIALS]
    return [(HOP_S * first, HOP_S * last) for first, last in found]


def labials_of_loop(sound: bytes) -> list[Span]:
    """By the likeliest phones, words or not."""
    loop = recogniser("loop")
    decode(loop, sound)
    found = [(s.start_frame, s.end_frame + 1) for s in loop.seg() if s.word in LABIALS]
    return [(HOP_S * first, HOP_S * last) for first, last in found]


@lru_cache(2)
def recogniser(kind: str):  # type: ignore[no-untyped-def]
    """pocketsphinx's decoder of "words" or of a "loop" of phones, with its own English model."""
    from pocketsphinx import Config, Decoder, get_model_path

    model = Path(get_model_path()) / "en-us"
    settings: dict[str, object] = {"hmm": str(model / "en-us"), "loglevel": "FATAL"}
    if kind == "words":
        settings |= {
            "lm": str(model / "en-us.lm.bin"),
            "dict": str(model / "cmudict-en-us.dict"),
        }
    else:
        # beams so wide that nothing is given up on the way: the default ones find hardly anything
        wide = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80, "maxhmmpf": -1}
        settings |= {"allphone": str(model / "en-us-phone.lm.bin"), "lw": 2.0, **wide}
    return Decoder(Config(**settings))


def decode(decoder, sound: bytes) -> None:  # type: ignore[no-untyped-def]
    """All of a recording, int16 at 16 kHz."""
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def main() -> None:
    """How many of those heard in synthetic voices of the training split are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20, help="voices")
    hits, total = [], 0
    count = parser.parse_args().count
    for seed in range(count):
        film = make_film(5000 + seed, CLOSE[seed % 2], frames=range(1))
        assert film.speech is not None
        true = [(p.start_s, p.end_s) for p in film.truth.phones if p.ipa and p.ipa[0] in PRESSED]
        heard = heard_labials(film.speech)
        total += len(true)
        hits += [any(a < e + APART_S and b > s - APART_S for s, e in true) for a, b in heard]
    result = {"right": share(hits), "true ones": total}
    print(json.dumps(result, indent=1))
    content = {"voices": count, "figures": result}
    keep("labials", content)


if __name__ == "__main__":
    main()
