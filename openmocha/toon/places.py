"""Backgrounds: every place drawn around one dominant colour, blurred with the distance.

A background is drawn once per story, shot and size, larger than the view so that the camera can
pan, and kept as an image. Units: 100 = the short side of the frame, origin in its middle.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import skia

from openmocha.toon.brush import (
    argb,
    box,
    curve,
    fill,
    glow,
    line,
    oval,
    polygon,
    ramp,
    smooth,
    spot,
)
from openmocha.toon.palette import (
    BACKGROUND_RGB,
    LIGHT_TINT,
    RGB,
    WHITE,
    colour_of,
    darker,
    lighter,
    mix,
)

MARGIN = 1.4  # the image is this much larger than the frame
_BLUR = {"close-up": 1.5, "medium close-up": 1.15, "medium": 0.75, "wide": 0.45}
# The colour and depth of the corners under each light.
_CORNERS: dict[str, tuple[RGB, float]] = {
    "soft daylight": ((40, 30, 60), 0.12),
    "warm evening light": ((120, 44, 0), 0.26),
    "cool night light": ((4, 12, 84), 0.32),
}
_NEAR = {"close-up": 1.12, "medium close-up": 1.08, "medium": 1.0, "wide": 0.92}


def _backdrop(canvas: skia.Canvas, top: RGB, bottom: RGB) -> None:
    canvas.drawPaint(ramp((0, -60), (0, 60), (top, bottom)))


def _ground(canvas: skia.Canvas, y: float, top: RGB, bottom: RGB) -> None:
    box(canvas, (-400, y, 400, 400), ramp((0, y), (0, 75), (top, bottom)))


def _wall(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.1), mix(base, darker(base, 0.3), 0.45))


def _living_room(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.06), base)
    _ground(canvas, 42, (170, 122, 84), (132, 92, 64))
    box(canvas, (-400, 39.5, 400, 42.5), fill(lighter(base, 0.4)))
    x = 37 * kx
    for dx, colour in ((-11, darker(base, 0.5)), (13, (236, 206, 150))):
        box(canvas, (x + dx - 9, -44, x + dx + 9, -22), fill(WHITE), 1)
        box(canvas, (x + dx - 7, -42, x + dx + 7, -24), fill(colour))
    sofa = darker(base, 0.32)
    box(canvas, (x - 22, 8, x + 40, 38), fill(sofa), 7)
    box(canvas, (x - 26, 20, x + 44, 48), fill(darker(base, 0.42)), 7)
    box(canvas, (x - 6, 14, x + 10, 29), fill((244, 214, 150)), 4)
    x = -38 * kx
    box(canvas, (x - 1, -10, x + 1, 46), fill((84, 66, 58)))
    spot(canvas, x, -16, 34, 34, glow(34, (255, 232, 160), 0.75))
    canvas.drawPath(polygon([(x - 7, -28), (x + 7, -28), (x + 13, -8), (x - 13, -8)]),
                    fill((255, 240, 196)))  # fmt: skip
    oval(canvas, x, 46, 9, 2.5, fill((84, 66, 58)))


def _kitchen(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.1), base)
    grout = line(lighter(base, 0.34), 1.2)
    for i in range(-9, 10):
        canvas.drawLine(i * 12 * max(kx, 1), -14, i * 12 * max(kx, 1), 22, grout)
    for y in (-14, -2, 10):
        canvas.drawLine(-300, y, 300, y, grout)
    for x in (-42 * kx, 42 * kx):
        box(canvas, (x - 20, -70, x + 20, -24), fill(darker(base, 0.38)), 2)
        box(canvas, (x - 18, -68, x - 1, -26), fill(darker(base, 0.22)), 2)
        box(canvas, (x + 1, -68, x + 18, -26), fill(darker(base, 0.22)), 2)
        oval(canvas, x - 3.5, -31, 1.4, 1.4, fill((250, 226, 160)))
        oval(canvas, x + 3.5, -31, 1.4, 1.4, fill((250, 226, 160)))
    box(canvas, (-400, 22, 400, 28), fill((244, 236, 224)))
    box(canvas, (-400, 28, 400, 90), fill(darker(base, 0.3)))
    for i in range(-6, 7):
        canvas.drawLine(i * 24, 30, i * 24, 90, line(darker(base, 0.5), 1.2))
    x = -38 * kx
    box(canvas, (x - 10, 8, x + 10, 22), fill((200, 60, 56)), 3)
    box(canvas, (x - 12, 6, x + 12, 9), fill((150, 40, 44)), 1.5)
    oval(canvas, x, 4.5, 2, 2, fill((70, 44, 44)))
    for dx, y in ((-4, -4), (3, -10)):
        spot(canvas, x + dx, y, 8, 9, glow(8, WHITE, 0.6))
    x = 40 * kx
    for dx, colour in ((-10, (90, 160, 100)), (-2, (238, 180, 70)), (6, (220, 96, 84))):
        box(canvas, (x + dx - 3, 9, x + dx + 4, 22), fill(colour), 2)
        box(canvas, (x + dx - 2, 6, x + dx + 3, 9), fill(lighter(colour, 0.5)), 1)


def _office(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.06), base)
    x = -36 * kx
    box(canvas, (x - 22, -40, x + 12, -2), fill(WHITE), 1)
    box(
        canvas,
        (x - 20, -38, x + 10, -4),
        ramp((0, -44), (0, 6), ((150, 206, 246), (220, 240, 252))),
    )
    for i in range(6):
        y = -37 + 6 * i
        box(canvas, (x - 20, y, x + 10, y + 2.6), fill(lighter(base, 0.5)))
    x = 38 * kx
    for row in range(3):
        y = -46 + 21 * row
        for i, colour in enumerate(((206, 74, 70), (70, 110, 180), (240, 200, 90), (86, 150, 110))):
            tall = 11 + 3 * ((i + row) % 3)
            left = x - 15 + 7.5 * ((i + 2 * row) % 4)
            box(canvas, (left, y + 18 - tall, left + 6.4, y + 18), fill(mix(colour, base, 0.2)))
        box(canvas, (x - 20, y + 18, x + 24, y + 20.5), fill(darker(base, 0.5)))
    _ground(canvas, 30, darker(base, 0.42), darker(base, 0.5))
    box(canvas, (-400, 28, 400, 32), fill((214, 178, 136)))
    x = -34 * kx
    box(canvas, (x - 13, 8, x + 13, 25), fill((46, 50, 62)), 2)
    box(canvas, (x - 11.5, 9.5, x + 11.5, 23.5), fill((120, 190, 236)), 1)
    box(canvas, (x - 2, 25, x + 2, 29), fill((46, 50, 62)))


def _tree(canvas: skia.Canvas, x: float, foot: float, size: float, crown: RGB) -> None:
    box(canvas, (x - 2.2 * size, foot - 26 * size, x + 2.2 * size, foot), fill((112, 78, 58)))
    for dx, dy, r in ((-9, -30, 12), (9, -31, 12), (0, -41, 14)):
        oval(canvas, x + dx * size, foot + dy * size, r * size, r * size, fill(crown))
    oval(canvas, x - 4 * size, foot - 44 * size, 7 * size, 6 * size, fill(lighter(crown, 0.25)))


def _park(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.12), base)
    cloud = fill(lighter(base, 0.55), 0.85)
    for x, y in ((-22 * kx, -42), (34 * kx, -50), (6 * kx, -30)):
        for dx, r in ((-7, 4.5), (0, 6.5), (7, 4.5)):
            oval(canvas, x + dx, y - r * 0.3, r * 1.3, r, cloud)
    hill = smooth([(-160, 30), (-60 * kx, 14), (0, 24), (56 * kx, 12), (170, 30), (170, 90),
                   (-160, 90)])  # fmt: skip
    canvas.drawPath(hill, fill(mix((96, 164, 92), base, 0.35)))
    _ground(canvas, 30, (120, 186, 96), (88, 152, 80))
    canvas.drawPath(polygon([(-4, 30), (6, 30), (44, 80), (-34, 80)]), fill((230, 210, 168)))
    _tree(canvas, -40 * kx, 38, 1.15, (74, 146, 84))
    _tree(canvas, 42 * kx, 36, 1.0, (88, 160, 88))
    x = 26 * kx
    box(canvas, (x - 12, 30, x + 12, 33), fill((150, 96, 62)), 1)
    box(canvas, (x - 12, 37, x + 12, 40), fill((150, 96, 62)), 1)


def _forest(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.2), base)
    for i in range(-8, 9):
        far = (i * 15 * kx + 3, -90, i * 15 * kx + 6, 40)
        box(canvas, far, fill(darker(base, 0.13)))
    for x, wide in ((-55, 5.5), (-34, 4.4), (33, 4.8), (54, 6), (-11, 2.6), (13, 2.8)):
        outline = ((-1, -90), (1, -90), (1.1, 32), (1.8, 44), (-1.8, 44), (-1.1, 32))
        trunk = [(x * kx + dx * wide, y) for dx, y in outline]
        canvas.drawPath(polygon(trunk), fill(mix((84, 58, 48), darker(base, 0.35), 0.4)))
        box(
            canvas,
            (x * kx - wide, -90, x * kx - wide * 0.4, 32),
            fill(mix((150, 112, 84), base, 0.4), 0.6),
        )
    for i in range(-9, 10):
        x = i * 11 * kx
        oval(
            canvas,
            x,
            -62 + 4 * (i % 3),
            11 * max(kx, 1),
            13,
            fill((60, 116, 74) if i % 2 else (76, 136, 82)),
        )
    _ground(canvas, 40, (84, 132, 76), (58, 98, 62))
    for i in range(-9, 10):
        x = i * 10 * kx + 4
        for lean in (-5, 0, 5):
            canvas.drawPath(
                curve((x, 46), (x + lean * 0.3, 38), (x + lean, 34)), line((98, 156, 84), 1.8)
            )


def _beach(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.04), lighter(base, 0.2))
    spot(canvas, 28 * kx, -36, 22, 22, glow(22, (255, 250, 214), 0.9))
    oval(canvas, 28 * kx, -36, 8, 8, fill((255, 246, 200)))
    box(canvas, (-400, 12, 400, 36), ramp((0, 12), (0, 36), ((44, 124, 176), (96, 196, 206))))
    for x, y in ((-40, 18), (-10, 22), (22, 17), (44, 25), (-26, 28)):
        canvas.drawLine(x * kx - 6, y, x * kx + 6, y, line(WHITE, 1.2, 0.75))
    sand = smooth([(-300, 34), (-40 * kx, 37), (20 * kx, 33), (300, 38), (300, 120), (-300, 120)])
    canvas.drawPath(sand, line(WHITE, 3.0, 0.8))
    canvas.drawPath(sand, fill((244, 218, 168)))
    x = -40 * kx
    canvas.drawPath(curve((x - 4, 48), (x + 4, 10), (x + 2, -26)), line((150, 104, 70), 5))
    for dx, dy in ((-22, -8), (-17, 6), (20, -9), (24, 4), (2, -18), (8, 12)):
        tip = (x + 2 + dx, -26 + dy)
        canvas.drawPath(
            curve((x + 2, -26), (x + 2 + dx * 0.5, -34 + dy * 0.3), tip), line((54, 138, 84), 5)
        )


def _house(canvas: skia.Canvas, x: float, wide: float, top: float, wall: RGB, lit: RGB) -> None:
    box(canvas, (x - wide / 2, top, x + wide / 2, 60), fill(wall))
    box(canvas, (x - wide / 2 - 1, top - 2, x + wide / 2 + 1, top + 1.5), fill(darker(wall, 0.3)))
    for row in range(4):
        for column in range(2):
            left, y = x - wide * 0.32 + column * wide * 0.38, top + 7 + row * 16
            box(canvas, (left, y, left + wide * 0.25, y + 9), fill(lit), 0.6)


def _street(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.24), lighter(base, 0.08))
    pane = (216, 236, 248)
    for x, wide, top, shade in ((-50, 27, -40, 0.14), (-24, 22, -22, 0.3), (24, 22, -28, 0.24),
                                (50, 28, -46, 0.1)):  # fmt: skip
        _house(canvas, x * kx, wide * max(kx, 1), top, darker(base, shade), pane)
    box(canvas, (-400, 32, 400, 40), fill((206, 204, 204)))
    box(canvas, (-400, 40, 400, 200), fill((98, 98, 108)))
    for i in range(-6, 7):
        box(canvas, (i * 28 - 8, 50, i * 28 + 8, 52.5), fill((250, 236, 170)))
    x = 36 * kx
    box(canvas, (x - 1, -20, x + 1, 38), fill((58, 60, 70)))
    box(canvas, (x - 9, -21, x + 1, -19), fill((58, 60, 70)))
    oval(canvas, x - 9, -17, 3.5, 2.6, fill((255, 240, 180)))
    awning = [(-62 * kx, 4), (-38 * kx, 4), (-35 * kx, 13), (-65 * kx, 13)]
    canvas.drawPath(polygon(awning), fill((212, 72, 66)))


def _city_at_night(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    night = (16, 18, 44)
    _backdrop(canvas, mix(base, night, 0.2), lighter(base, 0.04))
    oval(canvas, -30 * kx, -40, 7, 7, fill((255, 250, 222)))
    oval(canvas, -27 * kx, -42, 6, 6, fill(mix(base, night, 0.2)))
    for i in range(14):
        x, y = ((i * 37) % 120 - 60) * kx, -58 + (i * 23) % 34
        oval(canvas, x, y, 0.9, 0.9, fill(WHITE))
    towers = (
        (-58, 18, -2), (-42, 16, -20), (-24, 14, 4), (-8, 14, -8),
        (8, 14, 6), (24, 15, -12), (41, 17, -26), (58, 18, -6),
    )  # fmt: skip
    for i, (x, wide, top) in enumerate(towers):
        wide *= max(kx, 1) * 0.5
        wall = mix(mix(base, night, 0.78), night, 0.15 * (i % 2))
        box(canvas, (x * kx - wide, top, x * kx + wide, 90), fill(wall))
        for row in range(5):
            for column in (-0.5, 0.12):
                if (i * 7 + row * 3 + int(column > 0)) % 4 == 0:
                    continue
                left, y = x * kx + column * wide, top + 5 + row * 10
                box(canvas, (left, y, left + wide * 0.4, y + 4.6), fill((255, 220, 120)))


def _stage(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, darker(base, 0.12), base)
    for i in range(-14, 15):
        x = i * 7.5 * max(kx, 1)
        fold = darker(base, 0.3) if i % 2 else lighter(base, 0.08)
        canvas.drawPath(curve((x, -90), (x + 1.5, 0), (x, 44)), line(fold, 4.2, 0.75))
    for side in (-1, 1):
        edge = side * 44 * kx
        drape = smooth([(side * 30 * kx, -90), (side * 200, -90), (side * 200, 60), (edge, 60),
                        (edge + side * 2, 10), (side * 34 * kx, -40)])  # fmt: skip
        canvas.drawPath(drape, fill(darker(base, 0.48)))
        oval(canvas, edge + side * 2, 8, 4, 3, fill((248, 206, 96)))
    for x, lean in ((-26 * kx, 22), (26 * kx, -22)):
        beam = polygon([(x - 3, -75), (x + 3, -75), (x + lean + 20, 50), (x + lean - 20, 50)])
        canvas.drawPath(beam, ramp((0, -70), (0, 50), ((255, 250, 220), (255, 250, 220)), 0.2))
    _ground(canvas, 42, (176, 122, 78), (120, 80, 54))
    oval(canvas, 0, 54, 40, 9, fill((255, 236, 190), 0.5))


def _snowfield(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    _backdrop(canvas, lighter(base, 0.02), lighter(base, 0.16))
    peaks = polygon([(-200, 26), (-58 * kx, -14), (-38 * kx, 8), (-14 * kx, -18), (14 * kx, 14),
                     (40 * kx, -22), (64 * kx, 2), (200, 26)])  # fmt: skip
    canvas.drawPath(peaks, fill(mix(lighter(base, 0.55), (206, 222, 244), 0.6)))
    snow = smooth([(-300, 22), (-50 * kx, 16), (0, 25), (50 * kx, 18), (300, 24), (300, 120),
                   (-300, 120)])  # fmt: skip
    canvas.drawPath(snow, fill((246, 249, 254)))
    for x, size in ((-44, 1.2), (-27, 0.8), (32, 0.85), (48, 1.25)):
        foot = 30.0 if size > 1 else 25.0
        for i in range(3):
            y, wide = foot - 12 * i * size, (15 - 3.4 * i) * size
            tree = [(x * kx - wide, y), (x * kx + wide, y), (x * kx, y - 20 * size)]
            canvas.drawPath(polygon(tree), fill((52, 104, 96)))
            cap = [(x * kx - wide * 0.4, y - 12 * size), (x * kx + wide * 0.4, y - 12 * size),
                   (x * kx, y - 20 * size)]  # fmt: skip
            canvas.drawPath(polygon(cap), fill(WHITE))
    for i in range(26):
        x, y = ((i * 41) % 130 - 65) * kx, -62 + (i * 29) % 96
        oval(canvas, x, y, 1.3, 1.3, fill(WHITE, 0.95))


_PLACES: dict[str, Callable[[skia.Canvas, RGB, float], None]] = {
    "wall": _wall,
    "living room": _living_room,
    "kitchen": _kitchen,
    "office": _office,
    "park": _park,
    "forest": _forest,
    "beach": _beach,
    "street": _street,
    "city at night": _city_at_night,
    "stage": _stage,
    "snowfield": _snowfield,
}


def has_wall(place: str) -> bool:
    """Whether a character casts a shadow on what is behind."""
    return place in ("wall", "living room", "kitchen", "office")


def _draw_light(canvas: skia.Canvas, base: RGB, light: str) -> None:
    """The light falls in from the upper left and leaves the corners darker."""
    colour = LIGHT_TINT[light][2]
    spot(canvas, -42, -52, 80, 80, glow(80, colour, 0.2))
    edge, strength = _CORNERS[light]
    shade = skia.GradientShader.MakeRadial(
        skia.Point(0, 0),
        100,
        [argb(edge, 0.0), argb(edge, 0.0), argb(edge, strength)],
        [0.0, 0.42, 1.0],
    )
    canvas.drawPaint(skia.Paint(Shader=shade))


@lru_cache(maxsize=64)
def background(
    place: str, colour: str, light: str, shot: str, width: int, height: int
) -> skia.Image:
    """The background of a shot, MARGIN times larger than width x height pixels.

    Raises ValueError for an unknown place or colour.
    """
    if place not in _PLACES:
        raise ValueError(f"unknown place {place!r}; expected one of {', '.join(_PLACES)}")
    base = colour_of(BACKGROUND_RGB, colour, "background colour")
    short = min(width, height)
    full = (math.ceil(width * MARGIN), math.ceil(height * MARGIN))
    surface = skia.Surface(*full)
    blurred = skia.Paint(
        ImageFilter=skia.ImageFilters.Blur(*(2 * [_BLUR[shot] * short / 128]), skia.TileMode.kClamp)
    )
    with surface as canvas:
        canvas.clear(0xFF000000)
        canvas.saveLayer(None, blurred)
        canvas.translate(full[0] / 2, full[1] / 2)
        scale = short / 100 * _NEAR[shot]
        canvas.scale(scale, scale)
        _PLACES[place](canvas, base, width / short)
        _draw_light(canvas, base, light)
        canvas.restore()
    return surface.makeImageSnapshot()
