"""Faces followed through scenes: boxes of each frame -> tracks.

boxes per frame, scenes -> greedy tracker -> Track (first frame, one box per frame)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from openmocha.evaluation.syncnet.frames import FPS, Frame

Array = np.ndarray[Any, Any]
Variant = Literal["original", "mochabench"]

MIN_TRACK: dict[Variant, int] = {"original": 100, "mochabench": 50}  # a track has more frames
MIN_FACE = 100.0  # pixels; the mean of the longer side is larger
LONGEST_GAP = 25  # frames between two boxes of a track
MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class Track:
    """One face. `boxes` (T, 4): left, top, right, bottom in pixels in frames first, first+1, .."""

    first: int
    boxes: Array

    @property
    def last(self) -> int:
        return self.first + len(self.boxes) - 1


class SceneFinder:
    """PySceneDetect's ContentDetector with its defaults, fed frame by frame.

    Raises ImportError where scenedetect is missing.
    """

    def __init__(self) -> None:
        from scenedetect import ContentDetector

        self._detector = ContentDetector()
        self._cuts: list[int] = []
        self._num_frames = 0

    def add(self, frame: Frame) -> None:
        """Take the next frame, uint8 (H, W, 3) RGB."""
        import cv2
        from scenedetect import FrameTimecode
        from scenedetect.scene_manager import compute_downscale_factor

        height, width = frame.shape[:2]
        shrink = compute_downscale_factor(max(width, height))
        if shrink > 1:
            frame = cv2.resize(frame, (round(width / shrink), round(height / shrink)))
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        cuts = self._detector.process_frame(FrameTimecode(self._num_frames, float(FPS)), bgr)
        self._cuts += [cut.frame_num for cut in cuts]
        self._num_frames += 1

    def scenes(self) -> list[tuple[int, int]]:
        """First frame and the one after the last, of each scene."""
        edges = [0, *self._cuts, self._num_frames]
        return list(zip(edges, edges[1:], strict=False))


def find_tracks(
    boxes: Sequence[Array],
    scenes: Sequence[tuple[int, int]],
    variant: Variant,
    *,
    min_track: int | None = None,
    min_face: float = MIN_FACE,
) -> list[Track]:
    """Tracks of all scenes, in the order in which the public scripts find them.

    `boxes` has one (n, 4 or more) array per frame. Tracks need more than `min_track` frames with a
    box (the variant's own number where None) and a face whose longer side is over `min_face` pixels
    on average.
    """
    shortest = MIN_TRACK[variant] if min_track is None else min_track
    found = []
    for start, end in scenes:
        if end - start >= shortest:
            for followed in _follow(boxes[start:end], variant):
                if len(followed) > shortest:
                    track = _filled(followed, start)
                    sides = (track.boxes[:, 2:] - track.boxes[:, :2]).mean(axis=0)
                    if sides.max() > min_face:
                        found.append(track)
    return found


def _follow(boxes: Sequence[Array], variant: Variant) -> list[list[tuple[int, Array]]]:
    """Greedy chains of (frame, box). A chain takes what overlaps its last box; what is left starts
    the next chain.

    The scripts follow one face through the whole scene, then the next. A face's choice in a frame
    depends only on what the faces found before it left there, so one pass over the frames in which
    the faces choose in the order of their discovery gives the same.
    """
    chains: list[list[tuple[int, Array]]] = []
    alive: list[list[tuple[int, Array]]] = []
    for number, found in enumerate(boxes):
        free = [np.asarray(box, np.float64)[:4] for box in found]
        alive = [chain for chain in alive if number - chain[-1][0] <= LONGEST_GAP]
        for chain in alive:
            _choose(chain, number, free, variant)
        while free:
            chains.append([(number, free.pop(0))])
            alive.append(chains[-1])
            _choose(chains[-1], number, free, variant, looked_at=1)
    return chains


def _choose(
    chain: list[tuple[int, Array]],
    number: int,
    free: list[Array],
    variant: Variant,
    looked_at: int = 0,
) -> None:
    """Move boxes of a frame from `free` to a chain.

    The scripts remove boxes from the list that they walk along, so the box after a taken one is
    never looked at; that decides who gets which box, and is kept.
    """
    at = looked_at
    while at < len(free):
        if overlap(free[at], chain[-1][1]) > MIN_OVERLAP:
            chain.append((number, free.pop(at)))
        elif variant == "mochabench":
            return
        at += 1


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes; 0 where both are empty."""
    width, height = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0


def _filled(chain: list[tuple[int, Array]], start: int) -> Track:
    """A chain with its gaps interpolated linearly; frames counted from the film's first."""
    frames = np.array([number for number, _ in chain])
    boxes = np.stack([box for _, box in chain])
    every = np.arange(frames[0], frames[-1] + 1)
    columns = [np.interp(every, frames, column) for column in boxes.T]
    return Track(start + int(frames[0]), np.stack(columns, axis=1))
