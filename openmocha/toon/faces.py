"""The head: its shape, ears, fur or metal, and the order in which its parts are laid down."""

import math

import skia

from openmocha.toon.brush import box, curve, fill, glow, line, oval, polygon, ramp, smooth, spot
from openmocha.toon.eyes import draw_upper_face
from openmocha.toon.hair import draw_accessory, draw_back_hair, draw_beard, draw_front_hair
from openmocha.toon.lips import draw_mouth, mouth_region
from openmocha.toon.looks import Look, Turn, turn_of
from openmocha.toon.palette import INK, WHITE, darker, lighter, mix
from openmocha.toon.poses import Pose

_PINK = (246, 150, 160)


def head_turn(look: Look, pose: Pose) -> Turn:
    """How the head is turned: the yaw flattens out at 39 degrees, all that a flat face bears."""
    yaw = 0.68 * math.tanh(2.2 * pose.head[0])
    return turn_of(look, yaw, max(-0.5, min(0.5, pose.head[1] * 0.6)))


def _outline(look: Look, turn: Turn, drop: float) -> skia.Path:
    """The face: narrower towards the far side of a turned head, chin pushed forward."""
    t, rx, ry, jaw = turn.sin_yaw, look.rx, look.ry, look.jaw
    far_left, far_right = 1.0 - 0.04 * max(-t, 0.0), 1.0 - 0.04 * max(t, 0.0)
    chin = ry + drop
    tip = 13.0 if look.feminine else 17.0
    if look.species in ("cat", "fox"):
        puff = 1.1 if look.species == "fox" else 1.04
        return smooth(
            [
                (0, -ry), (rx * 0.75, -ry * 0.72), (rx * far_right, 0),
                (rx * puff * far_right + 4 * t, ry * 0.42), (rx * 0.62 + 8 * t, ry * 0.86),
                (10 * t, chin), (-rx * 0.62 + 8 * t, ry * 0.86),
                (-rx * puff * far_left + 4 * t, ry * 0.42), (-rx * far_left, 0),
                (-rx * 0.75, -ry * 0.72),
            ]
        )  # fmt: skip
    if look.animal:
        return smooth(
            [
                (0, -ry), (rx * 0.72, -ry * 0.72), (rx * far_right, -2),
                (rx * 0.88 + 6 * t, ry * 0.6), (9 * t, chin), (-rx * 0.88 + 6 * t, ry * 0.6),
                (-rx * far_left, -2), (-rx * 0.72, -ry * 0.72),
            ]
        )  # fmt: skip
    return smooth(
        [
            (0, -ry), (rx * 0.72, -ry * 0.76), (rx * far_right, -10),
            (rx * 0.95 * far_right + 2 * t, 14), (jaw + 7 * t, 33 + drop * 0.5),
            (tip + 11 * t, chin - 2.5), (11 * t, chin), (-tip + 11 * t, chin - 2.5),
            (-jaw + 7 * t, 33 + drop * 0.5), (-rx * 0.95 * far_left + 2 * t, 14),
            (-rx * far_left, -10), (-rx * 0.72, -ry * 0.76),
        ]
    )  # fmt: skip


def _shading(look: Look) -> skia.Paint:
    return ramp(
        (-look.rx * 0.5, -look.ry),
        (look.rx * 0.9, look.ry),
        (lighter(look.skin, 0.12), look.skin, mix(look.skin, look.shade, 0.45)),
    )


def _draw_person_ears(canvas: skia.Canvas, look: Look, turn: Turn, near: bool) -> None:
    """Both ears of a frontal head lie behind the face; the near one of a turned head before it."""
    turned = turn.side != 0
    for side in (-1.0, 1.0):
        is_near = turned and side * turn.sin_yaw < 0
        if is_near != near or (turned and not is_near):
            continue
        x = side * (look.rx * turn.cos_yaw - (8 if is_near else -1)) + 3 * turn.sin_yaw
        oval(canvas, x, 5, 7.5, 11, fill(look.outline, 0.35))
        oval(canvas, x, 5, 6.6, 10, fill(mix(look.skin, look.shade, 0.25)))
        oval(canvas, x + side, 5, 3.4, 6, fill(look.shade, 0.8))


def _draw_pointed_ear(canvas: skia.Canvas, look: Look, x: float, side: float, tall: float) -> None:
    ear = smooth([(x - 17, -22), (x + side * 8, -34 - tall), (x + side * 10 + 12, -18)])
    if side < 0:
        ear = smooth([(x + 17, -22), (x - 8, -34 - tall), (x - 22, -18)])
    canvas.drawPath(ear, fill(look.skin))
    canvas.drawPath(ear, line(look.outline, 1.6))
    tip = (x + side * 7, -27 - tall)
    inner = polygon([(x - side * 8, -26), tip, (x + side * 13, -24)])
    canvas.drawPath(inner, fill(_PINK if look.species == "cat" else darker(look.skin, 0.5)))


def _draw_animal_ears(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    for side in (-1.0, 1.0):
        x = side * look.rx * 0.62 * turn.cos_yaw - 8 * turn.sin_yaw
        if look.species in ("cat", "fox"):
            _draw_pointed_ear(canvas, look, x, side, 34.0 if look.species == "fox" else 26.0)
        elif look.species == "bear":
            x = side * look.rx * 0.74 * turn.cos_yaw - 6 * turn.sin_yaw
            oval(canvas, x, -36, 18, 17, fill(look.outline))
            oval(canvas, x, -36, 16.6, 15.6, fill(look.skin))
            oval(canvas, x + side, -34, 9.5, 9, fill(mix(look.skin, _PINK, 0.55)))
        elif look.species == "rabbit":
            canvas.save()
            canvas.translate(side * 18 * turn.cos_yaw - 6 * turn.sin_yaw, -38)
            canvas.rotate(side * 17 - 6 * turn.sin_yaw)
            oval(canvas, 0, -30, 12.5, 40, fill(look.outline))
            oval(canvas, 0, -30, 11, 38.5, fill(look.skin))
            oval(canvas, 0, -28, 6, 30, fill(_PINK))
            canvas.restore()


def _draw_dog_ears(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """Floppy ears hang over the sides of the face."""
    colour = darker(look.skin, 0.4)
    for side in (-1.0, 1.0):
        x = side * look.rx * 0.9 * turn.cos_yaw - 6 * turn.sin_yaw
        ear = smooth(
            [(x - side * 12, -38), (x + side * 8, -36), (x + side * 17, -6), (x + side * 12, 24),
             (x - side * 2, 20), (x - side * 5, -10)]
        )  # fmt: skip
        canvas.drawPath(ear, fill(colour))
        canvas.drawPath(ear, line(darker(colour, 0.3), 1.5))


def _draw_muzzle(canvas: skia.Canvas, look: Look, turn: Turn, drop: float) -> None:
    """A pale snout that carries nose and mouth; foxes and cats have whiskers."""
    pale = lighter(look.skin, 0.62 if look.character.skin != "black" else 0.45)
    if look.character.skin in ("white", "cream"):
        pale = WHITE
    x, y = turn.at(0, 22, 4.0)
    if look.species == "fox":
        for side in (-1.0, 1.0):
            cheek = smooth(
                [turn.at(side * 4, 8), turn.at(side * 30, 6), turn.at(side * 46, 22),
                 turn.at(side * 24, 37), turn.at(0, 40)]
            )  # fmt: skip
            canvas.drawPath(cheek, fill(pale))
    oval(canvas, x, y + 2 + drop * 0.5, 29 if look.species != "bear" else 27, 20 + drop, fill(pale))
    nose_x, nose_y = turn.at(0, 7, 9.0)
    nose = (226, 120, 134) if look.species in ("cat", "rabbit") else INK
    wide = {"dog": 9.0, "bear": 9.5, "fox": 6.5, "cat": 5.5, "rabbit": 5.0}[look.species]
    oval(canvas, nose_x, nose_y, wide, wide * 0.68, fill(nose))
    oval(canvas, nose_x - wide * 0.25, nose_y - wide * 0.28, wide * 0.3, wide * 0.16,
         fill(WHITE, 0.75))  # fmt: skip
    if look.species in ("cat", "rabbit", "fox"):
        hair = line(lighter(INK, 0.3) if look.character.skin != "black" else WHITE, 1.1, 0.7)
        for side in (-1.0, 1.0):
            for dy in (0.0, 7.0):
                start = turn.at(side * 27, 16 + dy * 0.7)
                end = (start[0] + side * 21, start[1] - 3 + dy)
                canvas.drawPath(curve(start, ((start[0] + end[0]) / 2, start[1] - 1), end), hair)


def _draw_robot_shell(canvas: skia.Canvas, look: Look, turn: Turn, drop: float) -> None:
    shift = 5 * turn.sin_yaw
    canvas.drawPath(curve((shift, -44), (shift, -58), (-shift, -64)), line(look.outline, 3))
    oval(canvas, -shift, -66, 6.5, 6.5, fill((255, 96, 96)))
    oval(canvas, -shift - 2, -68, 2, 2, fill(WHITE, 0.9))
    for side in (-1.0, 1.0):
        x = side * 45 * turn.cos_yaw - shift
        box(canvas, (x - 8, -14, x + 8, 16), fill(look.shade), 5)
        box(canvas, (x - 5, -11, x + 5, 13), fill(look.outline), 4)
    frame = (-43.0 + shift * 0.4, -46.0, 43.0 + shift * 0.4, 49.0 + drop)
    box(canvas, (frame[0] - 1.5, frame[1] - 1.5, frame[2] + 1.5, frame[3] + 1.5),
        fill(look.outline), 19)  # fmt: skip
    box(canvas, frame, _shading(look), 18)
    box(canvas, (frame[0] + 8, -42, frame[2] - 24, -34), fill(WHITE, 0.45), 4)
    left, right = turn.at(-27, 26)[0], turn.at(27, 26)[0]
    y = turn.at(0, 26)[1]
    box(canvas, (left, y - 10, right, y + 18 + drop), fill((36, 42, 62)), 9)


def _draw_cheeks(canvas: skia.Canvas, look: Look, turn: Turn, smile: float) -> None:
    strength = 0.34 if look.feminine or look.character.age == "child" else 0.2
    paint = glow(13.0, (236, 70, 80), strength + 0.14 * max(smile, 0.0))
    for side in (-1.0, 1.0):
        if side * turn.sin_yaw > 0.4:
            continue
        x, y = turn.at(side * 26, 16)
        spot(canvas, x, y, 13.0, 9.0, paint)


def _draw_skull(canvas: skia.Canvas, look: Look, turn: Turn, drop: float) -> None:
    if look.species == "robot":
        _draw_robot_shell(canvas, look, turn, drop)
        return
    if look.animal and look.species != "dog":
        _draw_animal_ears(canvas, look, turn)
    if look.species == "person":
        _draw_person_ears(canvas, look, turn, near=False)
    face = _outline(look, turn, drop)
    canvas.drawPath(face, line(look.outline, 2.2))
    canvas.drawPath(face, _shading(look))
    if look.species == "dog":
        _draw_dog_ears(canvas, look, turn)
    if look.animal:
        _draw_muzzle(canvas, look, turn, drop)
    else:
        _draw_person_ears(canvas, look, turn, near=True)


def draw_head(canvas: skia.Canvas, look: Look, pose: Pose) -> None:
    """Draw a head around the origin, turned, tilted and speaking as `pose` says."""
    turn = head_turn(look, pose)
    # The jaw follows an opening mouth, but for the rigid one of a robot.
    loose = 1.4 if look.species != "robot" else 0.0
    drop = loose * pose.mouth[0] * (1.0 - pose.mouth[2])
    _draw_skull(canvas, look, turn, drop)
    if look.species != "robot":
        _draw_cheeks(canvas, look, turn, pose.smile)
    draw_beard(canvas, look, turn, drop)
    draw_mouth(canvas, look, turn, pose.mouth, pose.smile)
    draw_upper_face(canvas, look, turn, pose)
    draw_front_hair(canvas, look, turn)
    draw_accessory(canvas, look, turn)


def draw_behind_head(canvas: skia.Canvas, look: Look, pose: Pose) -> None:
    """Draw what lies behind neck and shoulders: long hair and the like."""
    draw_back_hair(canvas, look, head_turn(look, pose))


def mouth_box(look: Look, pose: Pose) -> tuple[float, float, float, float]:
    """The box x0 y0 x1 y1 of the mouth in head units, before the head is tilted."""
    return mouth_region(look, head_turn(look, pose))
