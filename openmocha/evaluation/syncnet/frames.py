"""What SyncNet is given: a film's frames at 25 a second, a speech's samples at 16 kHz.

film   -> frames, uint8 (H, W, 3) RGB, one after the other, only as many held as are asked for
speech -> int16 (samples,)
"""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from openmocha.curation.watch import upright
from openmocha.media import LONGEST_GAP_S, MIN_SPEECH_S

Frame = np.ndarray[Any, Any]
Shown = TypeVar("Shown")

FPS = 25
RATE_HZ = 16_000
_SLACK = 1.1  # slots by which FFmpeg lets a frame be early or late
_NUDGE = 1 / (1 << 17)  # FFmpeg's, so that halves are not a matter of rounding
_MISSING_S = 0.5  # by which a film may end before it says
_KEPT_BYTES = 256 * 2**20  # of frames, for the second look
_LATE_S = 0.1  # sound that is later than this is moved to its time


def at_constant_rate(shown: Iterable[tuple[float, float, Shown]]) -> Iterator[Shown]:
    """What FFmpeg's `-r` shows: frames repeated or left out so that each slot has one.

    `shown` is (start, duration, frame), both in slots of the output. A frame is repeated where it
    lasts beyond its own slot by more than a half, and left out where it ended over 1.1 slots ago:
    so a film of 30 frames a second runs up to two frames late at 25.
    """
    slot, before = 0, None
    filled: deque[int] = deque([0, 0, 0], maxlen=3)
    for start, duration, frame in shown:
        start += 0.0 if start == int(start) else _NUDGE
        late, ends = start - slot, start - slot + duration
        count, count_before = 1, 0
        if ends < -_SLACK:
            count = 0
        elif ends > _SLACK:
            count = round(ends)
            count_before = round(late - 0.6) if late > _SLACK else 0
        for number in range(count):
            yield before if number < count_before and before is not None else frame
        slot += count
        filled.append(count_before)
        before = frame
    if before is not None:
        yield from [before] * sorted(filled)[1]


def decoded(film: Path) -> Iterator[Any]:
    """PyAV's frames of a film, at 25 a second; a repeated frame is the same object.

    Raises FileNotFoundError, or ValueError where there is no picture or it cannot be decoded.
    """
    import av

    if not film.is_file():
        raise FileNotFoundError(f"film {film} does not exist; check the path")
    num_frames = 0
    try:
        with av.open(str(film), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise ValueError(f"film {film} has no picture; expected a video file")
            for frame in at_constant_rate(_in_slots(container, film)):
                num_frames += 1
                yield frame
    except av.error.FFmpegError as error:
        raise ValueError(
            f"film {film} cannot be decoded after {num_frames / FPS:.2f} s ({error.strerror}); it "
            "is damaged or no film: make or copy it again"
        ) from error
    if not num_frames:
        raise ValueError(f"film {film} holds no frames; make or copy it again")


def _in_slots(container: Any, film: Path) -> Iterator[tuple[float, float, Any]]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    begin_s = (container.start_time or 0) / 1_000_000
    usual_s = 1 / float(stream.average_rate or 24)
    end_s = begin_s
    for frame in container.decode(stream):
        start_s = end_s if frame.time is None else frame.time
        if abs(start_s - end_s) > LONGEST_GAP_S:
            raise ValueError(
                f"film {film} jumps from {end_s:.0f} s to {start_s:.0f} s; encode it again"
            )
        duration_s = float(frame.duration * frame.time_base) if frame.duration else usual_s
        end_s = start_s + duration_s
        yield (start_s - begin_s) * FPS, duration_s * FPS, frame
    if stream.duration and stream.time_base:
        promised_s = float(stream.duration * stream.time_base)
        if end_s - begin_s < promised_s - _MISSING_S:
            raise ValueError(
                f"film {film} ends after {end_s - begin_s:.1f} s of {promised_s:.1f} s; it is cut "
                "off: make or copy it again"
            )


class Footage:
    """A film's frames at 25 a second, uint8 (H, W, 3) RGB, upright; can be gone through again.

    Where all of them fit into 256 MiB (7 s of 976x528) the film is decoded once, a longer one each
    time anew: memory does not grow with length. Iterating raises what `decoded` raises.
    """

    def __init__(self, film: Path) -> None:
        self._film = film
        self._kept: list[Frame] | None = None

    def __iter__(self) -> Iterator[Frame]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Frame] = []
        room = _KEPT_BYTES
        for pixels in _pictures(self._film):
            room -= 0 if kept and pixels is kept[-1] else pixels.nbytes
            if room >= 0:
                kept.append(pixels)
            else:
                kept.clear()
            yield pixels
        self._kept = kept if room >= 0 else None


def _pictures(film: Path) -> Iterator[Frame]:
    """A repeated frame is the same array."""
    from av.video.reformatter import VideoReformatter

    reformatter, before, pixels = VideoReformatter(), None, np.zeros(0)
    for frame in decoded(film):
        if frame is not before:
            rgb = reformatter.reformat(frame, format="rgb24", threads=1)
            before, pixels = frame, upright(rgb.to_ndarray(), frame)
        yield pixels


def has_sound(film: Path) -> bool:
    """True where the film has a sound track."""
    import av

    with av.open(str(film), metadata_errors="ignore") as container:
        return bool(container.streams.audio)


def speech_samples(path: Path) -> Frame:
    """int16 (samples,) at 16 kHz, mono, of any file with sound, as FFmpeg resamples it.

    Raises FileNotFoundError, or ValueError where there is no sound, it cannot be decoded, or lasts
    under 0.2 s.
    """
    import av

    if not path.is_file():
        raise FileNotFoundError(f"speech file {path} does not exist; check the path")
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise ValueError(f"speech file {path} has no sound; expected a recording")
            pieces = list(_resampled(container))
    except av.error.FFmpegError as error:
        raise ValueError(
            f"speech file {path} cannot be decoded ({error.strerror}); it is damaged or no sound"
        ) from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if len(samples) < MIN_SPEECH_S * RATE_HZ:
        raise ValueError(
            f"speech file {path} is {len(samples) / RATE_HZ:.3f} s long; at least {MIN_SPEECH_S} s "
            "are needed"
        )
    return samples


def _resampled(container: Any) -> Iterator[Frame]:
    """Pieces of int16; silence where sound begins late or has a gap, so that it stays in time."""
    import av

    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    begin_s, heard_s = (container.start_time or 0) / 1_000_000, 0.0
    for frame in container.decode(container.streams.audio[0]):
        late_s = 0.0 if frame.time is None else frame.time - begin_s - heard_s
        if _LATE_S < late_s < LONGEST_GAP_S:
            yield np.zeros(round(late_s * RATE_HZ), np.int16)
            heard_s += late_s
        heard_s += frame.samples / frame.sample_rate
        for piece in resampler.resample(frame):
            yield piece.to_ndarray()[0]
    for piece in resampler.resample(None):
        yield piece.to_ndarray()[0]
