"""Statistics of ratings: plain functions of arrays, nothing of the study's files.

    I items (films of one system, in one order for all systems); R raters; N draws; NaN: no rating

A system's score is the mean over items of each item's mean rating (MOS). Items that share a speech
are not independent, so intervals come from a bootstrap that draws whole clusters of items.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NAN = float("nan")
Interval = tuple[float, float]
Level = Literal["nominal", "ordinal", "interval", "ratio"]  # of what ratings mean


def t_half_width(values: Sequence[float] | Array, confidence: float = 0.95) -> float:
    """Half the confidence interval of a mean by Student's t (BT.500 with few raters).

    NaN for fewer than two values. With 5 ratings the factor is 2.776.

    >>> round(t_half_width([1, 2, 3]), 4)
    2.4841
    """
    from scipy.stats import t

    num = len(values)
    if num < 2:
        return NAN
    factor = t.ppf((1 + confidence) / 2, num - 1)
    return float(factor * np.std(values, ddof=1) / np.sqrt(num))


def normal_half_width(values: Sequence[float] | Array) -> float:
    """1.96 S / sqrt(n), as BT.500 and P.910 print it; NaN for fewer than two values."""
    if len(values) < 2:
        return NAN
    return float(1.96 * np.std(values, ddof=1) / np.sqrt(len(values)))


def cluster_weights(clusters: Sequence[Hashable], num_draws: int, seed: int) -> Array:
    """(N, I): how often each item comes in each draw, when whole clusters are drawn with return."""
    rng = np.random.default_rng(seed)
    known = {cluster: index for index, cluster in enumerate(dict.fromkeys(clusters))}
    of_item = np.array([known[cluster] for cluster in clusters])
    num = len(known)
    drawn = rng.multinomial(num, np.full(num, 1 / num), size=num_draws)
    return drawn[:, of_item].astype(np.float64)


def bootstrap_interval(values: Array, weights: Array) -> Interval:
    """95% percentile interval of the mean of `values` (I,), under the draws of `cluster_weights`.

    Items without a value (NaN) take no part, nor do draws that hold no item with one.
    """
    present = ~np.isnan(values)
    totals = weights[:, present].sum(axis=1)
    if not present.any():
        return NAN, NAN
    sums = weights[:, present] @ values[present]
    means = sums[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def wilcoxon_p(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on per-item differences; zeros are dropped.

    1.0 where no item differs.
    """
    from scipy.stats import wilcoxon

    moved = differences[differences != 0]
    return float(wilcoxon(moved).pvalue) if len(moved) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p-values, in their order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def win_rate(differences: Array) -> float:
    """The share of items on which the first system is rated higher; a draw is half a win."""
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def majority(values: Sequence[int]) -> int:
    """The most frequent rating; of several, the lower median of those.

    >>> majority([1, 4, 4, 1, 2]), majority([3, 4, 4])
    (1, 4)
    """
    counts = Counter(values)
    most = max(counts.values())
    tied = sorted(value for value, count in counts.items() if count == most)
    return tied[(len(tied) - 1) // 2]


def value_counts(ratings: Sequence[Sequence[int]], highest: int = 4) -> NDArray[np.int64]:
    """(I, highest): how often each film was given 1, 2, ..."""
    counts = [np.bincount(values, minlength=highest + 1)[1:] for values in ratings]
    return np.array(counts, np.int64).reshape(-1, highest)


def krippendorff_alpha(counts: NDArray[np.int64], level: Level = "ordinal") -> float:
    """Krippendorff's alpha of `value_counts`; any number of raters per film.

    NaN where no film has two ratings, or all ratings are the same: there is nothing to agree on.
    """
    import krippendorff

    paired = counts[counts.sum(axis=1) > 1]
    if not len(paired) or (paired.sum(axis=0) > 0).sum() < 2:
        return NAN
    return float(
        krippendorff.alpha(
            value_counts=paired,
            level_of_measurement=level,
            value_domain=list(range(1, counts.shape[1] + 1)),
        )
    )


def alpha_interval(
    counts: NDArray[np.int64], items: Sequence[Hashable], num_draws: int, seed: int
) -> Interval:
    """95% percentile interval of alpha when items are drawn, each with its films of all systems."""
    weights = cluster_weights(items, num_draws, seed).astype(np.int64)
    alphas = [krippendorff_alpha(np.repeat(counts, weight, axis=0)) for weight in weights]
    alphas = [alpha for alpha in alphas if not np.isnan(alpha)]
    if not alphas:
        return NAN, NAN
    low, high = np.percentile(alphas, [2.5, 97.5])
    return float(low), float(high)
