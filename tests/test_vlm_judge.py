"""The judge: which pictures it sees, what it is asked, what becomes of good, bad and no answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from bench_folder import make_benchmark
from stand_in_endpoint import stand_in
from typer.testing import CliRunner

from openmocha.cli import app
from openmocha.curation import endpoint as endpoints
from openmocha.curation.endpoint import Endpoint
from openmocha.evaluation.mochabench import film_path, read_benchmark
from openmocha.evaluation.score_table import read_scores
from openmocha.evaluation.vlm_judge import (
    ASPECTS,
    advice_of,
    aspect_words,
    cost,
    evenly_spaced,
    film_length,
    frames_at,
    loud_and_quiet,
)
from openmocha.media import FPS, SPEECH_RATE_HZ, write_film


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *[str(argument) for argument in arguments]])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(endpoints, "BACKOFF_S", 0.01)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A benchmark and a run with films of three of its items; each of another grey: the
    judge's answers are kept by what it is shown."""
    make_benchmark(tmp_path, seconds=2.0)
    for number, item in enumerate(read_benchmark(tmp_path)[:3]):
        path = film_path(tmp_path / "run", item)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_film(path, greys(48) // (number + 1))
    return tmp_path


def greys(count: int) -> np.ndarray:
    grey = (5 * np.arange(count)).astype(np.uint8)[:, None, None, None]
    return np.broadcast_to(grey, (count, 32, 48, 3))


def judge(place: Path, url: str, *more):
    return bench(
        "score", place / "run", "-b", place, "-m", "judge", "--endpoint", url, "--llm", "eye",
        "--frames", 4, "--json", *more,
    )  # fmt: skip


# --- pictures ------------------------------------------------------------------------------------


def test_frames_are_evenly_spaced_and_cut_to_whole_numbers():
    assert evenly_spaced(125, 32)[:4] == [0, 4, 8, 12]  # 124/31 = 4
    assert evenly_spaced(127, 32)[:4] == [0, 4, 8, 12] and evenly_spaced(127, 32)[-1] == 126
    assert evenly_spaced(127, 32)[16] == int(126 * 16 / 31) == 65  # 65.03, and not rounded
    assert evenly_spaced(101, 7) == [0, 16, 33, 50, 66, 83, 100]  # 16.67 is cut to 16
    assert evenly_spaced(5, 32) == [0, 1, 2, 3, 4]


def test_frames_come_by_their_number(tmp_path):
    write_film(tmp_path / "film.mp4", greys(30))
    assert film_length(tmp_path / "film.mp4") == (30, 30 / FPS)
    frames = frames_at(tmp_path / "film.mp4", [0, 7, 29])
    assert [round(float(frame.mean()) / 5) for frame in frames] == [0, 7, 29]
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match="cannot be decoded"):
        film_length(tmp_path / "film.mp4")


def test_loud_and_quiet_moments_lie_in_speech_and_pauses():
    seconds = np.arange(round(5.3 * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    talking = (seconds % 1.0) < 0.5
    speech = (np.sin(2 * np.pi * 200 * seconds) * talking).astype(np.float32)
    moments, loud = loud_and_quiet(speech, 127, 24.0)
    assert len(moments) == 12 and sum(loud) == 6 and moments == sorted(set(moments))
    middles = [((moment + 0.5) / 24) % 1.0 for moment in moments]
    assert [middle < 0.5 for middle in middles] == loud
    assert loud_and_quiet(speech[:16_000], 127, 24.0) == ([], [])  # too short to choose from


# --- questions -----------------------------------------------------------------------------------


def test_each_aspect_carries_the_papers_anchors_and_only_text_the_prompt(place):
    item = read_benchmark(place)[0]
    words = {aspect: aspect_words(aspect, item, 4, 2.0) for aspect in ASPECTS}
    assert list(words) == ["expression", "action", "text", "visual"]
    assert [aspect for aspect in words if item.prompt in words[aspect]] == ["text"]
    for aspect, four in (
        ("expression", "not to be told from real"),
        ("action", "not to be told from real"),
        ("text", "follows it perfectly"),
        ("visual", "flawless"),
    ):
        assert f"4: {four}" in words[aspect] and "\n1: " in words[aspect]
        assert "4 pictures" in words[aspect] and "no sound" in words[aspect]
    assert "no character is seen, the score is 1" in words["text"].replace("If ", "")


def test_braces_in_a_prompt_are_words(place):
    from dataclasses import replace

    item = replace(read_benchmark(place)[0], prompt="A {prompt} of {count}")
    assert "A {prompt} of {count}\n" in aspect_words("text", item, 4, 2.0)


def test_advice_compares_what_the_judge_could_not_know():
    loud = [True, True, True, False, False, False]
    assert "open in 3 of 3 loud and 0 of 3 quiet" in advice_of(["open"] * 3 + ["closed"] * 3, loud)
    assert "moves with the loudness" in advice_of(["open"] * 3 + ["closed"] * 3, loud)
    assert "does not follow" in advice_of(["open"] * 6, loud)
    assert "does not follow" in advice_of(["closed"] * 3 + ["open"] * 3, loud)
    assert "too seldom seen" in advice_of(["hidden"] * 4 + ["closed"] * 2, loud)


def test_cost_counts_every_question():
    told = cost(10, Endpoint("http://x/v1", "eye", usd_per_million_input=1.0), 4, True)
    assert told["requests"] == 50
    assert told["input_tokens"] == 40 * (700 + 4 * 350) + 10 * (700 + 12 * 350)
    assert told["usd"] == round(told["input_tokens"] / 1e6, 4)
    assert cost(10, Endpoint("http://x/v1", "eye"), 4, False)["requests"] == 40


# --- answers -------------------------------------------------------------------------------------


def test_good_answers_become_scores_and_are_asked_for_once(place):
    with stand_in() as server:
        result = judge(place, server.url)
        assert result.exit_code == 0, (result.output, result.exception)
        # two to check the server, then four aspects and one on mouths for each film
        assert len(server.requests) == 2 + 3 * 5
        assert "judge: 3 films, at most 15 requests" in result.stderr
        pictures = [json.dumps(r["messages"]).count("image_url") // 2 for r in server.requests]
        assert sorted(pictures) == [0, 1] + [4] * 12 + [12] * 3
        first = result.stderr.index("at most 15 requests")
        assert first < result.stderr.index("judge 1p_")
        again = judge(place, server.url)
        assert json.loads(again.stdout)["known"] == 3 and len(server.requests) == 17
    told = json.loads(result.stdout)
    measures = {row["measure"] for row in told["summary"]["judge"]}
    assert measures == {f"judge_{aspect}" for aspect in ASPECTS}
    for score in read_scores(place / "run")["judge"].values():
        assert {*score.details["reasons"]} == {*ASPECTS}
        assert all(value in (1, 2, 3, 4) for value in score.values.values())
        assert score.details["lip_advice"].startswith("mouth open in ")
        assert not any("lip" in name for name in score.values)


def test_a_price_is_told_only_where_both_are_given(place):
    unknown = "price unknown: give --usd-in and --usd-out"
    with stand_in() as server:
        for given in ((), ("--usd-in", 1)):
            told = judge(place, server.url, "--limit", 1, *given).stderr
            assert unknown in told and "USD\n" not in told
            (place / "run" / "scores.jsonl").unlink()
        told = judge(place, server.url, "--limit", 1, "--usd-in", 1, "--usd-out", 2).stderr
        assert unknown not in told and "0.02 USD\n" in told, told


def test_rubbish_is_asked_again_and_what_stays_rubbish_waits(place):
    with stand_in() as server:
        server.faults = [None, None, "rubbish", "wrong", "cut", 500]
        assert judge(place, server.url, "--no-lip-advice").exit_code == 0
        assert len(server.requests) == 2 + 12 + 4
    (place / "run" / "scores.jsonl").unlink()
    for answer in (place / "run" / "answers").iterdir():
        answer.unlink()
    with stand_in() as server:
        server.faults = [None, None, *["rubbish"] * 200]
        result = judge(place, server.url, "--no-lip-advice")
        assert result.exit_code == 1
        told = json.loads(result.stdout)
        assert told["set_aside"] == 3 and told["scored"] == 0
        assert "3 films were not judged (the answer is not JSON" in told["failed"]["judge"]
        assert read_scores(place / "run") == {}
        server.faults = []
        assert json.loads(judge(place, server.url, "--no-lip-advice").stdout)["scored"] == 3


def test_a_server_that_goes_down_keeps_what_it_said(place):
    with stand_in() as server:
        # concurrency is four: the first film is answered, then nobody is there
        server.faults = [None] * 6 + [503] * 400
        result = judge(place, server.url, "--no-lip-advice")
        assert result.exit_code == 1
        told = json.loads(result.stdout)
        assert (told["scored"], told["set_aside"]) == (1, 2)
        asked = len(server.requests)
        server.faults = []
        told = json.loads(judge(place, server.url, "--no-lip-advice").stdout)
        assert (told["known"], told["scored"]) == (1, 2)
        assert len(server.requests) == asked + 2 + 8


def test_nobody_at_the_address_is_one_sentence(place):
    result = judge(place, "http://127.0.0.1:9/v1")
    assert result.exit_code == 1
    assert "error: judge: no connection to http://127.0.0.1:9/v1" in result.stderr
    assert "Traceback" not in result.output


def test_a_server_without_eyes_or_schemas_is_refused_before_it_costs_anything(place):
    for trait, told in (("blind", "takes no pictures"), ("ignores_schemas", "ignores JSON")):
        with stand_in() as server:
            setattr(server, trait, True)
            result = judge(place, server.url)
            assert result.exit_code == 1 and told in result.stderr
            assert len(server.requests) <= 5


def test_a_damaged_film_is_noted_and_the_others_are_judged(place):
    damaged = film_path(place / "run", read_benchmark(place)[1])
    damaged.write_bytes(b"no film")
    with stand_in() as server:
        result = judge(place, server.url)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["scored"], told["unscored"]) == (2, 1)
    assert "cannot be decoded" in told["unscored_films"][0]["note"]
