"""Synthetic recordings with labels for the speech encoder, made while it trains.

    sentences -> voices -> turns -> a scene of one or two speakers -> recording chain -> labels

Labels are per encoder frame, at the centre of what the frame hears.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from openmocha.models.speech_encoder import SAMPLE_RATE_HZ
from openmocha.toon.augment import augment, coloured_noise, resample
from openmocha.toon.mouths import SYMBOLS, gestures, mouth_track
from openmocha.toon.sentences import sentence
from openmocha.toon.voices import Phone, Utterance, make_voice, speak

PEOPLE = tuple(
    (age, gender)
    for age in ("child", "young", "middle-aged", "elderly")
    for gender in ("female", "male")
)
NOBODY = -100  # torch's ignore_index
POOL_TURNS = 240


@dataclass(frozen=True)
class Turn:
    """What one person says without a break, with labels of who it is."""

    utterance: Utterance
    person: int  # index into PEOPLE, or NOBODY where resampling has moved it between them
    octaves: float  # pitch, in octaves above 160 Hz


@dataclass(frozen=True)
class FrameGrid:
    """Encoder frames of a crop: frame i hears `stride` * i to that + `receptive_field` samples."""

    num_samples: int
    stride: int
    receptive_field: int

    @property
    def num_frames(self) -> int:
        return (self.num_samples - self.receptive_field) // self.stride + 1

    @property
    def fps(self) -> float:
        return SAMPLE_RATE_HZ / self.stride

    @property
    def first_centre_s(self) -> float:
        return self.receptive_field / 2 / SAMPLE_RATE_HZ

    def centres_s(self) -> np.ndarray:
        return np.asarray(self.first_centre_s + np.arange(self.num_frames) / self.fps)


@dataclass(frozen=True)
class LabelledSpeech:
    """Normalised speech (B, samples) and what a frame of it (B, S) says about mouth and speaker."""

    speech: Tensor
    mouth: Tensor  # (B, S, 4)
    phone: Tensor  # int64, index into SYMBOLS
    speaking: Tensor  # 0 or 1
    change: Tensor  # decays from 1 after a new speaker starts, 0 before
    second: Tensor  # 1 while the second speaker has the word
    person: Tensor  # int64, index into PEOPLE or NOBODY
    octaves: Tensor  # pitch of the person speaking; NaN where nobody does
    loudness: Tensor  # log10 RMS of the clean speech around the frame, 0 at its mean

    @classmethod
    def stack(cls, parts: "list[LabelledSpeech]") -> Self:
        names = [f.name for f in fields(cls)]
        return cls(**{n: torch.stack([getattr(p, n) for p in parts]) for n in names})


def draw_turn(rng: np.random.Generator, split: str) -> Turn:
    """One to three sentences in a new voice, more varied in speed and colour than toon people."""
    person = int(rng.integers(len(PEOPLE)))
    voice = make_voice(int(rng.integers(2**31)), *PEOPLE[person], split)
    voice = replace(
        voice,
        speed_wpm=float(rng.uniform(105, 250)),
        pitch_range=int(rng.integers(10, 99)),
        tilt_db=float(rng.uniform(-5, 3)),
        breath=max(voice.breath, float(rng.uniform(-0.5, 0.6))),
    )
    words = " ".join(sentence(rng, split) for _ in range(int(rng.integers(1, 4))))
    utterance = speak(words, voice)
    factor = float(rng.choice([1.0, rng.uniform(0.82, 1.24)]))
    if factor != 1.0:
        utterance = resample(utterance, factor)
    clear = abs(np.log2(factor)) < 0.06
    octaves = float(np.log2(voice.f0_hz * factor / 160))
    return Turn(utterance, person if clear else NOBODY, octaves)


def draw_scene(
    turns: list[Turn], grid: FrameGrid, rng: np.random.Generator, augmented: bool
) -> LabelledSpeech:
    """A crop with the given turns in it: none (noise only), one, or two with a change of speaker.

    One turn is cut anywhere, silence before and after it included; of two, the first ends and the
    second begins within the crop.
    """
    seconds = grid.num_samples / SAMPLE_RATE_HZ
    starts: list[float] = []
    if len(turns) == 1:
        length = len(turns[0].utterance.speech) / SAMPLE_RATE_HZ
        starts = [-rng.uniform(-0.8, max(length - 1.0, -0.5))]
    elif len(turns) == 2:
        end = rng.uniform(0.1, 0.8) * seconds
        starts = [end - len(turns[0].utterance.speech) / SAMPLE_RATE_HZ, end + rng.uniform(0, 0.9)]
    speech = np.zeros(grid.num_samples, np.float32)
    for turn, start_s in zip(turns, starts, strict=True):
        _mix(speech, turn.utterance.speech * 10 ** rng.uniform(-0.4, 0.4), start_s)
    labels = _labels(turns, starts, speech, grid)
    if not turns:
        speech += 0.01 * coloured_noise(grid.num_samples, rng)
    if augmented:
        speech = augment(speech, rng)
    speech = (speech - speech.mean()) / np.sqrt(speech.var() + 1e-7)
    return replace(labels, speech=torch.from_numpy(speech.astype(np.float32)))


def _mix(speech: np.ndarray, part: np.ndarray, start_s: float) -> None:
    start = round(start_s * SAMPLE_RATE_HZ)
    first, last = max(start, 0), min(start + len(part), len(speech))
    if last > first:
        speech[first:last] += part[first - start : last - start]


def _labels(
    turns: list[Turn], starts: list[float], speech: np.ndarray, grid: FrameGrid
) -> LabelledSpeech:
    centres = grid.centres_s()
    # mouth_track puts frame t at (t + 0.5) / fps: shift the phones to where our frames are.
    shift_s = grid.first_centre_s - 0.5 / grid.fps
    phones = [
        replace(p, start_s=p.start_s + start, end_s=p.end_s + start)
        for turn, start in zip(turns, starts, strict=True)
        for p in turn.utterance.phones
    ]
    shifted = [replace(p, start_s=p.start_s - shift_s, end_s=p.end_s - shift_s) for p in phones]
    mouth = mouth_track(shifted, grid.num_frames, grid.fps)
    phone = phone_classes(phones, centres)
    speaker = np.zeros(grid.num_frames, int) - 1
    for index, start in enumerate(starts):
        speaker[centres >= start] = index
    person = np.array([*(t.person for t in turns), NOBODY])[speaker]
    octaves = np.array([*(t.octaves for t in turns), np.nan])[speaker]
    change = np.zeros(grid.num_frames)
    if len(turns) == 2:
        change = np.where(centres >= starts[1], np.exp(-(centres - starts[1]) / 0.5), 0)
    return LabelledSpeech(
        speech=torch.from_numpy(speech),
        mouth=torch.from_numpy(mouth),
        phone=torch.from_numpy(phone),
        speaking=torch.from_numpy((phone > 0).astype(np.float32)),
        change=torch.from_numpy(change.astype(np.float32)),
        second=torch.from_numpy((speaker == 1).astype(np.float32)),
        person=torch.from_numpy(person.astype(np.int64)),
        octaves=torch.from_numpy(octaves.astype(np.float32)),
        loudness=torch.from_numpy(_loudness(speech, centres)),
    )


def phone_classes(phones: list[Phone], times_s: np.ndarray) -> np.ndarray:
    """(S,) int64 index into SYMBOLS of what is spoken at each time."""
    number = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    classes = np.zeros(len(times_s), np.int64)
    for gesture in gestures(phones):
        inside = (times_s >= gesture.start_s) & (times_s < gesture.end_s)
        classes[inside] = number[gesture.symbol]
    return classes


def _loudness(speech: np.ndarray, centres_s: np.ndarray) -> np.ndarray:
    """log10 of the RMS in 40 ms around each centre, minus the crop's mean, floor 40 dB below."""
    half = int(0.02 * SAMPLE_RATE_HZ)
    power = np.concatenate([[0.0], np.cumsum(np.square(speech, dtype=np.float64))])
    centre = (centres_s * SAMPLE_RATE_HZ).astype(int)
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, len(speech))
    rms = np.sqrt((power[high] - power[low]) / (high - low)) + 1e-9
    level = np.log10(np.maximum(rms, rms.max() * 0.01))
    return np.asarray(level - level.mean(), dtype=np.float32)


def scenes(
    grid: FrameGrid, seed: int, split: str, augmented_share: float = 0.9
) -> Iterator[LabelledSpeech]:
    """Endless crops. Turns come from a pool that keeps being renewed."""
    rng = np.random.default_rng([seed, split == "test"])
    pool = [draw_turn(rng, split) for _ in range(8)]
    while True:
        if rng.random() < 0.5:
            turn = draw_turn(rng, split)
            if len(pool) < POOL_TURNS:
                pool.append(turn)
            else:
                pool[int(rng.integers(len(pool)))] = turn
        num_turns = int(rng.choice([0, 1, 2], p=[0.06, 0.56, 0.38]))
        turns = [pool[i] for i in rng.choice(len(pool), num_turns, replace=False)]
        yield draw_scene(turns, grid, rng, bool(rng.random() < augmented_share))
