"""Numbers as HTML tables: means with n and interval, differences, best and worst, as published."""

import math
from collections.abc import Container, Mapping, Sequence
from html import escape

from openmocha.evaluation.measures import (
    AXES,
    PUBLISHED_RATINGS,
    PUBLISHED_SYNC,
    Measure,
    measure_of,
)
from openmocha.evaluation.mochabench import GROUPS
from openmocha.evaluation.score_table import Score
from openmocha.evaluation.summary import Difference, Summary

Rows = Mapping[str, Sequence[Summary]]  # system -> rows of one metric

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


def group_title(group: str) -> str:
    return group.capitalize() if group in GROUPS else group


def means_table(metric: str, systems: Rows, groups: Sequence[str], published: bool = False) -> str:
    """Of groups in which any system has a value. Two measures stand side by side, systems down;
    more measures stand down, systems side by side."""
    rows = [row for by_system in systems.values() for row in by_system]
    groups = [group for group in groups if any(r.group == group and r.scored for r in rows)]
    measures = list(dict.fromkeys(row.measure for row in rows))
    if not groups:
        return ""
    lines = (_systems_down if len(measures) <= 2 else _measures_down)(
        metric, systems, groups, measures
    )
    if published:
        lines += published_lines(groups, measures)
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _systems_down(
    metric: str, systems: Rows, groups: Sequence[str], measures: Sequence[str]
) -> list[str]:
    labels = "".join(f"<th class='number'>{label_of(metric, name)}</th>" for name in measures)
    lines = [
        _group_heads(groups, len(measures)),
        f"<tr><th>System</th>{labels * len(groups)}</tr>",
    ]
    for system in systems:
        cells = [
            mean_cell(metric, systems, system, group, name) for group in groups for name in measures
        ]
        lines.append(f"<tr><th>{escape(system)}</th>{''.join(cells)}</tr>")
    return lines


def _measures_down(
    metric: str, systems: Rows, groups: Sequence[str], measures: Sequence[str]
) -> list[str]:
    names = "".join(f"<th class='number'>{escape(system)}</th>" for system in systems)
    lines = [_group_heads(groups, len(systems)), f"<tr><th>Measure</th>{names * len(groups)}</tr>"]
    for name in measures:
        cells = [
            mean_cell(metric, systems, system, group, name)
            for group in groups
            for system in systems
        ]
        lines.append(f"<tr><th>{label_of(metric, name)}</th>{''.join(cells)}</tr>")
    return lines


def _group_heads(groups: Sequence[str], span: int) -> str:
    heads = "".join(
        f"<th colspan='{span}' class='group'>{escape(group_title(group))}</th>" for group in groups
    )
    return f"<tr><td></td>{heads}</tr>"


def label_of(metric: str, name: str) -> str:
    measure = measure_of(metric, name)
    return f"{escape(measure.label)}{ARROWS[measure.better]}"


def mean_cell(metric: str, systems: Rows, system: str, group: str, name: str) -> str:
    """Mean, interval, n and coverage of one system; the best mean is bold."""
    measure = measure_of(metric, name)
    same = {
        other: row
        for other, rows in systems.items()
        for row in rows
        if (row.group, row.measure) == (group, name)
    }
    row = same.get(system)
    if row is None:
        return "<td class='number quiet'>–</td>"
    counted = f"<small>n {row.scored} of {row.items} ({row.coverage:.0%})</small>"
    if row.mean is None:
        return f"<td class='number quiet'>–<br>{counted}</td>"
    mean = figure(row.mean, measure.digits)
    mean = f"<b>{mean}</b>" if is_best(row, list(same.values()), measure) else mean
    between = range_of(row.low, row.high, measure.digits)
    return f"<td class='number'>{mean}<br>{between}<br>{counted}</td>"


def is_best(row: Summary, rows: Sequence[Summary], measure: Measure) -> bool:
    """True for the best mean, where one way is better and all have about as many films."""
    scored = [other for other in rows if other.mean is not None]
    counts = [other.scored for other in scored]
    if len(scored) < 2 or not measure.better or min(counts) < 0.9 * max(counts):
        return False
    means = [other.mean for other in scored if other.mean is not None]
    return row.mean == (max(means) if measure.better == "higher" else min(means))


def published_lines(groups: Sequence[str], measures: Sequence[str]) -> list[str]:
    """Other people's numbers under a line that says whose."""
    lines, source = [], ""
    for row in PUBLISHED_SYNC:
        if row.source != source:
            source, span = row.source, 1 + len(groups) * len(measures)
            words = f"As published: {escape(source)}"
            lines.append(f"<tr class='published'><th colspan='{span}'>{words}</th></tr>")
        cells = "".join(
            f"<td class='number'>{figure(row.values.get(f'{group}/{name}'))}</td>"
            for group in groups
            for name in measures
        )
        lines.append(f"<tr class='published'><th>{escape(row.system)}</th>{cells}</tr>")
    return lines


def differences_table(metric: str, rows: Sequence[Difference]) -> str:
    """Paired differences; those whose interval leaves out 0 are bold."""
    lines = []
    for row in rows:
        measure = measure_of(metric, row.measure)
        words = f"{'+' if row.mean >= 0 else ''}{figure(row.mean, measure.digits)}"
        certain = row.low is not None and row.high is not None and row.low * row.high > 0
        lines.append(
            f"<tr><td>{escape(row.first)} − {escape(row.second)}</td>"
            f"<td>{escape(group_title(row.group))}</td>"
            f"<td>{label_of(metric, row.measure)}</td>"
            f"<td class='number'>{f'<b>{words}</b>' if certain else words}</td>"
            f"<td class='number'>{range_of(row.low, row.high, measure.digits)}</td>"
            f"<td class='number'>{row.higher:.0%}</td><td class='number'>{row.items}</td></tr>"
        )
    if not lines:
        return ""
    few = " open" if len(lines) <= 12 else ""
    head = (
        "<tr><th>Systems</th><th>Group</th><th>Measure</th><th class='number'>Difference</th>"
        "<th class='number'>95% interval</th><th class='number'>First is higher</th>"
        "<th class='number'>Items in common</th></tr>"
    )
    return (
        f"<details{few}><summary>Paired differences</summary><p class='quiet'>On items that both "
        "systems have a value for; bold where the interval leaves out 0.</p>"
        f"<div class='wide'><table>{head}{''.join(lines)}</table></div></details>"
    )


def extremes_table(
    metric: str,
    name: str,
    systems: Mapping[str, Mapping[str, Score]],
    shown: Container[str],
    count: int = 3,
) -> str:
    """The best and the worst films of each system by a measure that has a better way; those that
    the page shows are linked."""
    measure, lines = measure_of(metric, name), []
    for system, scores in systems.items():
        found = [(s.values[name], s.item) for s in scores.values() if name in s.values]
        if len(found) < 2 * count:
            continue
        ordered = sorted(found, reverse=measure.better == "higher")
        best, worst = ordered[:count], ordered[-count:][::-1]
        lines.append(
            f"<tr><th>{escape(system)}</th><td>{_films(best, measure, shown)}</td>"
            f"<td>{_films(worst, measure, shown)}</td></tr>"
        )
    if not lines:
        return ""
    head = "<tr><th>System</th><th>Best</th><th>Worst</th></tr>"
    return (
        f"<details><summary>Best and worst films by {escape(measure.label)}</summary>"
        f"<table>{head}{''.join(lines)}</table></details>"
    )


def _films(found: Sequence[tuple[float, str]], measure: Measure, shown: Container[str]) -> str:
    return "<br>".join(
        f"{film_link(item, shown)} {figure(value, measure.digits)}" for value, item in found
    )


def film_link(item: str, shown: Container[str]) -> str:
    """An item's name, linked to its films where the page has any."""
    name = escape(item)
    return f"<a href='#{name}'>{name}</a>" if item in shown else name


def ratings_table() -> str:
    """The paper's human study."""
    head = "".join(f"<th class='number'>{axis}</th>" for axis in AXES)
    lines = [
        f"<tr class='published'><th>{escape(row.system)}</th>"
        + "".join(f"<td class='number'>{figure(row.values[axis], 2)}</td>" for axis in AXES)
        + "</tr>"
        for row in PUBLISHED_RATINGS
    ]
    return f"<table><tr><th>System</th>{head}</tr>{''.join(lines)}</table>"


def range_of(low: float | None, high: float | None, digits: int | None) -> str:
    if low is None or high is None:
        return "<small>[few speeches]</small>"
    fewer = None if digits is None else max(1, digits - 1)
    return f"<small>[{figure(low, fewer)}, {figure(high, fewer)}]</small>"


def figure(value: float | None, digits: int | None = 3) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
