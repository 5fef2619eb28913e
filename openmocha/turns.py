"""Who speaks when: where a recording of a conversation passes from one voice to the next.

    recording -> level, cepstrum and pitch per 10 ms -> pauses -> those that best part the voices

Speaker change detection by likelihood (Chen and Gopalakrishnan 1998, without their penalty, as the
number of turns is known): each turn is one Gaussian, and the turns that explain the sound best win.
Dimension letters: N frames of 10 ms, D features, P points where turns may begin or end.
"""

from itertools import pairwise

import numpy as np

from openmocha.media import SPEECH_RATE_HZ, Speech

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

HOP_S = 0.01
HOP = round(HOP_S * SPEECH_RATE_HZ)
WINDOW, PITCH_WINDOW = 400, 640  # samples: 25 ms, and 40 ms, in which the lowest voice swings twice
BLOCK = 2_000  # frames at a time, so that memory does not grow with a recording
BANDS, COEFFICIENTS = 24, 12
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0  # of the bands
LAGS = slice(40, 267)  # samples: a pitch of 60 to 400 Hz
VOICED = 0.5  # autocorrelation at the pitch
SPEECH_DB, NOISE_DB = 30.0, 6.0  # below the loud tenth, and above the quiet one: a pause
SHORTEST_PAUSE = 8  # hops
SHORTEST_TURN = 25  # voiced hops, below which nobody can tell who speaks


class NoTurnsError(ValueError):
    """A recording cannot be parted as asked."""


def starts_of_turns(speech: Speech, number: int) -> list[float]:
    """When turns 2 to `number` begin, in seconds from the start of `speech` (n,) at 16 kHz.

    Right for most recordings of two clear voices and often wrong for others (benchmarks/turns.py).
    Raises NoTurnsError where there are too few pauses, or too little speech between them.
    """
    level, features = level_db(speech), voice_features(speech)
    loud = level > max(np.percentile(level, 95) - SPEECH_DB, np.percentile(level, 10) + NOISE_DB)
    heard = np.flatnonzero(loud)
    before = np.flatnonzero(np.diff(heard) > SHORTEST_PAUSE)
    starts = heard[before + 1]  # where speech goes on after a pause
    points = np.array([0, *starts, len(level)])
    cuts = best_partition(likelihoods(features, loud, points), number)
    if cuts is None:
        raise NoTurnsError(
            f"{number} turns were asked for, but the recording's pauses ({len(starts)}) do not "
            "part it into as many; give a recording for each clip"
        )
    return [float(points[cut]) * HOP_S for cut in cuts]


def likelihoods(features: Array, loud: np.ndarray, points: np.ndarray) -> Array:
    """Log-likelihood (P, P) of the voiced, loud frames between two points, as one Gaussian; -inf
    where they are too few. The last of `features` (N, D) is how voiced a frame is."""
    used = loud & (features[:, -1] > VOICED)
    counts, sums, squares = moments_before(features[:, :-1], used, points)
    result = np.full((len(points), len(points)), -np.inf)
    for first in range(len(points) - 1):
        n = counts[first + 1 :] - counts[first]
        enough = n >= SHORTEST_TURN
        n = n[enough, None]
        mean = (sums[first + 1 :] - sums[first])[enough] / n
        second = (squares[first + 1 :] - squares[first])[enough] / n[..., None]
        covariance = second - mean[:, :, None] * mean[:, None] + 1e-3 * np.eye(mean.shape[1])
        fit = -0.5 * n[:, 0] * np.linalg.slogdet(covariance)[1]
        result[first, first + 1 :][enough] = fit
    return result


def moments_before(
    x: Array, used: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many frames of `x` (N, D) are used before each point (P,), their sum (P, D) and the sum
    of their outer products (P, D, D)."""
    counts, sums = np.zeros(len(points)), np.zeros((len(points), x.shape[1]))
    squares = np.zeros((len(points), x.shape[1], x.shape[1]))
    for number, (start, stop) in enumerate(pairwise(points), 1):
        part = x[start:stop][used[start:stop]]
        counts[number], sums[number], squares[number] = len(part), part.sum(0), part.T @ part
    return counts.cumsum(), sums.cumsum(0), squares.cumsum(0)


def best_partition(scores: Array, number: int) -> list[int] | None:
    """The inner points that part all points into `number` stretches of the largest sum of
    `scores` (P, P); None where no parting has one."""
    best, came_from = scores[0], []
    for _ in range(number - 1):
        through = best[:, None] + scores
        came_from.append(through.argmax(0))
        best = through.max(0)
    point, cuts = scores.shape[0] - 1, []
    if not np.isfinite(best[point]):
        return None
    for previous in reversed(came_from):
        point = int(previous[point])
        cuts.append(point)
    return cuts[::-1]


def voice_features(speech: Speech) -> Array:
    """(N, 12 + 2): cepstrum of mel bands, log pitch, and how voiced the frame is (0 to 1)."""
    narrow, wide = framed(speech, WINDOW), framed(speech, PITCH_WINDOW)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(narrow), BLOCK)]
    return np.concatenate(
        [np.concatenate([cepstra(narrow[part]), pitches(wide[part])], axis=1) for part in blocks]
    )


def cepstra(frames: np.ndarray) -> Array:
    """(n, WINDOW) -> (n, 12)."""
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), 512)) ** 2
    bands = np.log(power @ mel_bands().T + 1e-8)
    angles = np.pi * np.outer(np.arange(1, COEFFICIENTS + 1), np.arange(BANDS) + 0.5) / BANDS
    return np.asarray(bands @ np.cos(angles).T * np.sqrt(2 / BANDS))


def pitches(frames: np.ndarray) -> Array:
    """(n, PITCH_WINDOW) -> (n, 2): log pitch, and how voiced, by autocorrelation."""
    power = np.abs(np.fft.rfft(frames * np.hanning(PITCH_WINDOW), 2048)) ** 2
    repeats = np.fft.irfft(power)[:, : LAGS.stop]
    repeats = repeats / (repeats[:, :1] + 1e-9)
    lag = repeats[:, LAGS].argmax(1)
    pitch = np.log(SPEECH_RATE_HZ / (LAGS.start + lag))
    voiced = np.take_along_axis(repeats[:, LAGS], lag[:, None], 1)
    return np.concatenate([pitch[:, None], voiced], axis=1)


def level_db(speech: Speech) -> Array:
    """(N,) power of each frame in dB."""
    frames, window = framed(speech, WINDOW), np.hanning(WINDOW)
    power = np.concatenate(
        [
            np.square(frames[first : first + BLOCK] * window).sum(1)
            for first in range(0, len(frames), BLOCK)
        ]
    )
    return np.asarray(10 * np.log10(power + 1e-10))


def framed(speech: Speech, length: int) -> np.ndarray:
    """(N, length): the samples around every tenth millisecond."""
    padded = np.pad(speech, length // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::HOP]


def mel_bands() -> Array:
    """(BANDS, 257) triangles, evenly spaced in mel, over a spectrum of 512 samples."""
    hz = np.linspace(0, SPEECH_RATE_HZ / 2, 257)
    mel, lowest, highest = (2595 * np.log10(1 + f / 700) for f in (hz, LOWEST_HZ, HIGHEST_HZ))
    edges = np.linspace(lowest, highest, BANDS + 2)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (mel - low) / (middle - low), (high - mel) / (high - middle)
    return np.asarray(np.maximum(0.0, np.minimum(rise, fall)))
