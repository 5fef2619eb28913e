"""What somebody does over a clip, in which mood, and how a film maker would tell it: directions.

    cast -> act (drawn by lot, or an average one) -> what it changes of the curves of a body
                                                  -> directions (T, K)

A network that learns from words alone how a hand waves has to find in few films which arm it is and
when it is where. Directions tell it both, and how brows and lips are held; all else that moves
(talking hands, beats on stressed words, glances, lips) stays its own.

Dimension letters: T frames of the clip, K channels of directions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openmocha.toon.curves import Curve, Curves, hold
from openmocha.toon.stories import Cast

DIRECTIONS = (
    "yaw", "pitch", "shrug", "left lift", "left reach", "left bend",
    "right lift", "right reach", "right bend", "brow", "frown", "smile",
)  # fmt: skip

FILM_S = 128 / 24  # of the films of the film set
SLOWER = 4  # times, the slower beat


@dataclass(frozen=True)
class Mood:
    """What an emotion does to a face and a body; the fields are those of Pose."""

    brow: float
    frown: float
    smile: float
    pitch: float
    roll: float
    liveliness: float
    shrug: float = 0.0


MOODS = {
    "neutral": Mood(0.0, 0.0, 0.05, 0.0, 0.0, 1.0),
    "happy": Mood(0.3, 0.0, 0.95, 0.06, 0.1, 1.3),
    "sad": Mood(0.1, -0.85, -0.8, -0.22, 0.12, 0.55),
    "angry": Mood(-0.6, 0.95, -0.5, -0.06, 0.0, 1.25),
    "surprised": Mood(1.0, -0.15, 0.1, 0.1, 0.0, 1.2, 0.1),
    "worried": Mood(0.45, -0.9, -0.35, -0.05, -0.08, 0.9, 0.25),
}


@dataclass(frozen=True)
class Act:
    """How somebody does what they do: how far they are in it, its beat and a slower one, each (T,),
    and with which arm, where it takes one."""

    amount: Curve
    beat: Curve
    slow: Curve
    on_left: bool


def drawn_act(rng: np.random.Generator, times: Curve, cast: Cast) -> Act:
    """Over most of the clip, so that a short crop of it still shows it."""
    length = times[-1]
    start = rng.uniform(0.02, 0.15) * length
    amount = hold(times, start, length * rng.uniform(0.9, 1.1))
    beat = np.sin(2 * np.pi * (times - start) * rng.uniform(1.6, 2.2))
    beat = beat * rng.uniform(0.85, 1.15)
    index = np.arange(len(beat))
    slow = np.interp(index / SLOWER, index, beat)
    return Act(amount, beat, slow, acts_on_left(cast, "left" if rng.random() < 0.5 else "right"))


def average_act(times: Curve, cast: Cast, length_s: float) -> Act:
    """As in a film of `length_s`; in a longer one again and again, with as long a rest between."""
    start = 0.085 * length_s
    again = times % (2 * length_s)
    beat, slow = (np.sin(2 * np.pi * (at - start) * 1.9) for at in (again, again / SLOWER))
    return Act(hold(again, start, length_s), beat, slow, acts_on_left(cast, "right"))


def average_directions(cast: Cast, frames: range, fps: float) -> NDArray[np.float32]:
    """Directions (T, K) of some frames of a take."""
    return directions(cast, average_act(np.array(frames) / fps, cast, FILM_S))


def acts_on_left(cast: Cast, either: str) -> bool:
    """Whether it is the left arm that acts: the one nearer to the middle of the frame, or on the
    side that one faces, for its hand is seen."""
    side = {"left": "right", "right": "left"}.get(cast.position) or cast.facing
    return (either if side == "camera" else side) == "left"


def acted(curves: Curves, action: str, act: Act) -> Curves:
    """What moves, with an action."""
    if action == "none":
        return curves
    return ACTS[action](curves, act)


def directions(cast: Cast, act: Act) -> NDArray[np.float32]:
    """(T, K): what the act makes of a body without any other life, and the face of the mood."""
    body = acted(Curves.at_rest(len(act.amount)), cast.action, act)
    mood = MOODS[cast.emotion]
    face = np.broadcast_to([mood.brow, mood.frown, mood.smile], (len(act.amount), 3))
    head = body.head[:, :2]
    parts = [head, body.shrug[:, None], body.left_arm, body.right_arm, face]
    return np.concatenate(parts, axis=1).astype(np.float32)


def nod(curves: Curves, act: Act) -> Curves:
    pitch = act.amount * (0.28 * act.beat - 0.05)
    return replace(curves, head=curves.head + np.stack([0 * pitch, pitch, 0 * pitch], axis=1))


def shake_head(curves: Curves, act: Act) -> Curves:
    yaw = act.amount * 0.3 * act.beat
    return replace(curves, head=curves.head + np.stack([yaw, 0 * yaw, 0 * yaw], axis=1))


def wave(curves: Curves, act: Act) -> Curves:
    return one_arm(curves, act.amount, act.on_left, "open", 0.7, 0.4, 0.75 + 0.25 * act.beat)


def raise_hand(curves: Curves, act: Act) -> Curves:
    return one_arm(curves, act.amount, act.on_left, "open", 0.75 + 0.02 * act.beat, 0.35, 0.8)


def point(curves: Curves, act: Act) -> Curves:
    return one_arm(curves, act.amount, act.on_left, "point", 0.6 + 0.06 * act.beat, 0.9, 0.15)


def hands_together(curves: Curves, act: Act) -> Curves:
    for left in (True, False):
        curves = one_arm(curves, act.amount, left, "fist", 0.3 + 0.04 * act.beat, -0.75, 0.85)
    return curves


def shrug(curves: Curves, act: Act) -> Curves:
    # A shrug held for seconds looks odd: it comes and goes, about every two seconds.
    level = act.amount * np.clip(0.5 + 0.8 * act.slow, 0, 1)
    for left in (True, False):
        curves = one_arm(curves, level, left, "open", 0.3, 0.7, 0.75)
    return replace(curves, shrug=curves.shrug + 0.9 * level)


ACTS: dict[str, Callable[[Curves, Act], Curves]] = {
    "nod": nod,
    "shake head": shake_head,
    "wave": wave,
    "raise hand": raise_hand,
    "point": point,
    "hands together": hands_together,
    "shrug": shrug,
}


def one_arm(
    curves: Curves,
    amount: Curve,
    on_left: bool,
    hand: str,
    lift: Curve | float,
    reach: Curve | float,
    bend: Curve | float,
) -> Curves:
    """Bring one arm by `amount` from what it does to lift, reach and bend."""
    goal = np.stack([np.broadcast_to(v, amount.shape) for v in (lift, reach, bend)], axis=1)
    arm = curves.left_arm if on_left else curves.right_arm
    arm = arm + amount[:, None] * (goal - arm)
    hands = (hand, curves.hands[1]) if on_left else (curves.hands[0], hand)
    if on_left:
        return replace(curves, left_arm=arm, hands=hands)
    return replace(curves, right_arm=arm, hands=hands)
