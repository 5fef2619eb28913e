"""A film's row of scores, from judgements written by hand: what is right, wrong, or not asked."""

from dataclasses import replace

import numpy as np
import pytest

from openmocha.evaluation.toon_scores import (
    attributes,
    attributes_of,
    clip_ranges,
    cut_right,
    gestures_on_stresses,
    identity_right,
    pearson,
    score_film,
    speaker_opening,
    speaker_right,
    stress_curve,
)
from openmocha.toon.films import Truth
from openmocha.toon.judge import Judgement
from openmocha.toon.labels import FRAME_ATTRIBUTES, NO_ANSWER, PEOPLE, PERSON_ATTRIBUTES, POSE
from openmocha.toon.labels import visible_labels as labels_of
from openmocha.toon.motion import BEAT_LAG_S
from openmocha.toon.stories import Clip, Story, make_story
from openmocha.toon.voices import Word

FRAMES, CUT = 64, 32
LEFT, RIGHT = (20.0, 30.0, 40.0, 40.0), (80.0, 30.0, 100.0, 40.0)  # boxes of mouths


class Nodding:
    """Stands for a judge: an action reader that always sees the same."""

    class action:
        @staticmethod
        def read(pose: np.ndarray, boxes: np.ndarray) -> str:
            assert len(pose) == len(boxes)
            return f"seen in {len(pose)} frames"


def truth_of(story: Story, cut: int | None = None) -> Truth:
    mouth = np.zeros((FRAMES, 4), np.float32)
    mouth[:, 0] = np.sin(np.arange(FRAMES)) ** 2
    boxes = np.tile(np.array([LEFT], np.float32), (FRAMES, 1, 1))
    return Truth(mouth, boxes, np.zeros(FRAMES, np.int8), cut, (), (), story)


def all_right(truth: Truth) -> Judgement:
    """A judgement in which every frame shows what the story asks for."""
    mouth = np.zeros((FRAMES, PEOPLE, 4), np.float32)
    second = np.zeros(FRAMES)
    person = {n: np.zeros((FRAMES, PEOPLE, len(w))) for n, w in PERSON_ATTRIBUTES.items()}
    frame = {n: np.zeros((FRAMES, len(w))) for n, w in FRAME_ATTRIBUTES.items()}
    for clip, where in clip_ranges(truth):
        labels = labels_of(truth.story, clip)
        mouth[where, clip.speaker or 0] = truth.mouth[where]
        second[where] = len(clip.cast) == 2
        for name, scores in person.items():
            for p in range(len(clip.cast)):
                if labels[name][p] != NO_ANSWER:
                    scores[where, p, labels[name][p]] = 1
        for name, scores in frame.items():
            scores[where, labels[name]] = 1
    boxes = np.tile(np.array([LEFT, RIGHT]), (FRAMES, 1, 1))
    pose = np.zeros((FRAMES, PEOPLE, len(POSE)))
    return Judgement(mouth, boxes, second, pose, person, frame)


def cut_frames(cut: int | None) -> np.ndarray:
    frames = np.full((FRAMES, 32, 48, 3), 40, np.uint8)
    if cut is not None:
        frames[cut:] = 200
    return frames


def score(judged: Judgement, truth: Truth, cut: int | None = None) -> dict:
    return score_film(Nodding, judged, cut_frames(cut), truth)  # type: ignore[arg-type]


def wrong(rows: list[tuple[str, str, str]]) -> set[str]:
    return {name for name, asked, seen in rows if asked != seen} - {"action", "camera"}


@pytest.fixture(scope="module")
def close() -> Truth:
    return truth_of(make_story(1, "close-up", "test"))


@pytest.fixture(scope="module")
def dialogue() -> Truth:
    story = make_story(4, "dialogue", "test")
    clips = tuple(replace(clip, shot="close-up") for clip in story.clips)
    return truth_of(replace(story, clips=clips), CUT)


def test_a_film_that_is_as_asked_has_nothing_wrong(close):
    row = score(all_right(close), close)
    assert row["r"] == pytest.approx(1.0) and row["far_r"] is None
    assert row["people_right"] == [True] and not wrong(row["attributes"])
    assert row["speaker"] == row["identity"] == [None]
    assert row["cut_true"] is row["cut_judged"] is None
    assert {name for name, *_ in row["attributes"]} > {"shot", "emotion", "camera", "action"}
    assert ("action", close.story.clips[0].cast[0].action, "seen in 64 frames") in row["attributes"]


def test_lips_are_compared_where_all_shots_are_close_or_none_is(close, dialogue):
    def of_shots(truth: Truth, *shots: str) -> tuple[float | None, float | None]:
        clips = tuple(
            replace(clip, shot=shot) for clip, shot in zip(truth.story.clips, shots, strict=True)
        )
        changed = replace(truth, story=replace(truth.story, clips=clips))
        row = score(all_right(changed), changed)
        return row["r"] and round(row["r"], 6), row["far_r"] and round(row["far_r"], 6)

    assert of_shots(close, "medium close-up") == (1, None)
    assert of_shots(close, "wide") == of_shots(close, "medium") == (None, 1)
    assert of_shots(dialogue, "close-up", "medium close-up") == (1, None)
    assert of_shots(dialogue, "close-up", "medium") == (None, None)
    silent = replace(close.story.clips[0], speaker=None)
    mute = replace(close, story=replace(close.story, clips=(silent,)))
    row = score(all_right(mute), mute)
    assert row["r"] is row["far_r"] is None and row["closed"] == []


def test_each_clip_is_asked_for_its_own_frames(dialogue):
    assert [w.indices(FRAMES)[:2] for _, w in clip_ranges(dialogue)] == [(0, CUT), (CUT, FRAMES)]
    judged = all_right(dialogue)
    row = score(judged, dialogue, CUT)
    assert not wrong(row["attributes"]) and row["identity"] == [True, True]
    assert row["cut_judged"] == CUT and cut_right(row)
    seen = [seen for name, _, seen in row["attributes"] if name == "action"]
    assert seen == ["seen in 32 frames", "seen in 32 frames"]


def test_a_clip_may_melt_into_the_next_for_four_frames(dialogue):
    judged = all_right(dialogue)
    second, where = clip_ranges(dialogue)[1]
    for scores in judged.frame.values():
        scores[CUT : CUT + 4] = 50 * np.roll(scores[0], 1)  # overwhelming if it counted
    assert not wrong(attributes(judged, dialogue, second, where))
    for scores in judged.frame.values():
        scores[CUT + 4] = 50 * np.roll(scores[0], 1)
    assert wrong(attributes(judged, dialogue, second, where))


def test_what_has_no_answer_is_not_asked(close):
    story = close.story
    bald = replace(story.characters[0], species="person", skin="pale", hair_style="bald")
    cat = replace(story.characters[0], species="cat", skin="grey")

    def asked(character) -> set[str]:
        truth = replace(close, story=replace(story, characters=(character, *story.characters[1:])))
        return {
            name for name, *_ in attributes_of(Nodding, all_right(truth), cut_frames(None), truth)
        }

    assert "hair_colour" not in asked(bald) and "hair_style" in asked(bald)
    assert not {"hair_colour", "hair_style"} & asked(cat) and "skin" in asked(cat)


def test_one_wrong_answer_is_one_wrong_row(close):
    judged = all_right(close)
    emotions = judged.person["emotion"][:, 0]
    emotions[:] = np.roll(emotions, 1, axis=1)
    assert wrong(score(judged, close)["attributes"]) == {"emotion"}
    judged.second_person[:] = 0.9
    assert score(judged, close)["people_right"] == [False]


def test_the_camera_is_read_from_the_speakers_box(close):
    clip = close.story.clips[0]
    pair = replace(clip, cast=clip.cast * 2, speaker=1, camera="pan left")
    truth = replace(close, story=replace(close.story, clips=(pair,)))
    judged = all_right(truth)
    judged.boxes[:, 1, [0, 2]] += np.linspace(0, 3, FRAMES)[:, None]  # of 32 pixels
    rows = score(judged, truth)["attributes"]
    assert [row for row in rows if row[0] == "camera"] == [("camera", "pan left", "pan left")]


def test_who_talks_moves_the_mouth_more(close):
    clip = close.story.clips[0]
    pair = replace(clip, cast=clip.cast * 2, speaker=1)
    truth = replace(close, story=replace(close.story, clips=(pair,)))
    judged = all_right(truth)
    everywhere = slice(0, None)
    assert speaker_right(judged, pair, everywhere) is True
    assert speaker_right(judged, replace(pair, speaker=0), everywhere) is False
    assert speaker_right(judged, replace(pair, speaker=None), everywhere) is None
    assert speaker_right(judged, clip, everywhere) is None
    judged.mouth[:, 0, 0] = 1.0  # wide open, and still
    assert speaker_right(judged, pair, everywhere) is True


def test_the_speakers_mouth_is_that_of_each_clips_speaker(dialogue):
    def speaking(clip: Clip, who: int) -> Clip:
        return replace(clip, cast=clip.cast[:1] * 2, speaker=who)

    first, second = dialogue.story.clips
    clips = (speaking(first, 1), speaking(second, 0))
    truth = replace(dialogue, story=replace(dialogue.story, clips=clips))
    judged = all_right(truth)
    judged.mouth[:CUT, 0, 0] = judged.mouth[CUT:, 1, 0] = 7
    np.testing.assert_array_equal(speaker_opening(judged, truth), truth.mouth[:, 0])


def test_swapped_people_are_the_wrong_ones(dialogue):
    judged = all_right(dialogue)
    for scores in judged.person.values():
        scores[:] = np.concatenate([scores[CUT:], scores[:CUT]])
    assert [identity_right(judged, dialogue, i) for i in (0, 1)] == [False, False]
    assert identity_right(judged, replace(dialogue, cut_frame=None), 0) is None


def test_gestures_follow_stressed_words(close):
    starts = [frame / 24 - BEAT_LAG_S for frame in (12, 28, 48)]
    words = tuple(Word("word", at, at + 0.2, at != starts[1]) for at in starts)
    truth, judged = replace(close, words=words), all_right(close)
    expected = stress_curve(truth, FRAMES)
    # largest a moment after the stressed words begin, nothing after the other one
    np.testing.assert_allclose(expected[[12, 28, 48]], [1, 0, 1], atol=1e-6)
    slow_turn = np.linspace(0, 0.1, FRAMES)
    judged.pose[:, 0, POSE.index("pitch")] = slow_turn - 0.2 * expected
    on, elsewhere = gestures_on_stresses(judged, truth)
    assert on > 0.9 and elsewhere < 0.1
    judged.pose[:, 0, POSE.index("pitch")] += 0.4 * expected  # heads that rise instead
    assert gestures_on_stresses(judged, truth)[0] < -0.9


def test_gestures_are_of_close_shots_without_a_cut(close, dialogue):
    assert score(all_right(close), close)["gestures"] == (0.0, 0.0)  # nobody moves
    near = [replace(clip, shot="close-up") for clip in dialogue.story.clips]
    near = replace(dialogue, story=replace(dialogue.story, clips=tuple(near)))
    assert score(all_right(near), near, CUT)["gestures"] is None
    clip = replace(close.story.clips[0], shot="medium")
    medium = replace(close, story=replace(close.story, clips=(clip,)))
    assert score(all_right(medium), medium)["gestures"] is None


def test_a_cut_is_right_within_three_frames():
    rows = [{"cut_true": 32, "cut_judged": found} for found in (None, 28, 29, 32, 35, 36)]
    assert [cut_right(row) for row in rows] == [False, False, True, True, True, False]
    assert [cut_right(row, 1) for row in rows] == [False, False, False, True, False, False]


def test_pearson_of_what_never_moves_is_nothing():
    rising = np.arange(5.0)
    assert pearson(rising, 3 - 2 * rising) == pytest.approx(-1)
    assert pearson(np.ones(5), rising) == 0
