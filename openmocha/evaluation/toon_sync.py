"""Toon-Sync of finished films: mp4 and speech -> faces -> tracks of mouths -> a score each.

    scorer = load_toon_sync()
    score_film(Path("film.mp4"), Path("speech.wav"), scorer)

A film is decoded twice, for its faces and for their mouths, in parts: of a long one no more is held
than boxes and embeddings. Several mouths are summed up as MoChaBench sums up its crops: the largest
confidence, the smallest distance. A film in which nobody's face is followed for a second has no
score, and is no zero.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openmocha.media import film_fps, film_frames, load_speech
from openmocha.toon import sync
from openmocha.toon.face_finder import FaceFinder, FoundFaces, load_face_finder
from openmocha.toon.sync import FPS, LIP_FRAMES, ToonSync, lip_crops, smoothed

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
    """A followed mouth: the film's frame that it is first seen in, and the embeddings (W, D) of
    every five frames from there on."""

    first: int
    lips: Tensor


def load_toon_sync(weights: Path | None = None) -> ToonSyncScorer:
    """The scorer in the package, or with the network saved in another folder."""
    network = sync.load_toon_sync(weights or WEIGHTS / "toon_sync")
    return ToonSyncScorer(network, load_face_finder(WEIGHTS / "face_finder"))


def score_film(film: Path, speech: Path, scorer: ToonSyncScorer) -> ToonSyncOfFilm:
    """Score an mp4 against a recording, whatever sound the mp4 itself has.

    Raises ValueError for files that cannot be read.
    """
    return score_mouths(mouths_of(partial(film_parts, film), scorer), load_speech(speech), scorer)


def score_frames(frames: Array, speech: Array, scorer: ToonSyncScorer) -> ToonSyncOfFilm:
    """Score frames uint8 (T, H, W, 3) at 24 a second against speech (samples,) at 16 kHz."""
    return score_mouths(mouths_of(partial(parts_of, frames), scorer), speech, scorer)


def mouths_of(parts: Callable[[], Iterable[Array]], scorer: ToonSyncScorer) -> list[Mouth]:
    """The mouths that can be followed, whatever is heard. `parts` gives a film's frames from its
    first on, uint8 (t, H, W, 3) at 24 a second, each time that it is called."""
    found = [one for part in parts() for one in scorer.faces.find(part)]
    tracks = mouth_tracks(found)
    seen = [LipsSeen(track.first, smoothed(track.boxes)) for track in tracks]
    start = 0
    for part in parts() if tracks else ():
        for one in seen:
            one.see(part, start, scorer.network)
        start += len(part)
    return [Mouth(one.first, torch.cat(one.lips)) for one in seen]


@dataclass
class LipsSeen:
    """A followed mouth's embeddings, as far as its film has been seen."""

    first: int
    boxes: Array
    lips: list[Tensor] = field(default_factory=list)
    last_crops: Tensor | None = None  # which the next five frames begin with

    def see(self, part: Array, start: int, network: ToonSync) -> None:
        """Some frames more of the film, the first of them frame `start`."""
        since = start - self.first
        boxes = self.boxes[max(0, since) : max(0, since + len(part))]
        if not len(boxes):
            return
        crops = lip_crops(part[max(0, -since) :][: len(boxes)], boxes)
        if self.last_crops is not None:
            crops = torch.cat([self.last_crops, crops])
        if len(crops) >= LIP_FRAMES:
            self.lips.append(network.embed_crops(crops))
        self.last_crops = crops[1 - LIP_FRAMES :]


def score_mouths(mouths: Sequence[Mouth], speech: Array, scorer: ToonSyncScorer) -> ToonSyncOfFilm:
    """Score a film's mouths against speech (samples,) at 16 kHz."""
    scores = [scorer.network.score(mouth.lips, speech, mouth.first) for mouth in mouths]
    if not scores:
        note = f"no face that could be followed for {LEAST_FRAMES} frames"
        return ToonSyncOfFilm(float("nan"), float("nan"), (), note)
    scores.sort(key=lambda score: -score.confidence)
    distance = min(score.distance for score in scores)
    return ToonSyncOfFilm(scores[0].confidence, distance, tuple(s.offset for s in scores))


def film_parts(film: Path) -> Iterator[Array]:
    """A film's frames at 24 a second, in parts. Raises ValueError for one that cannot be read."""
    fps = film_fps(film)
    if not fps:
        raise ValueError(f"film {film} does not say how many frames it has per second")
    part = None
    for part in parts_of(at_24_fps(film_frames(film), fps)):
        yield part
    if part is None:
        raise ValueError(f"film {film} holds no frames")


def parts_of(frames: Iterable[Array], size: int = 32) -> Iterator[Array]:
    """Frames (H, W, 3) as arrays (t, H, W, 3) of `size` of them, the last perhaps of fewer."""
    frames = iter(frames)
    while part := list(itertools.islice(frames, size)):
        yield np.stack(part)


def at_24_fps(frames: Iterable[Array], fps: float) -> Iterator[Array]:
    """The frame that is shown at the middle of each 24th of a second."""
    taken = 0
    for number, frame in enumerate(frames):
        while (taken + 0.5) / FPS * fps < number + 1:
            yield frame
            taken += 1


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
