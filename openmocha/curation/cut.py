"""Frames and speech of one clip, cut out of its film: at 24 frames a second, upright, aligned."""

from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.probe import Unfit
from openmocha.curation.watch import upright
from openmocha.media import FPS, SPEECH_RATE_HZ, mono

Array = np.ndarray[Any, Any]


def clip_frames(
    path: Path, start_s: float, times_s: Array, shorter_side: int | None = None
) -> list[Array]:
    """The pictures shown at some times (ascending, in seconds of the film), uint8 (H, W, 3), made
    smaller where their shorter side is longer than `shorter_side`.

    Raises Unfit where the film does not reach so far or cannot be decoded.
    """
    import av

    found: list[Array] = []
    waiting: tuple[float, Any] | None = None
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            begin_s = float((stream.start_time or 0) * stream.time_base)
            container.seek(int((start_s + begin_s) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is None:
                    continue
                # a picture is shown from its time on: it serves all times before the next one's
                at = frame.time - begin_s - 1e-4
                while (
                    waiting is not None and len(found) < len(times_s) and times_s[len(found)] < at
                ):
                    found.append(_pixels(waiting[1], shorter_side))
                if len(found) == len(times_s):
                    return found
                waiting = (at, frame)
    except (av.error.FFmpegError, OSError) as error:
        raise Unfit(f"damaged picture: {error}") from error
    if waiting is None:
        raise Unfit("no frames")
    last = _pixels(waiting[1], shorter_side)
    return found + [last] * (len(times_s) - len(found))


def _pixels(frame: Any, shorter_side: int | None) -> Array:
    scale = 1.0 if shorter_side is None else shorter_side / min(frame.width, frame.height)
    if scale < 1:
        size = [max(2, round(side * scale)) for side in (frame.width, frame.height)]
        frame = frame.reformat(width=size[0], height=size[1], interpolation="AREA")
    return upright(frame.to_ndarray(format="rgb24"), frame)


def frame_times(start_s: float, end_s: float) -> Array:
    """The middles of a clip's frames at 24 a second."""
    num_frames = max(1, int((end_s - start_s) * FPS + 1e-3))
    return np.asarray(start_s + (np.arange(num_frames) + 0.5) / FPS)


def clip_speech(
    path: Path, start_s: float, num_samples: int, rate_hz: int = SPEECH_RATE_HZ
) -> Array:
    """float32 (num_samples,) of mono sound from a moment of the film on, silence past its end.

    Raises Unfit where the sound cannot be decoded.
    """
    import av
    import soxr

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            picture, stream = container.streams.video[0], container.streams.audio[0]
            begin_s = float((picture.start_time or 0) * picture.time_base)
            wanted_s = start_s + begin_s
            # a second early: codecs need to warm up, and packets begin where they like
            container.seek(int(max(0.0, wanted_s - 1.0) / stream.time_base), stream=stream)
            pieces, first_s, rate = [], None, 0
            end_s = wanted_s + num_samples / rate_hz + 0.1
            for frame in container.decode(stream):
                if frame.time is None or frame.time > end_s:
                    break
                first_s = frame.time if first_s is None else first_s
                rate = frame.sample_rate
                pieces.append(mono(frame))
    except (av.error.FFmpegError, OSError) as error:
        raise Unfit(f"damaged sound: {error}") from error
    sound = np.zeros(num_samples, np.float32)
    if first_s is None:
        return sound
    found = soxr.resample(np.concatenate(pieces), rate, rate_hz).astype(np.float32)
    offset = round((wanted_s - first_s) * rate_hz)
    kept = found[max(0, offset) : max(0, offset + num_samples)]
    start = max(0, -offset)
    sound[start : start + len(kept)] = kept[: num_samples - start]
    return np.nan_to_num(sound)


def crop_around(
    box: list[float] | Array, width: int, height: int, aspect: float
) -> tuple[slice, slice]:
    """Rows and columns of the largest part of a picture that has the aspect width / height and
    holds a face (box in shares of the frame) as near to its middle as the picture allows."""
    tall = min(height, round(width / aspect))
    wide = min(width, round(tall * aspect))
    centre_x = (box[0] + box[2]) / 2 * width
    centre_y = (box[1] + 2 * (box[3] - box[1]) / 3) * height
    left = int(np.clip(round(centre_x - wide / 2), 0, width - wide))
    top = int(np.clip(round(centre_y - tall / 2), 0, height - tall))
    return slice(top, top + tall), slice(left, left + wide)
