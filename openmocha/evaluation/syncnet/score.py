"""From embeddings to scores: distances at every shift, then offset, Sync-C and Sync-D.

lips (N, 1024), speech (N, 1024) -> distances (N, 31) -> mean over windows (31,) -> SyncScore
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

LARGEST_SHIFT = 15  # video frames either way
NUM_SHIFTS = 2 * LARGEST_SHIFT + 1
SAMPLES_PER_FRAME = 640  # of speech at 16 kHz, of film at 25 frames a second
_EPSILON = 1e-6  # torch's pairwise_distance adds it to each difference
SPARE_FRAMES = 5  # the public scripts score one window less than there are


class SyncScore(NamedTuple):
    """Of one face track. `offset` in video frames, + where lips come after the sound: lip window i
    fits speech window i - offset best. `confidence` is Sync-C, `distance` Sync-D."""

    offset: int
    confidence: float
    distance: float


def num_windows(num_frames: int, num_samples: int) -> int:
    """Windows that are scored of a track and its speech; 0 where either is too short."""
    return max(0, min(num_frames, num_samples // SAMPLES_PER_FRAME) - SPARE_FRAMES)


def distances(lips: Array, speech: Array) -> Array:
    """(N, 31): lip window i against speech window i + j - 15 for j = 0 .. 30.

    Beyond its ends the speech is zeros, and these take part, as in the public scripts.
    """
    return shifted_distances(lips, np.pad(speech, ((LARGEST_SHIFT, LARGEST_SHIFT), (0, 0))))


def shifted_distances(lips: Array, padded: Array) -> Array:
    """The same for a part of a track: `padded` (N+30, 1024) begins 15 windows before the lips."""
    nearer = lips + np.float32(_EPSILON)
    shifted = [padded[j : j + len(lips)] for j in range(NUM_SHIFTS)]
    return np.stack([np.linalg.norm(nearer - one, axis=1) for one in shifted], axis=1)


def sync_score(mean_distances: Array) -> SyncScore:
    """Offset, Sync-C (median less minimum) and Sync-D (minimum) of a track's (31,) means.

    Raises ValueError where they are not finite: there was no window, or the weights are damaged.
    """
    if not np.isfinite(mean_distances).all():
        raise ValueError("distances of lips and speech are not finite; the weights are damaged")
    at = int(mean_distances.argmin())
    smallest = float(mean_distances[at])
    return SyncScore(LARGEST_SHIFT - at, float(np.median(mean_distances)) - smallest, smallest)


def aggregate(scores: Sequence[SyncScore]) -> tuple[float, float, bool]:
    """Sync-C, Sync-D, has_face of a film: the most confident and the nearest of its tracks, which
    may be two different ones. Without a track (0, 0, False): never average it."""
    if not scores:
        return 0.0, 0.0, False
    return max(s.confidence for s in scores), min(s.distance for s in scores), True
