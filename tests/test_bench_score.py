"""`openmocha bench score`: kept as it is made, masked, resumed, with what is missing counted."""

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_folder import make_benchmark, make_run
from typer.testing import CliRunner

from openmocha.cli import app
from openmocha.evaluation import score as scoring
from openmocha.evaluation.mochabench import film_path, read_benchmark
from openmocha.evaluation.score_table import read_scores
from openmocha.evaluation.scorers import NO_FACE, Scorer, Settings
from openmocha.evaluation.syncnet.network import SyncNet
from openmocha.evaluation.syncnet.s3fd import S3FDNet
from openmocha.media import write_film

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
PUBLISHED = SHARED / "mochabench/eval-lipsync/mocha-eval-results/sync_scores.csv"


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *[str(argument) for argument in arguments]])


@pytest.fixture
def benchmark(tmp_path):
    (tmp_path / "benchmark").mkdir()
    return make_benchmark(tmp_path / "benchmark")


def count_frames(calls):
    """A scorer that says how bright a film is, and of robots that they have no face."""

    def score(item, film):
        from openmocha.media import read_film

        calls.append(item.name)
        frames = read_film(film).frames
        if "robot" in item.name:
            return {}, NO_FACE, {}
        return {"brightness": float(frames.mean()), "nothing": float("nan")}, "", {}

    return Scorer("test 1", score)


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(scoring, "open_scorer", lambda metric, settings: count_frames(made))
    return made


def test_scores_are_kept_resumed_and_made_again_for_changed_films(benchmark, tmp_path, calls):
    run = make_run(tmp_path / "run", 1, but=("1_talk",))
    damaged = run / "1p_emotion/2_man.mp4"
    damaged.write_bytes(b"no film" * 50)
    result = bench("score", run, "-b", benchmark, "--metrics", "free", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    names = ("films", "missing", "scored", "unscored", "known", "without_speech")
    assert [told[name] for name in names] == [3, 2, 1, 2, 0, 0]
    notes = {row["item"]: row["note"] for row in told["unscored_films"]}
    assert notes["1p_protrait/1_robot"] == "no face that could be followed"
    assert "cannot be decoded" in notes["1p_emotion/2_man"]
    summary = {(row["group"], row["measure"]): row for row in told["summary"]["free"]}
    row = summary["monologue", "brightness"]
    assert (row["items"], row["films"], row["scored"]) == (4, 3, 1)
    assert row["coverage"] == 0.25
    assert ("monologue", "nothing") not in summary
    with (run / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["context_id"] for row in rows] == ["1_woman", "2_man", "1_robot"]
    assert float(rows[0]["brightness"]) == row["mean"] and rows[1]["brightness"] == ""

    assert json.loads(bench("score", run, "--json").stdout)["known"] == 3  # run.json knows
    assert len(calls) == 3
    make_run(tmp_path / "run", 2, but=("1_talk", "1_woman", "1_robot"))
    told = json.loads(bench("score", run, "--json").stdout)
    assert (told["known"], told["scored"]) == (2, 1)
    assert calls[3:] == ["1p_emotion/2_man"]
    speech = benchmark / "speeches/1p_protrait/1_robot_speech.wav"
    speech.write_bytes((benchmark / "speeches/1p_emotion/1_woman_speech.wav").read_bytes())
    assert json.loads(bench("score", run, "--json").stdout)["known"] == 2
    assert calls[4:] == ["1p_protrait/1_robot"]


def test_a_kill_loses_at_most_the_film_at_work(benchmark, tmp_path, monkeypatch):
    run, items = make_run(tmp_path / "run", 1), read_benchmark(benchmark)
    calls = []
    scorer = count_frames(calls)

    def killed(item, film):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scorer.score(item, film)

    dying = scorer._replace(score=killed)
    monkeypatch.setattr(scoring, "open_scorer", lambda metric, settings: dying)
    arguments = (items, run, run, ["free"], Settings(), print)
    with pytest.raises(KeyboardInterrupt):
        scoring.score_films(*arguments)
    assert len(read_scores(run)["free"]) == 2
    monkeypatch.setattr(scoring, "open_scorer", lambda metric, settings: scorer)
    counts = scoring.score_films(*arguments)
    assert (counts.known, counts.scored + counts.unscored) == (2, 2)


def test_a_metric_that_cannot_be_had_does_not_stop_the_others(benchmark, tmp_path, monkeypatch):
    run, calls = make_run(tmp_path / "run", 1), []
    real = scoring.open_scorer
    monkeypatch.setattr(
        scoring,
        "open_scorer",
        lambda metric, settings: (
            count_frames(calls) if metric == "free" else real(metric, settings)
        ),
    )
    result = bench("score", run, "-b", benchmark, "-m", "sync,judge,free", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert list(told["failed"]) == ["sync", "judge"] and len(calls) == 4
    assert "syncnet_v2.model and sfd_face.pth as --weights" in told["failed"]["sync"]
    assert "--endpoint" in told["failed"]["judge"]
    assert told["summary"].keys() == {"free"}
    result = bench("score", run, "-m", "sync", "--weights", tmp_path / "none")
    assert result.exit_code == 1 and "does not exist" in result.stderr
    assert "Traceback" not in result.output


def test_films_may_lie_elsewhere_and_strangers_are_named(benchmark, tmp_path, calls):
    films = make_run(tmp_path / "films", 1)
    write_film(films / "1p_emotion/1_womam.mp4", read_frames(films / "1p_emotion/1_woman.mp4"))
    result = bench("score", tmp_path / "run", "-b", benchmark, "--films", films)
    assert result.exit_code == 0
    assert "1_womam.mp4 belongs to no item" in result.stderr
    assert not list(films.rglob("scores*"))
    assert bench("score", tmp_path / "run", "--json").exit_code == 0
    assert len(calls) == 4


def read_frames(path):
    from openmocha.media import read_film

    return read_film(path).frames


def test_speechless_items_are_counted(benchmark, tmp_path, calls):
    run = make_run(tmp_path / "run", 1)
    nobody = read_benchmark(benchmark)[4]
    film_path(run, nobody).parent.mkdir()
    film_path(run, nobody).write_bytes((run / "1p_emotion/1_woman.mp4").read_bytes())
    told = json.loads(bench("score", run, "-b", benchmark, "--json").stdout)
    assert (told["films"], told["without_speech"], told["missing"]) == (5, 1, 0)
    assert nobody.name not in calls


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"MoChaBench is not in {SHARED}")
def test_published_scores_become_a_run(tmp_path):
    run = tmp_path / "mocha"
    result = bench(
        "score", run, "-b", SHARED / "mochabench", "--published", PUBLISHED, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["published"] == 220
    rows = {(row["group"], row["measure"]): row for row in told["summary"]["sync"]}
    assert round(rows["monologue", "sync_c"]["mean"], 6) == 6.333389
    assert round(rows["dialogue", "sync_d"]["mean"], 6) == 8.601394
    assert len(told["unscored_films"]) == 2
    assert told["by"]["sync"][0].startswith("the published file sync_scores.csv")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--metrics", "sink"), "no metric 'sink'; did you mean 'sync'?"),
        (("--metrics", ""), "no metric is chosen"),
        (("--category", "dialog"), "did you mean 'dialogue'?"),
        (("--endpoint", "http://localhost:1/v1"), "--endpoint and --llm go together"),
        (("--endpoint", "localhost", "--llm", "x", "-m", "judge"), "is no web address"),
        (("--published", "none.csv"), "none.csv are not there; expected MoChaBench's sync_scores"),
        (("--faces", "cats"), "faces is 'cats'; expected photo or toon"),
        (("--variant", "old"), "variant is 'old'; expected mochabench or original"),
        (("--path", "slow"), "path is 'slow'; expected fast or compatible"),
    ],
)
def test_bad_requests_are_one_sentence(benchmark, tmp_path, arguments, told):
    run = make_run(tmp_path / "run", 1)
    result = bench("score", run, "-b", benchmark, *arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert told in result.stderr and result.stderr.startswith("error: ")
    assert "Traceback" not in result.output


def test_empty_and_wrongly_laid_out_runs_are_refused(benchmark, tmp_path):
    run = tmp_path / "run"
    result = bench("score", run)
    assert result.exit_code == 2 and "give it --benchmark" in result.stderr
    result = bench("score", run, "-b", benchmark)
    assert result.exit_code == 2 and "does not exist" in result.stderr
    run.mkdir()
    result = bench("score", run, "-b", benchmark)
    assert result.exit_code == 2 and "and no mp4 file; expected <category>/" in result.stderr
    (run / "1_woman.mp4").touch()
    result = bench("score", run, "-b", benchmark)
    assert result.exit_code == 2 and "1 other mp4 files, such as" in result.stderr
    assert not (run / "run.json").exists()


def one_face_detector(side_px: float, film_px: int) -> S3FDNet:
    """S3FD without weights whose biases see one face in the middle of every square film."""
    network, quarter = S3FDNet(), film_px / 4
    for tensor in network.parameters():
        torch.nn.init.zeros_(tensor)
    for conf in network.conf:
        conf.bias.data[:-1] = 9.0
    network.conf[-1].bias.data[:] = torch.tensor([-9.0, 9.0])
    middle = (quarter / 2 - 64) / 512 / 0.1  # the coarsest map has one cell, its square 512 pixels
    size = math.log(side_px / 4 / 512) / 0.2
    network.loc[-1].bias.data[:] = torch.tensor([middle, middle, size, size])
    return network


def test_sync_scores_by_the_command_with_networks_from_a_folder(tmp_path):
    pytest.importorskip("cv2")
    torch.manual_seed(0)
    weights, folder, run = (tmp_path / name for name in ("weights", "benchmark", "run"))
    weights.mkdir()
    folder.mkdir()
    torch.save(SyncNet().state_dict(), weights / "syncnet_v2.model")
    torch.save(one_face_detector(110, 128).state_dict(), weights / "sfd_face.pth")
    benchmark = make_benchmark(folder, seconds=3.0)
    (run / "1p_emotion").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(60, 190, (128, 128, 3))
    frames = np.stack([picture + round(20 * math.sin(t / 3)) for t in range(66)]).astype(np.uint8)
    write_film(run / "1p_emotion/1_woman.mp4", frames)
    write_film(run / "1p_emotion/2_man.mp4", frames[:9])
    asked = ("score", run, "-b", benchmark, "--metrics", "sync", "--json")
    refused = bench(*asked)
    assert refused.exit_code == 1 and "robots.ox.ac.uk" in refused.output
    result = bench(*asked, "--weights", weights)
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert (told["scored"], told["unscored"], told["missing"]) == (1, 1, 3)
    with (run / "scores.csv").open() as file:
        scored, short = csv.DictReader(file)
    assert float(scored["sync_d"]) > 0 and 0 <= float(scored["sync_c"]) < float(scored["sync_d"])
    assert short["sync_c"] == ""  # nine frames are no track
    (row,) = (
        r for r in told["summary"]["sync"] if (r["group"], r["measure"]) == ("monologue", "sync_c")
    )
    assert row["mean"] == float(scored["sync_c"]) and row["scored"] == 1
