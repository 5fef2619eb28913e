"""Backgrounds: every place drawn around one dominant colour, blurred with the distance.

A background is drawn once per story, shot and size, larger than the view so that the camera can
pan, and kept as an image. Units: 100 = the short side of the frame, origin in its middle.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import skia

from openmocha.toon import outdoors, rooms
from openmocha.toon.brush import (
    argb,
    glow,
    spot,
)
from openmocha.toon.palette import (
    BACKGROUND_RGB,
    LIGHT_TINT,
    RGB,
    colour_of,
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


_PLACES: dict[str, Callable[[skia.Canvas, RGB, float], None]] = {
    "wall": rooms.wall,
    "living room": rooms.living_room,
    "kitchen": rooms.kitchen,
    "office": rooms.office,
    "park": outdoors.park,
    "forest": outdoors.forest,
    "beach": outdoors.beach,
    "street": outdoors.street,
    "city at night": outdoors.city_at_night,
    "stage": rooms.stage,
    "snowfield": outdoors.snowfield,
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
