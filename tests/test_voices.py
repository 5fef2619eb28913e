"""Synthetic speakers: exact times, the same every time, ages and genders apart, splits disjoint."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from openmocha.toon import voices
from openmocha.toon.augment import add_noise, augment, codec, colour, drop_weak_bins, resample
from openmocha.toon.sentences import sentence
from openmocha.toon.voices import SAMPLE_RATE_HZ, Voice, make_voice, speak

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeak-ng is not installed: pip install openmocha[voices]",
)
WORDS = "My brother found the big apple. Why don't we go home?"


def median_pitch_hz(speech: np.ndarray) -> float:
    """Median over frames of the strongest autocorrelation lag between 60 and 450 Hz."""
    pitches = []
    for start in range(0, len(speech) - 800, 400):
        frame = speech[start : start + 800].astype(float)
        frame -= frame.mean()
        if np.sqrt(np.mean(frame**2)) < 0.03:
            continue
        lags = np.correlate(frame, frame, "full")[799:]
        lags = lags / lags[0] / np.clip(1 - np.arange(800) / 800, 0.3, 1)
        best = 35 + int(np.argmax(lags[35:267]))
        for divisor in (3, 2):  # prefer the shortest period that explains the frame
            shorter = round(best / divisor)
            if shorter >= 35 and lags[shorter - 1 : shorter + 2].max() > 0.85 * lags[best]:
                best = shorter
                break
        if lags[best] > 0.5:
            pitches.append(SAMPLE_RATE_HZ / best)
    return float(np.median(pitches))


def rms(speech: np.ndarray, start_s: float, end_s: float) -> float:
    part = speech[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]
    return float(np.sqrt(np.mean(np.square(part, dtype=float))))


@needs_espeak
@pytest.mark.parametrize(("age", "gender"), [("child", "female"), ("elderly", "male")])
def test_times_are_true(age: str, gender: str) -> None:
    """Words come in order and spelt as given; the pause between sentences is where phones say."""
    utterance = speak(WORDS, make_voice(4, age, gender))
    speech, phones, words = utterance.speech, utterance.phones, utterance.words
    assert speech.dtype == np.float32 and np.abs(speech).max() < 1
    assert " ".join(w.text for w in words) == WORDS.replace(".", "").replace("?", "")
    edges = [t for p in phones for t in (p.start_s, p.end_s)]
    assert edges == sorted(edges) and edges[-1] <= len(speech) / SAMPLE_RATE_HZ + 1e-3
    gaps = [(a.end_s, b.start_s) for a, b in zip(phones, phones[1:], strict=False)]
    start_s, end_s = max(gaps, key=lambda gap: gap[1] - gap[0])
    assert end_s - start_s > 0.15
    talk = rms(speech, phones[0].start_s, phones[-1].end_s)
    assert rms(speech, start_s + 0.03, end_s - 0.01) < 0.1 * talk
    apple = next(w for w in words if w.text == "apple")
    assert apple.stressed and rms(speech, apple.start_s, apple.end_s) > 0.5 * talk
    assert not next(w for w in words if w.text == "the").stressed


@needs_espeak
def test_same_input_same_samples_whatever_was_said_before() -> None:
    voice = make_voice(7, "young", "female")
    first = speak(WORDS, voice)
    speak("Something else altogether.", make_voice(8, "elderly", "male"))
    again = speak(WORDS, voice)
    assert np.array_equal(first.speech, again.speech) and first.phones == again.phones


@needs_espeak
def test_forked_processes_get_a_synthesiser_of_their_own() -> None:
    """Parent and two children speak at once after a fork, and all agree. A process of its own,
    because pytest's may have threads."""
    script = f"""
import os, zlib
from openmocha.toon.voices import make_voice, speak
voice = make_voice(3, "young", "male")
say = lambda: zlib.crc32(speak({WORDS!r}, voice).speech.tobytes())
want = say()
children = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if all(say() == want for _ in range(5)) else 1)
    children.append(pid)
assert all(say() == want for _ in range(5))
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
assert "espeak" not in open("/proc/self/maps").read(), "GPL code was loaded into the process"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@needs_espeak
def test_pitch_is_the_voice_s_and_tells_ages_and_genders_apart() -> None:
    pitches: dict[tuple[str, str], list[float]] = {}
    for seed in range(3):
        for person in (("child", "female"), ("young", "female"), ("middle-aged", "male")):
            voice = make_voice(seed, *person)
            heard = median_pitch_hz(speak(WORDS, voice).speech)
            assert heard == pytest.approx(voice.f0_hz, rel=0.3), voice
            pitches.setdefault(person, []).append(heard)
    child, woman, man = pitches.values()
    assert min(child) > 1.05 * np.mean(woman) and min(woman) > 1.25 * max(man)


@needs_espeak
def test_every_variant_speaks_in_every_accent() -> None:
    """One variant per accent, and one accent per variant, of both splits."""
    base = make_voice(0, "young", "male")
    for accent in set(voices.ACCENTS):
        assert speak("Hello", replace(base, accent=accent)).phones
    tables = (*voices.MALE_VARIANTS.values(), *voices.FEMALE_VARIANTS.values())
    for variant in (v for table in tables for v in table):
        assert speak("Hello", replace(base, variant=variant)).phones, variant


def test_splits_share_no_variant() -> None:
    for tables in (voices.MALE_VARIANTS, voices.FEMALE_VARIANTS):
        assert not set(tables["train"]) & set(tables["test"])
    test_variants = set(voices.MALE_VARIANTS["test"]) | set(voices.FEMALE_VARIANTS["test"])
    people = [(s, a, g) for s in range(20) for a, g in voices._SOUND]
    assert {make_voice(*p, "test").variant for p in people} <= test_variants
    assert not {make_voice(*p, "train").variant for p in people} & test_variants
    assert make_voice(5, "young", "male") == make_voice(5, "young", "male")


def test_people_of_a_dialogue_sound_apart() -> None:
    def apart(one: Voice, other: Voice) -> float:
        pitch, tract = one.f0_hz / other.f0_hz, one.tract / other.tract
        return float(abs(np.log2(pitch)) + 3 * abs(np.log2(tract)))  # formants count for more

    for seed in range(30):
        first = make_voice(seed, "middle-aged", "male")
        second = make_voice(seed + 1000, "middle-aged", "male", unlike=(first,))
        assert first.variant != second.variant and apart(first, second) > 0.25


def test_sentences_of_the_splits_never_meet() -> None:
    rng = np.random.default_rng(0)
    train = {sentence(rng) for _ in range(2000)}
    test = {sentence(rng, "test") for _ in range(500)}
    assert not train & test
    assert len(train) > 1700 and 2 < np.mean([len(s.split()) for s in train]) < 15
    assert not any("{" in s or "  " in s or "a a" in s.split() for s in train)
    assert sentence(np.random.default_rng(3)) == sentence(np.random.default_rng(3))


def test_mistakes_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = make_voice(1, "young", "male")
    with pytest.raises(ValueError, match="at least one word"):
        speak(" ... ", voice)
    with pytest.raises(ValueError, match="'teenager'"):
        make_voice(1, "teenager", "male")
    with pytest.raises(ValueError, match="split"):
        sentence(np.random.default_rng(0), "dev")
    monkeypatch.setattr(voices, "_espeak", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install openmocha\[voices\]"):
        speak("Hello", voice)


def burst_at(second: float) -> np.ndarray:
    """Two seconds of silence with 50 ms of tones in it."""
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * hz * time_s) for hz in (500, 900, 1500, 2300))
    return (0.1 * tones * (np.abs(time_s - second) < 0.025)).astype(np.float32)


def test_recording_chains_keep_length_and_time() -> None:
    rng = np.random.default_rng(1)
    speech = burst_at(1.2)
    for _ in range(40):
        heard = augment(speech, rng)
        assert heard.shape == speech.shape and heard.dtype == np.float32
        assert np.isfinite(heard).all() and np.abs(heard).max() <= 1
    for change in (colour, codec):
        heard = np.square(change(speech, rng))
        loudest = np.convolve(heard, np.ones(800), "same").argmax() / SAMPLE_RATE_HZ
        assert loudest == pytest.approx(1.2, abs=0.02), change.__name__
    assert np.allclose(drop_weak_bins(speech, 0.0), speech, atol=1e-6)
    noisy = add_noise(speech, rng)
    assert np.std(noisy[:8000]) > 0  # silence no longer is


@needs_espeak
def test_resampling_moves_pitch_and_times_together() -> None:
    utterance = speak(WORDS, make_voice(2, "young", "male"))
    faster = resample(utterance, 1.25)
    assert len(faster.speech) == pytest.approx(len(utterance.speech) / 1.25, abs=2)
    assert faster.words[3].start_s == pytest.approx(utterance.words[3].start_s / 1.25)
    ratio = median_pitch_hz(faster.speech) / median_pitch_hz(utterance.speech)
    assert ratio == pytest.approx(1.25, rel=0.05)
