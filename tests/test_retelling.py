"""Prompts retold: what the reader is sure of is kept, the rest is settled by lot."""

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf

from openmocha.toon import retelling, stories
from openmocha.toon.caption_reader import KINDS, story_answers
from openmocha.toon.labels import NO_ANSWER
from openmocha.toon.retelling import QUESTIONS, retold
from openmocha.toon.stories import SOURCES, make_story


def logits_of(answers, sure=20.0):
    """As a reader gives them that knows `answers`; what has no answer is even."""
    logits = {}
    for kind, _, questions in KINDS:
        for name, words in questions.items():
            right = torch.from_numpy(answers[f"{kind} {name}"])
            known = nnf.one_hot(right.clamp(min=0), len(words)).float() * sure
            known[right == NO_ANSWER] = 0
            logits[f"{kind} {name}"] = known[None]
    return logits


@pytest.fixture
def told(monkeypatch):
    """The story behind the last retold caption."""
    kept = []
    caption_of = retelling.caption_of
    monkeypatch.setattr(
        retelling, "caption_of", lambda story, drop: kept.append(story) or caption_of(story, drop)
    )
    return kept


def shown(character):
    """What there is to see of somebody: animals have no hair, bald people no colour of it."""
    names = ["species", "age", "gender", "skin", "clothes", "clothes_colour", "accessory"]
    if character.species == "person":
        names += ["hair_style"] + ["hair_colour"] * (character.hair_style != "bald")
    return {name: getattr(character, name) for name in names}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_known_is_told(told, seed):
    story = make_story(seed, SOURCES[seed % len(SOURCES)])
    caption = retold(logits_of(story_answers(story)), 7, speaking=False)
    again = told[-1]
    assert (again.place, again.background_colour, again.light) == (
        story.place, story.background_colour, story.light,
    )  # fmt: skip
    assert len(again.clips) == len(story.clips) and len(caption.split()) > 30
    for new, old in zip(again.clips, story.clips, strict=True):
        assert (new.shot, new.camera, new.speaker) == (old.shot, old.camera, old.speaker)
        for one, other in zip(new.cast, old.cast, strict=True):
            assert (one.facing, one.emotion, one.action) == (
                other.facing, other.emotion, other.action,
            )  # fmt: skip
            assert one.position == other.position
            person, before = again.characters[one.character], story.characters[other.character]
            assert shown(person) == shown(before)


def test_what_is_open_is_settled_by_the_seed_and_fits_together(told):
    story = make_story(0, "close-up")
    answers = {name: np.full_like(value, NO_ANSWER) for name, value in story_answers(story).items()}
    for name in ("person present", "clip shown"):
        answers[name] = story_answers(story)[name]
    captions = [retold(logits_of(answers), seed, speaking=True) for seed in range(60)]
    assert captions == [retold(logits_of(answers), seed, speaking=True) for seed in range(60)]
    assert len(set(captions)) == 60
    for one in told:
        person, clip = one.characters[0], one.clips[0]
        kinds = {"person": stories.SKIN, "robot": stories.METAL}
        assert person.skin in kinds.get(person.species, stories.FUR)
        assert clip.cast[0].action in stories.SHOT_ACTIONS[clip.shot] and clip.speaker == 0
    assert len({one.characters[0].species for one in told}) == len(stories.SPECIES)


def test_lots_fall_as_often_as_they_are_likely():
    chances = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    name = "shot"
    assert len(QUESTIONS["clip"][name]) == 4
    lots = [
        retelling.Lots({"clip shot": chances}, seed).choose("clip", name, 0) for seed in range(2000)
    ]
    shares = [lots.count(word) / 2000 for word in QUESTIONS["clip"][name]]
    assert shares == pytest.approx(chances[0].tolist(), abs=0.04)
    sure = retelling.Lots({"clip shot": torch.tensor([[0.1, 0.2, 0.1, 0.6]])}, 0)
    assert all(sure.choose("clip", name, 0) == "wide" for _ in range(3))


def test_who_is_heard_is_seen_speaking(told):
    story = next(
        s for s in (make_story(i, "text") for i in range(99)) if s.clips[0].speaker is None
    )
    answers = logits_of(story_answers(story))
    retold(answers, 0, speaking=False)
    retold(answers, 0, speaking=True)
    assert [one.clips[0].speaker is None for one in told] == [True, False]
