"""The study's SQLite file -> the tables of its report; the same file gives the same tables.

raw_ratings      every rating ever given, with whether it counts and why not
systems_table    per system and axis: mean of item MOS, intervals, coverage (Table 1)
items_table      per film and axis: MOS, interval, majority
pairs_table      per pair of systems and axis: difference, test, win rate
agreement_table  per axis: Krippendorff's alpha
raters_table     who counts, and why not
"""

import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmocha.evaluation.study import ratings, statistics
from openmocha.evaluation.study.assignment import shown_films
from openmocha.evaluation.study.axes import NAMES
from openmocha.evaluation.study.checks import Verdict, judge
from openmocha.evaluation.study.design import Design
from openmocha.evaluation.study.statistics import Array

Row = dict[str, Any]
DRAWS, ALPHA_DRAWS = 10_000, 1_000


@dataclass(frozen=True)
class Study:
    """What a report is made from. `speech` gives each item its cluster."""

    design: Design
    raw: list[Row]
    verdict: Verdict
    speech: dict[str, Hashable]
    raters: list[Row]

    @property
    def counted(self) -> list[Row]:
        return [row for row in self.raw if row["kind"] == "rated" and row["counts"]]


def read_study(db: sqlite3.Connection) -> Study:
    design = ratings.read_design(db)
    verdict = judge(shown_films(db), design.rule)
    speech = db.execute("SELECT item, speech FROM films WHERE role = 'rated'").fetchall()
    return Study(
        design,
        raw_ratings(db, verdict),
        verdict,
        {row["item"]: row["speech"] for row in speech},
        raters_table(db, verdict),
    )


def raw_ratings(db: sqlite3.Connection, verdict: Verdict) -> list[Row]:
    """Every rating in the order given; raters are numbers, their tokens stay secret."""
    rows = db.execute(
        f"""
        SELECT r.rated_at, w.number AS rater, s.session, s.position, s.kind, f.system, f.item,
               {", ".join("r." + name for name in NAMES)}, f.duration_s,
               (SELECT MAX(p.watched_s) FROM plays p WHERE p.showing = s.token) AS watched_s,
               (SELECT COUNT(*) FROM plays p WHERE p.showing = s.token) AS plays,
               r.rater AS token
        FROM ratings r JOIN showings s ON s.token = r.showing JOIN films f ON f.id = s.film
        JOIN raters w ON w.token = r.rater ORDER BY r.rated_at, w.number, s.position
        """
    ).fetchall()
    raw = []
    for row in map(dict, rows):
        token = row.pop("token")
        row["counts"] = row["kind"] == "rated" and verdict.counts(row["session"], token)
        faults = verdict.sessions.get(row["session"], ["not finished"])
        of_rater = [f"rater: {fault}" for fault in verdict.raters.get(token, [])]
        row["why_not"] = "" if row["counts"] else "; ".join(faults or of_rater or [row["kind"]])
        raw.append(row)
    return raw


def raters_table(db: sqlite3.Connection, verdict: Verdict) -> list[Row]:
    """Each rater with the sessions finished and accepted; `why_not` is empty for who counts."""
    sessions: dict[str, list[int]] = defaultdict(list)
    for row in db.execute("SELECT id, rater FROM sessions WHERE rater IS NOT NULL"):
        sessions[row["rater"]].append(row["id"])
    table = []
    for row in db.execute("SELECT token, number, browser FROM raters ORDER BY number"):
        given = sessions[row["token"]]
        finished = [one for one in given if one in verdict.sessions]
        faults = {fault for one in finished for fault in verdict.sessions[one]}
        excluded = bool(verdict.raters.get(row["token"]))
        table.append(
            {
                "rater": row["number"],
                "sessions": len(given),
                "finished": len(finished),
                "accepted": sum(verdict.counts(one, row["token"]) for one in finished),
                "excluded": excluded,
                "faults": "; ".join(sorted(faults)),
            }
        )
    return table


# --- films ---------------------------------------------------------------------------------------


def values_of(study: Study, axis: str) -> dict[tuple[str, str], list[int]]:
    """(system, item) -> the ratings that count."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in study.counted:
        if row[axis] is not None:
            found[row["system"], row["item"]].append(row[axis])
    return found


def item_means(study: Study, axis: str, system: str) -> Array:
    """(I,) MOS of each item of the design; NaN without a rating."""
    values = values_of(study, axis)
    votes = [values.get((system, item)) for item in study.design.items]
    return np.array([np.mean(v) if v else np.nan for v in votes], np.float64)


def weights_of(study: Study) -> Array:
    clusters = [study.speech[item] for item in study.design.items]
    return statistics.cluster_weights(clusters, DRAWS, study.design.seed)


def items_table(study: Study) -> list[Row]:
    table = []
    for axis in NAMES:
        for (system, item), values in sorted(values_of(study, axis).items()):
            table.append(
                {
                    "axis": axis,
                    "system": system,
                    "item": item,
                    "ratings": len(values),
                    "mos": float(np.mean(values)),
                    "t_half_width": statistics.t_half_width(values),
                    "majority": statistics.majority(values),
                    "votes": " ".join(map(str, sorted(values))),
                }
            )
    return table


# --- systems -------------------------------------------------------------------------------------


def systems_table(study: Study) -> list[Row]:
    """The paper's Table 1, with what stands behind each number; None where there is no rating."""
    weights = weights_of(study)
    return [
        _system(study, axis, system, weights) for axis in NAMES for system in study.design.systems
    ]


def _system(study: Study, axis: str, system: str, weights: Array) -> Row:
    means = item_means(study, axis, system)
    rated = means[~np.isnan(means)]
    votes = [values for (name, _), values in values_of(study, axis).items() if name == system]
    low, high = statistics.bootstrap_interval(means, weights)
    full = sum(len(values) >= study.design.ratings_per_film for values in votes)
    return {
        "axis": axis,
        "system": system,
        "mean": float(rated.mean()) if len(rated) else None,
        "low": low,
        "high": high,
        "normal_half_width": statistics.normal_half_width(rated),
        "items": len(rated),
        "items_designed": len(study.design.items),
        "items_fully_rated": full,
        "ratings": sum(map(len, votes)),
        "majority_mean": float(np.mean([statistics.majority(v) for v in votes])) if votes else None,
    }


def pairs_table(study: Study) -> list[Row]:
    """Every pair of systems on every axis, over the items rated of both."""
    weights = weights_of(study)
    table = [
        row
        for axis in NAMES
        for first, second in itertools.combinations(study.design.systems, 2)
        if (row := _pair(study, axis, first, second, weights)) is not None
    ]
    adjusted = statistics.holm([row["p"] for row in table])
    return [{**row, "p_holm": p} for row, p in zip(table, adjusted, strict=True)]


def _pair(study: Study, axis: str, first: str, second: str, weights: Array) -> Row | None:
    differences = item_means(study, axis, first) - item_means(study, axis, second)
    both = differences[~np.isnan(differences)]
    if not len(both):
        return None
    low, high = statistics.bootstrap_interval(differences, weights)
    return {
        "axis": axis,
        "first": first,
        "second": second,
        "items": len(both),
        "difference": float(both.mean()),
        "low": low,
        "high": high,
        "p": statistics.wilcoxon_p(both),
        "win_rate": statistics.win_rate(both),
    }


def agreement_table(study: Study) -> list[Row]:
    """Ordinal alpha per axis: all systems together, then within each."""
    table = []
    for axis in NAMES:
        values = values_of(study, axis)
        for system in (None, *study.design.systems):
            films = sorted(key for key in values if system in (None, key[0]))
            if films:
                table.append(_agreement(study, axis, system, films, [values[f] for f in films]))
    return table


def _agreement(
    study: Study,
    axis: str,
    system: str | None,
    films: Sequence[tuple[str, str]],
    votes: Sequence[Sequence[int]],
) -> Row:
    counts = statistics.value_counts(votes)
    items = [item for _, item in films]
    low, high = statistics.alpha_interval(counts, items, ALPHA_DRAWS, study.design.seed)
    return {
        "axis": axis,
        "system": system or "all together",
        "alpha": statistics.krippendorff_alpha(counts),
        "low": low,
        "high": high,
        "films": len(films),
        "films_with_two": int((counts.sum(axis=1) > 1).sum()),
        "ratings": int(counts.sum()),
    }
