"""Where SyncNet looks: a track's boxes -> smoothed windows -> crops of 224x224.

A window is a square of 2.8 half box sizes, shifted down so that the mouth is near its middle.
"""

from typing import Any, NamedTuple

import numpy as np

from openmocha.evaluation.syncnet.frames import Frame
from openmocha.evaluation.syncnet.tracks import Track

Array = np.ndarray[Any, Any]

CROP_SIZE = 224
SCALE = 0.40  # by how much a crop is larger than the box
MEDIAN = 13  # frames
GREY = 110  # beyond the picture's edges


class Window(NamedTuple):
    """Rows and columns of a crop, in a frame with `pad` grey pixels added at each side."""

    top: int
    bottom: int
    left: int
    right: int
    pad: int


def smoothed(values: Array) -> Array:
    """Running median of 13; beyond the ends are zeros, so the first and last are biased low."""
    padded = np.pad(np.asarray(values, np.float64), MEDIAN // 2)
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN), axis=1))


def crop_windows(track: Track) -> list[Window]:
    """One window per frame of the track."""
    left, top, right, bottom = track.boxes.T
    sizes = smoothed(np.maximum(bottom - top, right - left) / 2)
    centres_y, centres_x = smoothed((top + bottom) / 2), smoothed((left + right) / 2)
    return [_window(*map(float, one)) for one in zip(sizes, centres_x, centres_y, strict=True)]


def _window(size: float, x: float, y: float) -> Window:
    below = 1 + 2 * SCALE
    pad = int(size * below)
    x, y = x + pad, y + pad
    side = size * (1 + SCALE)
    return Window(int(y - size), int(y + size * below), int(x - side), int(x + side), pad)


def crop(frame: Frame, window: Window) -> Frame:
    """uint8 (224, 224, 3), of whatever order of colours the frame has."""
    import cv2

    height, width = frame.shape[:2]
    top, bottom, left, right, pad = window
    # The padded frame ends somewhere too; boxes beyond it make a smaller window.
    top, left = max(top, 0), max(left, 0)
    bottom, right = min(bottom, height + 2 * pad), min(right, width + 2 * pad)
    if bottom <= top or right <= left:  # far outside: nothing but grey
        return np.full((CROP_SIZE, CROP_SIZE, 3), GREY, np.uint8)
    y0, y1 = (min(max(y - pad, 0), height) for y in (top, bottom))
    x0, x1 = (min(max(x - pad, 0), width) for x in (left, right))
    cut = frame[y0:y1, x0:x1]
    if cut.shape[:2] != (bottom - top, right - left):  # a part of it lies beyond the edges
        grey = np.full((bottom - top, right - left, 3), GREY, np.uint8)
        y, x = y0 + pad - top, x0 + pad - left
        grey[y : y + y1 - y0, x : x + x1 - x0] = cut
        cut = grey
    return np.asarray(cv2.resize(cut, (CROP_SIZE, CROP_SIZE)))
