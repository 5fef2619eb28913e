"""Toon-Sync of finished films: mp4 and speech -> faces -> tracks of mouths -> a score each.

    scorer = load_toon_sync()
    score_film(Path("film.mp4"), Path("speech.wav"), scorer)

Several mouths are summed up as MoChaBench sums up its crops: the largest confidence, the smallest
distance. A film in which nobody's face is followed for a second has no score, and is no zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from openmocha.media import load_speech, read_film
from openmocha.toon import sync
from openmocha.toon.face_finder import FaceFinder, FoundFaces, load_face_finder
from openmocha.toon.sync import FPS, ToonSync, lip_crops

WEIGHTS = Path(__file__).parents[1] / "weights" / "toon"
LEAST_FRAMES = 24  # of a track
LONGEST_GAP = 6  # frames in which a followed face may be missing
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ToonSyncScorer:
    """The network, and the finder of drawn faces."""

    network: ToonSync
    faces: FaceFinder


@dataclass(frozen=True)
class ToonSyncOfFilm:
    """Offsets (frames) are of all mouths, the most confident first; C and D are nan without one."""

    toon_sync_c: float
    toon_sync_d: float
    offsets: tuple[int, ...]
    note: str = ""

    @property
    def num_tracks(self) -> int:
        return len(self.offsets)

    @property
    def has_face(self) -> bool:
        return self.num_tracks > 0


@dataclass(frozen=True)
class Track:
    """A mouth followed through consecutive frames from `first` on: boxes (n, 4) in pixels."""

    first: int
    boxes: Array


@dataclass(frozen=True)
class Mouth:
    """A followed mouth: the film's frame that its first crop is of, and its crops."""

    first: int
    crops: Tensor


def load_toon_sync(weights: Path | None = None) -> ToonSyncScorer:
    """The scorer in the package, or with the network saved in another folder."""
    network = sync.load_toon_sync(weights or WEIGHTS / "toon_sync")
    return ToonSyncScorer(network, load_face_finder(WEIGHTS / "face_finder"))


def score_film(film: Path, speech: Path, scorer: ToonSyncScorer) -> ToonSyncOfFilm:
    """Score an mp4 against a recording, whatever sound the mp4 itself has.

    Raises ValueError for files that cannot be read.
    """
    read = read_film(film)
    return score_frames(at_24_fps(read.frames, read.fps), load_speech(speech), scorer)


def score_frames(frames: Array, speech: Array, scorer: ToonSyncScorer) -> ToonSyncOfFilm:
    """Score frames uint8 (T, H, W, 3) at 24 a second against speech (samples,) at 16 kHz."""
    return score_mouths(mouths_of(frames, scorer), speech, scorer)


def mouths_of(frames: Array, scorer: ToonSyncScorer) -> list[Mouth]:
    """The mouths that can be followed, whatever is heard."""
    found = [one for part in batches(frames) for one in scorer.faces.find(part)]
    return [
        Mouth(track.first, lip_crops(frames[track.first :][: len(track.boxes)], track.boxes))
        for track in mouth_tracks(found)
    ]


def score_mouths(mouths: Sequence[Mouth], speech: Array, scorer: ToonSyncScorer) -> ToonSyncOfFilm:
    """Score a film's mouths against speech (samples,) at 16 kHz."""
    scores = [scorer.network.score(mouth.crops, speech, mouth.first) for mouth in mouths]
    if not scores:
        note = f"no face that could be followed for {LEAST_FRAMES} frames"
        return ToonSyncOfFilm(float("nan"), float("nan"), (), note)
    scores.sort(key=lambda score: -score.confidence)
    distance = min(score.distance for score in scores)
    return ToonSyncOfFilm(scores[0].confidence, distance, tuple(s.offset for s in scores))


def at_24_fps(frames: Array, fps: float) -> Array:
    """The frame that is shown at each 24th of a second."""
    if fps == FPS:
        return frames
    times = (np.arange(round(len(frames) / fps * FPS)) + 0.5) / FPS
    return np.asarray(frames[np.minimum((times * fps).astype(int), len(frames) - 1)])


def batches(frames: Array, size: int = 32) -> Iterator[Array]:
    """Frames in parts, so that memory does not grow with the film."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def mouth_tracks(found: list[FoundFaces]) -> list[Track]:
    """Follow faces from frame to frame: the nearest one, at most half a face's width away.

    Short absences are filled in; a jump, as at a cut, begins another track.
    """
    open_tracks: list[dict[int, Array]] = []
    finished: list[dict[int, Array]] = []
    for frame, faces in enumerate(found):
        finished += [t for t in open_tracks if frame - max(t) > LONGEST_GAP]
        open_tracks = [t for t in open_tracks if frame - max(t) <= LONGEST_GAP]
        for face, mouth in zip(faces.faces, faces.mouths, strict=True):
            near = [t for t in open_tracks if frame not in t and _near(t[max(t)], mouth, face)]
            if near:
                near[0][frame] = mouth
            else:
                open_tracks.append({frame: mouth})
    tracks = [_filled(t) for t in finished + open_tracks]
    return [t for t in tracks if len(t.boxes) >= LEAST_FRAMES]


def _near(last: Array, mouth: Array, face: Array) -> bool:
    moved = np.abs((last[:2] + last[2:]) / 2 - (mouth[:2] + mouth[2:]) / 2).max()
    return bool(moved < (face[2] - face[0]) / 2)


def _filled(track: dict[int, Array]) -> Track:
    seen, frames = np.array(sorted(track)), np.arange(min(track), max(track) + 1)
    boxes = np.array([track[frame] for frame in seen])
    columns = [np.interp(frames, seen, boxes[:, column]) for column in range(4)]
    return Track(int(frames[0]), np.stack(columns, axis=1))
