"""A film as one image."""

import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openmocha import whole_file
from openmocha.media import FPS, Frames


class SheetFrames:
    """Keeps a frame per half second of a film that comes in pieces: call it with each piece."""

    def __init__(self, fps: float = FPS, every_s: float = 0.5) -> None:
        self.every = every_s * fps  # frames
        self.seen = 0
        self.kept: list[Frames] = []

    def __call__(self, frames: Frames) -> None:
        """The next frames uint8 (t, H, W, 3)."""
        while round(len(self.kept) * self.every) < self.seen + len(frames):
            self.kept.append(frames[round(len(self.kept) * self.every) - self.seen].copy())
        self.seen += len(frames)


def contact_sheet(shown: list[Frames], columns: int = 6) -> NDArray[np.uint8]:
    """Frames (H, W, 3) left to right and top to bottom, as one RGB image."""
    columns = min(columns, len(shown))
    height, width, _ = shown[0].shape
    rows, gap = math.ceil(len(shown) / columns), 4
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8
    )
    for index, frame in enumerate(shown):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet


def sheet_file(film: Path, wanted: bool) -> Path | None:
    """Where a film's contact sheet goes, if one is wanted; both are known to be writable.

    Raises ValueError as whole_file.check_output does.
    """
    whole_file.check_output(film, ".mp4")
    return whole_file.check_output(film.with_suffix(".png"), ".png") if wanted else None


def write_sheet(file: Path | None, shown: SheetFrames | None) -> None:
    """Write the contact sheet, if one is wanted."""
    if file is not None and shown is not None:
        write_png(file, contact_sheet(shown.kept))


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write an RGB image (H, W, 3) as PNG (8 bits, no filter), whole or not at all."""
    height, width, channels = image.shape
    assert channels == 3 and image.dtype == np.uint8
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    whole_file.write_bytes(path, b"\x89PNG\r\n\x1a\n" + body)
