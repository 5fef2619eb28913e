"""Synthetic speakers: words in, speech with exact phoneme and word times out.

espeak-ng speaks, in a process of its own (`espeak.py`); its sound is then made into that of a
person: the vocal tract scaled by resampling (formants, pitch and time move together, and the
times with them), breath, spectral tilt and an old voice's tremor. A voice is drawn from a seed,
an age and a gender; voices of the train and test splits share no espeak variant.
"""

import atexit
import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_RATE_HZ = 16_000

# espeak-ng variants with their median pitch in Hz at espeak's middle pitch setting (50).
MALE_VARIANTS = {
    "train": {
        "Alex": 106, "Andy": 99, "Denis": 104, "Diogo": 111, "Gene": 98, "Jacky": 122,
        "Mario": 119, "Mike": 96, "Nguyen": 162, "Reed": 122, "adam": 108, "antonio": 116,
        "david": 78, "ed": 136, "edward": 106, "gustave": 117, "iven": 107, "iven3": 107,
        "john": 107, "klatt2": 111, "klatt4": 106, "klatt5": 106, "m1": 99, "m3": 111, "m4": 98,
        "m6": 106, "m7": 114, "marcelo": 106, "max": 110, "michel": 111, "miguel": 119,
        "norbert": 106, "pablo": 118, "paul": 91, "quincy": 93, "rob": 130, "travis": 111,
        "grandpa": 115, "croak": 112,
    },
    "test": {
        "m2": 105, "m5": 106, "m8": 91, "Michael": 118, "Marco": 140, "robert": 109,
        "victor": 99, "boris": 110, "klatt3": 109, "benjamin": 108, "pedro": 107,
    },
}  # fmt: skip
FEMALE_VARIANTS = {
    "train": {
        "Alicia": 262, "Annie": 269, "anika": 286, "aunty": 171, "f1": 185, "f2": 206, "f3": 224,
        "f5": 212, "steph": 188, "steph2": 188, "steph3": 188, "shelby": 197, "grandma": 216,
    },
    "test": {"f4": 184, "Andrea": 251, "linda": 233, "belinda": 235},
}  # fmt: skip
ACCENTS = (
    "en-us", "en-us", "en-us", "en", "en", "en-gb-x-rp", "en-gb-scotland",
    "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc", "en-029",
)  # fmt: skip

# (age, gender) -> pitch in Hz, vocal tract factor (formants up by it), words per minute.
_SOUND = {
    ("child", "female"): ((255, 340), (1.12, 1.28), (145, 185)),
    ("child", "male"): ((235, 320), (1.14, 1.32), (145, 185)),
    ("young", "female"): ((190, 260), (0.98, 1.10), (155, 205)),
    ("young", "male"): ((100, 150), (0.96, 1.07), (155, 205)),
    ("middle-aged", "female"): ((165, 220), (0.94, 1.03), (145, 185)),
    ("middle-aged", "male"): ((80, 120), (0.90, 1.01), (145, 185)),
    ("elderly", "female"): ((150, 205), (0.92, 1.02), (110, 140)),
    ("elderly", "male"): ((95, 145), (0.90, 1.01), (110, 140)),
}


@dataclass(frozen=True)
class Phone:
    """One phoneme: IPA without stress marks, its time, stress 0 none, 1 secondary, 2 primary."""

    ipa: str
    start_s: float
    end_s: float
    stress: int


@dataclass(frozen=True)
class Word:
    text: str
    start_s: float
    end_s: float
    stressed: bool


@dataclass(frozen=True)
class Utterance:
    """Speech (samples,) float32 mono 16 kHz within [-1, 1], with its phones and words."""

    speech: np.ndarray
    phones: tuple[Phone, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Voice:
    """How a person sounds.

    `f0_hz` median pitch; `pitch_range` espeak's 0..99; `tract` scales all formants (1.2: a child's
    short vocal tract); `breath` and `tremor` 0..1; `tilt_db` per octave above 500 Hz, roughly.
    """

    variant: str
    accent: str
    f0_hz: float
    pitch_range: int
    speed_wpm: float
    tract: float
    breath: float
    tilt_db: float
    tremor: float
    seed: int


def make_voice(
    seed: int, age: str, gender: str, split: str = "train", unlike: Sequence[Voice] = ()
) -> Voice:
    """The voice of person `seed`: deterministic; ages and genders sound apart.

    Args:
        age: "child", "young", "middle-aged" or "elderly".
        gender: "female" or "male".
        split: "train" or "test"; the two share no espeak variant.
        unlike: voices this one must be told from (the other people of a dialogue).

    Raises:
        ValueError: unknown age, gender or split.
    """
    if (age, gender) not in _SOUND or split not in ("train", "test"):
        raise ValueError(
            f"no voice for age {age!r}, gender {gender!r}, split {split!r}; expected an age and "
            f"gender of {sorted(_SOUND)} and split 'train' or 'test'"
        )
    rng = np.random.default_rng([seed, *(ord(c) for c in age + gender + split)])
    candidates = [_draw_voice(rng, age, gender, split) for _ in range(32 if unlike else 1)]
    return max(candidates, key=lambda voice: min([_apart(voice, v) for v in unlike] + [1.0]))


def _apart(one: Voice, other: Voice) -> float:
    """How far apart two voices sound, 1 being plenty."""
    if one.variant == other.variant:
        return 0.0
    pitch = abs(math.log2(one.f0_hz / other.f0_hz)) / 0.35
    tract = abs(math.log2(one.tract / other.tract)) / 0.12
    return min(pitch + tract, 1.0)


def _draw_voice(rng: np.random.Generator, age: str, gender: str, split: str) -> Voice:
    f0, tract, speed = _SOUND[age, gender]
    # Boys before their voice breaks sound closer to women than to men.
    variants = (FEMALE_VARIANTS if gender == "female" or age == "child" else MALE_VARIANTS)[split]
    old = age == "elderly"
    return Voice(
        variant=str(rng.choice(sorted(variants))),
        accent=str(rng.choice(ACCENTS)),
        f0_hz=float(np.exp(rng.uniform(*np.log(f0)))),
        pitch_range=int(rng.integers(35, 80)),
        speed_wpm=float(rng.uniform(*speed)),
        tract=float(rng.uniform(*tract)),
        breath=float(rng.uniform(0.3, 0.8) if old else rng.uniform(0.0, 0.35)),
        tilt_db=float(rng.uniform(-3.0, 1.5)),
        tremor=float(rng.uniform(0.4, 1.0) if old else 0.0),
        seed=int(rng.integers(2**31)),
    )


class _Espeak:
    """The espeak-ng process with its pipes; it ends when its stdin is closed."""

    def __init__(self) -> None:
        if importlib.util.find_spec("espeakng_loader") is None:
            raise ValueError(
                "synthetic voices need espeak-ng, which is not installed; "
                "install it with: pip install openmocha[voices]"
            )
        self.pid = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("espeak.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.sample_rate_hz = float(self._read()["sample_rate_hz"])

    def request(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        assert self.process.stdin and self.process.stdout
        text = json.dumps(message).encode()
        self.process.stdin.write(struct.pack("<I", len(text)) + text)
        self.process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise ValueError(f"could not speak {message['text']!r}: {answer['error']}")
        return answer, self.process.stdout.read(answer["num_bytes"])

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise RuntimeError("the espeak-ng process ended; its message is above")
        answer: dict[str, Any] = json.loads(self.process.stdout.read(struct.unpack("<I", head)[0]))
        return answer

    def close(self) -> None:
        """Close the pipes; wait for the process only where it is our own child."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        if self.pid == os.getpid():
            self.process.wait()
        else:
            self.process.returncode = 0  # not our child: Popen must not wait for it


_lock = threading.Lock()
_espeak: _Espeak | None = None


def _ask_espeak(message: dict[str, Any]) -> tuple[dict[str, Any], bytes, float]:
    """One request, starting a process first where this process (after a fork) has none."""
    global _espeak
    with _lock:
        if _espeak is not None and _espeak.pid != os.getpid():
            _espeak.close()
            _espeak = None
        if _espeak is None:
            _espeak = _Espeak()
        answer, pcm = _espeak.request(message)
        return answer, pcm, _espeak.sample_rate_hz


def _close_espeak() -> None:
    global _espeak
    if _espeak is not None and _espeak.pid == os.getpid():
        _espeak.close()
        _espeak = None


def _renew_lock() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


atexit.register(_close_espeak)
os.register_at_fork(after_in_child=_renew_lock)


def speak(words: str, voice: Voice) -> Utterance:
    """Speak `words` (plain text) with `voice`; the same input gives the same samples.

    Raises:
        ValueError: nothing to speak, or espeak-ng is not installed.
    """
    if not any(c.isalnum() for c in words):
        raise ValueError(f"nothing to speak in {words!r}; give at least one word")
    base_hz = _base_pitch_hz(voice.variant) * voice.tract
    answer, pcm, rate = _ask_espeak(
        {
            "text": words,
            "voice": f"{voice.accent}+{voice.variant}",
            "speed": round(max(80.0, voice.speed_wpm / voice.tract)),
            "volume": 50,  # espeak's loud variants clip at its default of 100
            # measured: 20 steps of espeak's pitch setting are a factor of 1.22
            "pitch": round(min(max(50 + 70 * math.log2(voice.f0_hz / base_hz), 0), 99)),
            "pitch_range": voice.pitch_range,
        }
    )
    rate *= voice.tract
    sound = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    phones = _phones(answer["phones"], rate)
    return Utterance(_personal(sound, rate, voice), phones, _words(words, answer, phones, rate))


@lru_cache
def _base_pitch_hz(variant: str) -> float:
    for table in (*MALE_VARIANTS.values(), *FEMALE_VARIANTS.values()):
        if variant in table:
            return float(table[variant])
    raise ValueError(f"unknown voice variant {variant!r}; make voices with make_voice()")


def _phones(events: list[tuple[int, str]], rate: float) -> tuple[Phone, ...]:
    """espeak's phoneme events, each lasting until the next; pauses (no IPA) are left out."""
    phones = []
    for (sample, ipa), (end, _) in zip(events, events[1:], strict=False):
        stress = 2 if "ˈ" in ipa else 1 if "ˌ" in ipa else 0
        ipa = ipa.replace("ˈ", "").replace("ˌ", "")
        if ipa and end > sample:
            phones.append(Phone(ipa, sample / rate, end / rate, stress))
    return tuple(phones)


def _words(
    text: str, answer: dict[str, Any], phones: tuple[Phone, ...], rate: float
) -> tuple[Word, ...]:
    """Each word from its first phone to its last.

    espeak reports some pairs ("of the") as one word: the text of a word reaches to the next one.
    Rarely it reports no words at all: then the whole text counts as one.
    """
    events = answer["words"] or [(0, 0, len(text))]
    ends = [(sample, first) for sample, first, _ in events[1:]] + [(math.inf, len(text))]
    words = []
    for (sample, first, _), (end, next_first) in zip(events, ends, strict=True):
        mine = [p for p in phones if sample <= round(p.start_s * rate) < end]
        spelt = text[first:next_first].strip(' \t\n.,;:!?"-()')
        if mine and spelt:
            stressed = any(p.stress == 2 for p in mine)
            words.append(Word(spelt, mine[0].start_s, mine[-1].end_s, stressed))
    return tuple(words)


def smooth(signal: np.ndarray, keep: float) -> np.ndarray:
    """One-pole low-pass y[n] = keep y[n-1] + (1 - keep) x[n], through the spectrum."""
    num_fft = -(-(len(signal) + 1024) // 2048) * 2048  # room for the tail; a fast length
    angle = 2 * np.pi * np.fft.rfftfreq(num_fft)
    response = (1 - keep) / (1 - keep * np.exp(-1j * angle))
    return np.asarray(np.fft.irfft(np.fft.rfft(signal, num_fft) * response, num_fft)[: len(signal)])


def _personal(sound: np.ndarray, rate: float, voice: Voice) -> np.ndarray:
    """Resample to 16 kHz and add what espeak cannot do: tilt, breath, tremor; RMS 0.08."""
    import soxr

    resampled = soxr.resample(sound, rate, SAMPLE_RATE_HZ)
    speech: np.ndarray[Any, Any] = np.asarray(resampled, dtype=np.float32)
    rng = np.random.default_rng(voice.seed)
    hiss = rng.standard_normal(len(speech))
    hiss = hiss - 0.9 * np.roll(hiss, 1)
    speech = speech + 0.35 * voice.breath * smooth(np.abs(speech), 0.99) * hiss
    low = smooth(speech, 0.82)  # about 500 Hz
    speech = low + (speech - low) * 10 ** (voice.tilt_db * 2 / 20)
    if voice.tremor:
        time_s = np.arange(len(speech)) / SAMPLE_RATE_HZ
        rate_hz, phase = rng.uniform(4.5, 6.5), rng.uniform(0, 2 * np.pi)
        speech = speech * (1 + 0.25 * voice.tremor * np.sin(2 * np.pi * rate_hz * time_s + phase))
    loud = speech[np.abs(speech) > 1e-3]
    level = np.sqrt(np.mean(loud**2)) if len(loud) else 1.0
    speech = speech * min(0.08 / level, 0.95 / max(float(np.abs(speech).max()), 1e-6))
    return np.asarray(speech, dtype=np.float32)
