"""The few strokes every drawing is made of: flat and shaded paints, smooth outlines, ovals.

Paints are cached: making one costs more than drawing a small shape with it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import skia

from openmocha.toon.palette import RGB

Point = tuple[float, float]


def argb(colour: RGB, alpha: float = 1.0) -> int:
    return (round(alpha * 255) << 24) | (colour[0] << 16) | (colour[1] << 8) | colour[2]


@lru_cache(maxsize=8192)
def fill(colour: RGB, alpha: float = 1.0) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=argb(colour, alpha))


@lru_cache(maxsize=8192)
def line(colour: RGB, width: float, alpha: float = 1.0) -> skia.Paint:
    """A round-ended stroke of `width` drawing units."""
    return skia.Paint(
        AntiAlias=True,
        Color=argb(colour, alpha),
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=width,
        StrokeCap=skia.Paint.kRound_Cap,
        StrokeJoin=skia.Paint.kRound_Join,
    )


@lru_cache(maxsize=2048)
def ramp(start: Point, end: Point, colours: tuple[RGB, ...], alpha: float = 1.0) -> skia.Paint:
    """A paint that shades evenly from `start` to `end` through `colours`."""
    shader = skia.GradientShader.MakeLinear(
        [skia.Point(*start), skia.Point(*end)], [argb(colour, alpha) for colour in colours]
    )
    return skia.Paint(AntiAlias=True, Shader=shader)


@lru_cache(maxsize=2048)
def glow(radius: float, colour: RGB, alpha: float) -> skia.Paint:
    """A spot of light (or shadow) around the origin that fades to nothing at `radius`."""
    shader = skia.GradientShader.MakeRadial(
        skia.Point(0, 0),
        radius,
        [argb(colour, alpha), argb(colour, alpha * 0.45), argb(colour, 0.0)],
        [0.0, 0.5, 1.0],
    )
    return skia.Paint(AntiAlias=True, Shader=shader)


def spot(canvas: skia.Canvas, x: float, y: float, rx: float, ry: float, paint: skia.Paint) -> None:
    """Draw a `glow` made for radius `rx` as an oval at (x, y)."""
    canvas.save()
    canvas.translate(x, y)
    canvas.scale(1.0, ry / rx)
    canvas.drawCircle(0, 0, rx, paint)
    canvas.restore()


def oval(canvas: skia.Canvas, x: float, y: float, rx: float, ry: float, paint: skia.Paint) -> None:
    canvas.drawOval(skia.Rect(x - rx, y - ry, x + rx, y + ry), paint)


def box(
    canvas: skia.Canvas,
    rect: tuple[float, float, float, float],
    paint: skia.Paint,
    radius: float = 0.0,
) -> None:
    """A rectangle x0 y0 x1 y1 with rounded corners."""
    canvas.drawRoundRect(skia.Rect(*rect), radius, radius, paint)


def smooth(points: Sequence[Point], closed: bool = True) -> skia.Path:
    """A curve through all `points` (Catmull-Rom)."""
    path = skia.Path()
    count = len(points)
    path.moveTo(*points[0])
    for i in range(count if closed else count - 1):
        if closed:
            before, here = points[i - 1], points[i]
            there, after = points[(i + 1) % count], points[(i + 2) % count]
        else:
            before, here = points[max(i - 1, 0)], points[i]
            there, after = points[i + 1], points[min(i + 2, count - 1)]
        path.cubicTo(
            here[0] + (there[0] - before[0]) / 6,
            here[1] + (there[1] - before[1]) / 6,
            there[0] - (after[0] - here[0]) / 6,
            there[1] - (after[1] - here[1]) / 6,
            there[0],
            there[1],
        )
    if closed:
        path.close()
    return path


def polygon(points: Sequence[Point]) -> skia.Path:
    path = skia.Path()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    path.close()
    return path


def curve(start: Point, bend: Point, end: Point) -> skia.Path:
    path = skia.Path()
    path.moveTo(*start)
    path.quadTo(*bend, *end)
    return path


def turned(point: Point, centre: Point, degrees: float) -> Point:
    """`point` turned clockwise on the screen around `centre`."""
    angle = math.radians(degrees)
    dx, dy = point[0] - centre[0], point[1] - centre[1]
    return (
        centre[0] + dx * math.cos(angle) - dy * math.sin(angle),
        centre[1] + dx * math.sin(angle) + dy * math.cos(angle),
    )


def backdrop(canvas: skia.Canvas, top: RGB, bottom: RGB) -> None:
    """Fill everything with a vertical shade."""
    canvas.drawPaint(ramp((0, -60), (0, 60), (top, bottom)))


def ground(canvas: skia.Canvas, y: float, top: RGB, bottom: RGB) -> None:
    """Fill everything below `y`."""
    box(canvas, (-400, y, 400, 400), ramp((0, y), (0, 75), (top, bottom)))
