"""Scored runs -> one page that compares them, and the same numbers as CSV and JSON.

runs -> summaries, paired differences -> REPORT/index.html   tables, plots, films side by side
                                         REPORT/summary.csv, differences.csv, films.csv, report.json

The page asks nothing of a network. Films are linked where they lie, or copied beside the page.
"""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import combinations
from pathlib import Path

from openmocha.evaluation.measures import (
    METRICS,
    PUBLISHED_RATINGS,
    PUBLISHED_SYNC,
    Metric,
    measure_of,
)
from openmocha.evaluation.mochabench import CATEGORIES, GROUPS, Item, film_path, read_benchmark
from openmocha.evaluation.report_films import System, gallery, systems_table
from openmocha.evaluation.report_plots import (
    Cloud,
    Strip,
    colour_of,
    scatter_plot,
    strip_plot,
)
from openmocha.evaluation.report_style import SCRIPT, STYLE
from openmocha.evaluation.report_tables import (
    ARROWS,
    differences_table,
    extremes_table,
    film_link,
    means_table,
    ratings_table,
)
from openmocha.evaluation.run import read_failures
from openmocha.evaluation.score_table import (
    Score,
    crop_told,
    item_rows,
    read_run,
    read_scores,
    write_csv,
)
from openmocha.evaluation.summary import (
    Difference,
    Summary,
    as_row,
    difference,
    groups_of,
    interval,
    measures_of,
    summarise,
)
from openmocha.whole_file import write_text

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """Everything the page says of one metric: rows by system, differences of pairs of systems."""

    metric: str
    scores: Mapping[str, Mapping[str, Score]]
    rows: Mapping[str, Sequence[Summary]]
    differences: Sequence[Difference]

    @property
    def measures(self) -> list[str]:
        return measures_of(score for by_item in self.scores.values() for score in by_item.values())


def write_report(runs: Sequence[Path], output: Path, copy_films: bool, say: Say = print) -> Path:
    """Write the page and its tables; returns the page.

    Raises ValueError or OSError where a run has no scores, names no benchmark, or where the runs
    are of different benchmarks.
    """
    items, systems = read_systems(runs)
    comparisons = [compare(metric, items, systems) for metric in metrics_of(systems)]
    output.mkdir(parents=True, exist_ok=True)
    write_tables(output, items, systems, comparisons)
    page = output / "index.html"
    say("posters of the films are made")
    write_text(page, report_html(items, systems, comparisons, page, copy_films))
    return page


# --- numbers -------------------------------------------------------------------------------------


def read_systems(runs: Sequence[Path]) -> tuple[list[Item], list[System]]:
    """The items that all runs are of, and the runs, named after their folders."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = ["/".join(run.resolve().parts[-2:]) for run in runs]
    if len(set(names)) < len(names):
        raise ValueError("a run is given twice; give each folder once")
    items: list[Item] = []
    systems = []
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        told, scores = read_run(run), read_scores(run)
        if "benchmark" not in told or not scores:
            raise ValueError(f"{run} has no scores; run: openmocha bench score {run}")
        found = read_benchmark(Path(told["benchmark"]))
        if items and [item.name for item in found] != [item.name for item in items]:
            raise ValueError(
                f"{runs[0]} and {run} are of different benchmarks; compare like to like"
            )
        items = items or found
        failed = {row["item"]: row["reason"] for row in read_failures(run)}
        films = Path(told.get("films", run))
        if crop := crop_told(run) or crop_told(films):
            told["crop"] = crop
        systems.append(System(name, colour_of(number), run, films, told, scores, failed))
    return items, systems


def metrics_of(systems: Sequence[System]) -> list[str]:
    """All metrics that any system has, in their usual order."""
    found = {metric for system in systems for metric in system.scores}
    return [metric for metric in METRICS if metric in found] + sorted(found - METRICS.keys())


def compare(metric: str, items: Sequence[Item], systems: Sequence[System]) -> Comparison:
    """Summaries of each system, and differences of each pair, by one metric."""
    scores = {s.name: s.scores[metric] for s in systems if metric in s.scores}
    rows = {name: summarise(items, by_item) for name, by_item in scores.items()}
    measures = measures_of(s for by_item in scores.values() for s in by_item.values())
    groups = [group for group in groups_of(items) if group in GROUPS]
    differences = [
        found
        for first, second in combinations(scores, 2)
        for group in groups
        for measure in measures
        if (
            found := difference(
                (first, second), items, scores[first], scores[second], group, measure
            )
        )
    ]
    return Comparison(metric, scores, rows, differences)


def write_tables(
    output: Path,
    items: Sequence[Item],
    systems: Sequence[System],
    comparisons: Sequence[Comparison],
) -> None:
    """summary.csv, differences.csv, films.csv and report.json."""
    summary = [
        {"system": name, "metric": c.metric, **as_row(row)}
        for c in comparisons
        for name, rows in c.rows.items()
        for row in rows
    ]
    differences = [{"metric": c.metric, **as_row(r)} for c in comparisons for r in c.differences]
    films = [{"system": s.name, **row} for s in systems for row in item_rows(items, s.scores)]
    write_csv(output / "summary.csv", summary)
    write_csv(output / "differences.csv", differences)
    write_csv(output / "films.csv", films)
    told = {
        "items": len(items),
        "systems": {s.name: {**s.told, "by": scored_by(s)} for s in systems},
        "summary": summary,
        "differences": differences,
        "published": [asdict(row) for row in PUBLISHED_SYNC],
        "published_ratings": [
            {**asdict(row), "values": {k: v for k, v in row.values.items() if v == v}}
            for row in PUBLISHED_RATINGS
        ],
    }
    write_text(output / "report.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def scored_by(system: System) -> dict[str, list[str]]:
    """metric -> the scorers that its lines name: more than one is worth a warning."""
    return {m: sorted({s.by for s in scores.values()}) for m, scores in system.scores.items()}


# --- page ----------------------------------------------------------------------------------------


def report_html(
    items: Sequence[Item],
    systems: Sequence[System],
    comparisons: Sequence[Comparison],
    page: Path,
    copy_films: bool,
) -> str:
    """The page as text."""
    shown = {i.name for i in items for s in systems if film_path(s.films, i).is_file()}
    sections = [(c.metric, _metric_section(c, systems, shown)) for c in comparisons]
    films = gallery(items, systems, page, copy_films)
    links = [f"<a href='#{m}'>{escape(_metric(m).title)}</a>" for m, _ in sections]
    links += ["<a href='#films'>Films</a>"] if films else []
    links += ["<a href='#published'>As published</a>"]
    parts = [
        "<header><h1>MoChaBench: " + escape(", ".join(s.name for s in systems)) + "</h1>",
        f"<nav>{' · '.join(links)}</nav></header>",
        _how_to_read(len(items)),
        systems_table(items, systems),
        *[section for _, section in sections],
        films,
        _published_section(),
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>MoChaBench report</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE}</style><body>{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )


def _how_to_read(num_items: int) -> str:
    return (
        "<p class='quiet'>Means are over films that have a value; n of the group's items stands "
        "beside each, since a film without a face, or without a film at all, is left out and never "
        "counted as 0. Brackets are 95% intervals: speeches are drawn with replacement, with all "
        "films that speak them; of fewer than five speeches there is none. The benchmark "
        f"has {num_items} items; the paper's first version "
        "writes of 150, and numbers of the two are not to be mixed.</p>"
    )


def _metric_section(
    comparison: Comparison, systems: Sequence[System], shown: Container[str]
) -> str:
    metric, measures = comparison.metric, comparison.measures
    parts = [f"<h2 id='{metric}'>{escape(_metric(metric).title)}</h2>"]
    parts.append(f"<p class='quiet'>{escape(_metric(metric).note)}</p>")
    parts.append(_scored_by(comparison, systems))
    parts.append(means_table(metric, comparison.rows, [*GROUPS], metric == "sync"))
    groups = [group for group in _groups(comparison) if group not in GROUPS]
    by_category = [means_table(metric, comparison.rows, groups[i : i + 2])
                   for i in range(0, len(groups), 2)]  # fmt: skip
    parts.append(f"<details><summary>By category</summary>{''.join(by_category)}</details>")
    parts.append(differences_table(metric, comparison.differences))
    parts.append(_plots(comparison, systems))
    parts += [
        extremes_table(metric, name, comparison.scores, shown)
        for name in measures
        if measure_of(metric, name).better
    ]
    parts.append(_unscored(comparison, shown))
    return f"<section>{''.join(parts)}</section>"


def _metric(name: str) -> Metric:
    return METRICS.get(name, Metric(name, "", {}))


def _groups(comparison: Comparison) -> list[str]:
    found = {row.group for rows in comparison.rows.values() for row in rows}
    order = [*GROUPS, *CATEGORIES]
    return [g for g in order if g in found] + sorted(found - {*order})


def _scored_by(comparison: Comparison, systems: Sequence[System]) -> str:
    by = {s.name: scored_by(s)[comparison.metric] for s in systems if s.name in comparison.scores}
    ways = {way for ways in by.values() for way in ways}
    told = "; ".join(f"{escape(name)}: {escape(', '.join(ways))}" for name, ways in by.items())
    if len(ways) == 1:
        return f"<p class='quiet'>Scored by {escape(ways.pop())}.</p>"
    return f"<p class='warning'>Scored in different ways, so compare with care. {told}.</p>"


def _plots(comparison: Comparison, systems: Sequence[System]) -> str:
    """A strip of dots per measure, and the two of a pair against each other."""
    shown = [system for system in systems if system.name in comparison.scores]
    plots = []
    for name in comparison.measures:
        measure = measure_of(comparison.metric, name)
        strips = [_strip(system, comparison, name) for system in shown]
        hint = f"{ARROWS[measure.better].strip()} {measure.better} is better"
        plots.append(strip_plot(measure.label, hint if measure.better else "", strips))
    if len(comparison.measures) == 2:
        first, second = comparison.measures
        across, upward = (measure_of(comparison.metric, name).label for name in (first, second))
        clouds = [
            Cloud(
                system.name,
                system.colour,
                [
                    (score.values[first], score.values[second], score.item)
                    for score in comparison.scores[system.name].values()
                    if {first, second} <= score.values.keys()
                ],
            )
            for system in shown
        ]
        plots.append(scatter_plot(f"{across} against {upward}", across, upward, clouds))
    return f"<div class='plots'>{''.join(plots)}</div>"


def _strip(system: System, comparison: Comparison, name: str) -> Strip:
    """All films of a system, whatever their group."""
    import numpy as np

    found = [s for s in comparison.scores[system.name].values() if name in s.values]
    values = np.array([score.values[name] for score in found])
    low, high = interval(values, [score.cluster for score in found])
    dots = [(score.values[name], score.item) for score in found]
    mean = float(values.mean()) if len(values) else None
    return Strip(system.name, system.colour, dots, mean, low, high)


def _unscored(comparison: Comparison, shown: Container[str]) -> str:
    lines = [
        f"<tr><th>{escape(name)}</th><td>{film_link(score.item, shown)}</td>"
        f"<td>{escape(score.note)}</td></tr>"
        for name, scores in comparison.scores.items()
        for score in scores.values()
        if not score.values
    ]
    if not lines:
        return ""
    return (
        f"<details><summary>{len(lines)} films without a value</summary><table>"
        f"<tr><th>System</th><th>Item</th><th>Why</th></tr>{''.join(lines)}</table></details>"
    )


def _published_section() -> str:
    return (
        "<h2 id='published'>As published: the paper's human study</h2>"
        "<p class='quiet'>Ratings by people on the paper's own items, for orientation. A judge's "
        "numbers are not these; `openmocha study` makes such numbers for your films.</p>"
        f"{ratings_table()}"
    )
