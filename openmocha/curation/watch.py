"""Everything that needs the picture, in one decoding: scene scores, faces, motion, thumbnails.

The result is small whatever the film's length: a few numbers per frame and nothing decided, so that
thresholds can change without decoding again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.faces import Face, FaceFinder
from openmocha.curation.probe import Unfit

Array = np.ndarray[Any, Any]

SMALL_WIDTH = 256  # of the picture that scenes and motion are measured on
LARGEST_SIDE = 720  # of the shorter side that faces are looked for in
THUMBNAIL = (18, 32)
THUMBNAILS_PER_S = 2.0
BATCH = 24  # looks handed to the face finder at once
RESTART = 1000  # frames after which the scene detector's own record is thrown away


@dataclass(frozen=True)
class Watched:
    """A film as seen. Times in seconds from its first frame; n frames, m looks, k faces.

    frame_s (n,), content (n,): time of each frame and PySceneDetect's content score against the
    frame before.  look_s (m,): when faces and motion were looked at.  difference (m,): mean
    absolute difference of grey levels (0..255) to the look before.  flow (m, 4): mean length of
    the optical flow, its median x and y (the camera's, mirrored), in widths of the frame per
    second, and by what share per second the picture grows.
    face_look (k,): the look each face belongs to.  faces (k, 9): the fields of faces.Face.
    thumbnail_s (j,), thumbnails (j, 18, 32, 3) uint8.  end_s (): when the last frame ends.
    """

    frame_s: Array
    content: Array
    look_s: Array
    difference: Array
    flow: Array
    face_look: Array
    faces: Array
    thumbnail_s: Array
    thumbnails: Array
    end_s: Array


def watch(path: Path, find_faces: FaceFinder, looks_per_s: float) -> Watched:
    """Decode a film once. Raises Unfit where it cannot be decoded to its end."""
    import cv2

    score, motion = scene_scorer(), MotionMeter(looks_per_s)
    frame_s: list[float] = []
    content: list[float] = []
    look_s: list[float] = []
    thumbnail_s: list[float] = []
    thumbnails = bytearray()  # many small arrays between large ones would hold the heap open
    waiting: list[Array] = []
    faces: list[list[Face]] = []
    for time_s, frame in decoded(path):
        small = small_picture(frame)
        frame_s.append(time_s)
        content.append(score(small, len(frame_s)))
        if time_s >= len(thumbnail_s) / THUMBNAILS_PER_S:
            thumbnail_s.append(time_s)
            size = THUMBNAIL[::-1]
            shrunk = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
            thumbnails += shrunk[..., ::-1].tobytes()
        if time_s >= len(look_s) / looks_per_s:
            look_s.append(time_s)
            motion.add(small)
            waiting.append(picture(frame))
            if len(waiting) == BATCH:
                faces += find_faces(waiting)
                waiting = []
    if not frame_s:
        raise Unfit("no frames")
    faces += find_faces(waiting) if waiting else []
    gap_s = float(np.median(np.diff(frame_s))) if len(frame_s) > 1 else 1 / 24
    return Watched(
        frame_s=np.array(frame_s),
        content=np.array(content, np.float32),
        look_s=np.array(look_s),
        difference=np.array(motion.difference, np.float32),
        flow=np.array(motion.flow, np.float32).reshape(-1, 4),
        face_look=np.array([i for i, found in enumerate(faces) for _ in found], np.int32),
        faces=np.array([f for found in faces for f in found], np.float32).reshape(-1, 9),
        thumbnail_s=np.array(thumbnail_s),
        thumbnails=np.frombuffer(bytes(thumbnails), np.uint8).reshape(-1, *THUMBNAIL, 3),
        end_s=np.array(frame_s[-1] + gap_s),
    )


def decoded(path: Path) -> Iterator[tuple[float, Any]]:
    """The frames of a film with their time in seconds from the first one.

    A frame that comes out of order (a damaged or joined file) is left out. Raises Unfit where
    decoding fails.
    """
    import av

    first_s, last_s = None, -1.0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # films are the parallelism
            for number, frame in enumerate(container.decode(stream)):
                rate = float(stream.average_rate or 24)
                time_s = frame.time if frame.time is not None else number / rate
                first_s = time_s if first_s is None else first_s
                if time_s - first_s > last_s:
                    last_s = time_s - first_s
                    yield last_s, frame
    except (av.error.FFmpegError, OSError) as error:
        raise Unfit(f"damaged picture after {max(last_s, 0):.1f} s: {error.strerror}") from error


def upright(pixels: Array, frame: Any) -> Array:
    """A frame's pixels as they are meant to be seen: phones store a rotation instead of turning."""
    return np.ascontiguousarray(np.rot90(pixels, (frame.rotation // 90) % 4))


def small_picture(frame: Any) -> Array:
    """uint8 BGR, 256 pixels wide (or high, if upright), as PySceneDetect and OpenCV want it."""
    scale = min(1.0, SMALL_WIDTH / max(frame.width, frame.height))
    width, height = round(frame.width * scale), round(frame.height * scale)
    small = frame.reformat(width=width, height=height, format="bgr24", interpolation="AREA")
    return upright(small.to_ndarray(), frame)


def picture(frame: Any) -> Array:
    """uint8 RGB, the shorter side at most 720 pixels."""
    scale = min(1.0, LARGEST_SIDE / min(frame.width, frame.height))
    if scale < 1:
        frame = frame.reformat(width=round(frame.width * scale), height=round(frame.height * scale))
    return upright(frame.to_ndarray(format="rgb24"), frame)


def scene_scorer() -> Any:
    """PySceneDetect's content score of each picture against the one before, as a function."""
    from scenedetect import ContentDetector, FrameTimecode, StatsManager

    detector = ContentDetector()

    def score(small: Array, number: int) -> float:
        if number % RESTART == 1:  # its statistics would grow with the film
            detector.stats_manager = StatsManager()
        timecode = FrameTimecode(number, 24.0)
        detector.process_frame(timecode, small)
        if not detector.stats_manager.metrics_exist(timecode, [ContentDetector.FRAME_SCORE_KEY]):
            return 0.0
        return float(
            detector.stats_manager.get_metrics(timecode, [ContentDetector.FRAME_SCORE_KEY])[0]
        )

    return score


class MotionMeter:
    """How much each look differs from the one before it, and how far its pixels moved."""

    def __init__(self, looks_per_s: float) -> None:
        import cv2

        self.looks_per_s = looks_per_s
        self.difference: list[float] = []
        self.flow: list[tuple[float, ...]] = []
        self._before: Array | None = None
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def add(self, small: Array) -> None:
        """Take the next look, uint8 BGR."""
        import cv2

        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        if self._before is None or self._before.shape != grey.shape:
            self.difference.append(0.0)
            self.flow.append((0.0, 0.0, 0.0, 0.0))
        else:
            self.difference.append(float(cv2.absdiff(grey, self._before).mean()))
            moved = self._dis.calc(self._before, grey, None)  # type: ignore[call-overload]
            moved *= self.looks_per_s / grey.shape[1]
            self.flow.append(flow_summary(moved))
        self._before = grey


def flow_summary(moved: Array) -> tuple[float, ...]:
    """Mean length, median x and y, and growth of a flow field (H, W, 2) in widths per second."""
    coarse = moved[2::4, 2::4]
    x, y = np.median(coarse, axis=(0, 1))
    rows, columns = coarse.shape[:2]
    away = np.stack(
        np.meshgrid(np.arange(columns) - (columns - 1) / 2, np.arange(rows) - (rows - 1) / 2), -1
    )
    away = away / columns  # from the middle, in widths
    far = np.linalg.norm(away, axis=-1) > 0.15  # in the middle growth does not show
    growth = np.median(((coarse - (x, y)) * away).sum(-1)[far] / (away**2).sum(-1)[far])
    return float(np.linalg.norm(moved, axis=-1).mean()), float(x), float(y), float(growth)
