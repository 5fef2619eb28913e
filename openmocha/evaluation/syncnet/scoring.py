"""A film and a speech -> SyncNet's scores of that film.

frames ─> face boxes, scenes ─> tracks      first look: small pictures are all that detectors need
frames ─> crops of the tracks ─> lip embeddings ─┐     second look, window by window
speech ─> MFCC ─> speech embeddings ─────────────┴─> distances ─> offset, Sync-C, Sync-D

Which crops are wanted is known only when a track has ended, so frames are gone through twice: a
short film's are held in between, a long film is decoded again (`frames.Footage`).
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from openmocha.curation.faces import FaceFinder
from openmocha.evaluation.syncnet import scripts
from openmocha.evaluation.syncnet.crops import crop, crop_windows
from openmocha.evaluation.syncnet.frames import Footage, Frame, has_sound, speech_samples
from openmocha.evaluation.syncnet.mfcc import mfcc
from openmocha.evaluation.syncnet.network import WINDOW, Embedder, Folded
from openmocha.evaluation.syncnet.s3fd import FaceDetector, s3fd_detector
from openmocha.evaluation.syncnet.score import (
    LARGEST_SHIFT,
    NUM_SHIFTS,
    SAMPLES_PER_FRAME,
    SyncScore,
    aggregate,
    num_windows,
    shifted_distances,
    sync_score,
)
from openmocha.evaluation.syncnet.tracks import (
    MIN_FACE,
    MIN_TRACK,
    SceneFinder,
    Track,
    Variant,
    find_tracks,
)
from openmocha.evaluation.syncnet.weights import load_s3fd, load_syncnet, weights_folder

Array = np.ndarray[Any, Any]
Way = Literal["fast", "compatible"]

LOOK_AT_ONCE = 8  # frames handed to the face detector
WINDOWS_AT_ONCE = 100  # of a track, with their crops: 15 MB


@dataclass(frozen=True)
class SyncScorer:
    """What scores films: the networks, which script's rules, and which way through the stages."""

    network: Embedder
    find_faces: FaceDetector
    variant: Variant = "mochabench"
    path: Way = "fast"
    min_face: float = MIN_FACE  # pixels; lower it for films smaller than MoChaBench's


@dataclass(frozen=True)
class FilmSync:
    """Scores of one film; one entry per face track in the tuples ("original" knows only these).

    Without a scored track `has_face` is False and sync_c and sync_d are 0: never average them.
    `frames`: first and last frame of each track, at 25 a second. `note`: why a track or the whole
    film was not scored, else "".
    """

    sync_c: float
    sync_d: float
    offsets: tuple[int, ...]
    confidences: tuple[float, ...]
    distances: tuple[float, ...]
    frames: tuple[tuple[int, int], ...]
    has_face: bool
    num_tracks: int
    variant: Variant
    path: Way
    note: str


def load_scorer(
    weights: Path | str,
    variant: Variant = "mochabench",
    path: Way = "fast",
    device: str = "cpu",
    find_faces: FaceDetector | None = None,
) -> SyncScorer:
    """A scorer from a folder (or hub repository) with syncnet_v2.model and sfd_face.pth.

    With `find_faces` S3FD's weights are not needed. Raises ValueError for an unknown variant or
    path, and where weights are absent: it says where they come from and under what terms.
    """
    if variant not in MIN_TRACK:
        raise ValueError(f"variant {variant!r} is unknown; expected original or mochabench")
    if path not in ("fast", "compatible"):
        raise ValueError(f"path {path!r} is unknown; expected fast or compatible")
    folder = weights_folder(weights)
    network = load_syncnet(folder).to(device)
    fast = path == "fast"
    if find_faces is None:
        batch = 4 if fast else 1
        find_faces = s3fd_detector(load_s3fd(folder), device, batch, channels_last=fast)
    return SyncScorer(Folded(network) if fast else network, find_faces, variant, path)


def score_film(film: Path, speech: Path, scorer: SyncScorer) -> FilmSync:
    """SyncNet's scores of a film against a speech (any file with sound; the film itself may be it).

    Raises FileNotFoundError for missing files, ValueError for those that cannot be decoded.
    """
    follow = _fast if scorer.path == "fast" else _compatible
    tracks, scores, seen = follow(film, speech, scorer)
    scored = [s for s in scores if s is not None]
    sync_c, sync_d, has_face = aggregate(scored)
    return FilmSync(
        sync_c=sync_c,
        sync_d=sync_d,
        offsets=tuple(s.offset for s in scored),
        confidences=tuple(s.confidence for s in scored),
        distances=tuple(s.distance for s in scored),
        frames=tuple((t.first, t.last) for t, s in zip(tracks, scores, strict=True) if s),
        has_face=has_face,
        num_tracks=len(scored),
        variant=scorer.variant,
        path=scorer.path,
        note=_note(seen, scores, scorer),
    )


def _note(seen: bool, scores: Sequence[SyncScore | None], scorer: SyncScorer) -> str:
    if not seen:
        return "no face was found"
    if not scores:
        return (
            f"faces were found, but none in more than {MIN_TRACK[scorer.variant]} frames of a "
            f"scene and over {scorer.min_face:g} pixels"
        )
    missed = scores.count(None)
    return f"{missed} of {len(scores)} tracks lie beyond the end of the speech" if missed else ""


# --- fast: decoded frames all the way ------------------------------------------------------------


def _fast(
    film: Path, speech: Path, scorer: SyncScorer
) -> tuple[list[Track], list[SyncScore | None], bool]:
    samples = speech_samples(speech)
    finder = SceneFinder()
    footage = Footage(film)
    boxes = find_boxes(_shown_to(finder, footage), scorer.find_faces)
    tracks = find_tracks(boxes, finder.scenes(), scorer.variant, min_face=scorer.min_face)
    scores = score_tracks(footage, tracks, samples, scorer.network)
    return tracks, scores, any(len(b) for b in boxes)


def _shown_to(finder: SceneFinder, frames: Iterable[Frame]) -> Iterator[Frame]:
    for frame in frames:
        finder.add(frame)
        yield frame


def find_boxes(frames: Iterable[Frame], find_faces: FaceDetector) -> list[Array]:
    """(n, 5) boxes of every frame; a few frames are held at once."""
    coming, boxes = iter(frames), list[Array]()
    while batch := list(islice(coming, LOOK_AT_ONCE)):
        found = find_faces(batch)
        if len(found) != len(batch):
            raise ValueError(
                f"the face detector answered for {len(found)} frames of {len(batch)}; expected "
                "one array of boxes per frame"
            )
        boxes += found
    return boxes


def score_tracks(
    frames: Iterable[Frame], tracks: Sequence[Track], samples: Array, network: Embedder
) -> list[SyncScore | None]:
    """Scores of all tracks in one pass over the frames; None where speech ends before a track."""
    windows = [crop_windows(track) for track in tracks]
    followed = [TrackScorer(network, _speech_of(track, samples), len(w))
                for track, w in zip(tracks, windows, strict=True)]  # fmt: skip
    last = max((track.last for track in tracks), default=-1)
    for number, frame in enumerate(islice(frames, last + 1)):
        for track, places, scorer in zip(tracks, windows, followed, strict=True):
            if track.first <= number <= track.last and scorer.wants_more:
                scorer.add(crop(frame, places[number - track.first]))
    return [scorer.score() for scorer in followed]


def _speech_of(track: Track, samples: Array) -> Array:
    return samples[SAMPLES_PER_FRAME * track.first : SAMPLES_PER_FRAME * (track.last + 1)]


class TrackScorer:
    """Scores a track from its crops as they come; holds a hundred windows of them at most."""

    def __init__(self, network: Embedder, samples: Array, num_frames: int) -> None:
        self._network = network
        self.num_windows = num_windows(num_frames, len(samples))
        if self.num_windows:
            self._mfcc = torch.from_numpy(np.ascontiguousarray(mfcc(samples)))
        self._crops: list[Array] = []
        self._num_done = 0
        self._sums = np.zeros(NUM_SHIFTS)

    @property
    def wants_more(self) -> bool:
        """False when all windows that the speech reaches have been scored."""
        return self._num_done < self.num_windows

    def add(self, pixels: Array) -> None:
        """Take the next crop, uint8 (224, 224, 3) RGB."""
        import cv2

        self._crops.append(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)))
        num_ready = len(self._crops) - WINDOW + 1
        if num_ready == min(WINDOWS_AT_ONCE, self.num_windows - self._num_done):
            lips = self._network.embed_lips(torch.from_numpy(np.stack(self._crops)))
            speech = self._speech_around(self._num_done, self._num_done + num_ready)
            self._sums += shifted_distances(lips.numpy(), speech).sum(0, dtype=np.float64)
            self._num_done += num_ready
            self._crops = self._crops[num_ready:] if self.wants_more else []

    def _speech_around(self, start: int, end: int) -> Array:
        """Speech embeddings from 15 windows before to 15 after some windows, zeros beyond."""
        first, last = max(0, start - LARGEST_SHIFT), min(self.num_windows, end + LARGEST_SHIFT)
        found = self._network.embed_speech(self._mfcc[:, 4 * first :], last - first)
        missing = (first - (start - LARGEST_SHIFT), end + LARGEST_SHIFT - last)
        return np.pad(found.numpy(), (missing, (0, 0)))

    def score(self) -> SyncScore | None:
        """None where there was no window: the speech had ended."""
        if not self.num_windows:
            return None
        return sync_score(self._sums / self._num_done)


# --- compatible: the public scripts' files -------------------------------------------------------


def _compatible(
    film: Path, speech: Path, scorer: SyncScorer
) -> tuple[list[Track], list[SyncScore | None], bool]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples = (
            scripts.mp3_samples(speech, folder)
            if scorer.variant == "original"
            else speech_samples(speech)
        )
        avi = scripts.write_avi(film, folder)
        jpegs = scripts.write_jpegs(
            avi, folder / "frames", scripts.QUALITY_2, delayed=has_sound(film)
        )
        boxes = find_boxes(scripts.read_jpegs(jpegs), scorer.find_faces)
        scenes = scripts.scenes_of(avi)
        tracks = find_tracks(boxes, scenes, scorer.variant, min_face=scorer.min_face)
        scores = []
        for number, track in enumerate(tracks):
            crops = scripts.crop_jpegs(jpegs, track, folder / f"track{number}")
            one = TrackScorer(scorer.network, _speech_of(track, samples), len(crops))
            for pixels in scripts.read_jpegs(crops):
                if one.wants_more:
                    one.add(pixels)
            scores.append(one.score())
    return tracks, scores, any(len(b) for b in boxes)


# --- other ways to find faces --------------------------------------------------------------------


def listed_boxes(boxes: Sequence[Array]) -> FaceDetector:
    """A detector that answers from a list, one entry per frame of one film at 25 a second; beyond
    its end there are no faces."""
    coming = iter(boxes)

    def detect(frames: Sequence[Frame]) -> list[Array]:
        return [np.asarray(next(coming, ()), np.float64).reshape(-1, 5) for _ in frames]

    return detect


def boxes_from(finder: FaceFinder) -> FaceDetector:
    """One of curation's finders (toon_faces() for drawn films) as a detector."""

    def detect(frames: Sequence[Frame]) -> list[Array]:
        height, width = frames[0].shape[:2]
        return [
            np.array(
                [(f.x0 * width, f.y0 * height, f.x1 * width, f.y1 * height, f.certainty)
                 for f in faces]
            ).reshape(-1, 5)
            for faces in finder(list(frames))
        ]  # fmt: skip

    return detect
