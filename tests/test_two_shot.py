"""Two people in one shot: who is shown, where they stand, who speaks, what is said of each."""

import pytest

from openmocha.prompt import Character, Clip, Script
from openmocha.two_shot import said_of_one, speaker_of_two, two_shown

LEFT_TO_RIGHT, SWAPPED = ("Person1", "Person2"), ("Person2", "Person1")
PEOPLE = (
    Character("Person1", "A young woman with long black hair, wearing a yellow dress"),
    Character("Person2", "an elderly man"),
)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("A medium shot of Person1 and Person2 in a park.", LEFT_TO_RIGHT),
        ("Person2 and Person1 talk.", SWAPPED),
        ("Person1 stands next to Person2.", LEFT_TO_RIGHT),
        ("A shot of Person1 on the left and Person2 on the right, who talk.", LEFT_TO_RIGHT),
        ("Person1 on the right side of the frame and Person2 are in a bar.", SWAPPED),
        ("Person2 sits on the left, Person1 on the right.", SWAPPED),
        ("On the left is Person1 and on the right is Person2.", LEFT_TO_RIGHT),
        ("On the left Person1, on the right Person2.", LEFT_TO_RIGHT),
        ("On the right is Person1, on the left is Person2.", SWAPPED),
        ("Person1 stands to the right of Person2.", SWAPPED),
        ("Person1 and Person2 sit. Person2 points at the lamp on the right.", LEFT_TO_RIGHT),
        ("Person1 and Person2, with a badge on the left shoulder.", LEFT_TO_RIGHT),
        ("Person1 and Person12 talk.", ("Person1", "Person12")),
        # one is named, and not seen or hardly
        ("Person2 stands on the other side of the counter, speaking to Person1.", ()),
        ("A close-up of Person1, who talks to Person2 off screen.", ()),
        ("Person1 is on the left side of the frame. Person2 is out of focus.", ()),
        ("A close-up of Person1. Person2 is on the right.", ()),
        # one, three, nobody
        ("Person1 is on the right.", ()),
        ("Person1 and Person2 greet Person3.", ()),
        ("Person1 and Person2 talk. Person3 listens.", ()),
        ("Nobody is seen.", ()),
    ],
)
def test_two_people_are_shown_where_the_first_sentence_sees_both(words, shown):
    assert two_shown(Clip(words)) == shown


@pytest.mark.parametrize(
    ("words", "speaker"),
    [
        ("Person1 and Person2 sit in a bar. Person2 talks.", "Person2"),
        ("Person1 and Person2 sit in a bar. Person2 is slowly speaking to Person1.", "Person2"),
        ("Person1 listens, Person2 says something. Person1 and Person2 sit.", "Person2"),
        ("Person1 and Person2 sit. Person1 is not speaking, Person2 is speaking.", "Person2"),
        ("Person2 and Person1 are talking.", "Person2"),  # nobody alone: who is named first
        ("Person1 talks and Person2 talks.", "Person1"),
    ],
)
def test_who_speaks_is_whom_the_text_says_so_of(words, speaker):
    for who in (LEFT_TO_RIGHT, SWAPPED):
        assert who[speaker_of_two(Clip(words), who)] == speaker
        for tag in who:
            assert who[speaker_of_two(Clip(words, speaker=tag), who)] == tag


def test_what_is_said_of_one_leaves_the_other_out():
    text = (
        "A medium shot of Person1 and Person2 in a park, who laugh. Person2 nods to Person1. "
        "He is angry. Person1 smiles at Person2. The camera zooms in"
    )
    script = Script(PEOPLE, (Clip("Person1 waits."), Clip(text, speaker="Person2")))
    assert said_of_one(script, 1, "Person1") == (
        "A medium shot of a young woman with long black hair, wearing a yellow dress, in a park, "
        "who laugh. The young woman smiles at another person. The camera zooms in"
    )
    assert said_of_one(script, 1, "Person2") == (
        "A medium shot of an elderly man in a park, who laugh. "
        "The elderly man nods to another person. He is angry."
    )
    sides = Script(PEOPLE, (Clip("On the left is Person1 and on the right is Person2. It rains."),))
    assert said_of_one(sides, 0, "Person2") == "A shot of an elderly man. It rains."
