"""Places under the sky.

Every function draws one place around its dominant colour `base`, on a canvas whose short side is
100 units with the origin in the middle; `kx` is the width of the frame in short sides.
"""

import skia

from openmocha.toon.brush import (
    backdrop,
    box,
    curve,
    fill,
    glow,
    ground,
    line,
    oval,
    polygon,
    ramp,
    smooth,
    spot,
)
from openmocha.toon.palette import RGB, WHITE, darker, lighter, mix


def _tree(canvas: skia.Canvas, x: float, foot: float, size: float, crown: RGB) -> None:
    box(canvas, (x - 2.2 * size, foot - 26 * size, x + 2.2 * size, foot), fill((112, 78, 58)))
    for dx, dy, r in ((-9, -30, 12), (9, -31, 12), (0, -41, 14)):
        oval(canvas, x + dx * size, foot + dy * size, r * size, r * size, fill(crown))
    oval(canvas, x - 4 * size, foot - 44 * size, 7 * size, 6 * size, fill(lighter(crown, 0.25)))


def park(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.12), base)
    cloud = fill(lighter(base, 0.55), 0.85)
    for x, y in ((-22 * kx, -42), (34 * kx, -50), (6 * kx, -30)):
        for dx, r in ((-7, 4.5), (0, 6.5), (7, 4.5)):
            oval(canvas, x + dx, y - r * 0.3, r * 1.3, r, cloud)
    hill = smooth([(-160, 30), (-60 * kx, 14), (0, 24), (56 * kx, 12), (170, 30), (170, 90),
                   (-160, 90)])  # fmt: skip
    canvas.drawPath(hill, fill(mix((96, 164, 92), base, 0.35)))
    ground(canvas, 30, (120, 186, 96), (88, 152, 80))
    canvas.drawPath(polygon([(-4, 30), (6, 30), (44, 80), (-34, 80)]), fill((230, 210, 168)))
    _tree(canvas, -40 * kx, 38, 1.15, (74, 146, 84))
    _tree(canvas, 42 * kx, 36, 1.0, (88, 160, 88))
    x = 26 * kx
    box(canvas, (x - 12, 30, x + 12, 33), fill((150, 96, 62)), 1)
    box(canvas, (x - 12, 37, x + 12, 40), fill((150, 96, 62)), 1)


def forest(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.2), base)
    for i in range(-8, 9):
        far = (i * 15 * kx + 3, -90, i * 15 * kx + 6, 40)
        box(canvas, far, fill(darker(base, 0.13)))
    for x, wide in ((-55.0, 5.5), (-34, 4.4), (33, 4.8), (54, 6), (-11, 2.6), (13, 2.8)):
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
    ground(canvas, 40, (84, 132, 76), (58, 98, 62))
    for i in range(-9, 10):
        x = i * 10 * kx + 4
        for lean in (-5, 0, 5):
            canvas.drawPath(
                curve((x, 46), (x + lean * 0.3, 38), (x + lean, 34)), line((98, 156, 84), 1.8)
            )


def beach(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.04), lighter(base, 0.2))
    spot(canvas, 28 * kx, -36, 22, 22, glow(22, (255, 250, 214), 0.9))
    oval(canvas, 28 * kx, -36, 8, 8, fill((255, 246, 200)))
    box(canvas, (-400, 12, 400, 36), ramp((0, 12), (0, 36), ((44, 124, 176), (96, 196, 206))))
    for x, y in ((-40.0, 18.0), (-10, 22), (22, 17), (44, 25), (-26, 28)):
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


def street(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.24), lighter(base, 0.08))
    pane = (216, 236, 248)
    houses = (
        (-50.0, 27.0, -40.0, 0.14), (-24, 22, -22, 0.3), (24, 22, -28, 0.24), (50, 28, -46, 0.1),
    )  # fmt: skip
    for x, wide, top, shade in houses:
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


def city_at_night(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    night = (16, 18, 44)
    backdrop(canvas, mix(base, night, 0.2), lighter(base, 0.04))
    oval(canvas, -30 * kx, -40, 7, 7, fill((255, 250, 222)))
    oval(canvas, -27 * kx, -42, 6, 6, fill(mix(base, night, 0.2)))
    for i in range(14):
        oval(canvas, ((i * 37) % 120 - 60) * kx, -58 + (i * 23) % 34, 0.9, 0.9, fill(WHITE))
    towers = (
        (-58.0, 18.0, -2.0), (-42, 16, -20), (-24, 14, 4), (-8, 14, -8),
        (8, 14, 6), (24, 15, -12), (41, 17, -26), (58, 18, -6),
    )  # fmt: skip
    for i, (x, wide, top) in enumerate(towers):
        half = wide * max(kx, 1) * 0.5
        wall = mix(mix(base, night, 0.78), night, 0.15 * (i % 2))
        box(canvas, (x * kx - half, top, x * kx + half, 90), fill(wall))
        for row in range(5):
            for column in (-0.5, 0.12):
                if (i * 7 + row * 3 + int(column > 0)) % 4 == 0:
                    continue
                left, high = x * kx + column * half, top + 5 + row * 10
                box(canvas, (left, high, left + half * 0.4, high + 4.6), fill((255, 220, 120)))


def snowfield(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.02), lighter(base, 0.16))
    peaks = polygon([(-200, 26), (-58 * kx, -14), (-38 * kx, 8), (-14 * kx, -18), (14 * kx, 14),
                     (40 * kx, -22), (64 * kx, 2), (200, 26)])  # fmt: skip
    canvas.drawPath(peaks, fill(mix(lighter(base, 0.55), (206, 222, 244), 0.6)))
    snow = smooth([(-300, 22), (-50 * kx, 16), (0, 25), (50 * kx, 18), (300, 24), (300, 120),
                   (-300, 120)])  # fmt: skip
    canvas.drawPath(snow, fill((246, 249, 254)))
    for x, size in ((-44.0, 1.2), (-27, 0.8), (32, 0.85), (48, 1.25)):
        foot = 30.0 if size > 1 else 25.0
        for i in range(3):
            y, wide = foot - 12 * i * size, (15 - 3.4 * i) * size
            tree = [(x * kx - wide, y), (x * kx + wide, y), (x * kx, y - 20 * size)]
            canvas.drawPath(polygon(tree), fill((52, 104, 96)))
            cap = [(x * kx - wide * 0.4, y - 12 * size), (x * kx + wide * 0.4, y - 12 * size),
                   (x * kx, y - 20 * size)]  # fmt: skip
            canvas.drawPath(polygon(cap), fill(WHITE))
    for i in range(26):
        fall = -62 + (i * 29) % 96
        oval(canvas, ((i * 41) % 130 - 65) * kx, fall, 1.3, 1.3, fill(WHITE, 0.95))
