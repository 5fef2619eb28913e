"""The five axes that a film is rated on, with the paper's 1-4 anchors: what the page asks."""

from collections.abc import Mapping
from dataclasses import dataclass

LOWEST, HIGHEST = 1, 4


@dataclass(frozen=True)
class Axis:
    """One question. `anchors` say what 1, 2, 3 and 4 mean."""

    name: str
    title: str
    question: str
    anchors: tuple[str, str, str, str]


NATURALNESS = (
    "Completely unnatural",
    "Noticeably synthetic",
    "Mostly natural",
    "Indistinguishable from real",
)

AXES = (
    Axis(
        "lip_sync",
        "Lip-sync",
        "Do the lips of the person who speaks follow the voice?",
        ("Not aligned", "Weakly aligned", "Mostly aligned", "Perfectly aligned"),
    ),
    Axis(
        "expression",
        "Facial expression",
        "How natural are the face and its emotion?",
        NATURALNESS,
    ),
    Axis(
        "action",
        "Action",
        "How natural are the movements of body, head and hands?",
        NATURALNESS,
    ),
    Axis(
        "text_alignment",
        "Match with the description",
        "Does the film show what the description says? Nobody in the film: 1.",
        ("Not at all", "Partially", "Mostly", "Perfectly"),
    ),
    Axis(
        "visual_quality",
        "Visual quality",
        "How clean is the picture?",
        ("Severe artifacts", "Noticeable artifacts", "Mostly free of artifacts", "Flawless"),
    ),
)
NAMES = tuple(axis.name for axis in AXES)
TEXT = "text_alignment"  # not asked of systems that never saw the text


def asked(asks_text: bool) -> tuple[str, ...]:
    """The axes of a film."""
    return tuple(name for name in NAMES if asks_text or name != TEXT)


def check_answers(answers: Mapping[str, int], names: tuple[str, ...]) -> None:
    """Raise ValueError unless each axis of `names`, and no other, has a whole number 1-4."""
    if set(answers) != set(names):
        raise ValueError(f"a rating has {sorted(answers)}; expected {sorted(names)}")
    for name, value in answers.items():
        if type(value) is not int or not LOWEST <= value <= HIGHEST:
            raise ValueError(f"{name} is {value!r}; expected a whole number from 1 to 4")
