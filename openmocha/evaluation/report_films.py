"""The films of all systems side by side, item by item, with their scores under them.

A film is loaded when it is played; until then its middle frame stands there as a small JPEG.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openmocha.evaluation.measures import METRICS, measure_of
from openmocha.evaluation.mochabench import Item, film_path
from openmocha.evaluation.report_tables import figure
from openmocha.evaluation.score_table import Score

POSTER_SIDE = 256


@dataclass(frozen=True)
class System:
    """One run as the page shows it. `scores` are by metric and item."""

    name: str
    colour: str
    folder: Path
    films: Path
    told: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Score]]
    failed: Mapping[str, str]


def systems_table(items: Sequence[Item], systems: Sequence[System]) -> str:
    """What made each system's films, from what crop of a first frame, and how many there are."""
    lines = []
    for system in systems:
        there = [item for item in items if film_path(system.films, item).is_file()]
        failed = [n for n in system.failed if n not in {item.name for item in there}]
        making = system.told.get("making", {})
        made = making.get("model") or system.told.get("system") or "by others"
        seed = f", seed {making['seed']}" if "seed" in making else ""
        crop = f", crop {system.told['crop']}" if "crop" in system.told else ""
        lines.append(
            f"<tr><th><span class='dot' style='background:{system.colour}'></span>"
            f"{escape(system.name)}</th><td>{escape(f'{made}{seed}{crop}')}</td>"
            f"<td class='number'>{len(there)} of {len(items)}</td>"
            f"<td class='number'>{len(failed)}</td></tr>"
        )
    head = (
        "<tr><th>System</th><th>Made by</th><th class='number'>Films here</th>"
        "<th class='number'>Failed</th></tr>"
    )
    return f"<h2>Systems</h2><table>{head}{''.join(lines)}</table>"


def gallery(items: Sequence[Item], systems: Sequence[System], page: Path, copy: bool) -> str:
    """Every item that any system has a film of."""
    rows, categories = [], []
    for item in items:
        films = [film_path(system.films, item) for system in systems]
        if not any(film.is_file() for film in films):
            continue
        anchor = ""
        if item.category not in categories:
            categories.append(item.category)
            anchor = f"<h3 id='films-{escape(item.category)}'>{escape(item.category)}</h3>"
        figures = "".join(
            figure_of(item, system, film, page, copy)
            for system, film in zip(systems, films, strict=True)
        )
        rows.append(
            f"{anchor}<section class='item' id='{escape(item.name)}'>"
            f"<h4>{escape(item.context_id)} "
            "<button type='button' class='together'>play together</button></h4>"
            f"<div class='films'>{figures}</div>"
            f"<details><summary>Prompt</summary><p class='prompt'>{escape(item.prompt)}</p>"
            "</details></section>"
        )
    links = " · ".join(f"<a href='#films-{escape(c)}'>{escape(c)}</a>" for c in categories)
    return f"<h2 id='films'>Films</h2><p>{links}</p>{''.join(rows)}" if rows else ""


def figure_of(item: Item, system: System, film: Path, page: Path, copy: bool) -> str:
    """A film and what is known of it, or why there is none."""
    name = f"<b style='color:{system.colour}'>{escape(system.name)}</b>"
    if not film.is_file():
        reason = system.failed.get(item.name, "no film")
        return (
            f"<figure><div class='nothing'>{escape(reason[:200])}</div>"
            f"<figcaption>{name}</figcaption></figure>"
        )
    if copy:
        film = copied(film, film_path(page.parent / "films" / system.name, item))
    source = quote(os.path.relpath(film.absolute(), page.parent.absolute()))
    return (
        f"<figure><video controls playsinline preload='none' poster='{poster(film)}' "
        f"src='{escape(source)}'></video>"
        f"<figcaption>{name}{scores_of(item, system)}</figcaption></figure>"
    )


def scores_of(item: Item, system: System) -> str:
    """Scores that have a better way, notes, and the judge's advice on lips."""
    parts = []
    for metric, by_item in system.scores.items():
        score = by_item.get(item.name)
        if score is None:
            continue
        known = METRICS[metric].measures if metric in METRICS else {}
        values = [
            f"{escape(measure_of(metric, n).label)} {figure(v, measure_of(metric, n).digits)}"
            for n, v in score.values.items()
            if n in known
        ]
        parts += [", ".join(values)] if values else []
        parts += [f"{escape(metric)}: {escape(score.note)}"] if score.note else []
        if advice := score.details.get("lip_advice"):
            parts.append(f"<i>lip advice, no score: {escape(str(advice))}</i>")
    return "".join(f"<br>{part}" for part in parts)


def poster(film: Path) -> str:
    """The middle frame as a data URL, "" where it cannot be decoded."""
    import av

    from openmocha.curation.endpoint import image_part

    try:
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            if stream.duration:
                container.seek(stream.duration // 2, stream=stream)
            middle = (stream.duration or 0) // 2
            for frame in container.decode(stream):
                if frame.pts is None or frame.pts >= middle:
                    pixels = frame.to_ndarray(format="rgb24")
                    return str(image_part(pixels, POSTER_SIDE)["image_url"]["url"])
    except (av.error.FFmpegError, IndexError, OSError):
        pass  # a damaged film is named as such by its scores
    return ""


def copied(film: Path, place: Path) -> Path:
    """The film in the report's folder; a copy of the same length is kept."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_file() or place.stat().st_size != film.stat().st_size:
        shutil.copyfile(film, place)
    return place
