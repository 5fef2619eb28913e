"""How well a judge's scores agree with people's: MoChaBench's alignment statistics.

viescore-alignment.csv (four models, four aspects, people's majority and judge side by side)
    -> per example: Spearman's rho, Spearman's footrule, quadratic weighted kappa, mean absolute
       error over the models -> means over examples, per aspect and of all

The published numbers leave out the file's last example: the script that made them takes it for a
row of averages. `leave_out_last` does the same.
"""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Alignment(NamedTuple):
    """Means over `examples`; `rho_examples` of them have a rank correlation, in the others one
    side gives all models the same score."""

    aspect: str
    rho: float
    footrule: float
    kappa: float
    mae: float
    examples: int
    rho_examples: int


def alignment(path: Path, leave_out_last: bool = True) -> list[Alignment]:
    """One row per aspect, then "Global": the mean over all examples of all aspects.

    Raises ValueError for a file that is not of this form.
    """
    tables = _tables(path)
    rows, every = [], []
    for aspect, (people, judge) in tables.items():
        num = len(people) - leave_out_last
        measured = [agreement(people[i], judge[i]) for i in range(num)]
        rows.append(_mean(aspect, measured))
        every += measured
    return [*rows, _mean("Global", every)]


def agreement(people: Array, judge: Array) -> tuple[float, float, float, float]:
    """(rho, footrule, kappa, mae) of one example's scores (models,) by people and by the judge."""
    from scipy.stats import rankdata

    ranks, judged = rankdata(people), rankdata(judge)
    footrule = float(np.abs(ranks - judged).sum())
    mae = float(np.abs(people - judge).mean())
    return correlation(ranks, judged), footrule, quadratic_kappa(people, judge), mae


def correlation(first: Array, second: Array) -> float:
    """Pearson's r (of ranks: Spearman's rho); nan where one side is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def quadratic_kappa(first: Array, second: Array) -> float:
    """Cohen's kappa with quadratic weights; the distance of two scores is counted in steps between
    scores that were given at all, as scikit-learn does. nan where all scores are the same."""
    _, steps = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = steps[: len(first)].astype(float), steps[len(first) :].astype(float)
    expected = ((a[:, None] - b[None, :]) ** 2).mean()  # had they been paired at random
    return float(1 - ((a - b) ** 2).mean() / expected) if expected else float("nan")


def _mean(aspect: str, measured: list[tuple[float, float, float, float]]) -> Alignment:
    table = np.array(measured)
    known = ~np.isnan(table)
    rho, footrule, kappa, mae = (
        float(column[there].mean()) if there.any() else float("nan")
        for column, there in zip(table.T, known.T, strict=True)
    )
    return Alignment(aspect, rho, footrule, kappa, mae, len(measured), int(known[:, 0].sum()))


def _tables(path: Path) -> dict[str, tuple[Array, Array]]:
    """aspect -> scores (examples, models) of people and of the judge."""
    wrong = (
        f"{path} is not a table like viescore-alignment.csv: three header lines (Model, Aspect, "
        "Example idx), then one line of scores per example"
    )
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(wrong) from error
    heads: list[Any] = [line[:1] for line in lines[:3]]
    if heads != [["Model"], ["Aspect"], ["Example idx"]] or len(lines) < 5:
        raise ValueError(wrong)
    aspects, raters = lines[1], lines[2]
    try:
        scores = np.array([[float(cell) for cell in line] for line in lines[3:]])
    except ValueError as error:
        raise ValueError(f"{wrong} ({error})") from error
    if scores.shape[1] != len(aspects) or len(raters) != len(aspects):
        raise ValueError(f"{wrong} (lines differ in length)")
    columns: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for column in range(1, len(aspects)):
        is_judge = not raters[column].startswith("Human")
        columns[aspects[column]][is_judge].append(column)
    if any(len(people) != len(judge) for people, judge in columns.values()):
        raise ValueError(f"{wrong} (people and judge do not come in pairs)")
    return {
        # "2. Facial Expression Naturalness": the number is the question's place in the study
        aspect.partition(". ")[2] or aspect: (scores[:, people], scores[:, judge])
        for aspect, (people, judge) in columns.items()
    }
