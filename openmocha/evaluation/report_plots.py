"""Pictures of scores as inline SVG: how films scatter, and Sync-C against Sync-D.

Each system has one colour throughout the page; a dot is a film.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

# told apart by people of every colour vision (Okabe and Ito 2008)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#000000")

WIDTH, LEFT, RIGHT = 440, 108, 16
ROW = 34


class Strip(NamedTuple):
    """One system's films: (value, film's name) each, with the mean and its interval."""

    system: str
    colour: str
    dots: Sequence[tuple[float, str]]
    mean: float | None
    low: float | None
    high: float | None


class Cloud(NamedTuple):
    """One system's films as (x, y, film's name)."""

    system: str
    colour: str
    dots: Sequence[tuple[float, float, str]]


def colour_of(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def strip_plot(title: str, hint: str, strips: Sequence[Strip]) -> str:
    """A row of dots per system; a bar for the interval of the mean and a tick for the mean."""
    values = [value for strip in strips for value, _ in strip.dots]
    if not values:
        return ""
    ticks = ticks_of(min(values), max(values))
    bottom = 30 + ROW * len(strips)
    parts = [_heading(title, hint)]
    for tick in ticks:
        x = _place(tick, ticks, LEFT, WIDTH - RIGHT)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="26" y2="{bottom}" class="grid"/>')
        parts.append(_text(x, bottom + 14, number(tick), "middle"))
    for row, strip in enumerate(strips):
        middle = 30 + ROW * (row + 0.5)
        parts.append(_text(LEFT - 10, middle + 4, shortened(strip.system), "end"))
        for index, (value, name) in enumerate(strip.dots):
            x = _place(value, ticks, LEFT, WIDTH - RIGHT)
            # spread without chance: the golden ratio keeps neighbours apart
            y = middle + (index * 0.618034 % 1 - 0.5) * (ROW - 16)
            parts.append(_dot(x, y, strip.colour, f"{name}: {value:.3f}"))
        parts.append(_mean(strip, middle, ticks))
    return _svg(bottom + 20, title, parts)


def _mean(strip: Strip, middle: float, ticks: Sequence[float]) -> str:
    if strip.mean is None:
        return ""
    x = _place(strip.mean, ticks, LEFT, WIDTH - RIGHT)
    parts = [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 11}" y2="{middle + 11}" class="mean"/>'
    ]
    if strip.low is not None and strip.high is not None:
        low, high = (_place(v, ticks, LEFT, WIDTH - RIGHT) for v in (strip.low, strip.high))
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" class="mean"/>'
        )
    return "".join(parts)


def scatter_plot(title: str, x_label: str, y_label: str, clouds: Sequence[Cloud]) -> str:
    """Two measures of the same films against each other."""
    dots = [dot for cloud in clouds for dot in cloud.dots]
    if not dots:
        return ""
    across = ticks_of(min(d[0] for d in dots), max(d[0] for d in dots))
    upward = ticks_of(min(d[1] for d in dots), max(d[1] for d in dots))
    left, top, bottom = 52, 34, 290
    parts = [_heading(title, "")]
    for tick in across:
        x = _place(tick, across, left, WIDTH - RIGHT)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" class="grid"/>')
        parts.append(_text(x, bottom + 15, number(tick), "middle"))
    for tick in upward:
        y = _place(tick, upward, bottom, top)
        parts.append(
            f'<line x1="{left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        )
        parts.append(_text(left - 7, y + 4, number(tick), "end"))
    for cloud in clouds:
        for x_value, y_value, name in cloud.dots:
            x = _place(x_value, across, left, WIDTH - RIGHT)
            y = _place(y_value, upward, bottom, top)
            parts.append(_dot(x, y, cloud.colour, f"{name}: {x_value:.3f}, {y_value:.3f}"))
    parts.append(_text((left + WIDTH) / 2, bottom + 32, x_label, "middle"))
    parts.append(
        f'<text x="14" y="{(top + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(top + bottom) / 2})">{escape(y_label)}</text>'
    )
    return _svg(bottom + 40, title, parts)


def ticks_of(low: float, high: float) -> list[float]:
    """Four to ten round numbers that span the values."""
    if low == high:
        around = 0.1 * max(abs(low), 1.0)
        return ticks_of(low - around, high + around)
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 7)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number_ * step for number_ in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def shortened(name: str, longest: int = 15) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _place(value: float, ticks: Sequence[float], start: float, end: float) -> float:
    return start + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (end - start)


def _heading(title: str, hint: str) -> str:
    quiet = f' <tspan class="quiet">{escape(hint)}</tspan>' if hint else ""
    return f'<text x="0" y="14"><tspan class="title">{escape(title)}</tspan>{quiet}</text>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _dot(x: float, y: float, colour: str, name: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.55">'
        f"<title>{escape(name)}</title></circle>"
    )


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
