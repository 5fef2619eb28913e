"""What is measured of one clip: each step is a function from clip to columns of the manifest.

    STEPS is the list; a step adds columns and rewrites none. To add one, write a function of
    (Clip, Context) and put it into the list; a filter (filters.py) may then use its columns.

Columns with several people in them are lists, from left to right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmocha.curation.clips import Clip, Person
from openmocha.curation.lips import LipReader, LipScore, opening_track, read_lips
from openmocha.curation.listen import MEL_RATE_HZ
from openmocha.curation.settings import Thresholds
from openmocha.curation.spoken import speech_spans

Columns = dict[str, Any]
Array = np.ndarray[Any, Any]

CAMERA_MOVES = 0.012  # widths per second
FACING = 0.2  # yaw beyond which a face looks to a side
COLOURS = {
    "red": (200, 40, 40), "orange": (240, 140, 40), "yellow": (240, 220, 70),
    "green": (60, 160, 70), "blue": (60, 100, 210), "purple": (130, 70, 170),
    "pink": (240, 150, 190), "white": (240, 240, 240), "black": (25, 25, 30),
    "grey": (130, 130, 135), "brown": (120, 80, 50),
}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What a step needs beside the clip."""

    film_id: str
    thresholds: Thresholds
    reader: LipReader | None


def measure_clip(clip: Clip, context: Context) -> Columns:
    """All columns of a clip, step by step."""
    columns: Columns = {}
    for step in STEPS:
        added = step(clip, context)
        assert not added.keys() & columns.keys(), f"{step.__name__} rewrites a column"
        columns |= added
    return columns


# --- steps ---------------------------------------------------------------------------------------


def place(clip: Clip, context: Context) -> Columns:
    return {
        "scene": clip.scene,
        "start_s": round(clip.start_s, 4),
        "end_s": round(clip.end_s, 4),
        "duration_s": round(clip.duration_s, 4),
    }


def speech(clip: Clip, context: Context) -> Columns:
    """When somebody speaks, and how much of the time."""
    spans = speech_spans(clip, context.thresholds.speech)
    seconds = sum(end - start for start, end in spans)
    share = min(1.0, seconds / clip.duration_s) if clip.duration_s else 0.0
    return {"speech_s": [list(span) for span in spans], "speech_share": round(share, 4)}


def background(clip: Clip, context: Context) -> Columns:
    """How loud the clip is, how far speech stands out of the rest (CURATION.md 1.4), and whether
    the rest is tones or noise."""
    heard = clip.film.heard
    levels = heard.level_db[clip.windows]
    if not len(levels):
        return {"level_db": -100.0, "dynamic_range_db": 0.0, "flatness": 1.0}
    loud = heard.flatness[clip.windows][levels >= np.median(levels)]
    low, high = np.percentile(levels, [5, 95])
    return {
        "level_db": round(float(high), 2),
        "dynamic_range_db": round(float(high - low), 2),
        "flatness": round(float(np.median(loud)), 5),
    }


def people(clip: Clip, context: Context) -> Columns:
    """Who is seen: how many, how large, where, for how much of the time."""
    counts = np.bincount(
        np.searchsorted(clip.looks, seen_looks(clip)), minlength=max(len(clip.looks), 1)
    )
    known = np.concatenate([p.looks for p in clip.people]) if clip.people else np.zeros(0)
    main = max(clip.people, key=lambda p: p.height * len(p.looks), default=None)
    return {
        "num_people": len(clip.people),
        "most_faces": float(np.median(counts)),
        "face_share": round(len(np.unique(known)) / len(clip.looks), 4) if main else 0.0,
        "face_height": round(main.height, 4) if main else 0.0,
        "face_boxes": [[round(float(v), 4) for v in p.box] for p in clip.people],
        "facing": [facing_of(p) for p in clip.people],
    }


def motion(clip: Clip, context: Context) -> Columns:
    """How much the picture changes: pixels, flow, and flow of most of the picture (the camera)."""
    watched = clip.film.watched
    inside = clip.looks[1:]  # the first look is compared with one before the cut
    if not len(inside):
        return {"difference": 0.0, "flow": 0.0, "camera_flow": 0.0, "camera": "static"}
    flow = watched.flow[inside]
    x, y, growth = np.median(flow[:, 1:], axis=0)
    return {
        "difference": round(float(np.percentile(watched.difference[inside], 75)), 4),
        "flow": round(float(flow[:, 0].mean()), 5),
        "camera_flow": round(float(np.hypot(flow[:, 1], flow[:, 2]).mean()), 5),
        "camera": camera_of(float(x), float(y), float(growth)),
    }


def lips(clip: Clip, context: Context) -> Columns:
    """Whose lips move, and whose follow the sound: that is who speaks."""
    tracks = [opening_track(clip, person) for person in clip.people]
    moves = [spread(track) for track in tracks]
    scores: list[LipScore | None] = [None] * len(tracks)
    heard_s = len(clip.mel_frames) / MEL_RATE_HZ  # the sound may end before the picture
    if context.reader is not None and heard_s >= context.thresholds.judged_s:
        scores = [read_lips(context.reader, context.film_id, clip, p) for p in clip.people]
    speaker = speaker_of(moves, scores, context.thresholds.mouth_at_rest)
    best = scores[speaker] if speaker is not None else None
    return {
        "mouth_motion": [round(m, 5) for m in moves],
        "speaker": speaker,
        "lip_in_time": round(best.in_time, 4) if best else None,
        "lip_score": round(best.score, 4) if best else None,
        "lip_lag": best.lag if best else None,
        "lip_shifted": round(best.shifted, 4) if best else None,
    }


def shot(clip: Clip, context: Context) -> Columns:
    """The shot's size, from the largest face."""
    height = max((p.height for p in clip.people), default=0.0)
    return {"shot": shot_of(height, context.thresholds)}


def look(clip: Clip, context: Context) -> Columns:
    """Colours and light, for captions and for telling people and places apart."""
    mean = clip.thumbnails.astype(np.float32).mean(axis=0)
    behind = palette(mean, [p.box for p in clip.people])
    return {
        "background_colour": colour_name(np.median(behind, axis=0)),
        "brightness": round(float(mean.mean()), 2),
        "clothes_colours": [clothes_of(mean, p) for p in clip.people],
    }


def signature(clip: Clip, context: Context) -> Columns:
    """Two hashes of 64 bits, of the picture and of the sound's rise and fall, for duplicates."""
    return {"picture_hash": picture_hash(clip.thumbnails), "sound_hash": sound_hash(clip)}


STEPS: tuple[Callable[[Clip, Context], Columns], ...] = (
    place, speech, background, people, motion, lips, shot, look, signature,
)  # fmt: skip


# --- what the steps are made of ------------------------------------------------------------------


def seen_looks(clip: Clip) -> Array:
    """The look of every face found in the clip, false alarms included."""
    at = clip.film.watched.face_look
    return np.asarray(at[np.isin(at, clip.looks)])


def spread(track: Array) -> float:
    """How far a mouth moves, single misreadings left out."""
    if not len(track):
        return 0.0
    low, high = np.percentile(track, [10, 90])
    return float(high - low)


def facing_of(person: Person) -> str:
    yaw = float(np.median(person.faces[:, 6]))
    return "camera" if abs(yaw) < FACING else "left" if yaw < 0 else "right"


def speaker_of(moves: list[float], scores: list[LipScore | None], at_rest: float) -> int | None:
    """Of those whose mouths move, the one that follows the sound best; where lips were not judged,
    the one that moves most."""
    talking = [i for i, move in enumerate(moves) if move >= at_rest]

    def fit(i: int) -> float:
        found = scores[i]
        return moves[i] if found is None else found.in_time

    return max(talking, key=fit, default=None)


def camera_of(x: float, y: float, growth: float) -> str:
    """The camera's movement from how the picture's background moves (widths per second)."""
    if abs(growth) > CAMERA_MOVES and abs(growth) > abs(x):
        return "zoom in" if growth > 0 else "zoom out"
    if abs(x) > CAMERA_MOVES and abs(x) > abs(y):
        return "pan left" if x > 0 else "pan right"
    return "moving" if abs(y) > CAMERA_MOVES else "static"


def description_of(columns: Columns) -> dict[str, Any]:
    """What the caption writer is told of a clip (caption.py), in words."""
    brightness = columns["brightness"]
    lively = "still" if columns["flow"] < 0.01 else "calm" if columns["flow"] < 0.06 else "lively"
    people = zip(columns["face_boxes"], columns["facing"], columns["clothes_colours"], strict=True)
    return {
        "shot": columns["shot"],
        "camera": columns["camera"],
        "people": [
            {
                "position": ("left", "center", "right")[min(2, int(1.5 * (box[0] + box[2])))],
                "facing": facing,
                "speaking": number == columns["speaker"],
                "motion": lively,
                "clothes_colour": colour,
            }
            for number, (box, facing, colour) in enumerate(people)
        ],
        "background_colour": columns["background_colour"],
        "brightness": "dark" if brightness < 60 else "bright" if brightness > 170 else "normal",
    }


def shot_of(face_height: float, thresholds: Thresholds) -> str:
    if face_height >= thresholds.close_up:
        return "close-up"
    if face_height >= thresholds.medium_close_up:
        return "medium close-up"
    return "medium" if face_height >= thresholds.medium else "wide"


def palette(picture: Array, boxes: list[Array]) -> Array:
    """(n, 3) the colours of a thumbnail outside of people: beside faces and what is below them."""
    rows, columns = picture.shape[:2]
    behind = np.ones((rows, columns), bool)
    for x0, y0, x1, y1 in boxes:
        wide = x1 - x0
        left, right = int((x0 - 0.6 * wide) * columns), int(np.ceil((x1 + 0.6 * wide) * columns))
        behind[max(0, int((y0 - 0.3 * (y1 - y0)) * rows)) :, max(0, left) : max(0, right)] = False
    if behind.sum() < 12:
        behind[:2] = True  # a close-up leaves little: the upper edge
    return np.asarray(picture[behind])


def clothes_of(picture: Array, person: Person) -> str | None:
    """The colour below the chin, where the frame shows it."""
    rows, columns = picture.shape[:2]
    x0, _, x1, y1 = person.box
    top, bottom = int((y1 + 0.25 * person.height) * rows), int((y1 + 0.9 * person.height) * rows)
    left, right = (
        int((0.75 * x0 + 0.25 * x1) * columns),
        int(np.ceil((0.25 * x0 + 0.75 * x1) * columns)),
    )
    patch = picture[top : max(bottom, top + 1), max(0, left) : max(left + 1, right)]
    return colour_name(np.median(patch.reshape(-1, 3), axis=0)) if patch.size else None


def colour_name(rgb: Array) -> str:
    """The nearest of the eleven colour words, hue counting more than lightness."""
    given = chroma(np.asarray(rgb, float))
    return min(COLOURS, key=lambda c: float(np.linalg.norm(given - chroma(np.array(COLOURS[c])))))


def chroma(rgb: Array) -> Array:
    """Red against green, yellow against blue, and half of the lightness."""
    r, g, b = rgb
    return np.array([r - g, (r + g) / 2 - b, 0.5 * (r + g + b) / 3])


def picture_hash(thumbnails: Array) -> str:
    """Which of neighbouring cells of the middle picture is brighter: 64 bits in hex."""
    import cv2

    grey = thumbnails[len(thumbnails) // 2].mean(axis=2).astype(np.float32)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return bits_in_hex(cells[:, 1:] > cells[:, :-1])


def sound_hash(clip: Clip) -> str:
    """Whether the loudness rises or falls over each 64th of the clip: 64 bits in hex."""
    levels = clip.film.heard.level_db[clip.windows]
    if not len(levels):
        return bits_in_hex(np.zeros(64, bool))
    places = np.linspace(0, len(levels) - 1, 66)
    coarse = np.interp(places, np.arange(len(levels)), levels)
    return bits_in_hex(coarse[2:] > coarse[:-2])


def bits_in_hex(bits: Array) -> str:
    return np.packbits(np.asarray(bits, bool).reshape(-1)).tobytes().hex()
