"""The public scripts' way of getting from a film to crops and sound, quirks included, for
comparison with published numbers; "fast" in scoring.py does the same without any of these files.

film -> MPEG-4 AVI -> JPEG per frame -> crops -> XVID AVI -> JPEG per crop
speech (variant "original": -> MP3)  -> 16 kHz
"""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.watch import upright
from openmocha.evaluation.syncnet.crops import CROP_SIZE, crop, crop_windows
from openmocha.evaluation.syncnet.frames import (
    FPS,
    Frame,
    decoded,
    speech_samples,
)
from openmocha.evaluation.syncnet.tracks import Track

SLOT = Fraction(1, FPS)
QUALITY_2 = {"flags": "+qscale", "global_quality": str(2 * 118)}  # -q:v 2, FF_QP2LAMBDA = 118
MP3_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
DEFAULT_RATE = 200_000  # bits a second, where FFmpeg is told nothing


def write_avi(film: Path, folder: Path) -> Path:
    """`-q:v 2 -r 25`: the film as MPEG-4 at 25 frames a second, without its sound."""
    import av

    path = folder / "video.avi"
    with av.open(str(path), "w") as container:
        stream: Any = None
        for number, frame in enumerate(decoded(film)):
            picture = _turned(frame)
            if stream is None:
                stream = container.add_stream("mpeg4", rate=FPS, options=QUALITY_2)
                stream.width, stream.height = picture.width, picture.height
                stream.pix_fmt = "yuv420p"
            picture = picture.reformat(stream.width, stream.height, "yuv420p")
            picture.pts, picture.time_base = number, SLOT
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _turned(frame: Any) -> Any:
    """A picture of its own, upright: a repeated frame keeps its time."""
    import av

    if frame.rotation:
        return av.VideoFrame.from_ndarray(upright(frame.to_ndarray(format="rgb24"), frame), "rgb24")
    return frame.reformat(format=frame.format.name)


def write_jpegs(avi: Path, folder: Path, options: dict[str, str], delayed: bool) -> list[Path]:
    """A JPEG per frame. `delayed`: the second frame twice, and all after it one late, as it comes
    out where the film had a sound track."""
    folder.mkdir()
    paths = []
    for number, jpeg in enumerate(
        _jpegs(_delayed(decoded(avi)) if delayed else decoded(avi), options)
    ):
        paths.append(folder / f"{number:06d}.jpg")
        paths[-1].write_bytes(jpeg)
    return paths


def _delayed(frames: Iterable[Any]) -> Iterator[Any]:
    for number, frame in enumerate(frames):
        yield frame
        if number == 1:
            yield frame


def _jpegs(frames: Iterable[Any], options: dict[str, str]) -> Iterator[bytes]:
    import av

    encoder: Any = None
    for number, frame in enumerate(frames):
        if encoder is None:
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height = frame.width, frame.height
            encoder.pix_fmt, encoder.framerate = "yuvj420p", FPS
            encoder.bit_rate, encoder.thread_count = DEFAULT_RATE, 1
            encoder.options = options
        picture = _full_range(frame)
        picture.pts, picture.time_base = number, SLOT
        for packet in encoder.encode(picture):
            yield bytes(packet)


def _full_range(frame: Any) -> Any:
    """yuv420p of 16..235 as 0..255, rounded: the FFmpeg in PyAV's wheels would truncate colours,
    which the scripts' crops do not show (first crops of the reference: identical this way)."""
    import av

    levels = np.arange(256.0)
    grey = np.clip(np.round((levels - 16) * 255 / 219), 0, 255).astype(np.uint8)
    colour = np.clip(np.round((levels - 128) * 255 / 224 + 128), 0, 255).astype(np.uint8)
    planes = frame.to_ndarray()  # rows of Y, then those of U and V
    full = np.concatenate([grey[planes[: frame.height]], colour[planes[frame.height :]]])
    return av.VideoFrame.from_ndarray(full, "yuvj420p")


def read_jpegs(paths: Sequence[Path]) -> Iterator[Frame]:
    """uint8 (H, W, 3) RGB."""
    import cv2

    for path in paths:
        yield cv2.cvtColor(_read(path), cv2.COLOR_BGR2RGB)


def _read(path: Path) -> Frame:
    import cv2

    pixels = cv2.imread(str(path))
    assert pixels is not None, path
    return pixels


def scenes_of(avi: Path) -> list[tuple[int, int]]:
    """PySceneDetect on the AVI: its frames are counted without the JPEGs' repeated one."""
    from scenedetect import ContentDetector, detect

    found = detect(str(avi), ContentDetector(), start_in_scene=True)
    return [(start.frame_num, end.frame_num) for start, end in found]


def crop_jpegs(jpegs: Sequence[Path], track: Track, folder: Path) -> list[Path]:
    """A track's crops, through XVID and JPEG."""
    import cv2

    folder.mkdir()
    avi = folder / "crop.avi"
    fourcc = cv2.VideoWriter.fourcc(*"XVID")
    writer = cv2.VideoWriter(str(avi), fourcc, FPS, (CROP_SIZE, CROP_SIZE))
    windows = crop_windows(track)
    for path, window in zip(jpegs[track.first : track.last + 1], windows, strict=True):
        writer.write(crop(_read(path), window))
    writer.release()
    return write_jpegs(avi, folder / "frames", {}, delayed=False)


def mp3_samples(speech: Path, folder: Path) -> Frame:
    """int16 at 16 kHz of a speech that went through an AVI's MP3 track, with the codec's delay."""
    import av

    path = folder / "sound.avi"
    speech_samples(speech)  # says what is wrong with it
    with av.open(str(speech)) as given, av.open(str(path), "w") as made:
        source = given.streams.audio[0]
        rate = source.rate if source.rate in MP3_RATES_HZ else 44_100
        stream = made.add_stream("libmp3lame", rate=rate)
        stream.format, stream.layout = "s16p", "mono" if source.channels == 1 else "stereo"
        for frame in given.decode(source):
            frame.pts = None
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return speech_samples(path)
