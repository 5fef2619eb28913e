"""Does a mouth move when its speech is loud, and how late? No network of lips and sound is needed.

faces of a film -> motion of the speaker's mouth per frame ─┐
speech -> its level while each frame is shown ──────────────┴─> correlation at each lag -> peak
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.clips import Clip, Film, Person
from openmocha.curation.listen import Heard
from openmocha.curation.watch import Watched
from openmocha.media import SPEECH_RATE_HZ, speech_pieces

Array = np.ndarray[Any, Any]

LARGEST_LAG = 15  # frames, as SyncNet's
FEWEST_FRAMES = 24  # with a face: fewer say nothing about a mouth
HOP = SPEECH_RATE_HZ // 100  # samples
QUIET_DB = -40.0  # below the loudest moment: all the same to a mouth


def mouth_motion(watched: Watched, spans: list[tuple[float, float]]) -> Array:
    """(n,) how much the opening of the speaker's mouth changes around each frame, in heights of the
    face per frame; nan where no face is found. Each scene has its own speaker."""
    motion = np.full(len(watched.frame_s), np.nan)
    film = Film(watched, Heard(*(np.zeros(0) for _ in fields(Heard))))  # its sound is not asked for
    for scene, (start_s, end_s) in enumerate(spans):
        clip = Clip(film, scene, start_s, end_s)
        if len(clip.looks) > 1 and clip.people:
            who = speaker(clip.people)
            opening = np.full(len(clip.looks), np.nan)
            opening[who.looks - clip.looks[0]] = who.faces[:, 5]
            motion[clip.looks] = np.abs(np.gradient(opening))
    return motion


def speaker(people: list[Person]) -> Person:
    """Whose mouth moves most, of those who are not much smaller than the largest. The sound has no
    say in it: a choice by it would find agreement where there is none."""
    tallest = max(person.height for person in people)
    near = [person for person in people if person.height >= tallest / 2]
    return max(near, key=lambda person: float(person.faces[:, 5].std()))


def frame_edges(watched: Watched) -> Array:
    """(n + 1,) when each frame begins, and when the last one ends, in seconds."""
    return np.append(watched.frame_s, watched.end_s)


def loudness(speech: Path, edges_s: Array) -> Array:
    """(n,) the speech's level while each frame is shown: 0 for silence, 1 at its loudest moment.

    Raises ValueError where the speech cannot be decoded.
    """
    power = np.concatenate([[0.0], np.cumsum(hop_power(speech))])
    hops = np.arange(len(power)) * HOP / SPEECH_RATE_HZ
    energy = np.diff(np.interp(edges_s, hops, power)) / np.diff(edges_s)
    level = 10 * np.log10(energy / max(energy.max(initial=0.0), 1e-12) + 1e-12)
    return np.asarray(1 - level.clip(QUIET_DB, 0) / QUIET_DB)


def hop_power(speech: Path) -> Array:
    """Mean square of each hundredth of a second, however long the speech is."""
    found: list[Array] = []
    rest = np.zeros(0, np.float32)
    for piece in speech_pieces(speech):
        rest = np.concatenate([rest, piece])
        whole = len(rest) - len(rest) % HOP
        found.append(np.square(rest[:whole].astype(np.float64)).reshape(-1, HOP).mean(axis=1))
        rest = rest[whole:]
    return np.concatenate(found) if found else np.zeros(0)


def lagged_correlations(loud: Array, motion: Array, largest: int) -> Array:
    """(2 * largest + 1,) Pearson correlations of loudness with the motion `lag` frames later, over
    the frames with a face; nan where there are fewer than 24 or either does not change."""
    curve = np.full(2 * largest + 1, np.nan)
    for i, lag in enumerate(range(-largest, largest + 1)):
        a = loud[max(0, -lag) : max(0, len(loud) - max(0, lag))]
        b = motion[max(0, lag) : max(0, len(motion) - max(0, -lag))]
        there = np.isfinite(b)
        if there.sum() < FEWEST_FRAMES:
            continue
        a, b = a[there] - a[there].mean(), b[there] - b[there].mean()
        scale = np.sqrt((a @ a) * (b @ b))
        if scale > 1e-12:
            curve[i] = (a @ b) / scale
    return curve


def peak(curve: Array) -> dict[str, float]:
    """The largest correlation and its lag in frames."""
    if not np.isfinite(curve).any():
        return {"mouth_r": float("nan"), "mouth_lag": float("nan")}
    at = int(np.nanargmax(curve))
    return {"mouth_r": float(curve[at]), "mouth_lag": float(at - len(curve) // 2)}
