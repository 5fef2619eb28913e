"""Statistics of ratings against hand-computed cases, brute force and published vectors."""

import doctest
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from openmocha.evaluation.study import statistics
from openmocha.evaluation.study.statistics import (
    alpha_interval,
    bootstrap_interval,
    cluster_weights,
    holm,
    krippendorff_alpha,
    majority,
    normal_half_width,
    t_half_width,
    value_counts,
    wilcoxon_p,
    win_rate,
)

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
VECTORS = SHARED / "reference/syncnet/rating_stats_vectors.json"


def columns(raters_by_items: list[list[int | None]]) -> list[list[int]]:
    """Ratings per item from a table of raters x items."""
    items = zip(*raters_by_items, strict=True)
    return [[value for value in item if value is not None] for item in items]


@pytest.mark.skipif(not VECTORS.is_file(), reason="no ../shared with the reference vectors")
def test_published_vectors_come_out() -> None:
    given = json.loads(VECTORS.read_text())["simulated_5x40"]
    items = columns(given["ratings"])
    means = [float(np.mean(item)) for item in items]
    assert means == pytest.approx(given["item_mos"], abs=1e-12)
    widths = [t_half_width(item) for item in items]
    assert widths == pytest.approx(given["item_ci95_t"], abs=1e-9)
    assert np.mean(means) == pytest.approx(given["system_mos"], abs=1e-12)
    assert normal_half_width(means) == pytest.approx(
        given["system_ci95_normal_over_items"], abs=1e-9
    )
    for level, alpha in given["alpha"].items():
        assert krippendorff_alpha(value_counts(items), level) == pytest.approx(alpha, abs=1e-9)


@pytest.mark.skipif(not VECTORS.is_file(), reason="no ../shared with the reference vectors")
def test_krippendorffs_own_example() -> None:
    given = json.loads(VECTORS.read_text())["krippendorff_C"]
    counts = value_counts(columns(given["data"]), highest=5)
    assert set(given["alpha"]) == {"nominal", "ordinal", "interval", "ratio"}
    for level, alpha in given["alpha"].items():
        assert krippendorff_alpha(counts, level) == pytest.approx(alpha, abs=1e-12)


def alpha_by_hand(items: list[list[int]]) -> float:
    """Krippendorff's definition, pair by pair: 1 - observed / expected disagreement."""
    items = [item for item in items if len(item) > 1]
    pooled = [value for item in items for value in item]
    n = [pooled.count(value) for value in range(5)]

    def distance(c: int, k: int) -> float:
        low, high = sorted((c, k))
        return float((sum(n[low : high + 1]) - (n[low] + n[high]) / 2) ** 2)

    observed = sum(
        distance(a, b) / (len(item) - 1)
        for item in items
        for a, b in itertools.permutations(item, 2)
    )
    expected = sum(distance(a, b) for a, b in itertools.permutations(pooled, 2))
    return 1 - observed / len(pooled) / (expected / len(pooled) / (len(pooled) - 1))


def test_alpha_is_krippendorffs_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        items = [list(map(int, rng.integers(1, 5, rng.integers(1, 6)))) for _ in range(8)]
        assert krippendorff_alpha(value_counts(items)) == pytest.approx(
            alpha_by_hand(items), abs=1e-12
        )


def test_alpha_of_perfect_agreement_is_1_and_of_one_value_does_not_exist() -> None:
    assert krippendorff_alpha(value_counts([[1, 1], [4, 4], [2, 2, 2]])) == 1.0
    assert np.isnan(krippendorff_alpha(value_counts([[3, 3], [3, 3]])))
    assert np.isnan(krippendorff_alpha(value_counts([[1], [4]])))
    assert np.isnan(alpha_interval(value_counts([[1], [4]]), "ab", 10, 0)[0])


def test_alpha_interval_holds_the_films_of_an_item_together() -> None:
    """Two items of two films each; a draw holds one item twice or both, so three alphas exist."""
    items = [[1, 1], [4, 4], [2, 3], [3, 2]]
    counts = value_counts(items)
    possible = [
        krippendorff_alpha(counts[rows]) for rows in ([0, 1, 0, 1], [0, 1, 2, 3], [2, 3, 2, 3])
    ]
    assert alpha_interval(counts, "aabb", 200, 0) == pytest.approx((min(possible), max(possible)))


def test_half_widths_by_hand() -> None:
    assert t_half_width([2, 3, 3, 4, 3]) == pytest.approx(2.776445 * 0.7071068 / 5**0.5, abs=1e-5)
    assert normal_half_width([1.0, 3.0]) == pytest.approx(1.96)
    assert t_half_width([2, 2, 2]) == 0.0
    assert np.isnan(t_half_width([2]))


def test_clusters_are_drawn_whole() -> None:
    weights = cluster_weights(["a", "b", "a", "c"], 500, seed=3)
    assert weights.shape == (500, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, 1].mean() == pytest.approx(1, abs=0.15)


def test_bootstrap_interval_is_that_of_all_27_draws() -> None:
    values = np.array([1.0, 2.0, 4.0])
    draws = list(itertools.product(range(3), repeat=3))
    means = [values[list(draw)].mean() for draw in draws]
    exact = np.percentile(np.repeat(means, 1000), [2.5, 97.5])
    found = bootstrap_interval(values, cluster_weights("abc", 20_000, seed=0))
    assert found == pytest.approx(tuple(exact))


def test_items_that_share_a_speech_widen_the_interval() -> None:
    """Ten copies of each item tell no more than one of each, if all copies share a speech."""
    values = np.repeat([1.0, 2.0, 3.0, 4.0], 10)
    shared = [index // 10 for index in range(40)]
    narrow = bootstrap_interval(values, cluster_weights(range(40), 4000, seed=0))
    wide = bootstrap_interval(values, cluster_weights(shared, 4000, seed=0))
    alone = bootstrap_interval(values[::10], cluster_weights(range(4), 4000, seed=0))
    assert wide == pytest.approx(alone)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_items_without_a_rating_take_no_part() -> None:
    weights = cluster_weights("abc", 2000, seed=0)
    assert bootstrap_interval(np.array([2.0, np.nan, 2.0]), weights) == (2.0, 2.0)
    assert np.isnan(bootstrap_interval(np.full(3, np.nan), weights)[0])


def test_wilcoxon_by_counting_signs() -> None:
    """Five differences of one sign: 2 of the 32 patterns are as extreme."""
    assert wilcoxon_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)
    assert wilcoxon_p(np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.0])) == pytest.approx(6 / 32)
    assert wilcoxon_p(np.zeros(4)) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_win_rate_and_majority() -> None:
    assert win_rate(np.array([1.0, 0.0, -1.0, 2.0])) == 0.625
    assert majority([4, 4, 1, 1, 3]) == 1  # a tie of 1 and 4: the lower
    assert majority([1, 2, 3]) == 2  # a tie of three: their median
    assert majority([1, 2, 3, 4]) == 2
    assert majority([1, 3, 3]) == 3


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(statistics).failed == 0
