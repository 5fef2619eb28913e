"""MoChaBench's layout, read with all its quirks and with its mistakes named."""

import os
from collections import Counter
from pathlib import Path

import pytest

from openmocha.evaluation.mochabench import (
    CATEGORIES,
    DIALOGUE,
    MONOLOGUE,
    categories_of,
    choose_items,
    film_path,
    read_benchmark,
)

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
BENCH = SHARED / "mochabench"
needs_benchmark = pytest.mark.skipif(
    not (BENCH / "benchmark").exists(), reason=f"MoChaBench is not at {BENCH}"
)
HEAD = "idx_in_category,category,context_id,prompt\n"


def benchmark(folder: Path, rows: str, head: str = HEAD) -> Path:
    (folder / "benchmark.csv").write_text(head + rows, encoding="utf-8")
    return folder


def test_prompts_lose_their_second_quotes_and_regain_their_line_breaks(tmp_path):
    benchmark(
        tmp_path,
        '1,a,1_x,""" edge spaces ""\n"""\n'
        '2,a,2_x,"""unclosed, “quotes”."\n'
        '3,1p_protrait,1_x,"""Two video clips.\\n\\nCharacters:"""\n',
    )
    items = read_benchmark(tmp_path)
    assert [item.prompt for item in items] == [
        'edge spaces "',
        "unclosed, “quotes”.",
        "Two video clips.\n\nCharacters:",
    ]
    assert items[2].name == "1p_protrait/1_x"
    assert items[2].speech == tmp_path / "speeches/1p_protrait/1_x_speech.wav"
    assert (items[2].audio, items[2].first_frame) == (None, None)
    assert film_path(Path("run"), items[2]) == Path("run/1p_protrait/1_x.mp4")


def test_audio_and_first_frame_are_named_where_they_are(tmp_path):
    benchmark(tmp_path, "1,a,1_x,words\n")
    for path in ("audios/a/1_x.wav", "first-frames-from-mocha-generation/a/1_x.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    (item,) = read_benchmark(tmp_path)
    assert item.audio == tmp_path / "audios/a/1_x.wav"
    assert item.first_frame == tmp_path / "first-frames-from-mocha-generation/a/1_x.png"


@pytest.mark.parametrize(
    ("rows", "head", "told"),
    [
        ("1,a,1_x,words\n", "idx,category,context_id,prompt\n", "lacks the columns idx_in_cat"),
        ("1,a,1_x\n", HEAD, "line 2 of .* does not have the cells"),
        ("1,a,1_x,words,more\n", HEAD, "line 2 of .* does not have the cells"),
        ("one,a,1_x,words\n", HEAD, "has the index 'one'"),
        ("1,a,../../x,words\n", HEAD, "which names no file"),
        ("1,a,1_x,words\n1,a,1_x,words\n", HEAD, "line 3 of .* a second time"),
        ('1,a,1_x,""""""\n', HEAD, "has an empty prompt"),
        ("", HEAD, "has no items"),
        ("", "", "lacks the columns .* names: none"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, rows, head, told):
    with pytest.raises(ValueError, match=told) as error:
        read_benchmark(benchmark(tmp_path, rows, head))
    assert "\n" not in str(error.value)


def test_other_encodings_and_other_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no MoChaBench folder"):
        read_benchmark(tmp_path)
    (tmp_path / "benchmark.csv").write_bytes((HEAD + "1,a,1_x,café").encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_benchmark(tmp_path)
    (tmp_path / "benchmark.csv").write_text(HEAD + "1,a,1_x," + "x" * 200_000)
    with pytest.raises(ValueError, match="is not a CSV file"):
        read_benchmark(tmp_path)


def test_items_are_chosen_by_category_group_name_and_number(tmp_path):
    rows = "1,1p_emotion,1_x,w\n2,1p_emotion,2_y,w\n1,2p_2clip_2talk,1_x,w\n1,own,1_z,w\n"
    items = read_benchmark(benchmark(tmp_path, rows))

    def names(*given, **named):
        return [item.name for item in choose_items(items, *given, **named)]

    assert names() == [item.name for item in items]
    assert names(["monologue"]) == ["1p_emotion/1_x", "1p_emotion/2_y"]
    assert names(["dialogue", "own"]) == ["2p_2clip_2talk/1_x", "own/1_z"]
    assert names(["1p_emotion"], limit=1) == ["1p_emotion/1_x"]
    assert names(names=["own/1_z", "1p_emotion/2_y"]) == ["1p_emotion/2_y", "own/1_z"]
    with pytest.raises(ValueError, match="no category or group '1p_emotions'; did you mean '1p_em"):
        names(["1p_emotions"])
    with pytest.raises(ValueError, match="no item '1p_emotion/1_y'; did you mean"):
        names(names=["1p_emotion/1_y"])
    with pytest.raises(ValueError, match="no item is in both"):
        names(["own"], ["1p_emotion/2_y"])


def test_groups_are_upstreams():
    assert len(MONOLOGUE) == 6 and DIALOGUE == ("2p_2clip_2talk",)
    assert categories_of("monologue") == MONOLOGUE
    assert {"1p_generalize_chinese"} == {*CATEGORIES} - {*MONOLOGUE, *DIALOGUE}
    with pytest.raises(ValueError, match="did you mean '1p_protrait'"):
        categories_of("1p_portrait")


@needs_benchmark
def test_the_released_benchmark_is_read_whole():
    items = read_benchmark(BENCH)
    assert items == read_benchmark(BENCH / "benchmark")
    assert Counter(item.category for item in items) == {
        "1p_closeup_facingcamera": 27,
        "1p_camera_movement": 19,
        "1p_emotion": 34,
        "1p_mediumshot_actioncontrol": 52,
        "2p_1clip_1talk": 30,
        "1p_protrait": 39,
        "2p_2clip_2talk": 15,
        "1p_generalize_chinese": 4,
    }
    assert all(item.context_id.startswith(f"{item.index}_") for item in items)
    assert len({item.prompt for item in items}) == 188
    assert not any("\\n" in item.prompt or item.prompt[0] in '" ' for item in items)
    assert {item.category for item in items} == {*CATEGORIES}
    (guitar,) = choose_items(items, names=["1p_closeup_facingcamera/1_man_guitar"])
    assert guitar.speech.is_file() and guitar.audio and guitar.first_frame
    assert film_path(BENCH / "mocha-generation", guitar).is_file()
