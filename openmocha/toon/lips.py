"""The mouth: lips, dark inside, teeth and tongue, from the four mouth parameters and the smile.

Both inner lip lines are cubics between the same two corners, so any share of the way between them
is a cubic too: teeth are the region between the upper line and such a line, and cannot leak out.
"""

from dataclasses import dataclass

import skia

from openmocha.toon.brush import fill, line, oval
from openmocha.toon.looks import Look, Turn
from openmocha.toon.palette import RGB, darker

MOUTH_HALF_WIDTH = 18.0
MAX_OPENING = 17.0
_INSIDE: RGB = (62, 12, 24)
_TEETH: RGB = (255, 253, 248)
_TONGUE: RGB = (222, 92, 104)


@dataclass(frozen=True)
class Lips:
    """The inner lip lines around the mouth's centre: half width, corner height, the height of
    the middle of the upper and the lower line, and how round the corners are (0..1)."""

    half: float
    corner: float
    upper: float
    lower: float
    round: float
    thickness: float

    def line(self, share: float, path: skia.Path, forward: bool, grow: float = 0.0) -> None:
        """Append the line `share` of the way down (0 upper, 1 lower), `grow` units beyond it."""
        middle = self.upper + (self.lower - self.upper) * share + grow
        bend = self.corner + (middle - self.corner) / 0.75
        side = self.half * (0.5 + 0.42 * self.round)
        ends = (-1.0, 1.0) if forward else (1.0, -1.0)
        path.cubicTo(ends[0] * side, bend, ends[1] * side, bend, ends[1] * self.half, self.corner)

    def between(self, first: float, second: float) -> skia.Path:
        """The region between two shares."""
        path = skia.Path()
        path.moveTo(-self.half, self.corner)
        self.line(first, path, True)
        self.line(second, path, False)
        path.close()
        return path

    def lip(self, share: float, grow: float) -> skia.Path:
        """The lip on the line at `share`, `grow` units thick in the middle."""
        path = skia.Path()
        path.moveTo(-self.half, self.corner)
        self.line(share, path, True)
        self.line(share, path, False, grow)
        path.close()
        return path


def lips_of(mouth: tuple[float, float, float, float], smile: float, width: float) -> Lips:
    """The shape of the lips for `mouth` (open, spread, pressed, teeth); `width` is the share of
    the mouth's width that is seen when the head is turned."""
    opened, spread, pressed, teeth = mouth
    opened = min(max(opened, 0.0), 1.0) * (1.0 - 0.97 * pressed)
    opening = MAX_OPENING * opened + 4.2 * teeth * (1.0 - opened) * (1.0 - pressed)
    half = MOUTH_HALF_WIDTH * (1.0 + (0.2 * spread if spread > 0 else 0.42 * spread))
    half *= (1.0 + 0.1 * max(smile, 0.0)) * (1.0 + 0.06 * pressed - 0.06 * opened) * width
    rounded = max(-spread, 0.0)
    return Lips(
        half=half,
        corner=-6.5 * smile * (1.0 - 0.45 * rounded) + 0.2 * opening,
        upper=1.4 * smile - 0.26 * opening,
        lower=1.4 * smile + 0.74 * opening,
        round=min(1.0, 0.35 * opened + 0.75 * rounded),
        thickness=(1.0 - 0.72 * pressed) * (1.0 + 0.35 * rounded),
    )


def _draw_inside(canvas: skia.Canvas, lips: Lips, teeth: float) -> None:
    opening = lips.lower - lips.upper
    canvas.drawPath(lips.between(0.0, 1.0), fill(_INSIDE))
    if opening < 1.2:
        return
    if opening > 5.0:
        oval(canvas, 0, lips.lower - 0.2 * opening, 0.52 * lips.half, 0.24 * opening, fill(_TONGUE))
    shown = min(0.62, 4.6 / opening)
    canvas.drawPath(lips.between(0.04, shown + (0.96 - shown) * teeth), fill(_TEETH))


def draw_mouth(
    canvas: skia.Canvas,
    look: Look,
    turn: Turn,
    mouth: tuple[float, float, float, float],
    smile: float,
) -> None:
    """Draw the mouth of a turned head."""
    x, y = turn.at(0, look.mouth_y)
    width = (turn.at(12, look.mouth_y)[0] - turn.at(-12, look.mouth_y)[0]) / 24.0
    lips = lips_of(mouth, smile, width)
    thick = lips.thickness * look.lip
    canvas.save()
    canvas.translate(x, y)
    _draw_inside(canvas, lips, mouth[3])
    upper, lower = lips.lip(0.0, -3.4 * thick), lips.lip(1.0, 4.6 * thick)
    tuck = 1.0 - 0.6 * mouth[3]  # the lower lip is drawn in under the upper teeth
    canvas.drawPath(upper, fill(look.lips_shade))
    canvas.drawPath(lips.lip(1.0, 4.6 * thick * tuck) if mouth[3] > 0 else lower, fill(look.lips))
    ink = darker(look.lips_shade, 0.6) if look.species != "robot" else look.lips
    opening = lips.lower - lips.upper
    canvas.drawPath(lips.between(0.0, 1.0), line(ink, 1.9 if opening < 2.0 else 1.3))
    if look.species == "person" and opening < 12:
        oval(canvas, 0, lips.lower + 8.2 * thick + 1.5, 7 * width, 1.4, fill(look.shade, 0.35))
    canvas.restore()


def mouth_region(look: Look, turn: Turn) -> tuple[float, float, float, float]:
    """The box x0 y0 x1 y1 in head units inside which every mouth shape is drawn."""
    y = look.mouth_y
    left, right = turn.at(-26, y)[0], turn.at(26, y)[0]
    middle = turn.at(0, y)[1]
    centre = turn.at(0, y)[0]
    reach = max(right - centre, centre - left, 22.0)
    return centre - reach, middle - 13.0, centre + reach, middle + 26.0
