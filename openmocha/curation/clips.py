"""A measured film -> the spans of its clips, and what is seen and heard within one.

film -> scenes between cuts -> clips of at most the longest length -> tracks of people
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from openmocha.curation.listen import MEL_RATE_HZ, WINDOW_S, Heard
from openmocha.curation.settings import Thresholds
from openmocha.curation.watch import THUMBNAILS_PER_S, Watched

Array = np.ndarray[Any, Any]

STANDS_OUT = 8.0  # times the four frames beside it
SHORTEST_SCENE_S = 0.3  # a flash is not a scene
LOST_S = 0.6  # a face that is away for longer comes back as somebody new
SEEN = 0.4  # of a clip's looks: less is a false alarm or a passer-by


@dataclass(frozen=True)
class Film:
    """One film's measurements."""

    watched: Watched
    heard: Heard


@dataclass(frozen=True)
class Person:
    """Somebody followed through a clip: which looks (p,) they were seen in, and the fields of
    faces.Face there (p, 9)."""

    looks: Array
    faces: Array

    @cached_property
    def box(self) -> Array:
        """(4,) the median box, in shares of the frame."""
        return np.asarray(np.median(self.faces[:, :4], axis=0))

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True)
class Clip:
    """A span of a film without a cut, in seconds from the film's first frame."""

    film: Film
    scene: int
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @cached_property
    def looks(self) -> Array:
        """Indices of the looks within the clip."""
        look_s = self.film.watched.look_s
        return np.flatnonzero((look_s >= self.start_s - 1e-6) & (look_s < self.end_s - 1e-6))

    @cached_property
    def windows(self) -> slice:
        """The sound's 32 ms windows whose middle lies in the clip."""
        first, last = (max(0, round(t / WINDOW_S)) for t in (self.start_s, self.end_s))
        return slice(first, last)

    @cached_property
    def mel_frames(self) -> range:
        """The mel frames of the clip that the sound reaches."""
        first, last = (round(t * MEL_RATE_HZ) for t in (self.start_s, self.end_s))
        return range(min(first, len(self.film.heard.mel)), min(last, len(self.film.heard.mel)))

    @cached_property
    def people(self) -> list[Person]:
        """Everybody seen for a good part of the clip, from left to right."""
        people = [p for p in tracks(self) if len(p.looks) >= SEEN * max(len(self.looks), 1)]
        return sorted(people, key=lambda p: float(p.box[0] + p.box[2]))

    @cached_property
    def thumbnails(self) -> Array:
        """uint8 (j, 18, 32, 3) of the clip, two a second and at least one."""
        watched = self.film.watched
        inside = (watched.thumbnail_s >= self.start_s) & (watched.thumbnail_s < self.end_s)
        if not inside.any():
            last = len(watched.thumbnails) - 1
            inside[min(last, round(self.start_s * THUMBNAILS_PER_S))] = True
        return watched.thumbnails[inside]


def scenes(watched: Watched, threshold: float) -> list[tuple[float, float]]:
    """Spans between cuts, in seconds. A cut is a frame that differs much from the one before it, or
    somewhat, in a picture that is still but for it (PySceneDetect's two detectors as one)."""
    content = watched.content
    around = np.pad(content, 2, mode="edge")
    beside = (around[:-4] + around[1:-3] + around[3:-1] + around[4:]) / 4
    cuts = (content >= threshold) | ((content >= threshold / 2) & (content >= STANDS_OUT * beside))
    edges = [0.0]
    for at in watched.frame_s[cuts]:
        if at - edges[-1] >= SHORTEST_SCENE_S:
            edges.append(float(at))
    return list(zip(edges, [*edges[1:], float(watched.end_s)], strict=True))


def clips(film: Film, thresholds: Thresholds) -> list[Clip]:
    """All clips of a film, good or bad, in order: together they cover it."""
    found = []
    for number, (start_s, end_s) in enumerate(scenes(film.watched, thresholds.cut)):
        edges = [start_s, *quiet_cuts(film.heard, start_s, end_s, thresholds.longest_s), end_s]
        spans = zip(edges, edges[1:], strict=False)
        found += [Clip(film, number, a, b) for a, b in spans]
    return found


def quiet_cuts(heard: Heard, start_s: float, end_s: float, longest_s: float) -> list[float]:
    """Where to cut a scene so that no piece is longer than `longest_s`: at its quietest moments,
    none in the first half of a piece."""
    cuts: list[float] = []
    while end_s - start_s > longest_s:
        # an even share, so that no crumb is left at the end
        share_s = (end_s - start_s) / np.ceil((end_s - start_s) / longest_s)
        first, last = (
            round((start_s + 0.7 * share_s) / WINDOW_S),
            round((start_s + min(longest_s, 1.2 * share_s)) / WINDOW_S),
        )
        levels = heard.level_db[first:last]
        start_s = (first + (int(levels.argmin()) if len(levels) else 0)) * WINDOW_S
        start_s = round(start_s * MEL_RATE_HZ) / MEL_RATE_HZ
        cuts.append(start_s)
    return cuts


def tracks(clip: Clip) -> list[Person]:
    """Faces joined from look to look: each to the nearest one before it within its own size."""
    watched = clip.film.watched
    going: list[tuple[list[int], list[Array]]] = []
    patience = max(1, round(LOST_S / typical_gap_s(watched.look_s)))
    for look in clip.looks:
        free = list(going)
        for face in watched.faces[watched.face_look == look]:
            near = [t for t in free if look - t[0][-1] <= patience and close(t[1][-1], face)]
            if near:
                chosen = min(near, key=lambda t: distance(t[1][-1], face))
                free = [t for t in free if t is not chosen]
                chosen[0].append(int(look))
                chosen[1].append(face)
            else:
                going.append(([int(look)], [face]))
    return [Person(np.array(looks), np.stack(faces)) for looks, faces in going]


def typical_gap_s(times_s: Array) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / 12


def distance(a: Array, b: Array) -> float:
    """Between the middles of two faces, in shares of the frame."""
    return float(np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2)


def close(a: Array, b: Array) -> bool:
    """Whether two boxes can be the same face, one look later."""
    return distance(a, b) < 0.6 * float(max(a[2] - a[0], b[2] - b[0]))
