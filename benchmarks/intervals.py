"""95% intervals for the benchmark tables."""

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054


def bootstrap_mean(
    values: Sequence[float], seed: int = 0, resamples: int = 10_000
) -> tuple[float, float, float]:
    """The mean of independent values and its 95% percentile bootstrap interval."""
    array = np.asarray(values, np.float64)
    if not len(array):
        return math.nan, math.nan, math.nan
    rng = np.random.default_rng(seed)
    means = array[rng.integers(len(array), size=(resamples, len(array)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(array.mean()), float(low), float(high)


def wilson(right: int, total: int) -> tuple[float, float, float]:
    """A share and its 95% Wilson score interval (Wilson 1927), sound near 0 and 1."""
    if total == 0:
        return math.nan, math.nan, math.nan
    share = right / total
    spread = Z_95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def share(hits: Sequence[bool]) -> dict[str, float | int]:
    """A share of hits with its Wilson interval, as a row of results."""
    value, low, high = wilson(sum(hits), len(hits))
    return {"value": value, "low": low, "high": high, "n": len(hits)}


def mean(values: Sequence[float]) -> dict[str, float | int]:
    """A mean with its bootstrap interval, as a row of results."""
    value, low, high = bootstrap_mean(values)
    return {"value": value, "low": low, "high": high, "n": len(values)}
