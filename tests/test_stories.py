"""Stories: the same from the same seed, consistent, and varied enough to learn from."""

import re
from collections import Counter

import pytest

from openmocha.toon import stories
from openmocha.toon.stories import Clip, Story, make_story
from openmocha.toon.turns import story_voices

MANY = 400


def some(source: str, count: int = MANY, split: str = "train") -> list[Story]:
    return [make_story(seed, source, split) for seed in range(count)]


def sentences_of(story: Story) -> set[str]:
    words = " ".join(clip.words for clip in story.clips)
    # Calls such as "Wait, Sam." open longer sentences of both splits.
    return {s for s in re.split(r"(?<=[.!?])\s+", words) if len(s.split()) > 2}


def test_a_story_depends_on_seed_source_and_split_alone() -> None:
    assert make_story(5, "dialogue") == make_story(5, "dialogue")
    others = [
        make_story(6, "dialogue"),
        make_story(5, "close-up"),
        make_story(5, "dialogue", "test"),
    ]
    assert all(other.characters != make_story(5, "dialogue").characters for other in others)


def test_train_and_test_share_no_sentence_voice_or_character() -> None:
    train, test = some("dialogue", 150), some("dialogue", 150, "test")
    assert not set().union(*map(sentences_of, train)) & set().union(*map(sentences_of, test))
    voices = [{v.variant for story in part for v in story_voices(story)} for part in (train, test)]
    assert voices[0] and voices[1] and not voices[0] & voices[1]
    people = [{c for story in part for c in story.characters} for part in (train, test)]
    assert not people[0] & people[1]


def test_sources_have_the_shots_of_the_papers_stages() -> None:
    for source in ("close-up", "medium close-up"):
        assert {s.clips[0].shot for s in some(source, 50)} == {source}
    shots = Counter(s.clips[0].shot for s in some("medium"))
    assert set(shots) == {"medium", "wide"}
    assert 0.17 < shots["wide"] / MANY < 0.33
    assert {s.clips[0].shot for s in some("text")} == set(stories.SHOTS)


def test_a_quarter_of_medium_films_show_two_people_of_whom_one_speaks() -> None:
    pairs = [s.clips[0] for s in some("medium") if len(s.clips[0].cast) == 2]
    assert 0.18 < len(pairs) / MANY < 0.32
    assert {clip.speaker for clip in pairs} == {0, 1}
    assert all([c.position for c in clip.cast] == ["left", "right"] for clip in pairs)


def test_a_dialogue_has_two_clips_with_one_speaker_each_who_look_different() -> None:
    for story in some("dialogue", 150):
        assert [clip.cast[0].character for clip in story.clips] == [0, 1]
        assert all(len(clip.cast) == 1 and clip.speaker == 0 for clip in story.clips)
        first, second = story.characters
        assert first.clothes_colour != second.clothes_colour
        assert first.voice_seed != second.voice_seed


def test_every_attribute_is_common_enough_to_learn() -> None:
    characters = [c for s in some("text", 1500) for c in s.characters]
    clips: list[Clip] = [s.clips[0] for s in some("text", 1500)]
    people = [c for c in characters if c.species == "person"]
    assert 0.65 < len(people) / len(characters) < 0.75
    expected = {
        "hair_colour": stories.HAIR_COLOURS,
        "hair_style": stories.HAIR_STYLES,
        "skin": stories.SKIN,
        "clothes": stories.CLOTHES,
        "clothes_colour": stories.COLOURS,
        "accessory": stories.ACCESSORIES,
    }
    for name, values in expected.items():
        counts = Counter(getattr(c, name) for c in people)
        assert all(counts[v] > 0.015 * len(people) for v in values), (name, counts)
    for name, values in (("emotion", stories.EMOTIONS), ("action", stories.ACTIONS)):
        counts = Counter(getattr(cast, name) for clip in clips for cast in clip.cast)
        assert all(counts[v] > 0.03 * len(clips) for v in values), (name, counts)


def test_hidden_attributes_are_never_asked_for() -> None:
    for character in [c for s in some("text", 800) for c in s.characters]:
        if character.accessory == "hat" and character.species == "person":
            assert character.hair_style not in ("bald", "bun")
        if character.accessory == "earrings":
            assert character.hair_style not in ("long", "curly")
        if character.accessory == "beard":
            assert character.gender == "male" and character.age != "child"
    for story in some("close-up", 200):
        assert story.clips[0].cast[0].action in stories.HEAD_ACTIONS
        assert story.characters[0].clothes_colour != story.background_colour


@pytest.mark.parametrize(
    ("seed", "source", "split", "message"),
    [
        (0, "closeup", "train", "closeup"),
        (0, "text", "valid", "valid"),
        (-1, "text", "train", "-1"),
    ],
)
def test_bad_requests_say_what_was_given(seed: int, source: str, split: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_story(seed, source, split)
