"""A strip of panels, as torchvision's make_grid lays them out -> the film of one of them."""

from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from openmocha.whole_file import into_place, part_of

PADDING = 2  # pixels around and between panels
PANELS = 3  # reference picture, pose, result


def panel_box(width: int, height: int, panel: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of panel 0, 1 or 2 of a strip.

    Raises ValueError for a size that no strip of three panels has.
    """
    inner = width - (PANELS + 1) * PADDING
    if inner <= 0 or inner % (2 * PANELS) or height <= 2 * PADDING or height % 2:
        raise ValueError(
            f"the film is {width}x{height}; a strip of {PANELS} panels of even size has {PADDING} "
            "pixels around and between them"
        )
    wide = inner // PANELS
    left = PADDING + panel * (wide + PADDING)
    return left, PADDING, left + wide, height - PADDING


def cut_panel(strip: Path, panel: int, film: Path, end_s: float) -> None:
    """Write one panel of a strip up to a time as an mp4: the picture encoded once more, the sound
    as it is. Raises ValueError where the strip is none or cannot be decoded."""
    import av

    part = part_of(film)
    try:
        with av.open(str(strip)) as given, av.open(str(part), "w", format="mp4") as kept:
            _copy(given, kept, panel, end_s)
        into_place(part, film)
    except av.error.FFmpegError as error:
        raise ValueError(f"{strip.name} cannot be decoded ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(given: Any, kept: Any, panel: int, end_s: float) -> None:
    if not given.streams.video:
        raise ValueError("the film has no picture")
    seen = given.streams.video[0]
    left, top, right, bottom = panel_box(seen.width, seen.height, panel)
    video = kept.add_stream("libx264", rate=seen.average_rate)
    video.width, video.height, video.pix_fmt = right - left, bottom - top, "yuv420p"
    video.time_base = seen.time_base
    video.options = {"crf": "16", "preset": "medium"}
    heard = given.streams.audio[0] if given.streams.audio else None
    audio = None if heard is None else kept.add_stream_from_template(heard)
    # half a frame: times in files are rounded
    last_s = end_s - 0.5 / float(seen.average_rate)
    for packet in given.demux([stream for stream in (seen, heard) if stream is not None]):
        if packet.stream is seen:
            for frame in packet.decode():
                if frame.time is None or frame.time < last_s:
                    kept.mux(video.encode(_part(frame, left, top, right, bottom)))
        elif packet.pts is not None and packet.pts * packet.time_base < end_s:
            packet.stream = audio
            kept.mux(packet)
    kept.mux(video.encode(None))


def _part(frame: Any, left: int, top: int, right: int, bottom: int) -> Any:
    """Part of a frame, cut out of its planes: as RGB its edges would take on their neighbours'
    colours."""
    import av

    height = frame.height
    planes = frame.to_ndarray(format="yuv420p")
    cut = [planes[:height][top:bottom, left:right].ravel()]
    for colour in rearrange(planes[height:], "(c h) (half w) -> c (h half) w", c=2, half=2):
        cut.append(colour[top // 2 : bottom // 2, left // 2 : right // 2].ravel())
    pixels = np.concatenate(cut).reshape(-1, right - left)
    part = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
    part.pts, part.time_base = frame.pts, frame.time_base
    return part
