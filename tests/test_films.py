"""Films: what is heard, seen and told agree, to the frame."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from openmocha.toon.motion import clip_motion
from openmocha.toon.mouths import mouth_track
from openmocha.toon.stories import SOURCES, make_story
from openmocha.toon.turns import cut_frame, num_samples, speaker_track, spoken_turns

try:
    from openmocha.toon import films
    from openmocha.toon.films import Film, Request, film_stream, make_film, story_json

    films_missing = ""
    import openmocha.toon.drawing  # noqa: F401
except ImportError as error:
    films_missing = f"drawing needs skia-python and libEGL (apt-get install libegl1): {error}"

draws = pytest.mark.skipif(bool(films_missing), reason=films_missing)
T = 128


@pytest.fixture(scope="module")
def small_films() -> Iterator[list["Film"]]:
    yield [make_film(seed, source, width=32, height=32) for seed in range(3) for source in SOURCES]


def test_the_cut_is_the_first_multiple_of_four_two_frames_after_the_new_speaker_starts() -> None:
    for start in range(0, 400):
        frame = cut_frame(start / 10 / 24, 24.0)
        allowed = [f for f in range(0, 60, 4) if f >= start / 10 + 2 - 1e-9]
        assert frame == allowed[0], start


def test_in_a_dialogue_the_first_speaker_stops_before_the_second_starts() -> None:
    for seed in range(12):
        first, second = spoken_turns(make_story(seed, "dialogue"), T, 24.0)
        gap_s = second.spans[0][0] - first.spans[-1][1]
        assert 0.14 < gap_s < 0.51
        sounds_first, sounds_second = (np.flatnonzero(t.speech) for t in (first, second))
        assert sounds_first[-1] < sounds_second[0]
        assert sounds_second[0] / 16000 == pytest.approx(second.spans[0][0], abs=0.06)
        assert cut_frame(second.spans[0][0], 24.0) <= 100


def test_speech_is_heard_where_the_truth_says_that_someone_speaks() -> None:
    for seed in range(6):
        story = make_story(seed, "dialogue")
        turns = spoken_turns(story, T, 24.0)
        track = speaker_track(turns, T, 24.0)
        speech = sum(turn.speech for turn in turns)
        assert speech.shape == (num_samples(T, 24.0),) == (85333,)
        power = [np.square(part).mean() for part in np.array_split(speech, T)]
        silent = np.convolve(track >= 0, np.ones(3), "same") == 0
        loud, quiet = (np.mean(np.array(power)[mask]) for mask in (track >= 0, silent))
        assert loud > 100 * quiet
        heard = [k for k in track.tolist() if k >= 0]
        assert heard == sorted(heard) and set(heard) == {0, 1}


def test_only_the_speaker_of_a_clip_opens_the_mouth() -> None:
    stories = (make_story(seed, "medium") for seed in range(40))
    story = next(s for s in stories if len(s.characters) == 2)
    clip = story.clips[0]
    mouth = np.random.default_rng(0).random((T, 4)).astype(np.float32)
    poses = clip_motion(story, clip, T, mouth, [1.0, 2.0], (0.5, 4.0)).poses
    assert clip.speaker is not None
    drawn = np.array([[pose.mouth for pose in frame] for frame in poses])
    assert np.array_equal(drawn[:, clip.speaker], mouth)
    assert not drawn[:, 1 - clip.speaker].any()


def test_eyes_blink_and_heads_move_but_nothing_jumps() -> None:
    for seed in range(20):
        story = make_story(seed, "medium")
        poses = clip_motion(story, story.clips[0], T, np.zeros((T, 4)), [], (0.0, 0.0)).poses
        head = np.array([[p.head for p in frame] for frame in poses])
        arms = np.array([[p.left_arm.lift for p in frame] for frame in poses])
        blink = np.array([[p.blink for p in frame] for frame in poses])
        assert np.abs(np.diff(head, axis=0)).max() < 0.16
        assert np.abs(np.diff(arms, axis=0)).max() < 0.25
        assert head.std(axis=0)[:, :2].min() > 0.005
        assert (blink.max(axis=0) > 0.9).all() and blink.mean() < 0.2


@draws
def test_the_truth_mouth_is_the_mouth_track_of_the_clip_on_screen(
    small_films: list["Film"],
) -> None:
    for film in small_films:
        truth = film.truth
        turns = spoken_turns(truth.story, T, 24.0)
        if not turns:
            assert not truth.mouth.any()
            continue
        expected = mouth_track(turns[0].phones, T)
        if truth.cut_frame is not None:
            expected[truth.cut_frame :] = mouth_track(turns[1].phones, T)[truth.cut_frame :]
        assert np.array_equal(truth.mouth, expected)
        assert truth.mouth[:, 0].max() > 0.3


@draws
def test_text_films_talk_without_speech(small_films: list["Film"]) -> None:
    for film in small_films:
        assert (film.speech is None) == (film.truth.story.source == "text")
        if film.speech is not None:
            assert film.speech.shape == (85333,) and film.speech.dtype == np.float32
            assert 0.05 < np.abs(film.speech).max() <= 1
    talking = [f.truth.mouth.max() > 0.3 for f in small_films if f.speech is None]
    assert any(talking)


@draws
def test_a_film_is_the_same_every_time_and_a_crop_is_a_part_of_it() -> None:
    for source in ("dialogue", "medium"):
        film = make_film(1, source, width=48, height=48)
        again = make_film(1, source, width=48, height=48)
        assert np.array_equal(film.frames, again.frames)
        crop = make_film(1, source, width=48, height=48, frames=range(60, 84))
        assert crop.first_frame == 60
        assert np.array_equal(crop.frames, film.frames[60:84])
        assert np.array_equal(crop.truth.mouth, film.truth.mouth)
        assert np.array_equal(crop.truth.mouth_boxes[60:84], film.truth.mouth_boxes[60:84])
        assert crop.caption == film.caption


@draws
def test_the_picture_cuts_at_the_cut_frame_and_nowhere_else() -> None:
    film = make_film(2, "dialogue", width=48, height=48)
    assert film.truth.cut_frame is not None and film.truth.cut_frame % 4 == 0
    change = np.abs(np.diff(film.frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert np.argmax(change) == film.truth.cut_frame - 1


@draws
def test_a_stream_over_processes_gives_the_same_films_in_order() -> None:
    requests = [
        Request(seed, "close-up", width=24, height=24, frames=range(8)) for seed in range(3)
    ]
    for alone, streamed in zip(
        film_stream(requests, workers=0), film_stream(requests, workers=1), strict=True
    ):
        assert alone.truth.story == streamed.truth.story
        assert np.array_equal(alone.frames, streamed.frames)
        assert np.array_equal(alone.speech, streamed.speech)


@draws
def test_frames_outside_the_film_are_refused() -> None:
    for wrong in (range(120, 140), range(0), range(0, 10, 2), range(-4, 4)):
        with pytest.raises(ValueError, match="frames"):
            make_film(0, "close-up", frames=wrong)
    with pytest.raises(ValueError, match="too short"):
        make_film(0, "dialogue", num_frames=16)


@draws
def test_a_rendered_film_has_its_truth_beside_it(tmp_path: Path) -> None:
    film = films.render_to_file(7, "dialogue", tmp_path / "story.mp4", 64, 64)
    told = json.loads((tmp_path / "story.json").read_text())
    assert told == json.loads(json.dumps(story_json(film)))
    assert told["caption"] == film.caption and len(told["mouth"]) == T
    assert (tmp_path / "story.mp4").stat().st_size > 1000
