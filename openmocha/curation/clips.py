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
ALIKE = 10.0  # grey levels of 255 by which two thumbnails of one picture differ at most
LOST_S = 0.6  # a face that is away for longer comes back as somebody new
SEEN = 0.4  # of a clip's looks: less is a false alarm or a passer-by
SURE = 0.3  # the same, each look counting as much as the face in it is certain


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
        # a manifest's times are rounded to tenths of milliseconds
        return np.flatnonzero((look_s >= self.start_s - 1e-3) & (look_s < self.end_s - 1e-3))

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
        num_looks = max(len(self.looks), 1)
        people = [
            p
            for p in tracks(self)
            if len(p.looks) >= SEEN * num_looks and p.faces[:, 4].sum() >= SURE * num_looks
        ]
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
    jumps_s = watched.frame_s[content >= threshold / 2]
    edges = [0.0]
    for at in watched.frame_s[cuts]:
        if at - edges[-1] >= SHORTEST_SCENE_S and not undone(watched, float(at), jumps_s):
            edges.append(float(at))
    return list(zip(edges, [*edges[1:], float(watched.end_s)], strict=True))


def undone(watched: Watched, at_s: float, jumps_s: Array) -> bool:
    """Whether a second jump next to this one brings the picture back: a flash, a turned head."""
    near = jumps_s[(jumps_s != at_s) & (abs(jumps_s - at_s) < SHORTEST_SCENE_S)]
    if not len(near):
        return False
    first_s, last_s = min(at_s, near.min()), max(at_s, near.max())
    before = np.flatnonzero(watched.thumbnail_s < first_s)
    after = np.flatnonzero(watched.thumbnail_s >= last_s)
    if not len(before) or not len(after):
        return False
    shown = watched.thumbnails[[before[-1], after[0]]].astype(np.float32)
    return float(abs(shown[0] - shown[1]).mean()) < ALIKE


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
        for face in without_doubles(watched.faces[watched.face_look == look]):
            near = [t for t in free if look - t[0][-1] <= patience and close(t[1][-1], face)]
            if near:
                chosen = min(near, key=lambda t: distance(t[1][-1], face))
                free = [t for t in free if t is not chosen]
                chosen[0].append(int(look))
                chosen[1].append(face)
            else:
                going.append(([int(look)], [face]))
    found = [Person(np.array(looks), np.stack(faces)) for looks, faces in going]
    return joined(found, patience)


def joined(found: list[Person], patience: int) -> list[Person]:
    """People whose tracks are one: where one ends, another begins or has just begun, about there
    (a face read badly for a moment is taken for two)."""
    whole: list[Person] = []
    for person in sorted(found, key=lambda p: int(p.looks[0])):
        first = int(person.looks[0])
        before = [
            p
            for p in whole
            if abs(first - int(p.looks[-1])) <= patience and close(p.box, person.box)
        ]
        if not before:
            whole.append(person)
            continue
        nearest = min(before, key=lambda p: distance(p.box, person.box))
        new = person.looks > nearest.looks[-1]
        whole[[p is nearest for p in whole].index(True)] = Person(
            np.concatenate([nearest.looks, person.looks[new]]),
            np.concatenate([nearest.faces, person.faces[new]]),
        )
    return whole


def without_doubles(faces: Array) -> list[Array]:
    """The faces of one look (k, 9), the most certain first; one found twice is kept once."""
    kept: list[Array] = []
    for face in faces[np.argsort(-faces[:, 4], kind="stable")]:
        if not any(middle_in(face, other) or middle_in(other, face) for other in kept):
            kept.append(face)
    return kept


def middle_in(face: Array, other: Array) -> bool:
    """Whether the middle of a face's box lies in another's."""
    x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    return bool(other[0] <= x <= other[2] and other[1] <= y <= other[3])


def typical_gap_s(times_s: Array) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / 12


def distance(a: Array, b: Array) -> float:
    """Between the middles of two faces, in shares of the frame."""
    return float(np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2)


def close(a: Array, b: Array) -> bool:
    """Whether two boxes can be the same face, one look later."""
    return distance(a, b) < 0.6 * float(max(a[2] - a[0], b[2] - b[0]))
