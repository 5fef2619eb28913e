"""Speech as the WAV file that a system asks for: as it is where it is one, else written anew."""

import wave
from pathlib import Path

import numpy as np

from openmocha.evaluation.baselines.program import Failed
from openmocha.media import SPEECH_RATE_HZ, load_speech


def seconds_of(speech: Path) -> float:
    """How long a recording is. Raises Failed where it cannot be read."""
    if is_wav(speech):
        with wave.open(str(speech)) as file:
            return float(file.getnframes() / file.getframerate())
    return len(_samples(speech)) / SPEECH_RATE_HZ


def wav_file(speech: Path, work: Path, silence_s: float) -> Path:
    """The recording itself where it is a WAV of whole numbers and needs no silence at its end; else
    a copy in `work` at 16 kHz, one channel, 16 bits."""
    if is_wav(speech) and silence_s == 0:
        return speech
    samples = _samples(speech)
    samples = np.concatenate([samples, np.zeros(round(silence_s * SPEECH_RATE_HZ), np.float32)])
    path = work / f"{speech.stem}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE_HZ)
        file.writeframes(np.round(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def is_wav(path: Path) -> bool:
    """Whether a file is a WAV of uncompressed whole numbers, by its content."""
    try:
        with wave.open(str(path)) as file:
            return bool(file.getnframes() > 0)
    except (wave.Error, EOFError, OSError):
        return False


def _samples(speech: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    try:
        return load_speech(speech)
    except (ValueError, OSError) as error:
        raise Failed(str(error)) from error
