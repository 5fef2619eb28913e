"""What makes a t-shirt, coat, suit, hoodie, sweater or dress, on top of the plain trunk."""

import skia

from openmocha.toon.brush import box, curve, fill, line, oval, polygon, smooth
from openmocha.toon.looks import Look
from openmocha.toon.palette import RGB, WHITE, darker, lighter, luma, mix

_SHIRT: RGB = (248, 248, 252)


def _inner(look: Look) -> RGB:
    """A shirt that shows against the clothes."""
    return _SHIRT if luma(look.cloth) < 215 else (120, 150, 190)


def _draw_lapels(canvas: skia.Canvas, look: Look, width: float, depth: float) -> None:
    for side in (-1.0, 1.0):
        lapel = [(side * 11, 62), (side * (width + 8), 76), (side * (width + 2), 96),
                 (side * (width + 8), 102), (0, depth)]  # fmt: skip
        canvas.drawPath(polygon(lapel), fill(mix(look.cloth, look.cloth_shade, 0.55)))
        canvas.drawPath(polygon(lapel), line(darker(look.cloth, 0.5), 1.6))


def _draw_suit(canvas: skia.Canvas, look: Look, hip: float) -> None:
    depth = 74 + (hip - 74) * 0.55
    canvas.drawPath(polygon([(-18, 60), (18, 60), (0, depth)]), fill(_inner(look)))
    tie = look.accent
    canvas.drawPath(polygon([(-6, 76), (6, 76), (8, depth - 22), (0, depth - 6), (-8, depth - 22)]),
                    fill(tie))  # fmt: skip
    canvas.drawPath(polygon([(-7, 70), (7, 70), (4, 81), (-4, 81)]), fill(darker(tie, 0.25)))
    _draw_lapels(canvas, look, 20, depth)
    canvas.drawLine(0, depth, 0, hip, line(look.cloth_shade, 2.0))
    oval(canvas, 4, depth + 12, 2.6, 2.6, fill(darker(look.cloth, 0.55)))


def _draw_coat(canvas: skia.Canvas, look: Look, hip: float) -> None:
    inner = darker(look.accent, 0.1)
    canvas.drawPath(polygon([(-18, 60), (18, 60), (10, 118), (-10, 118)]), fill(inner))
    _draw_lapels(canvas, look, 32, 120)
    canvas.drawLine(0, 118, 0, hip, line(look.cloth_shade, 2.4))
    for y in (136.0, 176.0):
        if y < hip - 10:
            oval(canvas, -9, y, 4.4, 4.4, fill(darker(look.cloth, 0.55)))
            oval(canvas, 9, y, 4.4, 4.4, fill(darker(look.cloth, 0.55)))


def _draw_hoodie(canvas: skia.Canvas, look: Look, hip: float) -> None:
    pocket_y = 74 + (hip - 74) * 0.62
    pocket = polygon([(-22, pocket_y), (22, pocket_y), (34, hip - 12), (-34, hip - 12)])
    canvas.drawPath(pocket, fill(look.cloth_shade, 0.55))
    string = line(_inner(look), 3.0)
    for side in (-1.0, 1.0):
        canvas.drawPath(curve((side * 13, 82), (side * 14, 98), (side * 12, 114)), string)
        oval(canvas, side * 12, 115, 2.6, 3.6, fill(_inner(look)))


def _draw_sweater(canvas: skia.Canvas, look: Look, hip: float) -> None:
    half = look.shoulder * 0.93
    for y in (112.0, 128.0):
        band = curve((-half, y - 2), (0, y + 6), (half, y - 2))
        canvas.drawPath(band, line(look.cloth_glint if luma(look.cloth) < 215 else
                                   mix(look.cloth, (120, 150, 190), 0.45), 6.0))  # fmt: skip
    canvas.drawLine(-half * 0.8, hip - 5, half * 0.8, hip - 5, line(look.cloth_shade, 7.0))


def _draw_tshirt(canvas: skia.Canvas, look: Look, hip: float) -> None:
    emblem = look.accent
    oval(canvas, 0, 128, 17, 17, fill(emblem))
    canvas.drawPath(smooth([(0, 118), (3, 125), (10, 128), (3, 131), (0, 138), (-3, 131),
                            (-10, 128), (-3, 125)]), fill(lighter(emblem, 0.75)))  # fmt: skip


def _draw_dress(canvas: skia.Canvas, look: Look, hip: float) -> None:
    waist = 74 + (hip - 74) * 0.62
    canvas.drawLine(-look.shoulder * 0.7, waist, look.shoulder * 0.7, waist,
                    line(look.accent, 7.0))  # fmt: skip
    canvas.drawPath(
        curve((-16, 96), (-12, 120), (-20, waist - 6)), line(look.cloth_shade, 2.0, 0.6)
    )
    canvas.drawPath(curve((16, 96), (12, 120), (20, waist - 6)), line(look.cloth_shade, 2.0, 0.6))


def draw_clothes(canvas: skia.Canvas, look: Look, hip: float) -> None:
    """The details on the trunk, below the neck."""
    kind = look.character.clothes
    if kind == "suit":
        _draw_suit(canvas, look, hip)
    elif kind == "coat":
        _draw_coat(canvas, look, hip)
    elif kind == "hoodie":
        _draw_hoodie(canvas, look, hip)
    elif kind == "sweater":
        _draw_sweater(canvas, look, hip)
    elif kind == "t-shirt":
        _draw_tshirt(canvas, look, hip)
    else:
        _draw_dress(canvas, look, hip)


def _draw_scarf(canvas: skia.Canvas, look: Look) -> None:
    colour = look.accent
    edge = line(darker(colour, 0.45), 1.8)
    tail = smooth([(14, 70), (32, 72), (34, 128), (16, 130)])
    wrap = smooth([(-31, 60), (0, 68), (31, 60), (35, 76), (0, 90), (-35, 76)])
    for part in (tail, wrap):
        canvas.drawPath(part, edge)
        canvas.drawPath(part, fill(colour))
    stripe = line(lighter(colour, 0.45), 4.0)
    canvas.drawLine(17, 112, 33, 111, stripe)
    canvas.drawPath(curve((-18, 66), (-20, 76), (-17, 83)), stripe)


def draw_collar(canvas: skia.Canvas, look: Look) -> None:
    """What lies around the neck."""
    kind, edge = look.character.clothes, darker(look.cloth, 0.5)
    if kind == "t-shirt":
        canvas.drawPath(curve((-27, 67), (0, 96), (27, 67)), line(look.cloth_shade, 4.5))
    elif kind == "sweater":
        collar = smooth([(-19, 55), (0, 62), (19, 55), (24, 74), (0, 82), (-24, 74)])
        canvas.drawPath(collar, line(edge, 1.8))
        canvas.drawPath(collar, fill(mix(look.cloth, look.cloth_shade, 0.3)))
    elif kind == "hoodie":
        for side in (-1.0, 1.0):
            half = smooth([(side * 16, 56), (side * 38, 66), (side * 36, 80), (side * 3, 94),
                           (side * 2, 84)])  # fmt: skip
            canvas.drawPath(half, line(edge, 1.6))
            canvas.drawPath(half, fill(mix(look.cloth, look.cloth_shade, 0.25)))
    elif kind == "suit":
        for side in (-1.0, 1.0):
            wing = polygon([(side * 15, 58), (side * 24, 70), (side * 5, 80), (0, 71)])
            canvas.drawPath(wing, fill(_inner(look)))
            canvas.drawPath(wing, line(darker(_inner(look), 0.35), 1.2))
    elif kind == "coat":
        for side in (-1.0, 1.0):
            wing = polygon([(side * 13, 55), (side * 42, 70), (side * 30, 92), (side * 9, 76)])
            canvas.drawPath(wing, fill(look.cloth))
            canvas.drawPath(wing, line(edge, 1.8))
    else:
        scoop = smooth([(-30, 66), (0, 60), (30, 66), (22, 88), (0, 97), (-22, 88)])
        skin = look.skin if look.species != "robot" else look.shade
        canvas.drawPath(scoop, fill(mix(skin, look.shade, 0.12)))
        canvas.drawPath(curve((-27, 74), (0, 118), (27, 74)), line(look.cloth_glint, 3.4))
        for i, y in ((-1, 74.0), (0, 77.0), (1, 74.0)):
            oval(canvas, i * 9, y, 2.4, 2.4, fill(WHITE))
    if look.character.accessory == "scarf":
        _draw_scarf(canvas, look)
    if look.species == "robot" and kind in ("t-shirt", "dress"):
        box(canvas, (-8, 100, 8, 104), fill((128, 236, 255)), 2)
