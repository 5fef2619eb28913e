"""The report page of a dataset: what came in, what was dropped where and why, what is kept.

One HTML file without a server: numbers from the manifest, a few pictures of each reason, and the
films themselves played from the moment in question.
"""

import base64
import os
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openmocha.curation.cut import clip_frames
from openmocha.curation.manifest import read_manifest
from openmocha.curation.probe import Unfit
from openmocha.whole_file import write_text

Row = dict[str, Any]

SAMPLES = 4  # films shown of each reason
KEPT = "kept"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
       color: #1d2430; background: #fafbfc }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } .quiet { color: #667085 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e7ec }
td.number, th.number { text-align: right; white-space: nowrap;
                       font-variant-numeric: tabular-nums }
.bar { height: .8rem; background: #e5484d; border-radius: 2px } .bar.kept { background: #30a46c }
.films { display: flex; flex-wrap: wrap; gap: .8rem }
figure { margin: 0; width: 14.5rem } video { width: 100%; height: 9rem; background: #101828;
         object-fit: contain; border-radius: 4px }
figcaption { font-size: .8rem; color: #475467; overflow-wrap: anywhere }
"""


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html. Raises ValueError where there is no manifest, OSError where the
    page cannot be written."""
    rows = read_manifest(folder)
    page = folder / "report.html"
    write_text(page, report_html(rows, page))
    return page


def report_html(rows: list[Row], page: Path) -> str:
    """The page as text; films are named relative to it."""
    groups = by_reason(rows)
    parts = [summary(rows), reasons_table(groups), shots_table(groups.get(KEPT, []))]
    parts += [films(reason, chosen, page) for reason, chosen in groups.items()]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Curation report</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def by_reason(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows under their reasons, most time first and the kept before all. A conversation counts as
    one clip, its two halves do not count again."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not row["part_of"]:
            groups[row["reason"] or KEPT].append(row)
    order = sorted(groups, key=lambda r: (r != KEPT, -hours(groups[r]), -len(groups[r]), r))
    return {reason: groups[reason] for reason in order}


def hours(rows: list[Row]) -> float:
    return sum(row["duration_s"] or 0.0 for row in rows) / 3600


def clock(rows: list[Row]) -> str:
    """Time as people read it."""
    minutes, seconds = divmod(round(hours(rows) * 3600), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds:02d} s"


def summary(rows: list[Row]) -> str:
    counted = [row for row in rows if not row["part_of"]]
    kept = [row for row in counted if row["reason"] is None]
    share = hours(kept) / hours(counted) if hours(counted) else 0.0
    files = {row["path"] for row in rows}
    return (
        "<h1>Curation report</h1>"
        f"<p class='quiet'>{len(files)} files, {len(counted)} clips, {clock(counted)}</p>"
        f"<p><b>{len(kept)} clips kept</b>, {clock(kept)}: {share:.0%} of the time.</p>"
    )


def reasons_table(groups: dict[str, list[Row]]) -> str:
    longest = max((hours(rows) for rows in groups.values()), default=0.0) or 1.0
    lines = [
        f"<tr><td>{escape(reason)}</td><td class='number'>{len(rows)}</td>"
        f"<td class='number'>{clock(rows)}</td><td style='width:45%'>"
        f"<div class='bar{' kept' if reason == KEPT else ''}' "
        f"style='width:{100 * hours(rows) / longest:.1f}%'></div></td></tr>"
        for reason, rows in groups.items()
    ]
    columns = "<th class='number'>Clips</th><th class='number'>Time</th><th></th>"
    head = f"<tr><th>Outcome</th>{columns}</tr>"
    return f"<h2>Kept and dropped</h2><table>{head}{''.join(lines)}</table>"


def shots_table(kept: list[Row]) -> str:
    """What the kept clips show, and who wrote their captions."""
    shots: dict[str, list[Row]] = defaultdict(list)
    for row in kept:
        shots[row["shot"]].append(row)
    lines = [
        f"<tr><td>{escape(shot)}</td><td class='number'>{len(rows)}</td>"
        f"<td class='number'>{clock(rows)}</td></tr>"
        for shot, rows in sorted(shots.items(), key=lambda item: -hours(item[1]))
    ]
    head = "<tr><th>Shot</th><th class='number'>Clips</th><th class='number'>Time</th></tr>"
    writers = sorted({str(row["caption_by"]) for row in kept})
    words = f"<p class='quiet'>Captions by: {escape(', '.join(writers))}</p>" if writers else ""
    return f"<h2>Kept, by shot</h2><table>{head}{''.join(lines)}</table>{words}"


def films(reason: str, rows: list[Row], page: Path) -> str:
    """A few films of one outcome, chosen by their ids."""
    chosen = sorted(rows, key=lambda row: row["clip_id"] or row["film_id"])[:SAMPLES]
    figures = "".join(film(row, page) for row in chosen)
    return f"<h2>{escape(reason)}</h2><div class='films'>{figures}</div>"


def film(row: Row, page: Path) -> str:
    """One film, its picture, and what was measured of it."""
    name = Path(row["path"]).name
    if row["clip_id"] is None:
        return f"<figure><figcaption><b>{escape(name)}</b></figcaption></figure>"
    start_s, end_s = row["start_s"], row["end_s"]
    source = quote(os.path.relpath(row["path"], page.parent))
    told = [f"{row['shot']}, {start_s:.1f}-{end_s:.1f} s", f"speech {row['speech_share']:.0%}"]
    if row["lip_score"] is not None:
        told.append(f"lips {row['lip_score']:+.2f} ({row['lip_lag']:+d} frames)")
    words = f"<br>{escape(row['caption'])}" if row["caption"] else ""
    return (
        f"<figure><video controls preload='none' poster='{poster(row)}' "
        f"src='{escape(source)}#t={start_s:.2f},{end_s:.2f}'></video>"
        f"<figcaption><b>{escape(name)}</b><br>{escape('; '.join(told))}{words}</figcaption>"
        "</figure>"
    )


def poster(row: Row) -> str:
    """The middle frame as a data URL; nothing where the file is gone."""
    import cv2
    import numpy as np

    middle = (row["start_s"] + row["end_s"]) / 2
    try:
        frame = clip_frames(Path(row["path"]), row["start_s"], np.array([middle]), 144)[0]
    except (Unfit, OSError):
        return ""
    written, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    assert written
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
