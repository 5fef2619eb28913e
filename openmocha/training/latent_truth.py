"""What there is to be read from each latent frame of a toon film, where it shows one person.

    story, scenes -> answers (F, A) class indices, poses (F, K) of the person, the face and the lips

Dimension letters: F latent frames of the film, A attributes, K channels of a pose.
"""

from collections.abc import Sequence

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from openmocha.toon.films import Scene
from openmocha.toon.labels import (
    FRAME_ATTRIBUTES,
    NO_ANSWER,
    PERSON_ATTRIBUTES,
    POSE,
    pose_labels,
    visible_labels,
)
from openmocha.toon.poses import Pose
from openmocha.toon.stories import Story
from openmocha.training.shards import FRAMES_PER_LATENT

ANSWERS = PERSON_ATTRIBUTES | FRAME_ATTRIBUTES
FACE = ("brow", "frown", "smile")
# The opening of each of a latent's frames; all other channels are means over them.
LIPS = ("spread", *(f"open {frame}" for frame in range(FRAMES_PER_LATENT)))
CHANNELS = (*POSE, *FACE, *LIPS)
NUM_LIPS = len(LIPS)


def latent_truth(
    story: Story, scenes: Sequence[Scene]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Answers (F, A), labels.NO_ANSWER where a question has none, and poses (F, K). What is asked
    of a person has no answer, and poses are NaN, where two are seen. Lips are the speaker's."""
    answers, poses = [], []
    for scene in scenes:
        alone = len(scene.clip.cast) == 1
        labels = visible_labels(story, scene.clip)
        person = [labels[name][0] if alone else NO_ANSWER for name in PERSON_ATTRIBUTES]
        frame = [labels[name] for name in FRAME_ATTRIBUTES]
        count = len(scene.poses) // FRAMES_PER_LATENT
        answers.append(np.tile(np.array([*person, *frame], np.int8), (count, 1)))
        shown = scene_poses([poses[0] for poses in scene.poses], scene.mouth)
        poses.append(shown if alone else np.full_like(shown, np.nan))
    return np.concatenate(answers), np.concatenate(poses)


def scene_poses(poses: Sequence[Pose], mouth: NDArray[np.floating]) -> NDArray[np.float32]:
    """(F, K) of one person's poses in each frame, and of a mouth (4 F, 4)."""
    body = np.array([pose_labels((pose,))[0] for pose in poses])
    face = np.array([(pose.brow, pose.frown, pose.smile) for pose in poses])
    still = np.concatenate([body, face, mouth[:, 1:2]], axis=1)
    means = rearrange(still, "(F r) k -> F r k", r=FRAMES_PER_LATENT).mean(1)
    opening = rearrange(mouth[:, 0], "(F r) -> F r", r=FRAMES_PER_LATENT)
    return np.concatenate([means, opening], axis=1).astype(np.float32)
