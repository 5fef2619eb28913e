"""Directions: what the film set's bodies are directed to do."""

from dataclasses import replace

import numpy as np
import pytest

from openmocha.toon.acts import DIRECTIONS, FILM_S, MOODS, acts_on_left, average_directions
from openmocha.toon.films import FPS, NUM_FRAMES
from openmocha.toon.motion import clip_motion
from openmocha.toon.poses import Pose
from openmocha.toon.stories import ACTIONS, Cast, make_story

NODDER = Cast(0, "camera", "center", "happy", "nod")
BODY, FACE = slice(0, 9), slice(9, 12)


def motions(action: str) -> tuple[list[Pose], np.ndarray, str]:
    """Poses and directions of the one person of a story who does that, and their feeling."""
    story = make_story(4, "medium", "train")
    cast = replace(story.clips[0].cast[0], action=action)
    clip = replace(story.clips[0], cast=(cast,), speaker=0)
    story = replace(story, clips=(clip,))
    motion = clip_motion(story, clip, 128, np.zeros((128, 4)), [1.0, 2.5], (0.3, 5.0))
    return [poses[0] for poses in motion.poses], motion.directions[0], cast.emotion


def arms_of(poses: list[Pose], side: str) -> np.ndarray:
    """Lift, reach and bend of one of the arms in each frame."""
    arms = [getattr(pose, side) for pose in poses]
    return np.array([(arm.lift, arm.reach, arm.bend) for arm in arms])


@pytest.mark.parametrize("action", ACTIONS)
def test_directions_are_what_an_action_adds_to_a_body(action):
    poses, directed, emotion = motions(action)
    still, nothing, _ = motions("none")
    assert directed.shape == (128, len(DIRECTIONS)) and not nothing[:, BODY].any()
    mood = MOODS[emotion]
    assert np.allclose(directed[:, FACE], (mood.brow, mood.frown, mood.smile))
    added = np.array([p.head for p in poses])[:, :2] - np.array([p.head for p in still])[:, :2]
    np.testing.assert_allclose(directed[:, :2], added, atol=1e-6)
    for k, side in enumerate(("left_arm", "right_arm")):
        arms, resting = (arms_of(of, side) for of in (poses, still))
        told = directed[:, 3 + 3 * k : 6 + 3 * k]
        if not told.any():
            np.testing.assert_array_equal(arms, resting)
        elif action == "shrug":  # which comes and goes
            assert np.corrcoef(arms[:, 1], told[:, 1])[0, 1] > 0.95
        else:
            np.testing.assert_allclose(arms[50:80], np.clip(told[50:80], (0, -1, 0), 1), atol=1e-6)
    assert (np.abs(directed[:, BODY]).max() > 0.2) == (action != "none")


def test_the_arm_is_the_one_that_is_seen():
    sides = {
        ("left", "camera"): "right", ("right", "left"): "left", ("center", "left"): "left",
        ("center", "right"): "right", ("center", "camera"): "either",
    }  # fmt: skip
    for (position, facing), side in sides.items():
        cast = Cast(0, facing, position, "neutral", "wave")
        arms = {acts_on_left(cast, either) for either in ("left", "right")}
        assert arms == ({True, False} if side == "either" else {side == "left"})


def test_an_average_act_fills_a_film_and_rests_as_long():
    whole = average_directions(NODDER, range(3 * 128), 24)
    pitch = whole[:, DIRECTIONS.index("pitch")]
    assert np.abs(pitch[:10]).max() == 0 and np.abs(pitch[24:110]).max() > 0.25
    assert np.abs(pitch[128:256]).max() == 0 and np.abs(pitch[280:360]).max() > 0.25
    assert FILM_S == NUM_FRAMES / FPS
    before = average_directions(NODDER, range(-12, 0), 24)
    assert not before[:, BODY].any() and np.array_equal(before[:, FACE], whole[:12, FACE])
    nods = np.diff(np.sign(pitch[24:110] + 0.05))
    assert (nods > 0).sum() in (6, 7)  # 1.9 Hz in 86 frames


@pytest.mark.parametrize("action", ACTIONS)
def test_a_part_of_a_take_is_directed_as_in_the_whole(action):
    cast = replace(NODDER, action=action)
    whole = average_directions(cast, range(-32, 384), 24)
    for part in (range(-32, 96), range(96, 224), range(200, 384)):
        seen = whole[part.start + 32 : part.stop + 32]
        np.testing.assert_allclose(average_directions(cast, part, 24), seen, atol=1e-6)
    assert (np.abs(whole[32 + 256 :, BODY]).max() > 0.2) == (action != "none")
