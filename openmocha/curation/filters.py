"""Keep, or a short reason: each filter is a function of a clip's columns.

    FILTERS is the list, in the order of the paper's pipeline; the first reason is the clip's.

The words of a reason are fixed, so that they can be counted; numbers stay in the columns.
"""

from collections.abc import Callable
from typing import Any

from openmocha.curation.settings import Thresholds

Columns = dict[str, Any]
Reason = str | None

HARDLY_ANY = 0.13  # of a clip's time: what a detector of speech finds in music or noise
HARDLY_ANY_LOUD = 0.2  # the same, where nothing stands out of the music or the noise


def reason_to_drop(columns: Columns, thresholds: Thresholds) -> Reason:
    """The first filter's reason, or None to keep the clip."""
    for drop in FILTERS:
        reason = drop(columns, thresholds)
        if reason:
            return reason
    return None


def length(c: Columns, t: Thresholds) -> Reason:
    return "scene too short" if c["duration_s"] < t.shortest_s else None


def speech(c: Columns, t: Thresholds) -> Reason:
    """Without enough speech: silence, music, or noise; or it cannot be made out in them, though
    lips follow it."""
    if c["speech_share"] >= t.speech_share:
        return None
    if c["level_db"] < t.silence_db:
        return "silence"
    loud = background(c, t)
    spoken = c["lip_score"] is not None and c["lip_score"] >= t.lip_score
    if spoken or c["speech_share"] > (HARDLY_ANY_LOUD if loud else HARDLY_ANY):
        return loud or "little speech"
    return "music without speech" if c["flatness"] < t.tonal else "noise without speech"


def background(c: Columns, t: Thresholds) -> Reason:
    return "background too loud" if c["dynamic_range_db"] < t.dynamic_range_db else None


def character(c: Columns, t: Thresholds) -> Reason:
    """Nobody, too many, somebody too small, or somebody who is not there all the time."""
    if c["most_faces"] > t.most_faces or c["num_people"] > t.most_faces:
        return "crowd"
    if c["face_share"] < t.face_share / 2:
        return "no face"
    if c["face_height"] < t.face_height:
        return "face too small"
    return "face not always seen" if c["face_share"] < t.face_share else None


def motion(c: Columns, t: Thresholds) -> Reason:
    if c["difference"] < t.frozen:
        return "frozen picture"
    return "camera too shaky" if c["camera_flow"] > t.shaky else None


def lips(c: Columns, t: Thresholds) -> Reason:
    """Lips that do not move, that move at another time, or to other words."""
    if c["speaker"] is None:
        return "lips at rest"
    if c["lip_score"] is None or c["lip_score"] >= t.lip_score:
        return None
    elsewhere = abs(c["lip_lag"]) > t.largest_lag and c["lip_shifted"] >= t.lip_shifted
    return "sound shifted" if elsewhere else "lips do not match"


def syncnet(c: Columns, t: Thresholds) -> Reason:
    """LatentSync's rule, where SyncNet was asked (sync.py) and found a face."""
    if c["sync_c"] is None:
        return None
    if c["sync_c"] < t.sync_c:
        return "SyncNet: lips do not match"
    return "SyncNet: sound shifted" if abs(c["sync_offset"]) > t.sync_offset else None


FILTERS: tuple[Callable[[Columns, Thresholds], Reason], ...] = (
    length, speech, background, character, motion, lips,
)  # fmt: skip
