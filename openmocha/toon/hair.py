"""Hair, beards and what is worn on the head."""

import math
from collections.abc import Sequence

import skia

from openmocha.toon.brush import box, curve, fill, line, oval, ramp, smooth
from openmocha.toon.looks import Look, Turn
from openmocha.toon.palette import WHITE, darker, lighter

_GOLD = (250, 204, 70)
_GLASS = (196, 226, 255)


def _has_hair(look: Look) -> bool:
    return look.species == "person" and look.character.hair_style != "bald"


def draw_back_hair(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """Hair behind the head; drawn before the body."""
    if not _has_hair(look):
        return
    style, back = look.character.hair_style, -9 * turn.sin_yaw
    dark = fill(look.hair_shade)
    if style == "long":
        mass = smooth(
            [(back, -58), (back + 44, -34), (back + 52, 20), (back + 56, 78), (back + 30, 96),
             (back - 30, 96), (back - 56, 78), (back - 52, 20), (back - 44, -34)]
        )  # fmt: skip
        canvas.drawPath(mass, dark)
    elif style == "curly":
        for i in range(9):
            angle = math.radians(160 + 27.5 * i)
            x, y = back + 45 * math.cos(angle), -8 + 46 * math.sin(angle)
            oval(canvas, x, y, 17, 17, dark)
        oval(canvas, back - 44, 22, 15, 16, dark)
        oval(canvas, back + 44, 22, 15, 16, dark)
    elif style == "ponytail":
        side = -1.0 if turn.side > 0 else 1.0
        tail = smooth(
            [(side * 20, -50), (side * 56, -48), (side * 74, -8), (side * 66, 44),
             (side * 56, 60), (side * 50, 20), (side * 40, -10)]
        )  # fmt: skip
        canvas.drawPath(tail, fill(look.hair))
        canvas.drawPath(tail, line(look.hair_shade, 1.6))
        oval(canvas, side * 36, -42, 8, 9, fill(look.accent))
    else:
        oval(canvas, back, -10, look.rx + 3, 44, dark)
    if style == "bun":
        x = (-1.0 if turn.side > 0 else 1.0) * 29.0
        oval(canvas, x, -52, 21, 19.5, fill(look.hair_shade))
        oval(canvas, x, -52, 19.2, 17.8, fill(look.hair))
        oval(canvas, x - 4, -58, 7.5, 4.5, fill(look.hair_glint, 0.6))


def _cap(look: Look, turn: Turn, hairline: Sequence[tuple[float, float]], grow: float) -> skia.Path:
    """The cap of hair from ear to ear: over the skull and back along the hairline."""
    back, rx, ry = -5 * turn.sin_yaw, look.rx + grow, look.ry + grow
    low = 6.0
    outer = [
        (back - rx * 1.0, low), (back - rx * 1.0, -18), (back - rx * 0.74, -ry * 0.8),
        (back * 0.6, -ry * 1.08), (back + rx * 0.74, -ry * 0.8), (back + rx * 1.0, -18),
        (back + rx * 1.0, low),
    ]  # fmt: skip
    inner = [turn.at(x, y) for x, y in reversed(hairline)]
    return smooth(outer + inner)


_HAIRLINES = {
    "short": [(-36, 0), (-35, -16), (-24, -27), (-6, -24), (14, -31), (30, -24), (36, -10),
              (37, 0)],
    "long": [(-37, 8), (-35, -12), (-22, -24), (-4, -36), (4, -36), (22, -24), (35, -12), (37, 8)],
    "bun": [(-37, 2), (-34, -16), (-20, -30), (0, -35), (20, -30), (34, -16), (37, 2)],
    "ponytail": [(-37, 2), (-36, -12), (-28, -20), (-8, -22), (12, -33), (33, -20), (37, 2)],
    "curly": [(-37, 2), (-33, -18), (-18, -28), (0, -31), (18, -28), (33, -18), (37, 2)],
}  # fmt: skip


def draw_front_hair(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """The hair in front of the skull."""
    if look.species != "person":
        return
    style = look.character.hair_style
    if style == "bald":
        oval(canvas, -12 + 8 * turn.sin_yaw, -38, 13, 5.5, fill(WHITE, 0.4))
        return
    cap = _cap(look, turn, _HAIRLINES[style], 5.0 if style != "curly" else 2.0)
    canvas.drawPath(cap, line(look.hair_shade, 1.8))
    canvas.drawPath(
        cap, ramp((-20, -58), (26, 6), (lighter(look.hair, 0.1), look.hair, look.hair_shade))
    )
    if style == "curly":
        for i in range(8):
            angle = math.radians(192 + 22.3 * i)
            if math.cos(angle) * turn.sin_yaw > 0.35:
                continue  # it would hide the far eye
            x, y = -9 * turn.sin_yaw + 40 * math.cos(angle), -9 + 41 * math.sin(angle)
            oval(canvas, x, y, 13.5, 13, fill(look.hair))
            oval(canvas, x - 3, y - 4, 5.5, 4, fill(look.hair_glint, 0.5))
    else:
        shine = curve((-27, -35), (-12, -54), (12, -49))
        canvas.drawPath(shine, line(look.hair_glint, 4.2, 0.62))
    rim = skia.Path()
    back, wide = -5 * turn.sin_yaw, look.rx + 2.5
    rim.addArc(skia.Rect(back - wide, -look.ry - 3.5, back + wide, look.ry), -72, 50)
    canvas.drawPath(rim, line(look.rim, 2.2, 0.6))


def draw_locks(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """Long hair that falls over the shoulders; drawn after the body."""
    if not _has_hair(look) or look.character.hair_style != "long":
        return
    back = -6 * turn.sin_yaw
    for side in (-1.0, 1.0):
        lock = smooth(
            [(back + side * 38, -14), (back + side * 47, 8), (back + side * 53, 52),
             (back + side * 46, 98), (back + side * 36, 104), (back + side * 36, 58),
             (back + side * 38, 20)]
        )  # fmt: skip
        canvas.drawPath(lock, line(look.hair_shade, 1.8))
        canvas.drawPath(lock, fill(look.hair))
        streak = curve((back + side * 43, 10), (back + side * 47, 50), (back + side * 42, 84))
        canvas.drawPath(streak, line(look.hair_glint, 2.6, 0.45))


def draw_beard(canvas: skia.Canvas, look: Look, turn: Turn, drop: float) -> None:
    """A full beard: drawn below the mouth, which stays free."""
    if look.character.accessory != "beard":
        return
    hair = look.hair if look.species == "person" else darker(look.skin, 0.45)
    push = 9 * turn.sin_yaw
    if look.species != "person":  # a goatee
        tuft = smooth([(push - 13, 44 + drop), (push, 41 + drop), (push + 13, 44 + drop),
                       (push + 5, 62), (push, 70), (push - 5, 62)])  # fmt: skip
        canvas.drawPath(tuft, line(darker(hair, 0.3), 1.6))
        canvas.drawPath(tuft, fill(hair))
        return
    outside = [(-look.rx * 0.99, -4), (-37, 24), (-24 + push, 46), (push, 56 + drop),
               (24 + push, 46), (37, 24), (look.rx * 0.99, -4)]  # fmt: skip
    line_of_cheek = ((36, 0), (31, 12), (22, 17), (9, 15), (0, 17), (-9, 15), (-22, 17),
                     (-31, 12), (-36, 0))  # fmt: skip
    inside = [turn.at(x, y) for x, y in line_of_cheek]
    beard = smooth(outside + inside)
    canvas.drawPath(beard, line(darker(hair, 0.3), 1.6))
    canvas.drawPath(beard, fill(hair))


def _draw_glasses(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    frame = line((40, 36, 52), 2.6)
    radius = look.eye + 5.0
    centres = []
    for side in (-1.0, 1.0):
        x, y = turn.at(side * 19.0, look.eye_y + 0.5, 3.0)
        seen = (turn.at(side * 19 + 10, 0)[0] - turn.at(side * 19 - 10, 0)[0]) / 20.0
        wide = radius * max(seen, 0.4)
        oval(canvas, x, y, wide, radius * 0.94, fill(_GLASS, 0.2))
        oval(canvas, x, y, wide, radius * 0.94, frame)
        centres.append((x, y, wide))
        if side * turn.side > 0:
            continue
        end = (side * look.rx * 0.98 - 4 * turn.sin_yaw, y - 2)
        canvas.drawPath(curve((x + side * wide, y), end, end), frame)
    (ax, ay, aw), (bx, by, bw) = centres
    canvas.drawPath(curve((ax + aw, ay), ((ax + bx) / 2, ay - 4), (bx - bw, by)), frame)


def _draw_hat(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """A round felt hat with a band."""
    shift, lift = -3 * turn.sin_yaw, -31 - 4 * turn.sin_pitch
    crown = smooth(
        [(shift - 43, lift), (shift - 42, lift - 26), (shift - 22, lift - 44),
         (shift + 22, lift - 44), (shift + 42, lift - 26), (shift + 43, lift)]
    )  # fmt: skip
    colour = look.accent
    canvas.drawPath(crown, line(darker(colour, 0.5), 1.8))
    canvas.drawPath(
        crown, ramp((-30, -70), (40, -20), (lighter(colour, 0.15), darker(colour, 0.2)))
    )
    band = smooth([(shift - 44, lift), (shift - 43.5, lift - 11), (shift, lift - 8),
                   (shift + 43.5, lift - 11), (shift + 44, lift), (shift, lift + 4)])  # fmt: skip
    canvas.drawPath(band, fill(darker(colour, 0.5)))
    brim = smooth(
        [(shift - 64, lift + 2), (shift - 40, lift - 5), (shift, lift - 1),
         (shift + 40, lift - 5), (shift + 64, lift + 2), (shift + 30, lift + 9),
         (shift, lift + 10), (shift - 30, lift + 9)]
    )  # fmt: skip
    canvas.drawPath(brim, line(darker(colour, 0.5), 1.6))
    canvas.drawPath(brim, fill(colour))


def _draw_headphones(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    top = -look.ry - 8
    shift = -4 * turn.sin_yaw
    wide = look.rx * turn.cos_yaw + 3
    arc = skia.Path()
    arc.addArc(skia.Rect(shift - wide, top, shift + wide, 22), 180, 180)
    canvas.drawPath(arc, line((48, 48, 60), 7))
    canvas.drawPath(arc, line((120, 124, 140), 2.2))
    for side in (-1.0, 1.0):
        x = shift + side * wide
        if side * turn.side > 0:
            continue
        x -= side * (7.0 if turn.side else 0.0)
        box(canvas, (x - 9, -12, x + 9, 21), fill((48, 48, 60)), 8)
        box(canvas, (x - 5.5, -8, x + 5.5, 17), fill(look.accent), 5)


def draw_accessory(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """What the character wears on the head (a scarf belongs to the body, a beard to the face)."""
    accessory = look.character.accessory
    if accessory == "glasses":
        _draw_glasses(canvas, look, turn)
    elif accessory == "hat":
        _draw_hat(canvas, look, turn)
    elif accessory == "headphones":
        _draw_headphones(canvas, look, turn)
    elif accessory == "earrings":
        for side in (-1.0, 1.0):
            if side * turn.side > 0:
                continue
            x = side * (look.rx * turn.cos_yaw - (8 if turn.side else -1))
            oval(canvas, x, 22, 5.2, 5.8, fill(darker(_GOLD, 0.4)))
            oval(canvas, x, 21.5, 4.2, 4.8, fill(_GOLD))
            oval(canvas, x - 1.2, 20, 1.4, 1.4, fill(WHITE))
