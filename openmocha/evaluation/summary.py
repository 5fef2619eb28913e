"""From scores of films to numbers of a system: groups, masks, means, intervals, differences.

A film that could not be scored (no face, damaged, missing) counts in coverage and never in a mean:
SyncNet's script stores 0 for it, and 0 would be a perfect Sync-D. Means are over films, as
MoChaBench's own, and not over categories. Items share speeches, so intervals draw speeches with
all films that speak them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openmocha.evaluation.mochabench import GROUPS, Item
from openmocha.evaluation.score_table import Score

Array = NDArray[np.float64]

DRAWS = 10_000
FEWEST_CLUSTERS = 5  # of fewer, drawing makes an interval that looks far too sure


@dataclass(frozen=True)
class Summary:
    """One measure of one group of items. `films` were there, `scored` of them have a value; `low`
    and `high` are the 95% interval, None where too few speeches would have to give it."""

    group: str
    measure: str
    items: int
    films: int
    scored: int
    mean: float | None
    low: float | None
    high: float | None
    speeches: int

    @property
    def coverage(self) -> float:
        return self.scored / self.items


@dataclass(frozen=True)
class Difference:
    """The mean of first minus second over the `items` that both have a value for, with its 95%
    interval; `higher` is the share of items on which the first is higher."""

    first: str
    second: str
    group: str
    measure: str
    items: int
    mean: float
    low: float | None
    high: float | None
    higher: float


def groups_of(items: Sequence[Item]) -> dict[str, list[Item]]:
    """MoChaBench's two groups, then every category by itself; only those that have items."""
    categories = list(dict.fromkeys(item.category for item in items))
    wanted = {**GROUPS, **{name: (name,) for name in categories}}
    groups = {
        name: [item for item in items if item.category in members]
        for name, members in wanted.items()
    }
    return {name: members for name, members in groups.items() if members}


def measures_of(scores: Iterable[Score]) -> list[str]:
    """Names of all values, in the order in which they first come."""
    return list(dict.fromkeys(name for score in scores for name in score.values))


def summarise(items: Sequence[Item], scores: Mapping[str, Score]) -> list[Summary]:
    """Every measure of one metric in every group; `scores` are by item name."""
    rows = []
    for measure in measures_of(scores.values()):
        for group, members in groups_of(items).items():
            found = [scores[item.name] for item in members if item.name in scores]
            scored = [score for score in found if measure in score.values]
            values = np.array([score.values[measure] for score in scored])
            clusters = [score.cluster for score in scored]
            low, high = interval(values, clusters)
            mean = float(values.mean()) if len(values) else None
            sizes = (len(members), len(found), len(scored))
            rows.append(Summary(group, measure, *sizes, mean, low, high, len(set(clusters))))
    return rows


def difference(
    names: tuple[str, str],
    items: Sequence[Item],
    first: Mapping[str, Score],
    second: Mapping[str, Score],
    group: str,
    measure: str,
) -> Difference | None:
    """Two systems on the items of a group that both have a value for; None if there are none."""
    members = groups_of(items).get(group, [])
    both = [
        (first[item.name], second[item.name])
        for item in members
        if item.name in first
        and item.name in second
        and measure in first[item.name].values
        and measure in second[item.name].values
    ]
    if not both:
        return None
    gaps = np.array([a.values[measure] - b.values[measure] for a, b in both])
    low, high = interval(gaps, [a.cluster for a, _ in both])
    higher = float((gaps > 0).mean())
    return Difference(*names, group, measure, len(both), float(gaps.mean()), low, high, higher)


def interval(
    values: Array, clusters: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> tuple[float | None, float | None]:
    """The 95% percentile bootstrap interval of the mean of `values`, whole clusters drawn with
    replacement; (None, None) of fewer than five clusters."""
    names, which = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    num = len(names)
    if num < FEWEST_CLUSTERS:
        return None, None
    totals = np.bincount(which, weights=values, minlength=num)
    sizes = np.bincount(which, minlength=num)
    drawn = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), size=draws)
    means = (drawn @ totals) / (drawn @ sizes)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def as_row(row: Summary | Difference) -> dict[str, Any]:
    """A row of a table, coverage included."""
    told = asdict(row)
    if isinstance(row, Summary):
        told["coverage"] = row.coverage
    return told
