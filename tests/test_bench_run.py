"""`openmocha bench run`: all items in the layout, once, whatever fails or is killed."""

import fcntl
import json
import os
import shutil

import pytest
from bench_folder import ROWS, make_benchmark
from test_media import tone, write_wav
from typer.testing import CliRunner

from openmocha.cli import app
from openmocha.evaluation.mochabench import film_path, read_benchmark
from openmocha.evaluation.run import (
    Making,
    begin_run,
    claimed,
    make_films,
    make_share,
    read_failures,
)
from openmocha.media import SpeechWarning, read_film
from openmocha.models.store import write_checksums


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *[str(argument) for argument in arguments]])


@pytest.fixture
def benchmark(tmp_path):
    (tmp_path / "benchmark").mkdir()
    return make_benchmark(tmp_path / "benchmark")


def test_all_items_are_filmed_once_with_their_own_prompts(tiny_folder, benchmark, tmp_path):
    run = tmp_path / "run"
    arguments = ("run", "-b", benchmark, "-o", run, "--model", tiny_folder, "--steps", 1, "--json")
    result = bench(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    (told,) = json.loads(result.stdout)["runs"].values()
    assert told == {
        "output": str(run), "made": 4, "before": 0, "without_speech": 1, "failed": 0,
        "elsewhere": 0,
    }  # fmt: skip
    items = read_benchmark(benchmark)
    for item in items[:4]:
        film = read_film(film_path(run, item))
        assert film.metadata["prompt"] == item.prompt
        assert film.metadata["seed"] == 0
        assert film.speech is not None and len(film.frames) == 16
    assert "\n\nSecond clip: Person2 answers." in items[3].prompt
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.mp4")}
    film_path(run, items[1]).unlink()
    (told,) = json.loads(bench(*arguments).stdout)["runs"].values()
    assert (told["made"], told["before"]) == (1, 3)
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*.mp4")}
    assert [path for path in after if after[path] != before[path]] == [film_path(run, items[1])]
    assert not [path for path in run.rglob(".*")]  # no locks, no parts
    refused = bench(*arguments[:-1], "--seed", 1)
    assert refused.exit_code == 2
    assert "was begun with seed 0, now it is 1" in refused.stderr


def test_a_run_goes_on_with_the_weights_it_was_begun_with(tiny_folder, benchmark, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    begin_run(tmp_path / "run", benchmark, Making(str(model)))
    begin_run(tmp_path / "run", benchmark, Making(str(model)))
    (model / "extra.json").write_text("{}")
    write_checksums(model)
    with pytest.raises(ValueError, match="was begun with weights"):
        begin_run(tmp_path / "run", benchmark, Making(str(model)))


def test_one_failing_item_does_not_stop_the_run(tiny_folder, benchmark, tmp_path):
    items = read_benchmark(benchmark)
    items[0].speech.write_bytes(b"no sound")
    run, said = tmp_path / "run", []
    making = Making(str(tiny_folder), steps=1)
    made = make_films(items[:3], benchmark, run, making, say=said.append)
    assert (made.made, made.failed, made.elsewhere) == (2, 1, 0)
    (failure,) = read_failures(run)
    assert failure["item"] == items[0].name and "cannot be decoded" in failure["reason"]
    assert any("failed: speech file" in words for words in said)
    write_wav(items[0].speech, [tone(0.6)])
    made = make_films(items[:3], benchmark, run, making, say=said.append)
    assert (made.made, made.before, made.failed) == (1, 2, 0)
    with (run / "failures.jsonl").open("a") as file:
        file.write('{"item": "cut')
    assert read_failures(run) == [failure]


def test_a_claimed_film_is_left_to_whoever_claimed_it(tiny_folder, benchmark, tmp_path):
    items, run = read_benchmark(benchmark)[:2], tmp_path / "run"
    making = Making(str(tiny_folder), steps=1)
    with claimed(run, items[0]) as mine:
        assert mine
        made = make_films(items, benchmark, run, making, say=lambda words: None)
    assert (made.made, made.elsewhere) == (1, 1)
    left = film_path(run, items[0]).with_name(".1_woman.mp4.123.part")
    left.touch()
    lock = film_path(run, items[0]).with_name(".1_woman.mp4.lock")
    lock.touch()  # of a process that was killed: nobody holds it
    assert make_films(items, benchmark, run, making, say=lambda words: None).made == 1
    assert not left.exists() and not lock.exists()


def test_a_film_that_another_process_finished_meanwhile_is_not_made_again(
    tiny_folder, benchmark, tmp_path
):
    item, run = read_benchmark(benchmark)[0], tmp_path / "run"
    film_path(run, item).parent.mkdir(parents=True)
    film_path(run, item).write_bytes(b"theirs")
    making = Making(str(tiny_folder), steps=1)
    make_share([item], run, making, "attempt", say=lambda words: None)
    assert film_path(run, item).read_bytes() == b"theirs"


def test_the_claim_is_a_lock_that_goes_with_its_process(benchmark, tmp_path):
    item, run = read_benchmark(benchmark)[0], tmp_path / "run"
    with claimed(run, item) as mine:
        lock = film_path(run, item).with_name(".1_woman.mp4.lock")
        with lock.open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert mine


@pytest.mark.end_to_end
def test_two_processes_share_the_items(tiny_folder, benchmark, tmp_path):
    items, run = read_benchmark(benchmark), tmp_path / "run"
    items[2].speech.write_bytes(b"no sound")
    making = Making(str(tiny_folder), steps=1)
    made = make_films(items, benchmark, run, making, processes=2, say=print)
    assert (made.made, made.failed, made.without_speech, made.elsewhere) == (3, 1, 1, 0)
    assert len(read_failures(run)) == 1
    one = tmp_path / "one"
    with pytest.warns(SpeechWarning, match="one take"):  # a tone has no turns
        make_films([items[3]], benchmark, one, making, say=print)
    films = [read_film(film_path(place, items[3])).frames for place in (run, one)]
    assert (films[0] == films[1]).all()  # the number of processes changes no film


def test_several_models_get_a_run_each(tiny_folder, benchmark, tmp_path):
    other = tmp_path / "other"
    os.symlink(tiny_folder, other)
    result = bench(
        "run", "-b", benchmark, "-o", tmp_path / "runs", "--model", tiny_folder, "--model", other,
        "--steps", 1, "--limit", 1, "--category", "monologue",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    films = sorted(str(p.relative_to(tmp_path / "runs")) for p in tmp_path.glob("runs/**/*.mp4"))
    name = f"{ROWS[0][0]}/{ROWS[0][1]}.mp4"
    assert films == sorted([f"other/{name}", f"{tiny_folder.name}/{name}"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--category", "1p_emotons"), "did you mean '1p_emotion'?"),
        (("--items", "1p_emotion/1_womn"), "did you mean '1p_emotion/1_woman'?"),
        (("--size", "big"), "size 'big' is not WIDTHxHEIGHT"),
        (("--model", "nowhere"), "nowhere"),
        (("--model", "nowhere", "--processes", 2), "nowhere"),
        (("-b", "no-benchmark"), "no MoChaBench folder"),
    ],
)
def test_bad_requests_are_one_sentence(benchmark, tmp_path, arguments, told):
    result = bench("run", "-b", benchmark, "-o", tmp_path / "run", *arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert told in result.stderr and result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
