"""One frame of a story: the place, the characters in front of it, the light over all.

The whole scene is vector drawing in head units (looks.py), so a frame has any size and aspect: the
short side sets the scale and the rest is background.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import skia

from openmocha.toon.bodies import draw_arm, draw_body
from openmocha.toon.brush import argb, fill, glow, oval, spot
from openmocha.toon.camera import FOCUS_Y
from openmocha.toon.faces import draw_behind_head, draw_head, head_turn, mouth_box
from openmocha.toon.framing import SHOULDER_Y, feet_y, hip_y, stand
from openmocha.toon.hair import draw_locks
from openmocha.toon.looks import Look, make_look
from openmocha.toon.palette import LIGHT_TINT
from openmocha.toon.places import MARGIN, background, has_wall
from openmocha.toon.poses import Pose, View
from openmocha.toon.stories import Clip, Story

# From above the brow to the chin and from ear to ear, in head units around the head's centre.
_FACE = skia.Rect(-46.0, -52.0, 46.0, 58.0)


class Drawn(NamedTuple):
    """A frame, uint8 (height, width, 3) RGB, and boxes of mouths and faces, float32 (num_cast, 4)
    x0 y0 x1 y1 in pixels, cut at the frame's edges."""

    pixels: np.ndarray
    mouths: np.ndarray
    faces: np.ndarray


def _draw_background(
    canvas: skia.Canvas, story: Story, clip: Clip, view: View, width: int, height: int
) -> None:
    image = background(story.place, story.background_colour, story.light, clip.shot, width, height)
    short = min(width, height)
    # What is far away moves and grows less than the characters do.
    zoom = 1.0 + 0.5 * (view.zoom - 1.0)
    room = (MARGIN - 1.0) / 2 * 0.95
    shift_x = max(-room * width, min(room * width, -0.5 * view.pan[0] * short))
    shift_y = max(-room * height, min(room * height, -0.5 * view.pan[1] * short))
    canvas.save()
    canvas.translate(width / 2 + shift_x, height / 2 + shift_y)
    canvas.scale(zoom, zoom)
    canvas.drawImage(
        image,
        -image.width() / 2,
        -image.height() / 2,
        skia.SamplingOptions(skia.FilterMode.kLinear),
    )
    canvas.restore()


def _draw_shadow(canvas: skia.Canvas, look: Look, clip: Clip, wall: bool) -> None:
    """A soft shadow on the wall, and on the ground under the feet."""
    if wall and clip.shot != "wide":
        paint = glow(76.0, (30, 14, 50), 0.34)
        spot(canvas, 26, 8, 76.0, 84.0, paint)
        spot(canvas, 30, 130, 76.0, 96.0, paint)
    if clip.shot == "wide":
        oval(canvas, 4, feet_y(look) + 2, look.shoulder * 1.25, 11, fill((24, 12, 40), 0.28))


def _draw_character(
    canvas: skia.Canvas, look: Look, pose: Pose, full: bool
) -> tuple[skia.Rect, skia.Rect]:
    """Draw one character around the current origin; returns its mouth and its face in pixels."""
    hip = hip_y(look)
    canvas.translate(pose.sway[0] * 84.0, -pose.sway[1] * 84.0 if not full else 0.0)
    canvas.translate(0, hip)
    canvas.rotate(pose.lean * 8.0)
    canvas.translate(0, -hip)
    tilt = 14.0 * pose.head[2]
    canvas.save()
    canvas.rotate(tilt, 0, 50)
    draw_behind_head(canvas, look, pose)
    canvas.restore()
    raised = [arm.lift > 0.12 or arm.bend > 0.4 for arm in (pose.left_arm, pose.right_arm)]
    arms = ((pose.left_arm, -1.0), (pose.right_arm, 1.0))
    for (arm, side), front in zip(arms, raised, strict=True):
        if not front:
            draw_arm(canvas, look, arm, side, pose.shrug)
    draw_body(canvas, look, pose, full)
    canvas.save()
    canvas.rotate(tilt, 0, 50)
    draw_locks(canvas, look, head_turn(look, pose))
    draw_head(canvas, look, pose)
    to_pixels = canvas.getTotalMatrix()
    mouth, face = (to_pixels.mapRect(r) for r in (skia.Rect(*mouth_box(look, pose)), _FACE))
    canvas.restore()
    for (arm, side), front in zip(arms, raised, strict=True):
        if front:
            draw_arm(canvas, look, arm, side, pose.shrug)
    return mouth, face


def draw_frame(
    story: Story, clip: Clip, poses: Sequence[Pose], view: View, width: int, height: int
) -> Drawn:
    """Draw one instant of a clip; `poses` has one pose for every member of `clip.cast`.

    Raises ValueError for words no drawing is known for, and for a size below 16 pixels.
    """
    if min(width, height) < 16:
        raise ValueError(f"frame size {width}x{height}: each side needs at least 16 pixels")
    if len(poses) != len(clip.cast):
        raise ValueError(f"got {len(poses)} poses for {len(clip.cast)} characters; give one each")
    pixels = np.zeros((height, width, 4), np.uint8)
    surface = skia.Surface(pixels, colorType=skia.kRGBA_8888_ColorType)
    canvas = surface.getCanvas()
    short = min(width, height)
    _draw_background(canvas, story, clip, view, width, height)
    mouths, faces = np.zeros((2, len(poses), 4), np.float32)
    for i, (cast, pose) in enumerate(zip(clip.cast, poses, strict=True)):
        look = make_look(story.characters[cast.character], story.light)
        x, y, scale = stand(look, clip, cast, width, height)
        canvas.save()
        # The camera closes in on the heads' height, so that a face never leaves the frame.
        focus_y = (height - short) * 0.5 + FOCUS_Y * short
        canvas.translate(width / 2, focus_y)
        canvas.scale(view.zoom, view.zoom)
        canvas.translate(x - width / 2 - view.pan[0] * short, y - focus_y + view.pan[1] * short)
        canvas.scale(scale, scale)
        _draw_shadow(canvas, look, clip, has_wall(story.place))
        full = y + (hip_y(look) - SHOULDER_Y * 0.2) * scale < height
        mouth, face = _draw_character(canvas, look, pose, full)
        mouths[i] = (mouth.left(), mouth.top(), mouth.right(), mouth.bottom())
        faces[i] = (face.left(), face.top(), face.right(), face.bottom())
        canvas.restore()
    tint, strength, _ = LIGHT_TINT[story.light]
    canvas.drawColor(argb(tint, strength), skia.BlendMode.kSrcOver)

    for boxes in (mouths, faces):
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        assert math.isfinite(float(boxes.sum()))
    return Drawn(pixels[:, :, :3].copy(), mouths, faces)
