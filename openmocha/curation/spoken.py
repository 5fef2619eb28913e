"""When somebody speaks in a clip: silero says where, the sound's level says from when to when.

probability of speech per 32 ms -> spans -> their edges moved, 10 ms fine, to where the sound rises
out of what is heard behind it and sinks back
"""

from typing import Any

import numpy as np

from openmocha.curation.clips import Clip
from openmocha.curation.listen import HOP_S, WINDOW_S

Array = np.ndarray[Any, Any]
Span = tuple[float, float]

SHORTEST_S, SHORTEST_NEAR_S = 0.09, 0.03  # of a span alone; of one that goes on with another
LONGEST_GAP_S = 0.3  # between spans that are one
LOUD_DB, SLACK = 30.0, 2
NOT_SPEECH = 0.1  # silero's probability below which a window tells what is heard behind
ABOVE_DB, BELOW_DB = 12.0, 38.0  # of a voice: over what is behind it, under its loudest
FURTHEST_S = 0.4  # that an edge moves outwards
CLOSURE_S = 0.08  # silence within a word: the lips of a p, the tongue of a t
LEAST_BEHIND_S = 0.2


def speech_spans(clip: Clip, threshold: float) -> list[Span]:
    """Spans of speech in seconds of the film, cut at the clip's ends, pauses shorter than 0.3 s
    closed, crumbs left out."""
    heard = clip.film.heard
    talking = spoken(heard.speech[clip.windows], heard.level_db[clip.windows], threshold)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], talking.astype(int), [0]])))
    loud = voiced(clip)
    if not tells(loud, talking):
        loud = np.zeros_like(loud)
    spans: list[Span] = []
    for found in ((edges.reshape(-1, 2) + clip.windows.start) * WINDOW_S).tolist():
        start_s, end_s = max(found[0], clip.start_s), min(found[1], clip.end_s)
        near = bool(spans) and start_s - spans[-1][1] < LONGEST_GAP_S
        if end_s - start_s < (SHORTEST_NEAR_S if near else SHORTEST_S):
            continue
        span = between_silences((start_s, end_s), loud, clip)
        if span and spans and span[0] - spans[-1][1] < LONGEST_GAP_S:
            spans[-1] = (spans[-1][0], max(span[1], spans[-1][1]))
        elif span:
            spans.append(span)
    return [(round(start_s, 4), round(end_s, 4)) for start_s, end_s in spans]


def spoken(speech: Array, levels: Array, threshold: float) -> Array:
    """Which windows (w,) are speech: silero's probability has reached the threshold and not fallen
    0.15 below since, give or take two windows, and the level is within 30 dB of the loudest speech
    (silero goes on for a while after a voice stops, also over a cut)."""
    talking = np.zeros(len(speech), bool)
    going = False
    for window, probability in enumerate(speech):
        going = talking[window] = probability >= (threshold - 0.15 if going else threshold)
    if not talking.any():
        return talking
    loud = levels > np.percentile(levels[talking], 90) - LOUD_DB
    near = np.convolve(talking, np.ones(2 * SLACK + 1), mode="full")[SLACK : SLACK + len(talking)]
    return np.asarray((near > 0) & loud)


def tells(loud: Array, talking: Array) -> bool:
    """Whether a clip's loud pieces of 10 ms (t,) say more than its windows of speech (w,): not
    where what is heard behind is as loud as the voice."""
    window = np.arange(len(loud)) * HOP_S / WINDOW_S
    inside = talking[np.minimum(window.astype(int), len(talking) - 1)] if len(talking) else []
    return bool(np.any(inside)) and float(loud[inside].mean()) >= 0.5


def hops(clip: Clip) -> slice:
    """The sound's pieces of 10 ms that lie in the clip."""
    return slice(round(clip.start_s / HOP_S), round(clip.end_s / HOP_S))


def voiced(clip: Clip) -> Array:
    """(t,) of each 10 ms of the clip: whether in some band it stands out of what is heard behind,
    and is not far below the clip's loudest."""
    heard = clip.film.heard
    levels = heard.bands[hops(clip)].astype(np.float32)
    if not len(levels):
        return np.zeros(0, bool)
    least = np.maximum(
        behind_db(clip) + ABOVE_DB, np.percentile(levels, 95, axis=0).max() - BELOW_DB
    )
    return np.asarray((levels >= least).any(axis=1))


def behind_db(clip: Clip) -> Array:
    """(4,) how loud each band is at most where nobody speaks; where that is never, at its
    quietest."""
    heard, inside = clip.film.heard, hops(clip)
    levels = heard.bands[inside].astype(np.float32)
    times_s = (inside.start + np.arange(len(levels))) * HOP_S
    window = np.minimum((times_s / WINDOW_S).astype(int), len(heard.speech) - 1)
    silent = heard.speech[window] < NOT_SPEECH
    if silent.sum() * HOP_S < LEAST_BEHIND_S:
        return np.asarray(np.percentile(levels, 5, axis=0))
    quiet = np.percentile(levels[silent], 80, axis=0)
    # a voice that silero did not hear is not behind itself
    return np.asarray(np.minimum(quiet, np.percentile(levels, 60, axis=0)))


def between_silences(span: Span, loud: Array, clip: Clip) -> Span | None:
    """The span with its edges moved, inwards over silence and outwards over sound; None where it
    holds no sound at all (silero's memory of what was before a cut)."""
    if not loud.any():
        return span
    first, last = (round((at_s - clip.start_s) / HOP_S) for at_s in span)
    inside = np.flatnonzero(loud[first:last])
    if not len(inside):
        return None
    end = outwards(loud, first + int(inside[-1]))
    start = len(loud) - 1 - outwards(loud[::-1], len(loud) - 1 - first - int(inside[0]))
    return clip.start_s + start * HOP_S, min(clip.end_s, clip.start_s + (end + 1) * HOP_S)


def outwards(loud: Array, at: int) -> int:
    """The last loud piece that is reached from piece `at` without a longer silence."""
    for piece in range(at + 1, min(at + round(FURTHEST_S / HOP_S), len(loud) - 1) + 1):
        if loud[piece]:
            at = piece
        elif piece - at > CLOSURE_S / HOP_S:
            break
    return at
