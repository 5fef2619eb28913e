"""Mel-frequency cepstral coefficients, 100 frames a second, as SyncNet was trained on.

speech int16 at 16 kHz -> (13, T) float64

The definition is python_speech_features 0.6's with its defaults: rectangular windows, HTK's mel
scale, filters between FFT bins, the first coefficient replaced by the logarithm of the energy.
"""

from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RATE_HZ = 16_000
WINDOW, STEP, FFT = 400, 160, 512  # samples
NUM_FILTERS, NUM_COEFFICIENTS, LIFTER, PRE_EMPHASIS = 26, 13, 22, 0.97
_BLOCK = 2000  # frames at once, so that a long recording's spectra are never held all together
_SMALLEST = np.finfo(float).eps  # stands for zero before a logarithm


def num_frames(num_samples: int) -> int:
    """MFCC frames of a recording; the last one is filled up with zeros."""
    return 1 + max(0, -(-(num_samples - WINDOW) // STEP))


def mfcc(speech: Array) -> Array:
    """(13, T) float64 of speech (samples,) at 16 kHz, whole numbers of 16 bits, not -1..1."""
    total = num_frames(len(speech))
    blocks = []
    for start in range(0, total, _BLOCK):
        count = min(_BLOCK, total - start)
        blocks.append(_coefficients(_frames(speech, start, count)))
    return np.concatenate(blocks).T


def _frames(speech: Array, start: int, count: int) -> Array:
    """(count, 400): pre-emphasised frames from number `start` on."""
    first, last = start * STEP, (start + count - 1) * STEP + WINDOW
    samples = speech[max(0, first - 1) : last].astype(np.float64)
    emphasised = samples[1:] - PRE_EMPHASIS * samples[:-1]
    if first == 0:  # the first sample has none before it and stays
        emphasised = np.concatenate([samples[:1], emphasised])
    filled = np.zeros(last - first)
    filled[: len(emphasised)] = emphasised
    return np.lib.stride_tricks.sliding_window_view(filled, WINDOW)[::STEP]


def _coefficients(frames: Array) -> Array:
    """(n, 400) -> (n, 13)."""
    from scipy.fft import dct

    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    energy = power.sum(axis=1)
    bands = np.log(_positive(power @ mel_filters().T))
    cepstrum = dct(bands, type=2, axis=1, norm="ortho")[:, :NUM_COEFFICIENTS]
    n = np.arange(NUM_COEFFICIENTS)
    lifted = cepstrum * (1 + LIFTER / 2 * np.sin(np.pi * n / LIFTER))
    lifted[:, 0] = np.log(_positive(energy))
    return np.asarray(lifted)


def _positive(values: Array) -> Array:
    return np.where(values == 0, _SMALLEST, values)


@cache
def mel_filters() -> Array:
    """(26, 257): triangles between FFT bins that are evenly spaced in mel from 0 to 8 kHz."""
    top_mel = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top_mel, NUM_FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * edges_hz / RATE_HZ)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(FFT // 2 + 1)
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    rises, falls = (bins >= left) & (bins < middle), (bins >= middle) & (bins < right)
    return np.where(rises, rising, 0) + np.where(falls, falling, 0)
