"""Sound and film in, film out: everything that touches a media file goes through PyAV here.

load_speech(path) -> 16 kHz mono speech       FilmWriter / write_film -> mp4
read_film(path)   -> Film; film_frames(path) -> its frames one by one
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from openmocha import whole_file

FPS = 24
SPEECH_RATE_HZ = 16_000
SHORTEST_GAP_S, LONGEST_GAP_S = 0.05, 600.0  # in a sound's times that are filled; else: damage
MIN_SPEECH_S = 0.2  # shorter than a syllable: nothing to lip-sync to

Speech = NDArray[np.float32]  # (samples,) mono, SPEECH_RATE_HZ, nominally in [-1, 1]
Frames = NDArray[np.uint8]  # (T, H, W, 3) RGB


class SpeechWarning(UserWarning):
    """The speech can be used, but the film will probably not be what was wanted."""


class Film(NamedTuple):
    """What `read_film` returns."""

    frames: Frames
    speech: Speech | None
    fps: float
    metadata: dict[str, Any]


# --- reading -------------------------------------------------------------------------------------


def load_speech(path: str | os.PathLike[str]) -> Speech:
    """The sound of any audio or video file as 16 kHz mono float32, channels averaged.

    Raises FileNotFoundError if there is no such file; ValueError if it is no media file, has no
    sound, cannot be decoded to its end, is shorter than 0.2 s, or holds NaN or infinite samples.
    """
    speech = _decode_speech(_existing_file(path, "speech"))
    check_speech(speech, f"speech file {path}")
    return speech


def check_speech(speech: Speech, name: str = "speech") -> None:
    """Raise ValueError unless `speech` is 1-D, at least 0.2 s long, and finite throughout."""
    if speech.ndim != 1:
        raise ValueError(
            f"{name} has shape {speech.shape}; expected one channel (samples,) at 16 kHz"
        )
    if not np.issubdtype(speech.dtype, np.floating):
        raise ValueError(
            f"{name} has samples of type {speech.dtype}; expected float32 in -1 to 1 (integers are "
            "divided by their largest value)"
        )
    seconds = len(speech) / SPEECH_RATE_HZ
    if not len(speech):
        raise ValueError(f"{name} has no samples: it is 0 s long; give a recording of a voice")
    if seconds < MIN_SPEECH_S:
        raise ValueError(f"{name} is {seconds:.3f} s long; at least {MIN_SPEECH_S} s is needed")
    bad = np.flatnonzero(~np.isfinite(speech))
    if len(bad):
        raise ValueError(
            f"{name} holds {len(bad)} samples that are not numbers (NaN or infinite), the first at "
            f"{bad[0] / SPEECH_RATE_HZ:.2f} s; export the recording again"
        )


def join_speeches(speeches: Sequence[Speech], gap_s: float) -> Speech:
    """Speeches one after the other with a pause between them: nobody talks over another."""
    gap = np.zeros(round(gap_s * SPEECH_RATE_HZ), np.float32)
    pieces = [piece for speech in speeches for piece in (gap, speech)]
    return np.concatenate(pieces[1:])


def is_silent(speech: Speech) -> bool:
    """True if no sample reaches -60 dBFS, the noise floor of a poor recording."""
    return bool(np.abs(speech).max(initial=0.0) < 1e-3)


def read_film(path: str | os.PathLike[str]) -> Film:
    """Decode a whole film: frames (T, H, W, 3), speech or None, fps, and openmocha's metadata.

    Raises FileNotFoundError or ValueError, as `load_speech` does.
    """
    with _opened_film(path) as (container, stream):
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        fps = float(stream.average_rate or 0)
        metadata = parse_metadata(container.metadata.get("comment", ""))
        has_sound = bool(container.streams.audio)
    if not frames:
        raise ValueError(f"film {path} holds no frames")
    return Film(np.stack(frames), _decode_speech(Path(path)) if has_sound else None, fps, metadata)


def film_frames(path: str | os.PathLike[str]) -> Iterator[Frames]:
    """A film's frames (H, W, 3), one after the other: a film of hours needs no more memory than one
    of seconds. Raises as `read_film` does, a film without frames aside."""
    with _opened_film(path) as (container, stream):
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24")


def film_fps(path: str | os.PathLike[str]) -> float:
    """A film's frames per second. Raises as `read_film` does, a film without frames aside."""
    with _opened_film(path) as (_, stream):
        return float(stream.average_rate or 0)


@contextlib.contextmanager
def _opened_film(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """A film and its picture, to decode."""
    import av

    path = _existing_file(path, "film")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"film {path} has no picture; expected a video file")
            yield container, container.streams.video[0]
    except av.error.FFmpegError as error:
        raise ValueError(_unreadable(path, "film", error)) from error


def load_image(path: str | os.PathLike[str]) -> Frames:
    """A picture, uint8 (H, W, 3), RGB: the first frame of whatever FFmpeg reads.

    Raises FileNotFoundError or ValueError, as `load_speech` does.
    """
    import av

    path = _existing_file(path, "image")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"image {path} has no picture; expected a PNG or JPEG file")
            image: Frames = next(container.decode(video=0)).to_ndarray(format="rgb24")
    except (av.error.FFmpegError, StopIteration) as error:
        raise ValueError(_unreadable(path, "image", error)) from error
    return image


def parse_metadata(comment: str) -> dict[str, Any]:
    """openmocha's JSON from an mp4's comment tag; {} for the comments of other programs."""
    try:
        metadata = json.loads(comment)
    except json.JSONDecodeError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _existing_file(path: str | os.PathLike[str], kind: str) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{kind} file {path} does not exist; check the path")
    if not path.is_file():
        raise ValueError(f"{kind} file {path} is a folder or a device; expected a media file")
    if path.stat().st_size == 0:
        raise ValueError(f"{kind} file {path} is empty (0 bytes)")
    return path


def _unreadable(path: Path, kind: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return (
        f"{kind} file {path} cannot be decoded ({reason}); it is corrupt or no media file. "
        "Expected anything FFmpeg reads: wav, mp3, m4a, flac, ogg, mp4, png, jpg, ..."
    )


def _decode_speech(path: Path) -> Speech:
    pieces = list(speech_pieces(path))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def speech_pieces(path: Path) -> Iterator[Speech]:
    """The sound of a file as 16 kHz mono pieces one after the other, however long it is.

    Raises ValueError where there is no sound, it cannot be decoded, or its rate changes.
    """
    import av
    import soxr

    resample, first_rate = None, 0
    try:
        for samples, rate in _sound(path):
            if resample is None:
                # one stream resampler for the whole file: seams between packets would click
                resample = soxr.ResampleStream(rate, SPEECH_RATE_HZ, 1, dtype="float32")
                first_rate = rate
            elif rate != first_rate:
                raise ValueError(
                    f"speech file {path} changes its rate from {first_rate} to {rate} Hz; "
                    "export it again at one rate"
                )
            yield resample.resample_chunk(samples)
    except av.error.FFmpegError as error:
        raise ValueError(_unreadable(path, "speech", error)) from error
    if resample is not None:
        yield resample.resample_chunk(np.zeros(0, np.float32), last=True)


def _sound(path: Path) -> Iterator[tuple[Speech, int]]:
    """Decoded pieces of the first audio stream, channels averaged, with their rate in Hz."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ValueError(
                f"speech file {path} has no sound ({len(container.streams)} other streams); "
                "expected a recording, or a video with a sound track"
            )
        end_s = None  # of what was decoded
        for frame in container.decode(container.streams.audio[0]):
            gap_s = 0.0 if frame.time is None or end_s is None else frame.time - end_s
            if SHORTEST_GAP_S < gap_s < LONGEST_GAP_S:  # silence, so that the rest stays in time
                yield np.zeros(round(gap_s * frame.sample_rate), np.float32), frame.sample_rate
                end_s = frame.time
            start_s = frame.time if end_s is None else end_s
            end_s = (start_s or 0.0) + frame.samples / frame.sample_rate
            yield mono(frame), frame.sample_rate


def mono(frame: Any) -> Speech:
    """A decoded piece of sound of any sample format as float32, channels averaged."""
    samples = frame.to_ndarray()  # (channels, n), or (1, n * channels) where they are interleaved
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    mono = samples.mean(axis=0, dtype=np.float64)
    if samples.dtype == np.uint8:
        mono = (mono - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        mono = mono / -float(np.iinfo(samples.dtype).min)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which check_speech refuses
        narrowed: Speech = mono.astype(np.float32)
    return narrowed


# --- writing -------------------------------------------------------------------------------------


def write_film(
    path: str | os.PathLike[str],
    frames: Frames,
    speech: Speech | None = None,
    fps: float = FPS,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write frames (T, H, W, 3) and their speech as an mp4; see `FilmWriter` for what is raised."""
    height, width = frames.shape[1:3]
    with FilmWriter(path, width, height, speech, fps=fps, metadata=metadata) as film:
        film.write(frames)


class FilmWriter:
    """Write an mp4 (H.264 yuv420p, AAC) piece by piece; the file appears when the block ends well.

        with FilmWriter("film.mp4", 128, 128, speech, metadata=settings) as film:
            for frames in pieces:       # uint8 (T, H, W, 3)
                film.write(frames)

    `metadata` goes into the `comment` tag as JSON, its "prompt" also into `title`. Speech longer
    than the frames is cut, shorter leaves the rest without sound. Raises ValueError for a bad size
    or suffix, OSError (FileNotFoundError, ...) if the file cannot be written or the disk is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        speech: Speech | None = None,
        *,
        fps: float = FPS,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.path = whole_file.check_output(path, ".mp4")
        if width < 16 or height < 16 or width % 2 or height % 2:
            raise ValueError(f"film size {width}x{height} is not possible: even numbers >= 16")
        if speech is not None:
            assert speech.ndim == 1 and speech.dtype == np.float32
        self.size = (height, width)
        self.fps = Fraction(fps).limit_denominator(1001)
        self.speech = speech
        self.metadata = metadata or {}
        self.num_frames = 0
        self._samples_written = 0

    def __enter__(self) -> Self:
        import av

        self._part = whole_file.part_of(self.path)
        try:
            self._container = av.open(
                str(self._part), "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._add_streams()
        except BaseException as error:
            self._discard()
            raise whole_file.write_error(self.path, error) from error
        return self

    def _add_streams(self) -> None:
        height, width = self.size
        video = self._container.add_stream("libx264", rate=self.fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"crf": "16", "preset": "medium"}
        self._video, self._audio = video, None
        if self.speech is not None:
            self._audio = self._container.add_stream("aac", rate=SPEECH_RATE_HZ, layout="mono")
            self._audio.bit_rate = 96_000
        self._container.metadata["title"] = str(self.metadata.get("prompt", ""))[:200]
        self._container.metadata["comment"] = json.dumps(self.metadata, ensure_ascii=False)

    def write(self, frames: Frames) -> None:
        """Append frames, uint8 (T, H, W, 3), and the speech that goes with them."""
        import av

        assert frames.dtype == np.uint8 and frames.shape[1:] == (*self.size, 3), frames.shape
        try:
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts = self.num_frames
                self._container.mux(self._video.encode(frame))
                self.num_frames += 1
            self._write_speech(round(self.num_frames / self.fps * SPEECH_RATE_HZ))
        except av.error.FFmpegError as error:
            raise whole_file.write_error(self.path, error) from error

    def _write_speech(self, end: int) -> None:
        import av

        if self._audio is None or self.speech is None:
            return
        piece = self.speech[self._samples_written : end]
        if not len(piece):
            return
        frame = av.AudioFrame.from_ndarray(piece[None].clip(-1, 1), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SPEECH_RATE_HZ, self._samples_written
        self._container.mux(self._audio.encode(frame))
        self._samples_written += len(piece)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._finish()
            whole_file.into_place(self._part, self.path)
        except BaseException as failure:
            self._discard()
            raise whole_file.write_error(self.path, failure) from failure

    def _finish(self) -> None:
        import av

        assert self.num_frames, "a film needs at least one frame"
        for stream in (self._video, self._audio):
            if stream is not None and (stream is self._video or self._samples_written):
                self._container.mux(stream.encode(None))
        self._container.close()
        # FFmpeg can lose a write error when it closes the file, so the index is read back
        with av.open(str(self._part)) as written:
            if written.streams.video[0].frames != self.num_frames:
                raise OSError(errno.EIO, "the file is not complete")

    def _discard(self) -> None:
        import av

        try:
            if hasattr(self, "_container"):
                self._container.close()
        except (av.error.FFmpegError, OSError):
            pass  # the first error is the one to report; this file is thrown away
        finally:
            self._part.unlink(missing_ok=True)
