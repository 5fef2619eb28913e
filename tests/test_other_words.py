"""Captions in other words, and the reader that learns to see through them."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from openmocha.models.text_encoder import TextEncoder
from openmocha.toon.caption_reader import NUM_SLOTS, CaptionReader, CaptionReaderConfig
from openmocha.toon.captions import caption_of
from openmocha.toon.other_words import (
    FOREIGN,
    SENTENCE_END,
    TEST_FOREIGN,
    WORDS,
    articles,
    in_other_words,
)
from openmocha.toon.stories import SOURCES, make_story
from openmocha.training import caption_reader as training

CAPTIONS = [caption_of(make_story(i, SOURCES[i % len(SOURCES)])) for i in range(200)]


def words_in(text, words):
    return [w for w in words if re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", text)]


def test_words_of_the_test_are_never_trained_with():
    train = [in_other_words(np.random.default_rng(i), text) for i, text in enumerate(CAPTIONS)]
    kept_back = [others[-1] for others in WORDS.values()] + list(FOREIGN[-TEST_FOREIGN:])
    for text in (*train, *CAPTIONS):
        assert words_in(text, kept_back) == []
    test = " ".join(
        in_other_words(np.random.default_rng(i), t, "test") for i, t in enumerate(CAPTIONS)
    )
    assert len(words_in(test, kept_back)) > 0.8 * len(kept_back)


def test_nothing_is_replaced_twice():
    for i, text in enumerate(CAPTIONS):
        told = in_other_words(np.random.default_rng(i), text)
        assert "inky pitch-black" not in told and "tan-brown skin" not in told
        assert "hand a hand" not in told and "shoulders his" not in told


def test_everything_told_stays_in_its_place():
    for i, old in enumerate(CAPTIONS):
        new = in_other_words(np.random.default_rng(i), old)
        assert new.count("(Person") == old.count("(Person") and "{" not in new
        own = [s for s in SENTENCE_END.split(new) if s not in FOREIGN]
        assert len(own) == len(SENTENCE_END.split(old))


@pytest.mark.parametrize(
    ("old", "never"),
    [
        ("A medium close-up shot of a bear.", "medium extreme"),
        ("She has dark brown skin.", "dark caramel"),
        ("It has a grey coat of fur.", "parka of fur"),
        ("He is dressed in a hoodie.", "gowned"),
    ],
)
def test_words_within_other_words_are_left_alone(old, never):
    assert all(never not in in_other_words(np.random.default_rng(i), old) for i in range(50))


def test_articles_follow_their_words():
    assert articles("A orange cat in an red coat. An boy with a apple") == (
        "An orange cat in a red coat. A boy with an apple"
    )


def test_a_widened_reader_gives_its_teachers_slots(tmp_path):
    torch.manual_seed(0)
    teacher = CaptionReader(CaptionReaderConfig(width=24, layers=1, heads=2)).eval()
    encoder = TextEncoder.from_pretrained()
    rng = np.random.default_rng(0)
    stories = [make_story(i, "close-up") for i in range(4)]
    lessons = training.reworded(encoder, teacher, rng, stories)
    plain, mask = encoder.encode([caption_of(story) for story in stories])
    with torch.no_grad():
        slots = teacher(plain, mask)
    for lesson, wanted in zip(lessons, slots, strict=True):
        assert torch.equal(lesson.slots, wanted) and lesson.slots.shape == (NUM_SLOTS, 384)
    unchanged = [training.Rewording(plain[i][mask[i]], {}, slots[i]) for i in range(4)]
    unchanged = [
        replace(new, answers=old.answers) for new, old in zip(unchanged, lessons, strict=True)
    ]
    loss, errors = training.widening_loss(teacher, unchanged)
    assert errors["slots"] < 1e-3
    assert loss.item() == pytest.approx(training.loss_of(teacher, unchanged)[0].item(), abs=1e-2)
    assert training.widening_loss(teacher, lessons)[1]["slots"] > 1e-2  # its words are others
    widened = training.widen_caption_reader(tmp_path, teacher, time_budget_s=0.01, encoder=encoder)
    again = CaptionReader.from_pretrained(tmp_path / "final")
    assert all(
        torch.equal(a, b) for a, b in zip(widened.parameters(), again.parameters(), strict=True)
    )
