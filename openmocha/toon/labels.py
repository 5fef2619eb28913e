"""What there is to tell about a toon clip, as class indices: the judge's questions and answers.

A clip's truth (stories.py) -> one index per attribute, per person from left to right, or -1 where
the question has no answer (the hair of a cat, the hair colour of a bald man, an absent person).
"""

import numpy as np

from openmocha.toon import stories
from openmocha.toon.poses import Pose
from openmocha.toon.stories import Cast, Character, Clip, Story

PEOPLE = 2  # at most, in one shot
NO_ANSWER = -1

PERSON_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "species": stories.SPECIES,
    "age": stories.AGES,
    "gender": stories.GENDERS,
    # One list for skin, fur and metal: the words that two of them share are the same answer.
    "skin": tuple(dict.fromkeys(stories.SKIN + stories.FUR + stories.METAL)),
    "hair_colour": stories.HAIR_COLOURS,
    "hair_style": stories.HAIR_STYLES,
    "clothes": stories.CLOTHES,
    "clothes_colour": stories.COLOURS,
    "accessory": stories.ACCESSORIES,
    "facing": stories.FACINGS,
    "position": stories.POSITIONS,
    "emotion": stories.EMOTIONS,
}
FRAME_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "place": stories.PLACES,
    "background_colour": stories.COLOURS,
    "light": stories.LIGHTS,
    "shot": stories.SHOTS,
}
SEQUENCE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "camera": stories.CAMERAS,
    "action": stories.ACTIONS,
}
POSE = (
    "yaw", "pitch", "roll", "sway x", "sway y", "shrug",
    "left lift", "left reach", "left bend", "right lift", "right reach", "right bend",
)  # fmt: skip
HAS_HAIR = ("person",)


def person_labels(character: Character, cast: Cast) -> dict[str, int]:
    """Index of every person attribute of one visible character."""
    words = {name: getattr(character, name) for name in list(PERSON_ATTRIBUTES)[:9]}
    words |= {"facing": cast.facing, "position": cast.position, "emotion": cast.emotion}
    labels = {name: PERSON_ATTRIBUTES[name].index(word) for name, word in words.items()}
    if character.species not in HAS_HAIR:
        labels["hair_colour"] = labels["hair_style"] = NO_ANSWER
    if character.hair_style == "bald":
        labels["hair_colour"] = NO_ANSWER
    return labels


def clip_labels(story: Story, clip: Clip) -> dict[str, np.ndarray]:
    """Every attribute of a clip: int8 (P,) for people, () for the frame and the camera."""
    labels: dict[str, np.ndarray] = {}
    people = [person_labels(story.characters[cast.character], cast) for cast in clip.cast]
    for name in PERSON_ATTRIBUTES:
        values = [person[name] for person in people]
        labels[name] = np.array(values + [NO_ANSWER] * (PEOPLE - len(values)), np.int8)
    words = {name: getattr(story, name) for name in ("place", "background_colour", "light")}
    words["shot"] = clip.shot
    for name, word in words.items():
        labels[name] = np.array(FRAME_ATTRIBUTES[name].index(word), np.int8)
    labels["camera"] = np.array(stories.CAMERAS.index(clip.camera), np.int8)
    actions = [stories.ACTIONS.index(cast.action) for cast in clip.cast]
    labels["action"] = np.array(actions + [NO_ANSWER] * (PEOPLE - len(actions)), np.int8)
    return labels


def visible_labels(story: Story, clip: Clip) -> dict[str, np.ndarray]:
    """Of clip_labels what the picture tells: folds of age are people's alone, and a camera that
    pans moves people by as much as they stand aside."""
    labels = clip_labels(story, clip)
    for person, cast in enumerate(clip.cast):
        if story.characters[cast.character].species != "person":
            labels["age"][person] = NO_ANSWER
    if clip.camera.startswith("pan"):
        labels["position"][:] = NO_ANSWER
    return labels


def pose_labels(poses: tuple[Pose, ...]) -> np.ndarray:
    """float32 (P, len(POSE)) of what people's heads and arms do; NaN for an absent person."""
    labels = np.full((PEOPLE, len(POSE)), np.nan, np.float32)
    for person, pose in enumerate(poses):
        arms = [v for a in (pose.left_arm, pose.right_arm) for v in (a.lift, a.reach, a.bend)]
        labels[person] = [*pose.head, *pose.sway, pose.shrug, *arms]
    return labels
