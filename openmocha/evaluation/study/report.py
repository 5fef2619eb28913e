"""The report of a study: one HTML page without a server, CSV files, and all of it as JSON.

index.html   Table 1, intervals, differences, agreement, who counts and who does not
systems.csv, items.csv, pairs.csv, agreement.csv, raters.csv, ratings.csv, report.json
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from openmocha.evaluation.study import ratings, tables
from openmocha.evaluation.study.axes import AXES, NAMES
from openmocha.evaluation.study.tables import Row, Study
from openmocha.whole_file import check_output, write_text

SHORT = {"lip_sync": "Lip-sync", "expression": "Expression", "action": "Action"}
SHORT |= {"text_alignment": "Text", "visual_quality": "Visual"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem;
       color: #1d2430; background: #fafbfc }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } .quiet { color: #667085 }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e7ec }
td.number, th.number { text-align: right; white-space: nowrap;
                       font-variant-numeric: tabular-nums }
td small { color: #667085 } .best { font-weight: 700 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-weight: 600 } svg { width: 100%; height: auto }
"""
ALPHA_WORDS = (
    "1 is perfect agreement, 0 what chance gives; 0.667 is often called tentative, 0.8 reliable. A "
    "low value makes a single rating unreliable, not the mean of many; where a system gets nearly "
    "the same rating throughout, it is low by itself."
)


def write_report(study: Path, output: Path) -> Row:
    """Write the report's files into `output`; raises FileNotFoundError where there is no study."""
    with ratings.opened(study) as db:
        found = tables.read_study(db)
    parts = {
        "systems": tables.systems_table(found),
        "items": tables.items_table(found),
        "pairs": tables.pairs_table(found),
        "agreement": tables.agreement_table(found),
        "raters": found.raters,
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, rows in {**parts, "ratings": found.raw}.items():
        write_text(output / f"{name}.csv", as_csv(rows))
    whole = {"design": asdict(found.design), "acceptance": acceptance(found), **parts}
    write_text(output / "report.json", json.dumps(plain(whole), indent=1, ensure_ascii=False))
    write_text(output / "index.html", page(found, parts))
    return {"report": str(output / "index.html"), **acceptance(found)}


def export(study: Path, output: Path) -> int:
    """Write every rating ever given as CSV; returns how many."""
    file = check_output(output, ".csv")
    with ratings.opened(study) as db:
        raw = tables.read_study(db).raw
    write_text(file, as_csv(raw))
    return len(raw)


def acceptance(study: Study) -> Row:
    """How much of what was given counts."""
    sessions = study.verdict.sessions
    accepted = sum(row["accepted"] for row in study.raters)
    return {
        "raters": len(study.raters),
        "raters_excluded": sum(row["excluded"] for row in study.raters),
        "sessions_finished": len(sessions),
        "sessions_accepted": accepted,
        "acceptance_rate": accepted / len(sessions) if sessions else None,
        "film_ratings": sum(row["kind"] == "rated" for row in study.raw),
        "film_ratings_counted": len(study.counted),
    }


def as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(list(rows)))
    return text.getvalue()


def plain(value: Any) -> Any:
    """NaN, which JSON does not know, as None, at any depth."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


# --- the page ------------------------------------------------------------------------------------


def page(study: Study, parts: dict[str, list[Row]]) -> str:
    sections = [
        heading(study),
        "<h2>Mean ratings</h2>" + table_1(study, parts["systems"]),
        plots(study, parts["systems"]),
        "<h2>Differences between systems</h2>" + pairs(parts["pairs"]),
        "<h2>Agreement of raters</h2>" + agreement(parts["agreement"]),
        "<h2>What counts</h2>" + rule(study),
        "<h2>Coverage</h2>" + coverage(study, parts["systems"]),
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Human study</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE}</style><body>{''.join(sections)}</body></html>\n"
    )


def heading(study: Study) -> str:
    found = acceptance(study)
    rate = "" if found["acceptance_rate"] is None else f" ({found['acceptance_rate']:.0%})"
    return (
        "<h1>Human study</h1><p class='quiet'>"
        f"{len(study.design.systems)} systems, {len(study.design.items)} items, "
        f"{study.design.ratings_per_film} ratings wanted of each film, scale 1-4</p>"
        f"<p>{found['raters']} raters, of whom {found['raters_excluded']} are excluded; "
        f"{found['sessions_accepted']} of {found['sessions_finished']} finished sessions accepted"
        f"{rate}; {found['film_ratings_counted']} of {found['film_ratings']} film ratings count."
        "</p>"
    )


def table_1(study: Study, rows: Sequence[Row]) -> str:
    """Systems down, the five axes across, as in the paper's Table 1."""
    cells = {(row["system"], row["axis"]): row for row in rows}
    best = {
        axis: max(
            (r["mean"] for r in rows if r["axis"] == axis and r["mean"] is not None), default=0
        )
        for axis in NAMES
    }
    lines = []
    for system in study.design.systems:
        found = [cells[system, axis] for axis in NAMES]
        lines.append([escape(system), *(_mean(row, best[row["axis"]]) for row in found)])
    note = (
        "Mean of item MOS with its 95% interval: percentile bootstrap, "
        f"{tables.DRAWS:,} draws of whole clusters (items that share a speech, where that is "
        f"known), seed {study.design.seed}. n/a: no rating; the match with the text is not asked "
        "of a system that never saw it."
    )
    return html_table(["System", *SHORT.values()], lines) + f"<p class='quiet'>{note}</p>"


def _mean(row: Row, best: float) -> str:
    if row["mean"] is None:
        return "n/a"
    kind = " class='best'" if row["mean"] == best else ""
    return (
        f"<span{kind}>{row['mean']:.2f}</span> <small>[{row['low']:.2f}, {row['high']:.2f}]</small>"
    )


def plots(study: Study, rows: Sequence[Row]) -> str:
    figures = [
        f"<figure><figcaption>{escape(axis.title)}</figcaption>"
        f"{plot([row for row in rows if row['axis'] == axis.name])}</figure>"
        for axis in AXES
    ]
    return f"<div class='plots'>{''.join(figures)}</div>"


def plot(rows: Sequence[Row]) -> str:
    """Dots with intervals, one line per system, from 1 to 4."""
    height = 26 * len(rows) + 24
    parts = []
    for tick in (1, 2, 3, 4):
        parts.append(
            f"<line x1='{_x(tick)}' x2='{_x(tick)}' y1='4' y2='{height - 18}' stroke='#d5dae1'/>"
            f"<text x='{_x(tick)}' y='{height - 4}' text-anchor='middle' fill='#667085'>{tick}"
            "</text>"
        )
    for index, row in enumerate(rows):
        y = 18 + 26 * index
        parts.append(f"<text x='0' y='{y + 4}'>{escape(row['system'][:14])}</text>")
        if row["mean"] is None:
            parts.append(f"<text x='{_x(1) + 6}' y='{y + 4}' fill='#667085'>n/a</text>")
            continue
        parts.append(
            f"<line x1='{_x(row['low']):.1f}' x2='{_x(row['high']):.1f}' y1='{y}' y2='{y}' "
            f"stroke='#2f5d8a' stroke-width='2'/>"
            f"<circle cx='{_x(row['mean']):.1f}' cy='{y}' r='4.5' fill='#2f5d8a'/>"
        )
    return f"<svg viewBox='0 0 340 {height}' font-size='12' role='img'>{''.join(parts)}</svg>"


def _x(value: float) -> float:
    return 110 + (value - 1) * 72


def pairs(rows: Sequence[Row]) -> str:
    lines = [
        [
            SHORT[row["axis"]],
            f"{escape(row['first'])} - {escape(row['second'])}",
            f"{row['difference']:+.2f} <small>[{row['low']:+.2f}, {row['high']:+.2f}]</small>",
            f"{row['win_rate']:.0%}",
            _p(row["p"]),
            _p(row["p_holm"]),
            str(row["items"]),
        ]
        for row in rows
    ]
    head = ["Axis", "Pair", "Difference", "Win rate", "p", "p (Holm)", "Items"]
    note = (
        "Per-item differences of MOS; interval as above; p: Wilcoxon's signed-rank test, "
        "two-sided, items without a difference dropped; Holm over all rows. It takes items as "
        "independent; the interval keeps those of one speech together. Win rate: a draw is half."
    )
    return html_table(head, lines, words=2) + f"<p class='quiet'>{note}</p>"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def agreement(rows: Sequence[Row]) -> str:
    def words(row: Row) -> str:
        if math.isnan(row["alpha"]):
            return "none: all ratings alike, or one each"
        return f"{row['alpha']:.2f} <small>[{row['low']:.2f}, {row['high']:.2f}]</small>"

    lines = [
        [SHORT[row["axis"]], escape(row["system"]), words(row), str(row["films_with_two"])]
        for row in rows
    ]
    head = ["Axis", "Systems", "Krippendorff's alpha (ordinal)", "Films with 2 ratings or more"]
    note = f"95% interval: {tables.ALPHA_DRAWS:,} draws of items. {ALPHA_WORDS}"
    return html_table(head, lines, words=2) + f"<p class='quiet'>{note}</p>"


def rule(study: Study) -> str:
    """The rule, which was fixed before there were data, and what it did."""
    sentences = "".join(f"<li>{escape(words)}</li>" for words in study.design.rule.sentences())
    lines = [
        [
            str(row["rater"]),
            "excluded" if row["excluded"] else "counts" if row["accepted"] else "nothing finished",
            escape(row["faults"]),
            str(row["finished"]),
            str(row["accepted"]),
        ]
        for row in study.raters
    ]
    head = ["Rater", "", "Faults", "Sessions finished", "Accepted"]
    return (
        f"<p>Fixed before the first rating:</p><ul>{sentences}</ul>"
        f"<p>Films with known answers (gold): {escape(study.design.gold)}. "
        f"Training films: {escape(study.design.training)}; their ratings never count.</p>"
        + html_table(head, lines, words=3)
    )


def coverage(study: Study, rows: Sequence[Row]) -> str:
    lines = [
        [
            escape(row["system"]),
            SHORT[row["axis"]],
            f"{row['items']} of {row['items_designed']}",
            str(row["items_fully_rated"]),
            str(row["ratings"]),
            "" if row["majority_mean"] is None else f"{row['majority_mean']:.2f}",
        ]
        for row in rows
    ]
    wanted = study.design.ratings_per_film
    head = [
        "System",
        "Axis",
        "Items rated",
        f"With {wanted} ratings",
        "Ratings",
        "Mean of majorities",
    ]
    note = "Majority: the most frequent rating of a film; of several, the lower median of those."
    table = html_table(head, lines, words=2)
    return f"{table}<p class='quiet'>{note}</p>{left_out(study.design.left_out)}"


def left_out(items: dict[str, str]) -> str:
    """Items that are not in the design, counted by reason, their names folded away."""
    if not items:
        return "<p>No item was left out of the design.</p>"
    reasons = Counter(items.values()).most_common()
    words = "; ".join(f"{num} {escape(reason)}" for reason, num in reasons)
    names = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in items.items())
    return (
        f"<p>{len(items)} items are not in the design: {words}.</p>"
        f"<details><summary>Their names</summary><ul>{names}</ul></details>"
    )


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """The first `words` columns hold words, the others numbers; cells are HTML already."""

    def kind(index: int) -> str:
        return "" if index < words else " class='number'"

    top = "".join(f"<th{kind(k)}>{cell}</th>" for k, cell in enumerate(head))
    rows = [
        "<tr>" + "".join(f"<td{kind(k)}>{cell}</td>" for k, cell in enumerate(line)) + "</tr>"
        for line in lines
    ]
    return f"<div class='wide'><table><tr>{top}</tr>{''.join(rows)}</table></div>"
