"""What a file is before it is decoded: its content's hash, its streams, or why it is unfit."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIECE = 1 << 20  # bytes of the file's beginning, middle and end that its hash reads
HDR = {16: "PQ", 18: "HLG"}  # FFmpeg's colour transfer numbers


@dataclass(frozen=True)
class Limits:
    """Which files are looked at. Seconds, and pixels of the shorter side."""

    shortest_s: float = 2.0
    smallest_side: int = 96


class Unfit(Exception):
    """A file (or a clip of it) that cannot be used; the message is the short reason."""


def find_videos(places: list[Path]) -> list[Path]:
    """All files below the given folders, and the files given, each once and in order.

    Raises FileNotFoundError for a place that is not there. Folders that cannot be read are listed
    as if they were files, so that they too get their reason.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place} does not exist; give videos or folders of videos")
        if place.is_file():
            found[place] = None
            continue
        unreadable: list[OSError] = []
        for folder, folders, files in os.walk(place, onerror=unreadable.append):
            folders.sort()
            found |= {Path(folder, name): None for name in sorted(files) if name[0] != "."}
        found |= {Path(error.filename): None for error in unreadable}
    return list(found)


def content_id(path: Path) -> str:
    """32 hex digits of SHA-256 over a file's size and its first, middle and last MiB.

    A renamed file keeps its id. Raises OSError.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in (0, size // 2, max(0, size - PIECE)):
            file.seek(start)
            digest.update(file.read(PIECE))
    return digest.hexdigest()[:32]


def probe(path: Path, limits: Limits) -> dict[str, Any]:
    """Columns about the file: duration_s, fps, width, height, rotation, codec.

    Raises Unfit with the reason for a file that no later step can use.
    """
    import av

    if not path.is_file():
        raise Unfit("folder cannot be read" if path.is_dir() else "not a file")
    if path.stat().st_size == 0:
        raise Unfit("empty file")
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            columns = _columns(container)
    except (av.error.FFmpegError, OSError) as error:
        raise Unfit(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if columns["duration_s"] < limits.shortest_s:
        raise Unfit(f"shorter than {limits.shortest_s:g} s")
    if min(columns["width"], columns["height"]) < limits.smallest_side:
        raise Unfit(f"smaller than {limits.smallest_side} pixels")
    return columns


def _columns(container: Any) -> dict[str, Any]:
    if not container.streams.video:
        raise Unfit("no picture")
    if not container.streams.audio:
        raise Unfit("no sound")
    stream = container.streams.video[0]
    context = stream.codec_context
    transfer = getattr(context, "color_trc", 0)
    if transfer in HDR:
        raise Unfit(f"HDR picture ({HDR[transfer]})")
    duration_s = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if not duration_s and container.duration:
        duration_s = container.duration / av_time_base()
    return {
        "duration_s": round(duration_s, 6),
        "fps": round(float(stream.average_rate or 0), 4),
        "width": context.width,
        "height": context.height,
        "codec": context.name,
        "licence": container.metadata.get("copyright", ""),
    }


def av_time_base() -> int:
    import av

    return int(av.time_base)
