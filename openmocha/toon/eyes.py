"""Eyes, brows and nose: the features above the mouth, and the lines that age draws."""

import skia

from openmocha.toon.brush import box, curve, fill, line, oval
from openmocha.toon.looks import Look, Turn
from openmocha.toon.palette import INK, WHITE, darker, lighter, mix
from openmocha.toon.poses import Pose

_EYE_X = 19.0


def _almond(half: float, top: float, bottom: float) -> skia.Path:
    path = skia.Path()
    path.moveTo(-half, 0)
    path.cubicTo(-half, top * 1.33, half, top * 1.33, half, 0)
    path.cubicTo(half, bottom * 1.33, -half, bottom * 1.33, -half, 0)
    path.close()
    return path


def _lid(half: float, edge: float, cover: float, tilt: float) -> skia.Path:
    """Skin from beyond the eye's rim at height `cover` down (or up) to a lid line at `edge`."""
    path = skia.Path()
    path.moveTo(-half - 1.0, -tilt * 0.5)
    path.cubicTo(-half - 1, cover * 1.5, half + 1, cover * 1.5, half + 1.0, tilt * 0.5)
    path.cubicTo(
        half * 0.6, edge * 1.33 + tilt, -half * 0.6, edge * 1.33 - tilt, -half - 1.0, -tilt * 0.5
    )
    path.close()
    return path


def _draw_eye(canvas: skia.Canvas, look: Look, turn: Turn, pose: Pose, side: float) -> None:
    x, y = turn.at(side * _EYE_X, look.eye_y)
    half = (
        turn.at(side * _EYE_X + 10, look.eye_y)[0] - turn.at(side * _EYE_X - 10, look.eye_y)[0]
    ) / 20.0
    half = max(half, 0.25) * look.eye
    wide = 1.0 + 0.16 * max(pose.brow, 0.0)
    tall = look.eye * 0.98 * wide
    closed = min(max(pose.blink, 0.0), 1.0)
    canvas.save()
    canvas.translate(x, y)
    white = WHITE if not look.animal else (255, 254, 246)
    canvas.drawPath(_almond(half, -tall, tall), fill(white))
    gaze_x, gaze_y = pose.gaze[0] * half * 0.42, -pose.gaze[1] * tall * 0.3
    iris = tall * 0.7
    squeeze = min(half / look.eye, 1.0)
    oval(canvas, gaze_x, gaze_y, iris * squeeze, iris, fill(look.iris))
    oval(canvas, gaze_x, gaze_y, iris * 0.56 * squeeze, iris * 0.56, fill(INK))
    oval(canvas, gaze_x - 2.4 * squeeze, gaze_y - 3.0, 2.5 * squeeze, 2.5, fill(WHITE))
    oval(canvas, gaze_x + 2.2 * squeeze, gaze_y + 2.6, 1.2 * squeeze, 1.2, fill(WHITE, 0.8))
    # Lids: the upper one falls with a blink and slants with a frown; the lower rises with a smile.
    droop = 0.1 + 0.16 * max(pose.frown, 0.0) + 0.1 * max(-pose.brow, 0.0)
    if pose.frown < 0:  # sad eyes are half closed, worried ones are not
        droop += 0.7 * max(-pose.smile - 0.5, 0.0)
    fall = -tall + 1.72 * tall * max(closed, min(droop, 0.4) if wide < 1.05 else 0.0)
    tilt = side * -2.6 * pose.frown * (1.0 - closed)
    skin = mix(look.skin, look.shade, 0.4)
    canvas.drawPath(_lid(half, fall, -tall, tilt), fill(skin))
    rise = 0.22 * max(pose.smile, 0.0)
    if rise > 0.02:
        canvas.drawPath(_lid(half, tall - 1.6 * tall * rise, tall, 0.0), fill(look.skin))
    lash = skia.Path()
    lash.moveTo(-half - 0.6, -tilt * 0.5)
    lash.cubicTo(
        -half * 0.6, fall * 1.33 - tilt, half * 0.6, fall * 1.33 + tilt, half + 0.6, tilt * 0.5
    )
    canvas.drawPath(lash, line(darker(look.outline, 0.45), 2.3 if look.feminine else 1.8))
    if look.feminine and side * turn.side < 1:
        tip = (side * (half + 3.6), -2.6 + fall * 0.25)
        canvas.drawPath(curve((side * half, 0.2), (side * (half + 2), 0), tip), line(INK, 1.8))
    canvas.restore()


def _draw_brow(canvas: skia.Canvas, look: Look, turn: Turn, pose: Pose, side: float) -> None:
    base = look.eye_y - look.eye - 6.5 - 6.0 * pose.brow
    inner = turn.at(side * 8.5, base + 1.0 + 6.5 * pose.frown)
    outer = turn.at(side * 31.0, base + 3.0 - 2.0 * pose.frown)
    middle = turn.at(side * 21.0, base - 4.0 - 1.0 * abs(pose.frown))
    width = 2.8 if look.feminine else 4.2
    if look.animal:
        width = 3.0
    canvas.drawPath(curve(inner, middle, outer), line(look.brow, width))


def _draw_nose(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    child = look.character.age == "child"
    x, y = turn.at(0, 12 if not child else 14, 7.0 if not child else 4.0)
    size = 3.4 if child else (4.4 if look.feminine else 5.4)
    if abs(turn.sin_yaw) > 0.28:
        side = 1.0 if turn.sin_yaw > 0 else -1.0
        top = turn.at(side * 5.0, -4, 2.0)
        path = curve(top, (x + side * 1.5, y - 7), (x + side * 2.5, y))
        canvas.drawPath(path, line(look.shade, 1.8))
    oval(canvas, x, y - 1.5, size * 0.8, size * 0.7, fill(look.glint, 0.45))
    path = curve((x - size, y), (x, y + size * 0.95), (x + size, y))
    canvas.drawPath(path, line(darker(look.shade, 0.25), 1.8))


def _draw_age(canvas: skia.Canvas, look: Look, turn: Turn) -> None:
    """Folds from the nose to the mouth, and for the elderly also forehead, eyes and cheeks."""
    age = look.character.age
    if age not in ("middle-aged", "elderly"):
        return
    old = age == "elderly"
    crease = line(darker(look.shade, 0.15), 1.7 if old else 1.4, 0.9 if old else 0.65)
    for side in (-1.0, 1.0):
        path = curve(turn.at(side * 10, 13), turn.at(side * 19, 17), turn.at(side * 22, 25))
        canvas.drawPath(path, crease)
        bag = look.eye_y + look.eye + 2.5
        path = curve(
            turn.at(side * 12, bag), turn.at(side * 19, bag + 3.5), turn.at(side * 26, bag)
        )
        canvas.drawPath(path, crease)
        if old:
            for dy in (-3.0, 2.0):
                start = turn.at(side * 32, look.eye_y + dy * 0.6)
                canvas.drawPath(
                    curve(start, start, turn.at(side * 37.5, look.eye_y + dy * 1.8)), crease
                )
    if old:
        for y in (-30.0, -25.0):
            path = curve(turn.at(-15, y), turn.at(0, y - 2.5), turn.at(15, y))
            canvas.drawPath(path, crease)


def _draw_robot_eyes(canvas: skia.Canvas, look: Look, turn: Turn, pose: Pose) -> None:
    left, right = turn.at(-36, 0)[0], turn.at(36, 0)[0]
    y = turn.at(0, -3)[1]
    box(canvas, (left, y - 17, right, y + 15), fill((36, 42, 62)), 13)
    box(canvas, (left + 3, y - 15, right - 3, y - 5), fill((70, 80, 110), 0.5), 6)
    for side in (-1.0, 1.0):
        x, eye_y = turn.at(side * 17, -2)
        tall = 9.0 * (1.0 - 0.9 * pose.blink) * (1.0 + 0.15 * max(pose.brow, 0.0))
        x, eye_y = x + pose.gaze[0] * 3.5, eye_y - pose.gaze[1] * 3.0
        oval(canvas, x, eye_y, 9.5, tall + 1.5, fill((60, 170, 220), 0.5))
        oval(canvas, x, eye_y, 7.5, tall, fill(look.lips))
        oval(canvas, x - 2, eye_y - tall * 0.35, 2.2, tall * 0.26, fill(WHITE))
        inner = (x - side * 8, eye_y - 11 + 5.0 * pose.frown - 2.0 * pose.brow)
        outer = (x + side * 8, eye_y - 11 - 3.0 * pose.frown - 2.0 * pose.brow)
        canvas.drawPath(curve(inner, inner, outer), line(lighter(look.lips, 0.3), 2.4))


def draw_upper_face(canvas: skia.Canvas, look: Look, turn: Turn, pose: Pose) -> None:
    """Draw everything of the front of the head but the mouth."""
    if look.species == "robot":
        _draw_robot_eyes(canvas, look, turn, pose)
        return
    for side in (-1.0, 1.0):
        _draw_eye(canvas, look, turn, pose, side)
        _draw_brow(canvas, look, turn, pose, side)
    if look.species == "person":
        _draw_nose(canvas, look, turn)
    if not look.animal:
        _draw_age(canvas, look, turn)
