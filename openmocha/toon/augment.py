"""Make a synthetic recording sound as if it came from anywhere: microphones, rooms, codecs, noise.

Everything keeps time: sample n of the result belongs to sample n of the input, so phone times stay
true. `resample` is the exception; it scales pitch, formants and all times together.

Arrays are (samples,) float32 mono at 16 kHz.
"""

from dataclasses import replace

import numpy as np

from openmocha.toon.voices import SAMPLE_RATE_HZ, Phone, Utterance, Word, smooth

Speech = np.ndarray


def augment(speech: Speech, rng: np.random.Generator) -> Speech:
    """A random recording chain: roughened voice, compressor, EQ and room, noise, codec, gain.

    Returns an array of the same length, finite, within [-1, 1].
    """
    if rng.random() < 0.25:
        speech = roughen(speech, rng)
    if rng.random() < 0.4:
        speech = compress(speech, rng.uniform(-0.2, 0.5))
    speech = colour(speech, rng)
    if rng.random() < 0.75:
        speech = add_noise(speech, rng)
    if rng.random() < 0.3:
        speech = codec(speech, rng)
    return gain(speech, rng)


def resample(utterance: Utterance, factor: float) -> Utterance:
    """The utterance played `factor` times as fast: shorter, higher, its times kept right."""
    import soxr

    def faster(part: Phone | Word) -> Phone | Word:
        return replace(part, start_s=part.start_s / factor, end_s=part.end_s / factor)

    speech = soxr.resample(utterance.speech, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="LQ")
    return Utterance(
        np.asarray(speech, dtype=np.float32),
        tuple(faster(p) for p in utterance.phones),  # type: ignore[misc]
        tuple(faster(w) for w in utterance.words),  # type: ignore[misc]
    )


def colour(speech: Speech, rng: np.random.Generator) -> Speech:
    """Microphone, band limits and room, all linear, in one multiplication of spectra."""
    num_fft = _fast_length(len(speech) + SAMPLE_RATE_HZ // 2)
    freqs = np.fft.rfftfreq(num_fft, 1 / SAMPLE_RATE_HZ)
    response = equaliser(freqs, rng) * band_limits(freqs, rng)
    spectrum = np.fft.rfft(speech, num_fft) * response
    if rng.random() < 0.5:
        spectrum *= np.fft.rfft(room(rng), num_fft)
    return np.fft.irfft(spectrum, num_fft)[: len(speech)].astype(np.float32)


def equaliser(freqs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gains of a smooth random curve over log frequency, some dB up and down, with a tilt."""
    octaves = np.log2(np.maximum(freqs, 40) / 1000)
    knots = np.linspace(-4.7, 3, 9)
    gains_db = rng.normal(0, rng.uniform(0, 6), len(knots)) + rng.uniform(-3, 3) * knots
    return np.asarray(10 ** (np.interp(octaves, knots, gains_db).clip(-30, 30) / 20))


def band_limits(freqs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gains of a telephone band, a low-pass, a high-pass, or nothing."""
    kind = rng.random()
    low, high = 0.0, 9000.0
    if kind < 0.15:
        low, high = rng.uniform(200, 400), rng.uniform(2800, 3800)
    elif kind < 0.4:
        high = rng.uniform(2500, 7500)
    elif kind < 0.6:
        low = rng.uniform(60, 250)
    below = (freqs / max(low, 1e-3)).clip(0, 1) ** 4 if low else 1.0
    return np.asarray(below / (1 + (freqs / high) ** 16))


def room(rng: np.random.Generator) -> np.ndarray:
    """An impulse response: the direct sound at once, a few early echoes, a decaying tail."""
    decay_s = rng.uniform(0.08, 0.7)
    time_s = np.arange(int(min(decay_s, 0.45) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s)
    tail[: int(0.002 * SAMPLE_RATE_HZ)] = 0
    direct_to_tail_db = rng.uniform(-2, 18)
    tail *= 10 ** (-direct_to_tail_db / 20) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    tail[0] = 1.0
    echoes = rng.integers(int(0.003 * SAMPLE_RATE_HZ), int(0.03 * SAMPLE_RATE_HZ), 4)
    tail[echoes] += rng.uniform(-0.4, 0.4, 4)
    return np.asarray(tail)


def roughen(speech: Speech, rng: np.random.Generator) -> Speech:
    """Blur the phases of the short-time spectrum: hoarse at a little, whispered at all of it."""
    size, hop = 512, 128
    padded = np.pad(speech, (size, size + (-len(speech)) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * window)
    amount = rng.uniform(0.3, 1.0)
    from_bin = int(rng.choice([0, 0, 30, 60]))  # some voices are only hoarse above 1 or 2 kHz
    phase = rng.uniform(-np.pi, np.pi, (len(frames), spectrum.shape[1] - from_bin)) * amount
    spectrum[:, from_bin:] *= np.exp(1j * phase)
    pieces = np.fft.irfft(spectrum, size) * window
    result = np.zeros(len(padded))
    for offset in range(size // hop):  # frames `size` apart do not overlap: one row of the sum each
        rows = pieces[offset :: size // hop]
        start = offset * hop
        result[start : start + rows.size] += rows.reshape(-1)
    return (result[size : size + len(speech)] / 1.5).astype(np.float32)


def compress(speech: Speech, strength: float) -> Speech:
    """Even out (strength > 0) or deepen (< 0) the loudness: gain = envelope ** -strength."""
    envelope = smooth(np.abs(speech), 0.998).clip(0) + 0.01
    return np.asarray(speech * (envelope / 0.05) ** -strength, dtype=np.float32)


def add_noise(speech: Speech, rng: np.random.Generator) -> Speech:
    """Coloured noise that swells and fades, sometimes music or mains hum, at 0 to 40 dB SNR."""
    noise = coloured_noise(len(speech), rng)
    kind = rng.random()
    if kind < 0.25:
        noise = 0.3 * noise + music(len(speech), rng)
    elif kind < 0.35:
        noise = 0.5 * noise + hum(len(speech), rng)
    knots = np.exp(rng.normal(0, 0.6 * rng.random(), 9))
    swell = np.interp(np.linspace(0, 8, len(speech)), np.arange(9), knots)
    noise = noise * swell
    level = _rms(speech) or 0.05
    snr_db = rng.triangular(-2, 18, 42)
    return np.asarray(speech + noise * (level / _rms(noise) * 10 ** (-snr_db / 20)), np.float32)


def coloured_noise(num_samples: int, rng: np.random.Generator) -> Speech:
    """Noise with a random smooth spectrum: hiss, rumble, traffic, wind."""
    num_fft = _fast_length(num_samples)
    freqs = np.fft.rfftfreq(num_fft, 1 / SAMPLE_RATE_HZ)
    slope = (np.maximum(freqs, 50) / 1000) ** -rng.uniform(0, 1.2)
    white = rng.standard_normal((len(freqs), 2), dtype=np.float32).view(np.complex64)[:, 0]
    noise = np.fft.irfft(white * slope * equaliser(freqs, rng), num_fft)[:num_samples]
    return (noise / _rms(noise)).astype(np.float32)


def music(num_samples: int, rng: np.random.Generator) -> Speech:
    """Chords of decaying harmonics, a new one every third of a second or so."""
    tune = np.zeros(num_samples)
    root_hz = rng.uniform(80, 300)
    start = -int(rng.integers(8000))
    while start < num_samples:
        length = int(rng.uniform(0.2, 0.8) * SAMPLE_RATE_HZ)
        first, last = max(start, 0), max(min(start + length, num_samples), 0)
        time_s = (np.arange(first, last) - start) / SAMPLE_RATE_HZ
        for step in rng.choice([0, 3, 4, 5, 7, 9, 12, 16], 2):
            phase = 2 * np.pi * root_hz * 2 ** (step / 12) * time_s
            note = np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(3 * phase)
            tune[first:last] += note * np.exp(-3 * time_s)
        start += length
    return (tune / max(_rms(tune), 1e-6)).astype(np.float32)


def hum(num_samples: int, rng: np.random.Generator) -> Speech:
    """Mains hum, 50 or 60 Hz with odd harmonics."""
    phase = 2 * np.pi * float(rng.choice([50, 60])) * np.arange(num_samples) / SAMPLE_RATE_HZ
    wave = sum(rng.random() / k * np.sin(k * phase + k) for k in (1, 3, 5, 7))
    return np.asarray(wave / max(_rms(np.asarray(wave)), 1e-6), np.float32)


def codec(speech: Speech, rng: np.random.Generator) -> Speech:
    """Telephone mu-law, hard clipping, or a lossy codec that drops weak parts of the spectrum."""
    kind = rng.integers(3)
    peak = max(float(np.abs(speech).max()), 1e-6)
    if kind == 0:
        levels = 2 ** rng.integers(5, 9) / 2
        squeezed = np.sign(speech) * np.log1p(255 * np.abs(speech) / peak) / np.log(256)
        squeezed = np.round(squeezed * levels) / levels
        return np.asarray(
            np.sign(squeezed) * (256 ** np.abs(squeezed) - 1) / 255 * peak, np.float32
        )
    if kind == 1:
        limit = peak * rng.uniform(0.2, 0.8)
        return speech.clip(-limit, limit)
    return drop_weak_bins(speech, rng.uniform(0.3, 0.9))


def drop_weak_bins(speech: Speech, share: float) -> Speech:
    """Silence the weakest `share` of the bins of each 32 ms frame, as low-rate codecs do."""
    size, hop = 512, 256
    padded = np.pad(speech, (size, size + (-len(speech)) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32)
    spectrum = np.fft.rfft(frames * window)
    power = np.abs(spectrum)
    kept = int(power.shape[1] * (1 - share))
    floor = np.partition(power, -kept, axis=1)[:, -kept, None]
    pieces = np.fft.irfft(np.where(power >= floor, spectrum, 0), size) * window
    result = np.zeros(len(padded))
    for offset in range(size // hop):
        rows = pieces[offset :: size // hop]
        result[offset * hop : offset * hop + rows.size] += rows.reshape(-1)
    return result[size : size + len(speech)].astype(np.float32)


def gain(speech: Speech, rng: np.random.Generator) -> Speech:
    """Any recording level: peak between -30 and 0 dB of full scale."""
    peak = max(float(np.abs(speech).max()), 1e-6)
    return np.asarray(speech / peak * 10 ** (rng.uniform(-30, 0) / 20), np.float32)


def _rms(speech: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))


def _fast_length(num_samples: int) -> int:
    """A multiple of 2048: a length whose transform is fast."""
    return -(-num_samples // 2048) * 2048
