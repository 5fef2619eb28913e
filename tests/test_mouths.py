"""The mouth track: vowels ordered, lips closed where they must be, closed when silent."""

import importlib.util

import numpy as np
import pytest

from openmocha.toon.mouths import MOUTH, gestures, mouth_track
from openmocha.toon.voices import Phone, make_voice, speak

OPEN, SPREAD, PRESSED, TEETH = range(4)


def held(ipa: str, start_s: float = 1.0, end_s: float = 1.5) -> np.ndarray:
    """The mouth in the middle of a long, stressed phone."""
    track = mouth_track([Phone(ipa, start_s, end_s, 2)], 96, 48.0)
    return track[int((start_s + end_s) / 2 * 48)]


def test_the_order_of_the_parameters_is_fixed() -> None:
    assert MOUTH == ("open", "spread", "pressed", "teeth")


def test_vowels_open_and_round_as_phonetics_says() -> None:
    opening = [held(v)[OPEN] for v in ("i", "e", "ɛ", "æ", "ɑ")]
    assert opening == sorted(opening) and opening[0] < 0.3 and opening[-1] > 0.85
    spread = [held(v)[SPREAD] for v in ("u", "o", "ɔ", "ɑ", "ɛ", "i")]
    assert spread == sorted(spread) and spread[0] < -0.8 and spread[-1] > 0.7


def test_a_diphthong_moves() -> None:
    track = mouth_track([Phone("aɪ", 1.0, 1.4, 2)], 96, 48.0)
    assert track[int(1.1 * 48), OPEN] > 0.7 > 0.45 > track[int(1.35 * 48), OPEN]


def test_closed_before_between_and_after_words() -> None:
    phones = [Phone("ɑ", 1.0, 1.3, 2), Phone("ɑ", 2.0, 2.3, 2)]
    track = mouth_track(phones, 24 * 4)
    time_s = (np.arange(len(track)) + 0.5) / 24
    away = np.min([np.abs(time_s - (p.start_s + p.end_s) / 2) - 0.15 for p in phones], axis=0)
    assert np.abs(track[away > 0.13]).max() < 0.02
    assert track[away < 0, OPEN].min() > 0.5
    assert not mouth_track([], 10).any()


def test_the_mouth_opens_before_the_sound() -> None:
    track = mouth_track([Phone("ɑ", 1.0, 1.3, 2)], 200, 100.0)
    half = 0.5 * track[:, OPEN].max()
    assert 0.92 < track[:, OPEN].searchsorted(half) / 100 < 0.995
    assert track[85, OPEN] < 0.05
    assert track[136, OPEN] < 0.25 * track.max()  # closed again soon after


@pytest.mark.parametrize("length_s", [0.02, 0.05, 0.12])
@pytest.mark.parametrize("start_s", np.arange(1.0, 1.0417, 0.005))
def test_lips_touch_in_some_frame_at_any_rate(length_s: float, start_s: float) -> None:
    """Every p, b, m and f is seen at 24 fps, wherever the frames fall."""
    for ipa in "pbmf":
        phones = [
            Phone("ɑ", start_s - 0.3, start_s, 2),
            Phone(ipa, start_s, start_s + length_s, 0),
            Phone("ɑ", start_s + length_s, start_s + length_s + 0.3, 2),
        ]
        track = mouth_track(phones, 48)
        assert track[:, TEETH if ipa == "f" else PRESSED].max() > 0.999
        assert track[: int((start_s + length_s + 0.1) * 24), OPEN][-8:].min() < 0.13
        # and the vowels on both sides still open wide
        assert (track[:, OPEN] > 0.6).sum() >= 6


def test_shifting_the_phones_shifts_the_track() -> None:
    phones = [Phone("m", 0.5, 0.6, 0), Phone("ɑ", 0.6, 0.9, 2), Phone("s", 0.9, 1.0, 0)]
    later = [Phone(p.ipa, p.start_s + 0.25, p.end_s + 0.25, p.stress) for p in phones]
    assert np.allclose(mouth_track(phones, 40)[:-6], mouth_track(later, 40)[6:], atol=1e-5)


@pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeak-ng is not installed: pip install openmocha[voices]",
)
def test_every_phone_of_real_utterances_has_a_shape() -> None:
    """All of espeak's phones are known, and no value leaves its range."""
    words = "Why, she judged those vague oily birds near an azure treasure; thanks, Hugh, for fire!"
    for seed in range(4):
        utterance = speak(words, make_voice(seed, "young", "male"))
        assert all(any(g.symbol for g in gestures([p])) for p in utterance.phones)
        track = mouth_track(utterance.phones, 24 * 8)
        assert track.dtype == np.float32 and track.shape == (192, 4)
        assert track[:, (OPEN, PRESSED, TEETH)].min() >= 0 and np.abs(track).max() <= 1
        assert track[:, OPEN].max() > 0.6
