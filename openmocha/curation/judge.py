"""A measured film -> rows of the manifest: its clips, what was measured of each, keep or a reason.

Nothing is decoded here, so it is run anew whenever a threshold changes.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmocha.curation.clips import Clip, clips
from openmocha.curation.describe import Context, measure_clip, palette
from openmocha.curation.filters import reason_to_drop
from openmocha.curation.lips import LipReader, heard_in, mel_context, opening_track
from openmocha.curation.listen import HOP_S, MEL_RATE_HZ
from openmocha.curation.measure import Source, measure, read_film, read_probe
from openmocha.curation.settings import Thresholds
from openmocha.curation.spoken import hops, voiced

Row = dict[str, Any]
Array = np.ndarray[Any, Any]

TWO_CLIP = "two-clip"
SPOKEN_OVER = 0.2  # worth as much as this share of the background's colours
DIFFERENT_DB = 100.0  # between the backgrounds of two clips, as bad as no colour in common
BESIDE_S = 0.1  # of a cut
LEAST_SILENCE_S = 0.1  # of a clip, to tell what is heard behind its words


@dataclass(frozen=True)
class Judged:
    """One film and how to judge it."""

    source: Source
    reader: LipReader | None


def judge(judged: Judged) -> list[Row]:
    """All rows of a film: one per clip, or a single one where the film itself is unfit."""
    source = judged.source
    row = file_columns(source)
    reason = measure(source)  # stored already, unless its worker died
    if reason is not None:
        return [row | {"reason": reason}]
    row |= read_probe(source)
    found = clips(read_film(source), source.settings.thresholds)
    context = Context(source.film_id, source.settings.thresholds, judged.reader)
    rows = [row | clip_row(clip, context) for clip in found]
    return rows + conversations(rows, found, source.settings.thresholds)


def file_columns(source: Source) -> Row:
    """Provenance."""
    return {
        "path": str(source.path),
        "film_id": source.film_id,
        "faces": source.settings.faces,
    }


def clip_row(clip: Clip, context: Context) -> Row:
    """A clip's measurements, its id, and why it is dropped, if it is."""
    columns = measure_clip(clip, context)
    clip_id = id_of(context.film_id, clip.start_s, clip.end_s)
    return columns | {"clip_id": clip_id, "reason": reason_to_drop(columns, context.thresholds)}


def id_of(film_id: str, start_s: float, end_s: float) -> str:
    """The same span of the same film has the same id in every run."""
    return hashlib.sha256(f"{film_id} {start_s:.3f} {end_s:.3f}".encode()).hexdigest()[:24]


# --- conversations -------------------------------------------------------------------------------


def conversations(rows: list[Row], found: list[Clip], thresholds: Thresholds) -> list[Row]:
    """Rows of two-clip conversations: two kept clips side by side, one person in each, not the same
    one, in one place. Both become parts of the new clip (column part_of)."""
    pairs: list[tuple[float, Row, Row]] = []
    for first, second, a, b in zip(rows, rows[1:], found, found[1:], strict=False):
        total_s = second["end_s"] - first["start_s"]
        if not answers(first, second) or total_s > thresholds.longest_s or not other_person(a, b):
            continue
        pairs.append((same_scene(a, b), first, second))
    added: list[Row] = []
    for agreement, first, second in sorted(pairs, key=lambda p: (-p[0], p[1]["start_s"])):
        if agreement < thresholds.same_place:
            break
        if "part_of" not in first and "part_of" not in second:
            both = conversation(first, second)
            first["part_of"] = second["part_of"] = both["clip_id"]
            added.append(both)
    return sorted(added, key=lambda row: float(row["start_s"]))


def answers(first: Row, second: Row) -> bool:
    """Whether two clips follow each other over a cut, both kept, with one person in each."""
    kept = first["reason"] is None and second["reason"] is None
    alone = first["num_people"] == second["num_people"] == 1
    return bool(kept and alone and second["scene"] == first["scene"] + 1)


def conversation(first: Row, second: Row) -> Row:
    """The row of two clips as one. What was measured of each stays in their own rows."""
    start_s, end_s = first["start_s"], second["end_s"]
    return first | {
        "clip_id": id_of(first["film_id"], start_s, end_s),
        "shot": TWO_CLIP,
        "end_s": end_s,
        "duration_s": round(end_s - start_s, 4),
        "cut_s": second["start_s"],
        "speech_s": first["speech_s"] + second["speech_s"],
        "parts": [first["clip_id"], second["clip_id"]],
    }


def same_scene(a: Clip, b: Clip) -> float:
    """How surely two clips side by side are one scene: what agrees of the colours behind the
    people, more where somebody speaks on over the cut, less where what is heard behind differs."""
    quiet = [between_words(clip) for clip in (a, b)]
    differs_db = 0.0
    if quiet[0] is not None and quiet[1] is not None:
        differs_db = float(np.abs(quiet[0] - quiet[1]).mean())
    return same_place(a, b) + SPOKEN_OVER * spoken_over(a, b) - differs_db / DIFFERENT_DB


def between_words(clip: Clip) -> Array | None:
    """(4,) how loud each band is where no voice stands out; None where one does nearly always."""
    levels = clip.film.heard.bands[hops(clip)].astype(np.float32)
    silent = levels[~voiced(clip)]
    if len(silent) * HOP_S < LEAST_SILENCE_S:
        return None
    return np.asarray(np.percentile(silent, 30, axis=0))


def spoken_over(a: Clip, b: Clip) -> bool:
    """Whether sound stands out of the silence on both sides of the cut: a shot and its reverse
    shot are cut into a turn more often than scenes that have nothing to do with each other."""
    beside = round(BESIDE_S / HOP_S)
    before, after = voiced(a)[-beside:], voiced(b)[:beside]
    return bool(len(before) and len(after) and min(before.mean(), after.mean()) > 0.5)


def same_place(a: Clip, b: Clip) -> float:
    """How much of the colours behind the people of two clips agree, 0 to 1."""
    return float(np.minimum(colour_shares(a), colour_shares(b)).sum())


def colour_shares(clip: Clip) -> Array:
    """(64,) how much of the background is of each colour, four levels a channel, blurred a bit."""
    picture = clip.thumbnails.astype(np.float32).mean(axis=0)
    levels = palette(picture, [p.box for p in clip.people]) / 64 - 0.5
    shares = np.zeros((4, 4, 4))
    low = np.clip(np.floor(levels), 0, 2).astype(int)
    part = np.clip(levels - low, 0, 1)
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(np.array(corner), part, 1 - part).prod(axis=1)
        np.add.at(shares, tuple((low + corner).T), weight)
    return np.asarray(shares.reshape(-1) / max(len(levels), 1))


def other_person(a: Clip, b: Clip) -> bool:
    """Whether the faces and clothes of two clips differ in colour."""
    looks = [person_colours(clip) for clip in (a, b)]
    return bool(np.abs(looks[0] - looks[1]).max() > 20)


def person_colours(clip: Clip) -> Array:
    """(4, 3) mean colours of the parts of the person: hair, upper face, lower face, clothes."""
    picture = clip.thumbnails.astype(np.float32).mean(axis=0)
    rows, columns = picture.shape[:2]
    x0, y0, x1, y1 = clip.people[0].box
    tall = y1 - y0
    left, right = int(x0 * columns), max(int(x0 * columns) + 1, int(np.ceil(x1 * columns)))
    edges = [y0 - 0.4 * tall, y0, y0 + 0.5 * tall, y1, y1 + 0.8 * tall]
    parts = []
    for top, bottom in zip(edges, edges[1:], strict=False):
        first = int(np.clip(top * rows, 0, rows - 1))
        last = int(np.clip(np.ceil(bottom * rows), first + 1, rows))
        parts.append(picture[first:last, max(0, left) : right].reshape(-1, 3).mean(axis=0))
    return np.stack(parts)


# --- the sample that the lip reader is fitted on ------------------------------------------------


def lip_samples(source: Source) -> list[tuple[str, Array, Array]]:
    """(film id, features, opening) of a film's clips that show one talking face all the time."""
    if measure(source) is not None:
        return []
    thresholds = source.settings.thresholds
    context = Context(source.film_id, thresholds, None)
    samples = []
    for clip in clips(read_film(source), thresholds):
        columns = measure_clip(clip, context)
        heard_s = len(clip.mel_frames) / MEL_RATE_HZ
        alone = columns["num_people"] == 1 and heard_s >= thresholds.judged_s
        if alone and reason_to_drop(columns, thresholds) is None:
            opening = opening_track(clip, clip.people[0])
            samples.append((source.film_id, mel_context(heard_in(clip)), opening))
    return samples
