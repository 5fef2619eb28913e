"""Phones with times in, mouth shape per video frame out: the truth that toon mouths are drawn from.

Each phone asks for a shape (jaw, spread, teeth) with a strength; the shape of an instant is the
mean of all requests, weighted by strengths that fade before and after their phone: dominance
blending after Cohen and Massaro, "Modeling coarticulation in synthetic visual speech" (1993).
Lips that must touch (p b m) or meet the teeth (f v) are then enforced, at any speech rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openmocha.toon.voices import Phone

MOUTH = ("open", "spread", "pressed", "teeth")

ANTICIPATION_S = 0.055  # a shape begins to form this long before its phone, to 1/e
CARRY_OVER_S = 0.035
SHORTEST_CLOSURE_S = 0.046  # above one frame at 24 fps: every closure is seen in some frame
SHORTEST_PAUSE_S = 0.08  # a gap between phones that lets the mouth close
LEAD_S, LAG_S = 0.05, 0.02  # a mouth leaves its rest before the sound, and returns after it

# vowel: jaw opening 0..1, lips from rounded (-1) to spread (1)
_VOWELS = {
    "i": (0.22, 0.85), "ɪ": (0.30, 0.55), "e": (0.42, 0.60), "ɛ": (0.55, 0.45), "æ": (0.78, 0.45),
    "a": (0.88, 0.20), "ɐ": (0.60, 0.05), "ɑ": (0.95, 0.0), "ɒ": (0.82, -0.35), "ɔ": (0.62, -0.60),
    "o": (0.52, -0.75), "ʊ": (0.30, -0.65), "u": (0.22, -0.95), "ʌ": (0.68, 0.05),
    "ə": (0.38, 0.0), "ɜ": (0.45, -0.15), "ɚ": (0.34, -0.30), "ɝ": (0.42, -0.30),
    "ᵻ": (0.28, 0.45), "ɨ": (0.28, 0.30), "ʉ": (0.24, -0.80), "y": (0.22, -0.90),
    "ø": (0.42, -0.65), "œ": (0.52, -0.55),
}  # fmt: skip
# consonant: jaw, its strength, spread, its strength, teeth shown
_CONSONANTS = {
    "p": (0.0, 1.0, 0.0, 0.1, 0.0), "b": (0.0, 1.0, 0.0, 0.1, 0.0), "m": (0.0, 1.0, 0.0, 0.1, 0.0),
    "f": (0.10, 1.2, 0.15, 0.4, 1.0), "v": (0.10, 1.2, 0.15, 0.4, 1.0),
    "θ": (0.20, 0.8, 0.15, 0.3, 0.6), "ð": (0.20, 0.6, 0.15, 0.3, 0.5),
    "s": (0.10, 1.2, 0.45, 0.6, 0.9), "z": (0.10, 1.2, 0.45, 0.6, 0.9),
    "ʃ": (0.16, 1.2, -0.60, 0.9, 0.8), "ʒ": (0.16, 1.2, -0.60, 0.9, 0.8),
    "t": (0.18, 0.6, 0.15, 0.2, 0.35), "d": (0.18, 0.6, 0.15, 0.2, 0.3),
    "n": (0.20, 0.5, 0.10, 0.2, 0.2), "l": (0.30, 0.5, 0.10, 0.2, 0.1),
    "ɫ": (0.30, 0.5, -0.10, 0.2, 0.1), "ɾ": (0.26, 0.4, 0.10, 0.2, 0.2),
    "k": (0.28, 0.4, 0.0, 0.1, 0.0), "ɡ": (0.28, 0.4, 0.0, 0.1, 0.0),
    "g": (0.28, 0.4, 0.0, 0.1, 0.0), "ŋ": (0.28, 0.4, 0.0, 0.1, 0.0),
    "x": (0.30, 0.5, 0.0, 0.2, 0.0), "h": (0.34, 0.2, 0.0, 0.05, 0.0),
    "ɹ": (0.24, 0.7, -0.50, 0.7, 0.05), "r": (0.28, 0.6, -0.20, 0.4, 0.1),
    "w": (0.14, 1.2, -1.0, 1.5, 0.0), "ʍ": (0.14, 1.2, -1.0, 1.5, 0.0),
    "j": (0.22, 0.7, 0.65, 0.7, 0.1), "ʔ": (0.30, 0.1, 0.0, 0.05, 0.0),
}  # fmt: skip
SYMBOLS = ("", *_VOWELS, *_CONSONANTS)  # every phone class, "" being silence
_PRESSED, _LIP_TO_TEETH = frozenset("pbm"), frozenset("fv")
_STRESS_GAIN = (0.85, 0.95, 1.08)


@dataclass(frozen=True)
class Gesture:
    """What one IPA symbol asks for: targets and strengths of (open, spread, teeth)."""

    symbol: str
    start_s: float
    end_s: float
    targets: tuple[float, float, float]
    strengths: tuple[float, float, float]


def mouth_track(phones: Sequence[Phone], num_frames: int, fps: float = 24.0) -> np.ndarray:
    """The mouth at the centre of each video frame.

    Args:
        phones: in order of time, pauses left out.
        num_frames: T; frame t covers the seconds t / fps to (t + 1) / fps.

    Returns:
        (T, 4) float32 in the order of MOUTH: jaw open 0..1, spread -1 (rounded)..1, lips pressed
        0..1, teeth 0..1; all zero (a closed mouth at rest) where nobody speaks.
    """
    time_s = (np.arange(num_frames) + 0.5) / fps
    requests = gestures(phones)
    if not requests:
        return np.zeros((num_frames, len(MOUTH)), np.float32)
    shape = _blend(requests, time_s)  # (T, 3)
    pressed = _contact(requests, time_s, _PRESSED)
    bitten = _contact(requests, time_s, _LIP_TO_TEETH)
    jaw = np.minimum(shape[:, 0], 1 - 0.88 * bitten) * (1 - pressed)
    teeth = np.maximum(shape[:, 2], bitten) * (1 - pressed)
    track = np.stack([jaw, shape[:, 1], pressed, teeth], axis=1)
    return np.asarray(np.clip(track, (0, -1, 0, 0), 1), dtype=np.float32)


def gestures(phones: Sequence[Phone]) -> list[Gesture]:
    """One gesture per IPA symbol (a diphthong has two), and closed rests where nobody speaks."""
    found: list[Gesture] = []
    last_s = -np.inf
    for phone in phones:
        if phone.start_s - last_s > SHORTEST_PAUSE_S:
            found.append(_rest(last_s + LAG_S, phone.start_s - LEAD_S))
        found += _phone_gestures(phone)
        last_s = phone.end_s
    return [*found, _rest(last_s + LAG_S, np.inf)] if found else []


def _rest(start_s: float, end_s: float) -> Gesture:
    return Gesture("", start_s, end_s, (0.0, 0.0, 0.0), (1.0, 0.6, 1.0))


def _phone_gestures(phone: Phone) -> list[Gesture]:
    symbols = [s for s in phone.ipa if s in _VOWELS or s in _CONSONANTS]
    if not symbols:
        return []
    # The first part of a diphthong is the longer one.
    shares = np.array([1.6 if i == 0 and s in _VOWELS else 1.0 for i, s in enumerate(symbols)])
    edges = phone.start_s + (phone.end_s - phone.start_s) * np.cumsum([0, *shares / shares.sum()])
    gestures = []
    for symbol, start_s, end_s in zip(symbols, edges, edges[1:], strict=False):
        if symbol in _VOWELS:
            jaw, spread = _VOWELS[symbol]
            targets = (min(jaw * _STRESS_GAIN[phone.stress], 1.0), spread, 0.1 * (spread > 0.3))
            strengths = (1.0, 1.0, 1.0)
        else:
            jaw, jaw_strength, spread, spread_strength, teeth = _CONSONANTS[symbol]
            targets, strengths = (jaw, spread, teeth), (jaw_strength, spread_strength, 1.0)
        gestures.append(Gesture(symbol, float(start_s), float(end_s), targets, strengths))
    return gestures


def _blend(gestures: Sequence[Gesture], time_s: np.ndarray) -> np.ndarray:
    """(T, 3) mean of the targets, weighted by strengths that fade away from their gesture."""
    start = np.array([g.start_s for g in gestures])
    end = np.array([g.end_s for g in gestures])
    before = np.maximum(start - time_s[:, None], 0) / ANTICIPATION_S  # (T, G)
    after = np.maximum(time_s[:, None] - end, 0) / CARRY_OVER_S
    # + 1e-9: strengths far from every gesture must not all vanish
    dominance = np.exp(-(before**2) - after**2)[..., None] + 1e-9
    weight = dominance * np.array([g.strengths for g in gestures])  # (T, G, 3)
    targets = np.array([g.targets for g in gestures])
    return np.asarray((weight * targets).sum(1) / weight.sum(1))


def _contact(
    gestures: Sequence[Gesture], time_s: np.ndarray, symbols: frozenset[str]
) -> np.ndarray:
    """(T,) 1 while the lips touch for one of `symbols`, with smooth flanks of 30 ms."""
    contact = np.zeros(len(time_s))
    for gesture in gestures:
        if gesture.symbol in symbols:
            middle_s = (gesture.start_s + gesture.end_s) / 2
            half_s = max(0.6 * (gesture.end_s - gesture.start_s), SHORTEST_CLOSURE_S) / 2
            outside = np.clip((np.abs(time_s - middle_s) - half_s) / 0.030, 0, 1)
            contact = np.maximum(contact, 0.5 + 0.5 * np.cos(np.pi * outside))
    return contact
