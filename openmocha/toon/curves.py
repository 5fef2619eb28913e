"""What moves of a character over a clip, as curves over its frames, and shapes to make them of.

Legend: T frames of the clip; times are seconds from its start.
"""

from dataclasses import dataclass

import numpy as np

Curve = np.ndarray  # (T,) float64


@dataclass(frozen=True)
class Curves:
    """What moves of one character over a clip: each (T,); arms (T, 3) as lift, reach, bend."""

    blink: Curve
    gaze: np.ndarray  # (T, 2)
    brow: Curve
    frown: Curve
    smile: Curve
    head: np.ndarray  # (T, 3) yaw, pitch, roll
    sway: np.ndarray  # (T, 2)
    lean: Curve
    left_arm: np.ndarray
    right_arm: np.ndarray
    shrug: Curve
    hands: tuple[str, str] = ("open", "open")

    @classmethod
    def at_rest(cls, num_frames: int) -> "Curves":
        """Nothing moves: all zeros."""
        one, two, three = (np.zeros((num_frames, n)) for n in (1, 2, 3))
        still = one[:, 0]
        return cls(still, two, still, still, still, three, two, still, three, three, still)


def drift(rng: np.random.Generator, times: Curve, period_s: float) -> Curve:
    """A smooth aimless curve, about -1..1, that turns about every `period_s` seconds."""
    rates = rng.uniform(0.5, 1.5, 3) / period_s
    phases = rng.random(3)
    weights = np.array([0.5, 0.35, 0.25])
    waves = np.sin(2 * np.pi * (rates[:, None] * times + phases[:, None]))
    return np.asarray(weights @ waves)


def bump(times: Curve, centre_s: float, width_s: float) -> Curve:
    """1 at `centre_s`, falling off smoothly to either side over `width_s`."""
    return np.asarray(np.exp(-0.5 * ((times - centre_s) / width_s) ** 2))


def hold(times: Curve, start_s: float, end_s: float, ease_s: float = 0.3) -> Curve:
    """0 before `start_s` and after `end_s`, 1 between, easing in and out over `ease_s`."""
    rise = np.clip((times - start_s) / ease_s, 0, 1)
    fall = np.clip((end_s - times) / ease_s, 0, 1)
    level = np.minimum(rise, fall)
    return np.asarray(level * level * (3 - 2 * level))
