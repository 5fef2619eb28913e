"""The loudness envelope: what a mouth would do that only knows how loud the speech is."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from openmocha.evaluation.toon_scores import pearson

SAMPLE_RATE_HZ = 16000
FPS = 24


def loudness(speech: np.ndarray, num_frames: int) -> np.ndarray:
    """RMS (T,) of the samples of each video frame, over the film's loudest frame: 0..1."""
    edges = np.round(np.arange(num_frames + 1) * SAMPLE_RATE_HZ / FPS).astype(int)
    padded = np.zeros(max(edges[-1], len(speech)), np.float64)
    padded[: len(speech)] = speech
    power = np.array([np.mean(padded[a:b] ** 2) for a, b in zip(edges, edges[1:], strict=False)])
    rms = np.sqrt(power)
    return rms / max(rms.max(), 1e-9)


def predict(speech: np.ndarray, num_frames: int, settings: tuple[float, float, int]) -> np.ndarray:
    """Opening from loudness: raised to a power, smoothed (sigma in frames), shifted by frames."""
    exponent, sigma, shift = settings
    smooth = gaussian_filter1d(loudness(speech, num_frames) ** exponent, sigma)
    return np.roll(smooth, shift)


def fit(films: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, int]:
    """The settings of `predict` with the highest mean r on (speech, true opening) pairs."""
    grid = [
        (exponent, sigma, shift)
        for exponent in (0.25, 0.5, 0.75, 1.0)
        for sigma in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
        for shift in range(-3, 4)
    ]
    scores = [
        np.mean([pearson(predict(speech, len(opening), s), opening) for speech, opening in films])
        for s in grid
    ]
    return grid[int(np.argmax(scores))]
