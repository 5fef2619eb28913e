"""Score one film against the truth of its story: what the judge reads, next to what was asked."""

import math
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from openmocha.toon.curves import bump
from openmocha.toon.cuts import find_cut
from openmocha.toon.films import FPS, Truth
from openmocha.toon.judge import Judge, Judgement
from openmocha.toon.judge_motion import camera_move
from openmocha.toon.labels import (
    FRAME_ATTRIBUTES,
    NO_ANSWER,
    PERSON_ATTRIBUTES,
    POSE,
    visible_labels,
)
from openmocha.toon.motion import BEAT_LAG_S, BEAT_WIDTH_S
from openmocha.toon.stories import Clip, Story

CLOSE = ("close-up", "medium close-up")
GUARD = 4  # frames after a cut that may still be melting from one shot into the next
CUT_TOLERANCE = 3
PRESSED, CLOSED = frozenset("pbm"), 0.15  # lips are closed below this opening
LEAST_SHIFT = 12  # frames, by which words are moved to show what correlation comes for free
SLOW = 16  # frames, deviation of a Gaussian: what moves more slowly is no beat
# A head dips and hands rise; each channel of a pose counts by its deviation in films.
BEATS = {"pitch": -1 / 0.12, "left lift": 1 / 0.18, "right lift": 1 / 0.18}


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two series; 0 where one of them is constant (it follows nothing)."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 1e-12 else 0.0


def clip_ranges(truth: Truth) -> list[tuple[Clip, slice]]:
    """The clips of a film with the frames that show them."""
    if truth.cut_frame is None:
        return [(truth.story.clips[0], slice(0, None))]
    first, second = truth.story.clips
    return [(first, slice(0, truth.cut_frame)), (second, slice(truth.cut_frame, None))]


def score_film(judge: Judge, judged: Judgement, frames: np.ndarray, truth: Truth) -> dict[str, Any]:
    """One row of results; `frames` uint8 (T, H, W, 3) and what the judge reads from them.

    r: opening of the speaker's mouth against the truth, only where all shots are close, and far_r
    where none is; closed: are the lips closed on each /p b m/ of close shots. gestures: of close
    shots without a cut, r of gestures with stressed words, and with the same words moved.
    attributes: one [name, truth, judged] per question of each visible person and each clip.
    speaker, identity: is the right one talking, and is the right one seen, per clip (None: nothing
    to tell apart).
    """
    ranges = clip_ranges(truth)
    opening = speaker_opening(judged, truth)
    spoken = all(clip.speaker is not None for clip, _ in ranges)
    close = spoken and all(clip.shot in CLOSE for clip, _ in ranges)
    far = spoken and all(clip.shot not in CLOSE for clip, _ in ranges)
    asked = truth.mouth[: len(opening), 0]
    row: dict[str, Any] = {
        "seed": truth.story.seed,
        "source": truth.story.source,
        "shots": [clip.shot for clip, _ in ranges],
        "r": pearson(opening, asked) if close else None,
        "far_r": pearson(opening, asked) if far else None,
        "closed": closed_on_pressed(opening, truth) if close else [],
        "gestures": gestures_on_stresses(judged, truth) if close and len(ranges) == 1 else None,
        "attributes": attributes_of(judge, judged, frames, truth),
        "people_right": [judged.num_people(w) == len(clip.cast) for clip, w in ranges],
        "speaker": [speaker_right(judged, clip, where) for clip, where in ranges],
        "identity": [identity_right(judged, truth, i) for i in range(len(ranges))],
        "cut_true": truth.cut_frame,
        "cut_judged": find_cut(frames),
    }
    return row


def speaker_opening(judged: Judgement, truth: Truth) -> np.ndarray:
    """(T,) opening of the mouth that should be talking, clip by clip."""
    parts = [judged.mouth[where, clip.speaker or 0, 0] for clip, where in clip_ranges(truth)]
    return np.concatenate(parts)


def closed_on_pressed(opening: np.ndarray, truth: Truth) -> list[bool]:
    """For each /p b m/ that is heard: does the mouth close within it, or one frame to either side?

    Phones that the film shows nobody saying (beyond its end, or across its cut) do not count.
    """
    cut, hits = truth.cut_frame, []
    for phone in truth.phones:
        if not phone.ipa or phone.ipa[0] not in PRESSED:
            continue
        first, last = frames_around(phone.start_s, phone.end_s)
        if last <= len(opening) and (cut is None or last <= cut or first >= cut):
            hits.append(bool(opening[max(0, first) : last].min() <= CLOSED))
    return hits


def frames_around(start_s: float, end_s: float) -> tuple[int, int]:
    """The first frame of a phone and the one after its last, and one more to either side."""
    return math.floor(start_s * FPS) - 1, math.ceil(end_s * FPS) + 1


def gestures_on_stresses(judged: Judgement, truth: Truth) -> tuple[float, float]:
    """Pearson's r of the speaker's beats with the stressed words, and its mean over the same words
    moved in a circle by half a second and more: what any gesticulation would give. A film is longer
    than twice that."""
    beating = beats(judged.pose[:, truth.story.clips[0].speaker or 0])
    stressed = stress_curve(truth, len(beating))
    moves = range(LEAST_SHIFT, len(beating) - LEAST_SHIFT + 1)
    elsewhere = [pearson(beating, np.roll(stressed, move)) for move in moves]
    return pearson(beating, stressed), float(np.mean(elsewhere))


def beats(pose: np.ndarray) -> np.ndarray:
    """(T,) how far the head dips and the hands rise from where they slowly go, from poses
    (T, len(POSE)); each in units of its spread."""
    channels = {name: pose[:, POSE.index(name)].astype(np.float64) for name in BEATS}
    moved = sum(weight * channels[name] for name, weight in BEATS.items())
    return np.asarray(moved - gaussian_filter1d(moved, SLOW))


def stress_curve(truth: Truth, num_frames: int) -> np.ndarray:
    """(T,) where the film set's characters gesture: a bump after each stressed word begins."""
    times = np.arange(num_frames) / FPS
    starts = [word.start_s for word in truth.words if word.stressed]
    bumps = [bump(times, start + BEAT_LAG_S, BEAT_WIDTH_S) for start in starts]
    return np.asarray(np.sum([np.zeros(num_frames), *bumps], axis=0))


def attributes_of(
    judge: Judge, judged: Judgement, frames: np.ndarray, truth: Truth
) -> list[tuple[str, str, str]]:
    """The questions of all clips, those about movement included."""
    rows = []
    for clip, where in clip_ranges(truth):
        rows += attributes(judged, truth, clip, where)
        boxes = judged.boxes[where, clip.speaker or 0]
        rows.append(("camera", clip.camera, camera_move(boxes, min(frames.shape[1:3]))))
        for person, cast in enumerate(clip.cast):
            read = judge.action.read(judged.pose[where, person], judged.boxes[where, person])
            rows.append(("action", cast.action, read))
    return rows


def attributes(
    judged: Judgement, truth: Truth, clip: Clip, where: slice
) -> list[tuple[str, str, str]]:
    """(name, truth, judged) of every question that has an answer in this clip."""
    labels = visible_labels(truth.story, clip)
    stop = where.stop if where.stop is not None else len(judged.mouth)
    settled = slice(where.start + (GUARD if where.start else 0), stop)
    rows = []
    for name, words in PERSON_ATTRIBUTES.items():
        for person in range(len(clip.cast)):
            label = int(labels[name][person])
            if label != NO_ANSWER:
                rows.append((name, words[label], judged.attribute(name, person, settled)))
    for name, words in FRAME_ATTRIBUTES.items():
        rows.append((name, words[int(labels[name])], judged.attribute(name, 0, settled)))
    return rows


def speaker_right(judged: Judgement, clip: Clip, where: slice) -> bool | None:
    """Of two people in one shot, does the one who should talk move their mouth more?"""
    if len(clip.cast) < 2 or clip.speaker is None:
        return None
    motion = np.abs(np.diff(judged.mouth[where, :, 0], axis=0)).mean(0)
    return bool(motion.argmax() == clip.speaker)


def identity_right(judged: Judgement, truth: Truth, index: int) -> bool | None:
    """In a two-clip film, does clip `index` look more like its own speaker than like the other?"""
    ranges = clip_ranges(truth)
    if len(ranges) < 2:
        return None
    where = ranges[index][1]
    likelihood = [look_likelihood(judged, where, truth.story, clip) for clip, _ in ranges]
    return bool(np.argmax(likelihood) == index)


def look_likelihood(judged: Judgement, where: slice, story: Story, clip: Clip) -> float:
    """How much whoever is seen in these frames looks like the first person of a clip: the mean
    log-probability of that person's looks."""
    labels = visible_labels(story, clip)
    scores = [
        judged.person[name][where, 0, int(labels[name][0])].mean()
        for name in LOOKS
        if labels[name][0] != NO_ANSWER
    ]
    return float(np.mean(scores))


LOOKS = ("species", "age", "gender", "skin", "hair_colour", "hair_style", "clothes_colour")


def cut_right(row: dict[str, Any], tolerance: int = CUT_TOLERANCE) -> bool:
    """A two-clip film cuts within `tolerance` frames of the true cut."""
    found = row["cut_judged"]
    return found is not None and abs(found - row["cut_true"]) <= tolerance
