"""What an image-to-video system is given to start from: a film's first frame, cropped by a rule.

film -> first frame at full size -> face -> box by the rule -> pixels

full            the whole frame
person-square   a square of the frame's shorter side, its middle on the main face, within the frame
head-square     a square of 2.5 times the face's height, likewise
"""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from openmocha.curation.faces import Face, FaceFinder
from openmocha.curation.probe import Unfit
from openmocha.curation.watch import decoded, upright

Array = np.ndarray[Any, Any]
Crop = Literal["full", "person-square", "head-square"]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels; the last two not within

CROPS: tuple[Crop, ...] = get_args(Crop)
HEAD = 2.5  # side of a head square in heights of the face


def check_crop(crop: str) -> Crop:
    """Raises ValueError for a word that is no crop rule."""
    for known in CROPS:
        if crop == known:
            return known
    raise ValueError(f"crop is {crop!r}; expected {', '.join(CROPS)}")


def first_frame(film: Path) -> Array:
    """The first frame of a film as it is seen, uint8 (H, W, 3), RGB, at full size.

    Raises ValueError where the film cannot be decoded.
    """
    import av

    try:
        for _, frame in decoded(film):
            return upright(frame.to_ndarray(format="rgb24"), frame)
    except (Unfit, IndexError, av.error.FFmpegError) as error:
        raise ValueError(f"film {film} has no first frame that can be decoded: {error}") from error
    raise ValueError(f"film {film} holds no frames")


def main_face(image: Array, find_faces: FaceFinder) -> Face | None:
    """The largest face of a picture, None where none is found."""
    faces = find_faces([image])[0]
    return max(faces, key=lambda face: (face.x1 - face.x0) * (face.y1 - face.y0), default=None)


def crop_box(crop: Crop, width: int, height: int, face: Face | None) -> Box:
    """Where a picture is cropped by a rule.

    A person square without a face lies in the middle. Raises ValueError for a head square without
    a face.
    """
    if crop == "full":
        return 0, 0, width, height
    if crop == "head-square" and face is None:
        raise ValueError("no face is found in the first frame, so there is no head square to crop")
    middle_x, middle_y, side = width / 2, height / 2, min(width, height)
    if face is not None:
        middle_x, middle_y = (face.x0 + face.x1) / 2 * width, (face.y0 + face.y1) / 2 * height
        if crop == "head-square":
            side = max(1, min(side, round(HEAD * (face.y1 - face.y0) * height)))
    left = min(max(0, round(middle_x - side / 2)), width - side)
    top = min(max(0, round(middle_y - side / 2)), height - side)
    return left, top, left + side, top + side
