"""Prompts retold: what the reader is sure of is kept, the rest is settled by lot."""

from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf

from openmocha.backbones.paper import told_story
from openmocha.toon import stories
from openmocha.toon.caption_reader import KINDS, story_answers
from openmocha.toon.captions import caption_of
from openmocha.toon.labels import NO_ANSWER
from openmocha.toon.retelling import QUESTIONS, Lots, People, Retelling, alone, without_feelings
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


def shown(character):
    """What there is to see of somebody: animals have no hair, bald people no colour of it."""
    names = ["species", "age", "gender", "skin", "clothes", "clothes_colour", "accessory"]
    if character.species == "person":
        names += ["hair_style"] + ["hair_colour"] * (character.hair_style != "bald")
    return {name: getattr(character, name) for name in names}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_known_is_told(seed):
    story = make_story(seed, SOURCES[seed % len(SOURCES)])
    film = Retelling(7, speaking=False)
    again = film.story(logits_of(story_answers(story)), len(story.clips))
    assert (again.place, again.background_colour, again.light) == (
        story.place, story.background_colour, story.light,
    )  # fmt: skip
    assert len(again.clips) == len(story.clips)
    for new, old in zip(again.clips, story.clips, strict=True):
        assert (new.shot, new.camera, new.speaker) == (old.shot, old.camera, old.speaker)
        for one, other in zip(new.cast, old.cast, strict=True):
            assert (one.facing, one.emotion, one.action) == (
                other.facing, other.emotion, other.action,
            )  # fmt: skip
            assert one.position == other.position
            person, before = again.characters[one.character], story.characters[other.character]
            assert shown(person) == shown(before)


def test_what_is_open_is_settled_by_the_seed_and_fits_together():
    story = make_story(0, "close-up")
    answers = {name: np.full_like(value, NO_ANSWER) for name, value in story_answers(story).items()}
    for name in ("person present", "clip shown"):
        answers[name] = story_answers(story)[name]
    logits = logits_of(answers)
    told = [Retelling(seed, speaking=True).story(logits, 1) for seed in range(60)]
    assert told == [Retelling(seed, speaking=True).story(logits, 1) for seed in range(60)]
    assert len({caption_of(story, drop=0.0) for story in told}) == 60
    for one in told:
        person, clip = one.characters[0], one.clips[0]
        kinds = {"person": stories.SKIN, "robot": stories.METAL}
        assert person.accessory != "beard" or (person.gender, person.species) == ("male", "person")
        assert (clip.camera, one.light) == ("static", "soft daylight")
        cast = clip.cast[0]
        assert (cast.facing, cast.position, cast.emotion) == ("camera", "center", "neutral")
        assert person.skin in kinds.get(person.species, stories.FUR)
        assert clip.cast[0].action in stories.SHOT_ACTIONS[clip.shot] and clip.speaker == 0
    assert len({one.characters[0].species for one in told}) == len(stories.SPECIES)


def test_lots_fall_as_often_as_they_are_likely():
    words = QUESTIONS["clip"]["shot"]
    chances = torch.tensor([[0.1, 0.2, 0.3, 0.4]])

    def chosen(seed, likely=chances, **settings):
        lots = Lots({"clip shot": likely.log()[None]}, seed)
        return lots.choose("clip", "shot", 0, **settings)

    lots = [chosen(seed) for seed in range(2000)]
    assert [lots.count(word) / 2000 for word in words] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4], abs=0.04
    )
    sure = torch.tensor([[0.1, 0.2, 0.1, 0.6]])
    assert all(chosen(seed, sure) == words[3] for seed in range(9))
    assert all(chosen(seed, sure, allowed=words[:3]) in words[:3] for seed in range(9))
    none_likely = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    assert {chosen(seed, none_likely, allowed=words[:3]) for seed in range(99)} == set(words[:3])
    assert chosen(0, settled=words[0]) == words[0] and chosen(0, sure, settled=words[0]) == words[3]


def test_who_is_heard_is_seen_speaking():
    story = next(
        s for s in (make_story(i, "text") for i in range(99)) if s.clips[0].speaker is None
    )
    answers = logits_of(story_answers(story))
    told = [Retelling(0, speaking).story(answers, 1) for speaking in (False, True)]
    assert [one.clips[0].speaker is None for one in told] == [True, False]


def test_people_and_places_stay_who_and_what_they_are():
    open_answers = {
        name: np.full_like(value, NO_ANSWER)
        for name, value in story_answers(make_story(0, "close-up")).items()
    }
    night = next(s for s in range(4, 99) if make_story(s, "close-up").light == "cool night light")
    film, told = Retelling(3, speaking=True), []
    for seed, who in ((night, ("Person1",)), (2, ("Person2",)), (3, ("Person1",))):
        answers = story_answers(make_story(seed, "close-up"))
        silent = ["story place"] + ["story light"] * (seed != night)
        answers |= {name: open_answers[name] for name in silent}
        told.append(film.story(logits_of(answers), 1, People(who)))
    first, second, third = (one.characters[0] for one in told)
    assert first == third != second
    assert len({one.place for one in told}) == 1
    assert {one.light for one in told} == {"cool night light"}  # not the plain one of a new film
    assert told[2].background_colour == make_story(3, "close-up").background_colour


def pairs(number):
    stories = (make_story(seed, "medium") for seed in range(400))
    found = [story for story in stories if len(story.characters) == 2]
    return found[:number]


def test_two_people_in_one_shot_stay_who_they_are_in_every_take():
    first, second = pairs(2)
    film = Retelling(3, speaking=True)
    both = [
        film.story(logits_of(story_answers(story)), 1, People(("Person1", "Person2")))
        for story in (first, second)
    ]
    assert both[0].characters == both[1].characters
    alone = film.story(logits_of(story_answers(make_story(0, "close-up"))), 1, People(("Person2",)))
    assert alone.characters == both[0].characters[1:]


def test_what_a_script_says_of_each_of_two_people_is_theirs():
    shot, first, second = (make_story(seed, "close-up") for seed in (0, 1, 3))
    each = [logits_of(story_answers(story)) for story in (first, second)]
    for speaker in (0, 1):
        people = People(("Person1", "Person2"), each, speaker)
        told = Retelling(3, speaking=True).story(logits_of(story_answers(shot)), 1, people)
        for one, story in zip(told.characters, (first, second), strict=True):
            assert shown(one) == shown(story.characters[0])
        clip = told.clips[0]
        assert clip.speaker == speaker and clip.camera == shot.clips[0].camera
        assert [cast.position for cast in clip.cast] == ["left", "right"]
        assert [cast.emotion for cast in clip.cast] == [
            story.clips[0].cast[0].emotion for story in (first, second)
        ]


def test_one_of_two_people_alone_stands_where_they_stood():
    for story in pairs(20):
        clip = story.clips[0]
        for number, cast in enumerate(clip.cast):
            one = alone(story, number)
            assert one.characters == (story.characters[cast.character],)
            assert one.clips[0].cast == (replace(cast, character=0),)
            assert (one.clips[0].speaker == 0) == (clip.speaker == number)
            assert (one.place, one.light, one.clips[0].shot) == (
                story.place, story.light, clip.shot
            )  # fmt: skip


def test_two_people_in_one_shot_are_told_apart_too():
    for story in pairs(20):
        told = told_story(story)
        clip = story.clips[0]
        assert [one.speaks for one in told.apart] == [clip.speaker == n for n in range(2)]
        for number, one in enumerate(told.apart):
            expected = told_story(alone(story, number))
            assert (one.words, one.calm, expected.apart) == (expected.words, expected.calm, ())
            assert clip.cast[number].position in one.words
    assert told_story(make_story(0, "close-up")).apart == ()
    assert told_story(make_story(0, "dialogue")).apart == ()  # one person in each shot


def test_hair_that_has_a_colour_is_there():
    story = next(
        s for s in (make_story(i, "close-up") for i in range(99))
        if s.characters[0].species == "person" and s.characters[0].hair_style != "bald"
    )  # fmt: skip
    answers = logits_of(story_answers(story))
    styles = QUESTIONS["person"]["hair_style"]
    answers["person hair_style"][0, 0] = torch.tensor([2.0 * (s == "bald") for s in styles])
    told = [Retelling(seed, speaking=True).story(answers, 1) for seed in range(20)]
    assert "bald" not in {one.characters[0].hair_style for one in told}
    answers["person hair_style"][0, 0] *= 10
    bald = Retelling(0, speaking=True).story(answers, 1)
    assert bald.characters[0].hair_style == "bald"


@pytest.mark.parametrize("seed", range(8))
def test_without_feelings_all_else_stays(seed):
    story = make_story(seed, "dialogue")
    calm = without_feelings(story)
    assert {one.emotion for clip in calm.clips for one in clip.cast} == {"neutral"}
    felt = [[one.emotion for one in clip.cast] for clip in story.clips]
    clips = [
        replace(clip, cast=tuple(map(lambda one, e: replace(one, emotion=e), clip.cast, emotions)))
        for clip, emotions in zip(calm.clips, felt, strict=True)
    ]
    assert replace(calm, clips=tuple(clips)) == story


@pytest.mark.parametrize("seed", range(8))
def test_captions_without_feelings_differ_in_nothing_else(seed):
    """Both draw the same wordings: only words of feelings may come or go."""
    story = make_story(seed, "close-up")
    feeling = replace(story.clips[0].cast[0], emotion="happy")
    story = replace(story, clips=(replace(story.clips[0], cast=(feeling,)),))
    told, calm = (caption_of(one, drop=0.0).split() for one in (story, without_feelings(story)))
    same = SequenceMatcher(None, told, calm).get_matching_blocks()
    assert sum(block.size for block in same) >= len(told) - 6
    assert told != calm
