"""A film and its speech -> numbers that need no weights from outside.

film -> one decoding -> a few numbers per frame -> measures

They are auxiliary: nobody else computes them just so, none is a score of quality by itself, and
none may be read as Sync-C or Sync-D. docs/free-measures.md says what each is good for.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.clips import scenes
from openmocha.curation.faces import Face, FaceFinder, photo_faces
from openmocha.curation.probe import Unfit
from openmocha.curation.settings import Thresholds
from openmocha.curation.watch import (
    BATCH,
    LARGEST_SIDE,
    Watched,
    decoded,
    picture,
    scene_scorer,
    small_picture,
    upright,
)
from openmocha.evaluation.mouth_and_loudness import (
    LARGEST_LAG,
    frame_edges,
    lagged_correlations,
    loudness,
    mouth_motion,
    peak,
)
from openmocha.prompt import parse_prompt

Array = np.ndarray[Any, Any]

SHARP_HEIGHT = 360  # rows of the picture that sharpness is measured on
COLOUR_BINS = 8  # of each of red, green and blue


@dataclass(frozen=True)
class Seen:
    """A film as seen: n frames, and n - 1 steps from one to the next.

    watched: times, PySceneDetect's scores and faces, as curation has them (its other fields are
    empty).  step (n - 1,): mean absolute difference of two frames, of 255.  warped (n - 1,): the
    same in the small picture, the second frame moved back along the optical flow.  flow (n - 1,):
    mean length of the flow in widths of the frame per second.  sharpness, colourfulness (n,).
    like_first, colours_of_first (n,): SSIM with the first frame, and the share of its colours.
    """

    watched: Watched
    step: Array
    warped: Array
    flow: Array
    sharpness: Array
    colourfulness: Array
    like_first: Array
    colours_of_first: Array


def measure_film(
    film: Path,
    speech: Path,
    prompt: str = "",
    find_faces: FaceFinder | None = None,
) -> dict[str, float]:
    """All measures of a film; nan where one cannot be had (no face, no speech, one frame only).
    Faces are looked for by `find_faces`, which is the finder of photographs if not given.

    temporal_flickering: VBench's, 1 - mean |f(t) - f(t+1)| / 255.  warped_flickering: the same
    after motion is taken out, cuts left out.  sharpness: variance of the Laplacian at 360 rows.
    flow: mean optical flow in widths per second, cuts left out.  colourfulness: Hasler and
    Suesstrunk 2003.  first_frame_ssim, first_frame_colours: how much stays of the first frame.
    shots: by PySceneDetect; clips_asked: by the prompt; shots_right: 1 where they agree.
    mouth_r, mouth_lag: largest correlation of the mouth's motion with the loudness of the speech
    within 15 frames, and by how many frames the mouth is late there; face_share: of all frames.

    Raises ValueError where film or speech cannot be decoded.
    """
    seen = watch_film(film, find_faces or _photo_faces())
    spans = scenes(seen.watched, Thresholds().cut)
    within = ~cut_steps(seen.watched.frame_s, spans)
    motion = mouth_motion(seen.watched, spans)
    curve = lagged_correlations(loudness(speech, frame_edges(seen.watched)), motion, LARGEST_LAG)
    clips_asked = num_clips(prompt)
    shots = float(len(spans))
    return {
        "temporal_flickering": 1 - mean(seen.step) / 255,
        "warped_flickering": 1 - mean(seen.warped[within]) / 255,
        "sharpness": mean(seen.sharpness),
        "flow": mean(seen.flow[within]),
        "colourfulness": mean(seen.colourfulness),
        "first_frame_ssim": mean(seen.like_first[1:]),
        "first_frame_colours": mean(seen.colours_of_first[1:]),
        "shots": shots,
        "clips_asked": clips_asked,
        "shots_right": float("nan") if np.isnan(clips_asked) else float(shots == clips_asked),
        **peak(curve),
        "face_share": float(np.isfinite(motion).mean()),
    }


def mean(values: Array) -> float:
    """Of the values that are there; nan where none is."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


@cache
def _photo_faces() -> FaceFinder:
    return photo_faces()


# --- picture -------------------------------------------------------------------------------------


def watch_film(film: Path, find_faces: FaceFinder) -> Seen:
    """Decode a film once, frame by frame. Raises ValueError where that fails."""
    score, steps = scene_scorer(), Steps()
    frame_s: list[float] = []
    content: list[float] = []
    stills: list[tuple[float, ...]] = []
    waiting: list[Array] = []
    faces: list[list[Face]] = []
    try:
        for time_s, frame in decoded(film):
            small = small_picture(frame)
            pixels = upright(frame.to_ndarray(format="rgb24"), frame)
            frame_s.append(time_s)
            content.append(score(small, len(frame_s)))
            steps.add(pixels, small)
            stills.append((sharpness(pixels), colourfulness(small), *steps.of_first(small)))
            large = min(pixels.shape[:2]) > LARGEST_SIDE
            waiting.append(picture(frame) if large else pixels)
            if len(waiting) == BATCH:
                faces += find_faces(waiting)
                waiting = []
    except (Unfit, IndexError) as error:
        raise ValueError(f"film {film} cannot be decoded to its end: {error}") from error
    if not frame_s:
        raise ValueError(f"film {film} holds no frames")
    faces += find_faces(waiting) if waiting else []
    times = np.array(frame_s)
    still = np.array(stills).T
    gap_s = float(np.median(np.diff(times))) if len(times) > 1 else 1 / 24
    return Seen(
        _watched(times, np.array(content), faces, times[-1] + gap_s),
        np.array(steps.step), np.array(steps.warped), np.array(steps.length) / gap_s, *still,
    )  # fmt: skip


def _watched(times: Array, content: Array, faces: list[list[Face]], end_s: float) -> Watched:
    """What was seen, as curation's functions for cuts and people want it."""
    nothing = np.zeros(0)
    return Watched(
        frame_s=times,
        content=content,
        look_s=times,
        difference=nothing,
        flow=nothing,
        face_look=np.array([i for i, found in enumerate(faces) for _ in found], np.int32),
        faces=np.array([f for found in faces for f in found], np.float32).reshape(
            -1, len(Face._fields)
        ),
        thumbnail_s=nothing,
        thumbnails=nothing,
        end_s=np.array(end_s),
    )


class Steps:
    """What changes from each frame to the next, and from the first one on."""

    def __init__(self) -> None:
        import cv2

        self.step: list[float] = []
        self.warped: list[float] = []
        self.length: list[float] = []  # of the flow, in widths of the frame
        self._before: tuple[Array, Array, Array] | None = None  # pixels, small, grey
        self._first: tuple[Array, Array] | None = None  # grey, colours
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def add(self, pixels: Array, small: Array) -> None:
        """Take the next frame: uint8 RGB at full size, and uint8 BGR."""
        import cv2

        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        if self._before is not None and self._before[0].shape == pixels.shape:
            pixels_before, small_before, grey_before = self._before
            self.step.append(float(cv2.absdiff(pixels, pixels_before).mean()))
            moved = self._flow.calc(grey_before, grey, None)  # type: ignore[call-overload]
            self.length.append(float(np.linalg.norm(moved, axis=-1).mean()) / grey.shape[1])
            self.warped.append(float(cv2.absdiff(moved_back(small, moved), small_before).mean()))
        elif self._before is not None:  # the film changes its size: there is nothing to compare
            self.step.append(np.nan)
            self.length.append(np.nan)
            self.warped.append(np.nan)
        self._before = pixels, small, grey

    def of_first(self, small: Array) -> tuple[float, float]:
        """SSIM with the first frame, and what share of its colours is there."""
        import cv2

        grey, colours = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), colour_shares(small)
        if self._first is None:
            self._first = grey, colours
        first, first_colours = self._first
        if first.shape != grey.shape:
            grey = cv2.resize(grey, first.shape[::-1], interpolation=cv2.INTER_AREA)
        return ssim(first, grey), float(np.minimum(first_colours, colours).sum())


def moved_back(picture: Array, moved: Array) -> Array:
    """A picture (H, W, 3) as it was before its pixels moved by a flow field (H, W, 2)."""
    import cv2

    rows, columns = np.indices(moved.shape[:2], dtype=np.float32)
    x, y = columns + moved[..., 0], rows + moved[..., 1]
    edge = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=edge))


def sharpness(pixels: Array) -> float:
    """Variance of the Laplacian of the grey levels at 360 rows; pixels uint8 RGB."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    size = (max(1, round(width * SHARP_HEIGHT / height)), SHARP_HEIGHT)
    way = cv2.INTER_AREA if height > SHARP_HEIGHT else cv2.INTER_CUBIC
    return float(cv2.Laplacian(cv2.resize(grey, size, interpolation=way), cv2.CV_32F).var())


def colourfulness(small: Array) -> float:
    """Hasler and Suesstrunk 2003, of uint8 BGR: 0 for grey pictures, about 100 for gaudy ones."""
    blue, green, red = (small[..., i].astype(np.float32) for i in range(3))
    axes = np.stack([(red - green).ravel(), ((red + green) / 2 - blue).ravel()])
    spread, middle = np.linalg.norm(axes.std(axis=1)), np.linalg.norm(axes.mean(axis=1))
    return float(spread + 0.3 * middle)


def colour_shares(small: Array) -> Array:
    """(8, 8, 8) the share of pixels of each colour, of uint8 BGR."""
    import cv2

    bins = [COLOUR_BINS] * 3
    counts = cv2.calcHist([small], [0, 1, 2], None, bins, [0, 256] * 3)
    return np.asarray(counts / counts.sum())


def ssim(a: Array, b: Array) -> float:
    """Structural similarity of two grey pictures (Wang et al. 2004, Gaussian of 1.5 pixels)."""
    import cv2

    def blur(values: Array) -> Array:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def cut_steps(frame_s: Array, spans: list[tuple[float, float]]) -> Array:
    """(n - 1,) whether a step from one frame to the next is a cut."""
    starts = [start_s for start_s, _ in spans[1:]]
    return np.isin(frame_s[1:], starts)


def num_clips(prompt: str) -> float:
    """How many clips a prompt asks for; nan where there is none or it is no script."""
    try:
        return float(len(parse_prompt(prompt).clips))
    except ValueError:
        return float("nan")
