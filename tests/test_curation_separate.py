"""Taking music and noise away: only where it helps, in time, and without weights not at all."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openmocha.curation import separate
from openmocha.curation.engines import Engine
from openmocha.curation.separate import (
    RATE_HZ,
    SeparateJob,
    compare,
    moved_back,
    separate_rows,
    separated,
    speech_of,
    voice_in,
)
from openmocha.curation.settings import Settings
from openmocha.media import SPEECH_RATE_HZ, write_film

SPANS = ((0.8, 2.0), (2.6, 3.6))
SECONDS = 4


def voice_and_noise(rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """A buzzing voice during SPANS, and noise all the time, 13 dB below it."""
    time_s = np.arange(SECONDS * rate_hz) / rate_hz
    buzz = sum(np.sin(2 * np.pi * hz * time_s) / 3 for hz in range(150, 6000, 450))
    heard = sum((time_s >= a) & (time_s < b) for a, b in SPANS)
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(time_s))
    return (0.1 * buzz * heard).astype(np.float32), noise.astype(np.float32)


def ideal(late_s: float = 0.0, kept_noise: float = 0.05):
    """A stand-in for a separator that knows the voice, and answers late."""
    voice, noise = voice_and_noise(RATE_HZ)
    late = round(late_s * RATE_HZ)

    def separator(sound: np.ndarray) -> np.ndarray:
        found = np.roll(voice + kept_noise * noise, late)
        return np.stack([found, found])[:, : sound.shape[1]]

    return separator


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("films") / "noisy.mp4"
    voice, noise = voice_and_noise(SPEECH_RATE_HZ)
    write_film(path, np.zeros((24 * SECONDS, 96, 128, 3), np.uint8), voice + noise)
    return path


def job(film: Path, folder: Path) -> SeparateJob:
    return SeparateJob(film, 0.0, float(SECONDS), SPANS, "stand-in", folder / "clip-1")


def test_noise_goes_and_the_voice_stays_in_time(film, tmp_path):
    late = separated(job(film, tmp_path), ideal(late_s=0.02))
    assert late["removed_pauses_db"] > 20 and abs(late["removed_speech_db"]) < 1.0
    voice = np.load(tmp_path / late["speech_file"]) / 32767
    wanted, _ = voice_and_noise(SPEECH_RATE_HZ)
    curve = np.correlate(np.pad(voice, 400), wanted, "valid")
    assert abs(int(curve.argmax()) - 400) <= 2  # samples; it was 320 late


@pytest.mark.parametrize(
    "harm",
    [
        lambda sound: sound,  # takes nothing away
        lambda sound: np.zeros_like(sound),  # takes all away
        lambda sound: 0.2 * sound,  # only softer: the pauses lose no more than the voice
        lambda sound: np.random.default_rng(1).standard_normal(sound.shape).astype(np.float32),
    ],
)
def test_what_does_not_help_is_not_used(film, tmp_path, harm):
    columns = separated(job(film, tmp_path), harm)
    assert "speech_file" not in columns and not list(tmp_path.glob("*.npy"))


def test_a_voice_that_loses_its_high_sounds_is_not_used(film, tmp_path):
    def dull(sound: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(ideal()(sound))
        spectrum[:, round(2500 * sound.shape[1] / RATE_HZ) :] *= 0.3
        return np.fft.irfft(spectrum, sound.shape[1]).astype(np.float32)

    columns = separated(job(film, tmp_path), dull)
    assert columns["removed_pauses_db"] > 6 and "speech_file" not in columns


def test_without_a_pause_nobody_can_tell():
    voice, noise = voice_and_noise(SPEECH_RATE_HZ)
    assert compare(voice + noise, voice, SPANS).helps
    assert not compare(voice + noise, voice, [(0.0, 4.0)]).helps
    assert not compare(voice + noise, voice, []).helps


def test_delays_either_way_are_undone():
    voice, noise = voice_and_noise(SPEECH_RATE_HZ)
    for delay in (-700, -3, 0, 5, 800):
        np.testing.assert_array_equal(
            moved_back(voice + noise, np.roll(voice, delay))[1000:-1000], voice[1000:-1000]
        )


def test_a_shorter_answer_is_filled_with_silence():
    voice = voice_in(np.ones(100, np.float32), lambda sound: sound[:, :90])
    assert voice.shape == (100,) and voice[:90].min() == 1.0 and not voice[90:].any()


def test_a_clip_is_separated_once(film, tmp_path):
    first = separated(job(film, tmp_path), ideal())

    def never(sound: np.ndarray) -> np.ndarray:
        raise AssertionError("asked again")

    assert separated(job(film, tmp_path), never) == first
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(b"no film")
    (tmp_path / "other").mkdir()
    assert "damaged sound" in separated(job(torn, tmp_path / "other"), never)["reason"]
    assert "set aside" in separated(job(film, tmp_path / "no folder"), ideal())["reason"]


def rows_of(film: Path) -> list[dict[str, object]]:
    row = {"path": str(film), "clip_id": "a", "start_s": 0.0, "end_s": 4.0, "reason": None,
           "speech_s": [list(s) for s in SPANS]}  # fmt: skip
    return [row, row | {"clip_id": "b", "reason": "crowd"}, row | {"clip_id": "c", "part_of": "d"}]


def test_the_voice_goes_into_shards_and_clip_files(film, tmp_path, monkeypatch):
    monkeypatch.setattr(separate, "_separator", lambda weights: ideal())
    settings = replace(Settings(), separator="stand-in")
    folder = tmp_path / "work" / "speech"
    rows = separate_rows(rows_of(film), folder, settings, Engine("one"), lambda words: None)
    assert ["speech_file" in row for row in rows] == [True, False, False]
    quiet, noisy = (speech_of(row, 12_000, tmp_path) for row in (rows[0], rows[1]))
    assert quiet.dtype == np.float32 and len(quiet) == len(noisy) == 12_000
    assert np.abs(quiet[:9000]).mean() < 0.2 * np.abs(noisy[:9000]).mean()
    longer = speech_of(rows[0], 5 * SPEECH_RATE_HZ, tmp_path)
    assert not longer[4 * SPEECH_RATE_HZ :].any()


def test_without_weights_nothing_changes(film, tmp_path):
    rows = rows_of(film)
    same = separate_rows(rows, tmp_path / "speech", Settings(), Engine("one"), print)
    assert same is rows and rows == rows_of(film) and not (tmp_path / "speech").exists()


def test_weights_that_are_none_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="holds 0 .safetensors; expected one"):
        separate.weights_file(str(tmp_path))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"nothing")
    assert separate.weights_file(str(tmp_path)) == file
    monkeypatch.setitem(__import__("sys").modules, "demucs.apply", None)
    with pytest.raises(ImportError, match="pip install"):
        separate.demucs_separator(file)


def test_lengths_in_the_metadata_are_fractions():
    text = '{"segment": {"_type": "fraction", "numerator": 39, "denominator": 5}}'
    assert json.loads(text, object_hook=separate._fraction) == {"segment": Fraction(39, 5)}
