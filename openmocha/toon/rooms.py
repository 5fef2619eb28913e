"""Places with a wall or a curtain behind.

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


def wall(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.1), mix(base, darker(base, 0.3), 0.45))


def living_room(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.06), base)
    ground(canvas, 42, (170, 122, 84), (132, 92, 64))
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


def kitchen(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.1), base)
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


def office(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, lighter(base, 0.06), base)
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
    ground(canvas, 30, darker(base, 0.42), darker(base, 0.5))
    box(canvas, (-400, 28, 400, 32), fill((214, 178, 136)))
    x = -34 * kx
    box(canvas, (x - 13, 8, x + 13, 25), fill((46, 50, 62)), 2)
    box(canvas, (x - 11.5, 9.5, x + 11.5, 23.5), fill((120, 190, 236)), 1)
    box(canvas, (x - 2, 25, x + 2, 29), fill((46, 50, 62)))


def stage(canvas: skia.Canvas, base: RGB, kx: float) -> None:
    backdrop(canvas, darker(base, 0.12), base)
    for i in range(-14, 15):
        x = i * 7.5 * max(kx, 1)
        fold = darker(base, 0.3) if i % 2 else lighter(base, 0.08)
        canvas.drawPath(curve((x, -90), (x + 1.5, 0), (x, 44)), line(fold, 4.2, 0.75))
    for side in (-1, 1):
        edge = side * 44 * kx
        drape = smooth([(side * 30 * kx, -90), (side * 200, -90), (side * 200, 60), (edge, 60),
                        (edge + side * 2, 10), (side * 34 * kx, -40)])  # fmt: skip
        canvas.drawPath(drape, fill(darker(base, 0.32)))
        oval(canvas, edge + side * 2, 8, 4, 3, fill((248, 206, 96)))
    for x, lean in ((-26 * kx, 22), (26 * kx, -22)):
        beam = polygon([(x - 3, -75), (x + 3, -75), (x + lean + 20, 50), (x + lean - 20, 50)])
        canvas.drawPath(beam, fill((255, 250, 220), 0.13))
    ground(canvas, 42, (176, 122, 78), (120, 80, 54))
    oval(canvas, 0, 54, 40, 9, fill((255, 236, 190), 0.5))
