"""Where a recording passes from one voice to the next."""

import numpy as np
import pytest

from openmocha.toon.films import FPS, NUM_FRAMES
from openmocha.toon.stories import make_story
from openmocha.toon.turns import spoken_turns
from openmocha.turns import best_partition, likelihoods, starts_of_turns, voice_features

RATE = 16_000


def hum(hz, seconds, seed=0):
    """Syllables of a buzz whose pitch and loudness sway a little."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    sway = np.interp(t, np.linspace(0, seconds, 12), rng.normal(1, 0.03, 12))
    phase = 2 * np.pi * np.cumsum(hz * sway) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 8))
    return (0.2 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def pause(seconds):
    return np.zeros(round(seconds * RATE), np.float32)


def test_turns_begin_where_the_pitch_changes_not_where_a_speaker_pauses():
    speech = np.concatenate(
        [hum(110, 1.0), pause(0.5), hum(110, 0.7, 1), pause(0.2), hum(220, 1.2, 2), pause(0.4),
         hum(220, 0.8, 3), pause(0.3), hum(120, 1.0, 4)]
    )  # fmt: skip
    assert starts_of_turns(speech, 1) == []
    assert starts_of_turns(speech, 3) == pytest.approx([2.4, 5.1], abs=0.02)


def test_dialogues_of_the_film_set_are_parted_where_the_second_voice_begins():
    found, true = [], []
    for seed in range(20):
        turns = spoken_turns(make_story(seed, "dialogue", "train"), NUM_FRAMES, FPS)
        found += starts_of_turns(turns[0].speech + turns[1].speech, 2)
        true.append(turns[1].spans[0][0])
    assert (np.abs(np.array(found) - true) < 0.05).sum() >= 19


def test_the_best_partition_is_that_of_brute_force():
    scores = np.random.default_rng(0).normal(size=(6, 6))
    scores[np.tril_indices(6)] = -np.inf
    sums = {
        (i, j): scores[0, i] + scores[i, j] + scores[j, 5] for j in range(5) for i in range(1, j)
    }
    assert tuple(best_partition(scores, 3) or ()) == max(sums, key=lambda cuts: sums[cuts])


def test_likelihoods_are_those_of_each_stretch_alone():
    speech = np.concatenate([hum(110, 1.0), pause(0.3), hum(200, 1.0, 1)])
    features = voice_features(speech)
    loud = np.ones(len(features), bool)
    points = np.array([0, 130, len(features)])
    x = features[130:, :-1][features[130:, -1] > 0.5]
    covariance = np.cov(x.T, bias=True) + 1e-3 * np.eye(x.shape[1])
    alone = -0.5 * len(x) * np.linalg.slogdet(covariance)[1]
    assert likelihoods(features, loud, points)[1, 2] == pytest.approx(alone, rel=1e-6)


TONE = np.sin(np.arange(2 * RATE) / 20).astype(np.float32)


@pytest.mark.parametrize("speech", [pause(2.0), TONE, pause(0.0)])
def test_without_pauses_there_are_no_turns(speech):
    with pytest.raises(ValueError, match="2 turns were asked for"):
        starts_of_turns(speech, 2)
