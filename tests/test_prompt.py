"""The prompt's two faces: template and free text <-> Script, script files, MoChaBench's rows."""

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmocha.evaluation.mochabench import read_benchmark
from openmocha.prompt import (
    Character,
    Clip,
    Script,
    load_script,
    parse_prompt,
)
from openmocha.rewording import PromptWarning, names_shot, with_shot

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
BENCHMARK = SHARED / "mochabench" / "benchmark" / "benchmark.csv"
needs_benchmark = pytest.mark.skipif(
    not BENCHMARK.exists(), reason=f"MoChaBench's benchmark.csv is not at {BENCHMARK}"
)
TEMPLATE = """Two video clips.

Characters: A woman (Person1) with red hair. She smiles. A man (Person2) in a suit.

First clip: Person1 speaks to the camera.

Second clip: Person2 answers Person1."""


def test_template_text_becomes_a_script_and_back():
    script = parse_prompt(TEMPLATE)
    assert script == Script(
        (
            Character("Person1", "A woman (Person1) with red hair. She smiles."),
            Character("Person2", "A man (Person2) in a suit."),
        ),
        (Clip("Person1 speaks to the camera."), Clip("Person2 answers Person1.")),
    )
    assert script.prompt == TEMPLATE
    assert Script(script.characters, script.clips).prompt == TEMPLATE


def test_plain_descriptions_receive_their_tag_and_the_number_words():
    people = (Character("Person1", "a young woman with red hair"), Character("Person2", "Robot!"))
    clips = tuple(Clip(f"Person{i} talks.") for i in (1, 2, 1))
    assert Script(people, clips).prompt == (
        "Three video clips.\n\nCharacters: A young woman (Person1) with red hair. "
        "Robot (Person2)!\n\nFirst clip: Person1 talks.\n\nSecond clip: Person2 talks.\n\n"
        "Third clip: Person1 talks."
    )
    assert Script(people[:1], clips[:1]).prompt.startswith("One video clip.\n\nCharacters: A young")


@pytest.mark.parametrize(
    "text", ["A cat talks.", "  two spaces\tand a tab \n", "A man (Person1) nods; Person1 waves."]
)
def test_free_text_passes_as_it_is(text):
    script = parse_prompt(text)
    assert script.characters == () and script.clips == (Clip(text),) and script.prompt == text


PHRASE = st.lists(
    st.sampled_from("a woman with red hair, and coat. She (smiles) at Person1 é “x” 2.5".split()),
    min_size=1,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(
    descriptions=st.lists(PHRASE, min_size=1, max_size=3),
    clips=st.lists(PHRASE, min_size=1, max_size=4),
)
def test_script_to_text_to_script_loses_nothing(descriptions, clips):
    people = tuple(Character(f"Person{i}", words) for i, words in enumerate(descriptions, 1))
    script = Script(people, tuple(Clip(words) for words in clips))
    try:
        text = script.prompt
    except ValueError as error:
        # only a description that opens with two sentences before its tag cannot be told apart
        assert "cannot be told apart" in str(error)
        return
    assert parse_prompt(text) == script
    assert parse_prompt(text).prompt == text


def test_a_script_that_imitates_the_template_is_refused():
    script = Script((Character("Person1", "A man."),), (Clip("Person1 nods.\n\nSecond clip: no"),))
    with pytest.raises(ValueError, match="Second clip"):
        _ = script.prompt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  \n ", "the prompt is empty"),
        ("A woman talks.\nPerson2 nods.", "Person2 is used in line 2 of the prompt"),
        (TEMPLATE.replace("Person2 answers", "Person3 answers"), "Person3 is used in line 7"),
        (TEMPLATE.replace("Two", "Three"), 'found "First clip:", "Second clip:"'),
        (TEMPLATE.replace("First clip", "Third clip"), "in this order"),
        (TEMPLATE.replace("Characters:", "People:"), '"Characters:" is missing'),
        ("One video clip. Characters: a man.\nFirst clip: talk", "describes nobody"),
        (TEMPLATE.replace("(Person2)", "(Person1)"), "Person2 is used in line 7"),
        ("One video clip. Characters: A (Person1). B (Person1).\nFirst clip: x", "twice"),
    ],
)
def test_faulty_prompts_are_refused_with_the_reason(text, message):
    with pytest.raises(ValueError) as error:
        parse_prompt(text)
    assert message in str(error.value)


SCRIPT_FILE = """
characters:
  Person1: A young woman
    with red hair
  Person2: A man in a suit
clips:
  - text: Person1 speaks to the camera.
    speaker: Person1
    speech: one.wav
  - text: Person2 answers.
    speech: two.wav
"""


def test_script_file(tmp_path):
    path = tmp_path / "scene.yaml"
    path.write_text(SCRIPT_FILE)
    script = load_script(path)
    assert script.prompt == (
        "Two video clips.\n\nCharacters: A young woman (Person1) with red hair. "
        "A man (Person2) in a suit.\n\nFirst clip: Person1 speaks to the camera.\n\n"
        "Second clip: Person2 answers."
    )
    assert script.clips[0].speaker == "Person1"
    assert script.speech_files == (tmp_path / "one.wav", tmp_path / "two.wav")


def test_tags_in_comments_and_file_names_are_nobody(tmp_path):
    path = tmp_path / "scene.yaml"
    changed = SCRIPT_FILE.replace("speech: one.wav", "speech: Person7.wav  # Person8 joins later")
    path.write_text(changed)
    assert load_script(path).speech_files[0] == tmp_path / "Person7.wav"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Person2 answers", "Person4 answers", "Person4 is used in line 10 of script"),
        ("speaker: Person1", "speaker: Person5", "Person5 is used in line 8 of script"),
        ("speaker: Person1", "speaker: Anna", "Anna is used as speaker"),
        ("speaker:", "speeker:", "unknown key 'speeker' (did you mean speaker?)"),
        ("clips:", "clip:", "unknown key 'clip' (did you mean clips?)"),
        ("  - text: Person2 answers.", "  - text: ''", "clip 2: text must be text, got ''"),
        ("Person2: A man in a suit", "Anna: A man", "character tag 'Anna' must be Person1"),
        ("Person2: A man in a suit", "Person2: [", "is not YAML (line 7"),
        ("Person2: A man in a suit", "Person1: A man in a suit", "Person1 is there twice"),
        ("clips:", "clips: " + 3000 * "[", "nested too deeply"),
        ("    speech: two.wav\n", "", "clip 2 of 2 has no speech file"),
    ],
)
def test_faulty_script_files_are_refused_with_the_place(tmp_path, old, new, message):
    assert old in SCRIPT_FILE
    path = tmp_path / "scene.yaml"
    path.write_text(SCRIPT_FILE.replace(old, new))
    with pytest.raises(ValueError) as error:
        _ = load_script(path).speech_files
    assert message in str(error.value)


def test_missing_and_binary_script_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_script(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        load_script(tmp_path / "b.yaml")


@needs_benchmark
def test_all_benchmark_prompts_are_read_and_the_structured_ones_survive_the_round_trip():
    rows = read_benchmark(BENCHMARK.parent)
    assert len(rows) == 220
    assert all(row.prompt == row.prompt.strip() and row.prompt[0] != '"' for row in rows)
    assert not any("\\n" in row.prompt for row in rows)
    scripts = [parse_prompt(row.prompt) for row in rows]
    assert [script.prompt for script in scripts] == [row.prompt for row in rows]
    structured = [script for script in scripts if script.characters]
    assert len(structured) == 17
    for script in structured:
        assert [person.tag for person in script.characters] == ["Person1", "Person2"]
        assert len(script.clips) == 2
        bare = Script(script.characters, script.clips)
        assert parse_prompt(bare.prompt) == bare


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("A cat with a wide grin talks.", "A medium shot of a cat with a wide grin talks."),
        ("The long-haired man sits.", "A medium shot of the long-haired man sits."),
        ("The camera follows a dog.", "A medium shot. The camera follows a dog."),
        ("Rain falls.", "A medium shot. Rain falls."),
        ("A close up of a cat.", None),
        ("Close-up: a cat.", None),
        ("A waist-up shot of a cat.", None),
        ("A head and shoulders portrait.", None),
    ],
)
def test_a_prompt_without_a_shot_gets_one(text, completed):
    script = parse_prompt(text)
    if completed is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert with_shot(script, "medium") is script
    else:
        with pytest.warns(PromptWarning, match="the prompt names no shot size: a medium shot"):
            assert with_shot(script, "medium").prompt == completed


def test_only_the_clips_without_a_shot_get_one():
    template = (
        "Three video clips.\n\nCharacters: A man (Person1).\n\nFirst clip: Person1 talks.\n\n"
        "Second clip: A wide shot of a hall.\n\nThird clip: Person1 nods."
    )
    with pytest.warns(PromptWarning, match="clip 1, 3 names no shot"):
        completed = with_shot(parse_prompt(template), "close-up").prompt
    assert completed == template.replace(": Person1 ", ": A close-up shot of Person1 ")


def test_every_shot_of_the_training_captions_is_known():
    from openmocha.toon.wording import SHOT_NAMES

    assert all(names_shot(f"A {name} of a cat.") for names in SHOT_NAMES.values() for name in names)
