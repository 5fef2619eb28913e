"""Films of any length: one pass after the other, each going on from the end of the one before.

    latent frames   0 . . . . . . . . . 31
    second pass               24 . . . . . . . . . 55      24 .. 31 are known, and stay as they are

The known frames have the noise level 0, as clean prefixes had in training, so the same weights go
on with a film. They carry who is seen, where, and how everything moves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

KNOWN = 1 / 4  # of a pass; chosen by benchmarks/long_films.py


@dataclass(frozen=True)
class Pass:
    """Latent frames `start` to `stop` of a film of `total`; the first `known` of them are there."""

    start: int
    stop: int
    known: int
    total: int

    @property
    def shown(self) -> tuple[int, int]:
        """The first of the pass's latent frames that become frames after it, and where they end:
        the last one waits for its right neighbour, which the decoder sees, unless the film ends."""
        return max(0, self.known - 1), self.stop - self.start - (self.stop < self.total)


def passes(total: int, longest: int, overlap: int | None = None) -> Iterator[Pass]:
    """The passes of a film of `total` latent frames, none longer than `longest`.

    Raises ValueError where passes of that length cannot share `overlap` latent frames.

    >>> [(one.start, one.stop, one.known) for one in passes(70, 32)]
    [(0, 32, 0), (24, 56, 8), (48, 70, 8)]
    """
    overlap = max(2, round(KNOWN * longest)) if overlap is None else overlap
    if total > longest and not 2 <= overlap < longest:
        raise ValueError(
            f"passes of {longest} latent frames cannot share {overlap}; 2 or more, and less than a "
            "pass, make a longer film"
        )
    stop = min(longest, total)
    yield Pass(0, stop, 0, total)
    while stop < total:
        start = stop - overlap
        stop = min(start + longest, total)
        yield Pass(start, stop, overlap, total)
