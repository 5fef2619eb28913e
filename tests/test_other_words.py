"""Captions in other words, and the reader that learns to see through them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openmocha.models.text_encoder import TextEncoder
from openmocha.toon.caption_reader import NUM_SLOTS, CaptionReader, CaptionReaderConfig
from openmocha.toon.captions import caption_of
from openmocha.toon.other_words import (
    FOREIGN,
    PATTERNS,
    SENTENCE_END,
    TEST_FOREIGN,
    articles,
    in_other_words,
)
from openmocha.toon.stories import SOURCES, make_story
from openmocha.training import caption_reader as training

CAPTIONS = [caption_of(make_story(i, SOURCES[i % len(SOURCES)])) for i in range(200)]


def test_words_of_the_test_are_never_trained_with():
    train = [in_other_words(np.random.default_rng(i), text) for i, text in enumerate(CAPTIONS)]
    kept_back = [others[-1] for _, others in PATTERNS] + list(FOREIGN[-TEST_FOREIGN:])
    told_otherwise = [other for _, others in PATTERNS for other in others[:-1]]
    # "sunglasses" of one row may hold a word of another; only whole words that no row trains count
    unique = [w for w in kept_back if not any(w in other for other in told_otherwise)]
    assert len(unique) > 0.9 * len(kept_back)
    for text, old in zip(train, CAPTIONS, strict=True):
        assert [w for w in unique if w in text and w not in old] == []
    test = " ".join(
        in_other_words(np.random.default_rng(i), t, "test") for i, t in enumerate(CAPTIONS)
    )
    assert sum(w in test for w in unique) > 0.7 * len(unique)


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
