"""Neck, trunk, clothes, arms, hands and legs, in head units (see looks.py).

A body hangs from the neck: the trunk's length is scaled by `look.trunk`, the legs by `look.legs`.
"""

import math

import skia

from openmocha.toon.brush import Point, curve, fill, line, oval, polygon, ramp, smooth
from openmocha.toon.clothes import draw_clothes, draw_collar
from openmocha.toon.framing import SHOULDER_Y, feet_y, hip_y, joints
from openmocha.toon.looks import Look
from openmocha.toon.palette import INK, darker, lighter, mix
from openmocha.toon.poses import Arm, Pose


def draw_neck(canvas: skia.Canvas, look: Look) -> None:
    """The neck with the soft shadow of the chin."""
    half = 12.0 if look.feminine else 16.0
    if look.species == "robot":
        for i in range(4):
            oval(canvas, 0, 50 + 6 * i, 15, 4, fill(look.outline if i % 2 else look.shade))
        return
    if look.animal:
        half += 6.0
    neck = smooth(
        [(-half, 36), (-half, 56), (-half - 12, 74), (0, 86), (half + 12, 74), (half, 56),
         (half, 36)]
    )  # fmt: skip
    canvas.drawPath(neck, fill(mix(look.skin, look.shade, 0.3)))
    oval(canvas, 0, 51, half + 1, 11, fill(look.shade, 0.75))


def _trunk(look: Look, shrug: float) -> skia.Path:
    """The outline of the clothed trunk."""
    w, top, hip = look.shoulder, SHOULDER_Y - 10 * shrug, hip_y(look)
    waist = w * (0.74 if look.feminine else 0.86)
    low = w * (0.82 if look.feminine else 0.84)
    path = skia.Path()
    path.moveTo(-14, 61)
    path.cubicTo(-24, 66, -w * 0.72, top - 8, -w, top + 7)
    path.cubicTo(-w - 6, top + 30, -waist, (top + hip) * 0.48, -waist, top + (hip - top) * 0.62)
    path.lineTo(-low, hip)
    path.quadTo(0, hip + 9, low, hip)
    path.lineTo(waist, top + (hip - top) * 0.62)
    path.cubicTo(waist, (top + hip) * 0.48, w + 6, top + 30, w, top + 7)
    path.cubicTo(w * 0.72, top - 8, 24, 66, 14, 61)
    path.close()
    return path


def _draw_hand(canvas: skia.Canvas, look: Look, elbow: Point, hand: Point, kind: str) -> None:
    """A mitten-like hand at the end of the forearm; fingers for an open one."""
    reach = math.hypot(hand[0] - elbow[0], hand[1] - elbow[1]) or 1.0
    dx, dy = (hand[0] - elbow[0]) / reach, (hand[1] - elbow[1]) / reach
    skin = look.skin if look.species != "robot" else look.glint
    edge, flesh = line(look.outline, 2.0), fill(skin)
    x, y = hand[0] + dx * 15, hand[1] + dy * 15
    if kind == "point":
        tip = (x + dx * 25, y + dy * 25)
        canvas.drawLine(x, y, *tip, line(look.outline, 9.5))
        canvas.drawLine(x, y, *tip, line(skin, 7.0))
    elif kind == "open":
        for spread in (-0.62, -0.2, 0.22, 0.64):
            c, s = math.cos(spread), math.sin(spread)
            tip = (x + (dx * c - dy * s) * 21, y + (dx * s + dy * c) * 21)
            canvas.drawLine(x, y, *tip, line(look.outline, 8.6))
            canvas.drawLine(x, y, *tip, line(skin, 6.4))
        thumb = (x + (dx * 0.2 - dy * 0.98) * 15, y + (dx * 0.98 + dy * 0.2) * 15)
        canvas.drawLine(x, y, *thumb, line(look.outline, 8.6))
        canvas.drawLine(x, y, *thumb, line(skin, 6.4))
    palm = 12.5 if kind != "open" else 11.0
    canvas.drawCircle(x, y, palm, edge)
    canvas.drawCircle(x, y, palm, flesh)


def draw_arm(canvas: skia.Canvas, look: Look, arm: Arm, side: float, shrug: float) -> None:
    """One arm with its sleeve; t-shirts and dresses leave the forearm bare."""
    shoulder, elbow, hand = joints(look, arm, side, shrug)
    thick = 25.0 if look.feminine or look.character.age == "child" else 29.0
    short = look.character.clothes in ("t-shirt", "dress")
    skin = look.skin if look.species != "robot" else look.shade
    cloth = mix(look.cloth, look.cloth_shade, 0.18)
    limb = skia.Path()
    limb.moveTo(*shoulder)
    limb.quadTo(*elbow, *hand)
    bent = abs(arm.bend) > 0.12
    if bent:
        limb = skia.Path()
        limb.moveTo(*shoulder)
        limb.lineTo(*elbow)
        limb.lineTo(*hand)
    if not short:
        canvas.drawPath(limb, line(darker(look.cloth, 0.5), thick + 2.4))
        canvas.drawPath(limb, line(cloth, thick))
        _draw_hand(canvas, look, elbow, hand, arm.hand)
        ax, ay = (hand[0] - elbow[0]) / 68.0, (hand[1] - elbow[1]) / 68.0
        wrist = (hand[0] + ax * 7, hand[1] + ay * 7)
        half = thick * 0.36
        canvas.drawLine(wrist[0] - ay * half, wrist[1] + ax * half, wrist[0] + ay * half,
                        wrist[1] - ax * half, line(look.cloth_shade, 6.5))  # fmt: skip
        return
    canvas.drawPath(limb, line(look.outline, thick - 4.6))
    canvas.drawPath(limb, line(skin, thick - 7))
    _draw_hand(canvas, look, elbow, hand, arm.hand)
    sleeve = _along(shoulder, elbow, 0.62 if look.character.clothes == "t-shirt" else 0.3)
    canvas.drawLine(*shoulder, *sleeve, line(darker(look.cloth, 0.5), thick + 2.4))
    canvas.drawLine(*shoulder, *sleeve, line(cloth, thick))


def _along(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def draw_legs(canvas: skia.Canvas, look: Look) -> None:
    """Trousers and shoes; a dress shows bare legs."""
    hip, feet = hip_y(look), feet_y(look)
    gap = look.shoulder * 0.42
    bare = look.character.clothes == "dress"
    colour = look.trousers if not bare else look.skin
    if look.species in ("robot",):
        colour = look.shade
    thick = 27.0 if bare else 38.0
    for side in (-1.0, 1.0):
        ankle = (side * (gap + 4), feet - 12)
        canvas.drawLine(side * gap, hip - 6, *ankle, line(darker(colour, 0.5), thick + 2.4))
        canvas.drawLine(side * gap, hip - 6, *ankle, line(colour, thick))
        shoe = [(ankle[0] - side * 16, feet + 2), (ankle[0] - side * 14, feet - 16),
                (ankle[0] + side * 10, feet - 16), (ankle[0] + side * 30, feet - 4),
                (ankle[0] + side * 30, feet + 2)]  # fmt: skip
        canvas.drawPath(polygon(shoe), fill(INK if not bare else darker(look.cloth, 0.45)))


def _draw_skirt(canvas: skia.Canvas, look: Look) -> None:
    """The lower part of a dress or a coat."""
    hip, low = hip_y(look), look.shoulder * 0.83
    top = SHOULDER_Y + (hip - SHOULDER_Y) * 0.62
    dress = look.character.clothes == "dress"
    end = hip + (150.0 if dress else 95.0) * look.legs
    flare = low * (1.65 if dress else 1.12)
    skirt = skia.Path()
    skirt.moveTo(-low * 0.9, top)
    skirt.quadTo(-low, hip, -flare, end)
    skirt.quadTo(0, end + 14, flare, end)
    skirt.quadTo(low, hip, low * 0.9, top)
    skirt.close()
    canvas.drawPath(skirt, line(darker(look.cloth, 0.5), 2.2))
    canvas.drawPath(
        skirt, ramp((0, top), (0, end), (look.cloth, mix(look.cloth, look.cloth_shade, 0.6)))
    )
    fold = line(look.cloth_shade, 2.4, 0.7)
    for share in (-0.45, 0.45) if dress else (0.0,):
        canvas.drawPath(
            curve((share * low, hip - 10), (share * low, hip + 20), (share * flare, end)), fold
        )


def draw_body(canvas: skia.Canvas, look: Look, pose: Pose, full: bool) -> None:
    """Draw neck, clothed trunk and, where `full`, the legs. Arms follow with `draw_arm`."""
    if full:
        draw_legs(canvas, look)
        if look.character.clothes in ("dress", "coat"):
            _draw_skirt(canvas, look)
    if look.character.clothes == "hoodie":
        hood = smooth([(-40, 70), (-34, 40), (0, 32), (34, 40), (40, 70), (0, 88)])
        canvas.drawPath(hood, line(darker(look.cloth, 0.5), 2.0))
        canvas.drawPath(hood, fill(look.cloth_shade))
    trunk = _trunk(look, pose.shrug)
    hip = hip_y(look)
    canvas.drawPath(trunk, line(darker(look.cloth, 0.5), 2.4))
    shaded = ramp(
        (-look.shoulder * 0.6, 60),
        (look.shoulder, hip),
        (lighter(look.cloth, 0.12), look.cloth, mix(look.cloth, look.cloth_shade, 0.7)),
    )
    canvas.drawPath(trunk, shaded)
    draw_clothes(canvas, look, hip)
    draw_neck(canvas, look)
    draw_collar(canvas, look)
    up = 8 * pose.shrug
    w = look.shoulder
    rim = curve((w * 0.55, 67 - up), (w * 0.9, 70 - up), (w + 0.5, 90 - up))
    canvas.drawPath(rim, line(look.rim, 2.4, 0.55))
