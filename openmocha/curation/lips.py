"""Do the lips follow the sound? A reader of mel bands guesses how far a mouth is open, and the
guess is compared with the mouth, as heard and at other delays.

For photographs the reader is linear. It needs no weights from outside: it is fitted on a sample of
the very corpus (chosen by hash, so that every run chooses alike), drawn towards a reader fitted on
the toon film set. A corpus with swapped sound in it still fits: what is wrong does not agree with
itself. A clip is always read by a fold that was fitted without its film. The fit is written once,
with a version, and kept.

For drawn films the package carries a reader with one layer of hidden units, trained on the toon
film set (openmocha/training/lip_reader.py); it is not fitted any further.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmocha.curation.clips import Clip, Person
from openmocha.curation.listen import MEL_BANDS, MEL_RATE_HZ
from openmocha.whole_file import write_text

Array = np.ndarray[Any, Any]

CONTEXT = 4  # mel frames to either side of the one that is read
FOLDS = 5
SAMPLE = 400  # clips that a fit uses at most
PULL = 20_000.0  # towards the reader that the package carries, in units of the mel features' square
BESIDE_CUT = 5  # frames
NEAR, FAR = 2, 4  # frames: in time, and out of time
LARGEST_SHIFT = 26  # frames: as far as is compared, a bit over a second
SHIPPED = Path(__file__).with_name("lip_reader.json")
SHIPPED_TOON = Path(__file__).with_name("toon_lip_reader.json")


@dataclass(frozen=True)
class LipReader:
    """weights (FOLDS, 9 * 20): mel bands in context -> opening of the mouth, one row per fold.

    With a hidden layer (units, 9 * 20 + 1), bias last, weights are (FOLDS, units): what is read
    are the units' tanh of the mel bands, which are divided by the clip's deviation first.
    """

    weights: Array
    num_clips: int  # that it was fitted on
    version: str
    hidden: Array | None = None

    def guess(self, film_id: str, mel: Array) -> Array:
        """(v,) how far the mouth that says mel frames (v, 20) is open, in no unit."""
        features = mel_context(mel)
        if self.hidden is not None:
            # the middle frame of the context is the clip without its mean
            middle = features[:, CONTEXT * MEL_BANDS : (CONTEXT + 1) * MEL_BANDS]
            scaled = features / (middle.std() + 1e-6)
            features = np.tanh(scaled @ self.hidden[:, :-1].T + self.hidden[:, -1])
        return np.asarray(features @ self.weights[fold_of(film_id)])

    @classmethod
    def load(cls, path: Path) -> "LipReader":
        """Raises ValueError for a file that holds no reader."""
        try:
            content = json.loads(path.read_text())
            hidden = np.array(content["hidden"]) if "hidden" in content else None
            weights = np.array(content["weights"])
            found = cls(weights, content["num_clips"], content["version"], hidden)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} holds no lip reader ({error}); give lips.json") from error
        width = (2 * CONTEXT + 1) * MEL_BANDS
        units = width if hidden is None else len(hidden)
        if weights.shape != (FOLDS, units) or (
            hidden is not None and hidden.shape[1:] != (width + 1,)
        ):
            raise ValueError(f"{path}: weights have shape {weights.shape}; fit it again")
        return found

    def save(self, path: Path) -> None:
        content: dict[str, Any] = {"version": self.version, "num_clips": self.num_clips}
        content["weights"] = rounded(self.weights)
        if self.hidden is not None:
            content["hidden"] = rounded(self.hidden)
        write_text(path, json.dumps(content) + "\n")


def reader_path(dataset: Path, kind: str) -> Path:
    """Where a dataset keeps its reader of a kind of films, "photo" or "toon"."""
    return dataset / ("lips.json" if kind == "photo" else f"lips-{kind}.json")


def rounded(rows: Array) -> list[list[float]]:
    return [[round(float(value), 7) for value in row] for row in rows]


class LipScore(NamedTuple):
    """How well a mouth follows the sound as it is heard, and at the delay where they agree best.

    in_time: best correlation within 2 frames.  score: that, and by how much it stands above the
    best more than 4 frames away.  lag: frames by which the mouth is late for the sound where they
    agree best, up to 26.  shifted: the score that the clip would have if the sound were moved so.
    """

    in_time: float
    score: float
    lag: int
    shifted: float


def fold_of(film_id: str) -> int:
    return int(hashlib.sha256(film_id.encode()).hexdigest()[:8], 16) % FOLDS


def opening_track(clip: Clip, person: Person) -> Array:
    """The opening of a mouth at each of the clip's mel frames, gaps filled in."""
    times_s = (np.array(clip.mel_frames) + 0.5) / MEL_RATE_HZ
    # a look is the picture that is shown from its time on, for one frame
    seen_s = clip.film.watched.look_s[person.looks] + 0.5 / MEL_RATE_HZ
    return np.asarray(np.interp(times_s, seen_s, person.faces[:, 5]))


def mel_context(mel: Array) -> Array:
    """Mel frames (v, 20), the clip's mean taken away, each with its neighbours: (v, 180)."""
    padded = np.pad(mel - mel.mean(axis=0), ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    return np.concatenate([padded[i : i + len(mel)] for i in range(2 * CONTEXT + 1)], axis=1)


def heard_in(clip: Clip) -> Array:
    """(v, 20) the mel frames of a clip's sound."""
    return clip.film.heard.mel[clip.mel_frames.start : clip.mel_frames.stop]


def fit(
    samples: Sequence[tuple[str, Array, Array]], towards: Array | None = None, pull: float = PULL
) -> LipReader:
    """A reader from (film id, features (v, 180), opening (v,)) of clips; one row for each fold of
    films, fitted on the others. `towards` (180,) is what little evidence is drawn to."""
    width = (2 * CONTEXT + 1) * MEL_BANDS
    squares, products = np.zeros((FOLDS, width, width)), np.zeros((FOLDS, width))
    for film_id, features, opening in samples:
        level = (opening - opening.mean()) / (opening.std() + 1e-6)
        squares[fold_of(film_id)] += features.T @ features
        products[fold_of(film_id)] += features.T @ level
    start = np.zeros(width) if towards is None else towards
    weights = [
        np.linalg.solve(
            squares.sum(0) - squares[k] + pull * np.eye(width),
            products.sum(0) - products[k] + pull * start,
        )
        for k in range(FOLDS)
    ]
    names = hashlib.sha256("".join(sorted({film for film, _, _ in samples})).encode())
    return LipReader(np.stack(weights), len(samples), f"1-{names.hexdigest()[:12]}")


def compare(guess: Array, opening: Array) -> LipScore:
    """Compare a guessed with a measured opening (v,) at all delays."""
    curve = correlations(guess, opening, LARGEST_SHIFT)
    lag = int(curve.argmax()) - LARGEST_SHIFT
    in_time, score = score_at(curve, 0)
    return LipScore(in_time, score, lag, score_at(curve, lag)[1])


def score_at(curve: Array, lag: int) -> tuple[float, float]:
    """The best correlation within 2 frames of a delay, and that plus its lead over the best more
    than 4 frames away."""
    distance = abs(np.arange(-LARGEST_SHIFT, LARGEST_SHIFT + 1) - lag)
    near, far = float(curve[distance <= NEAR].max()), float(curve[distance > FAR].max())
    return near, near + (near - far)


def correlations(guess: Array, opening: Array, largest: int) -> Array:
    """(2 * largest + 1,) Pearson correlations with the opening `lag` frames later; -1 where too
    little of the two overlaps."""
    curve = np.full(2 * largest + 1, -1.0)
    for i, lag in enumerate(range(-largest, largest + 1)):
        a = guess[max(0, -lag) : len(guess) - max(0, lag)]
        b = opening[max(0, lag) : len(opening) - max(0, -lag)]
        if len(a) >= MEL_RATE_HZ:
            a, b = a - a.mean(), b - b.mean()
            curve[i] = (a @ b) / np.sqrt((a @ a) * (b @ b) + 1e-12)
    return curve


def read_lips(reader: LipReader, film_id: str, clip: Clip, person: Person) -> LipScore:
    """How well a person's mouth follows the clip's sound, what is next to a cut left out: a voice
    is often heard a moment before it is seen, or after."""
    first = BESIDE_CUT if clip.start_s > 0 else 0
    last = BESIDE_CUT if clip.end_s < float(clip.film.watched.end_s) else 0
    inner = slice(first, len(clip.mel_frames) - last)
    guess = reader.guess(film_id, heard_in(clip))
    return compare(guess[inner], opening_track(clip, person)[inner])
