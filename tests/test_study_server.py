"""The study's API: blinded, strict about what was watched, exactly once; and its report."""

import csv
import json
import sqlite3
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tiny_study import SYSTEMS, answers, rate_session, write_runs, write_study
from typer.testing import CliRunner

from openmocha.evaluation.study import ratings, server, tables
from openmocha.evaluation.study.assignment import next_session
from openmocha.evaluation.study.axes import NAMES
from openmocha.evaluation.study.commands import study as commands
from openmocha.evaluation.study.films import find_films
from openmocha.evaluation.study.freeze import freeze
from openmocha.evaluation.study.report import write_report


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


@pytest.fixture
def client(study: Path) -> Iterator[TestClient]:
    with TestClient(server.application(study)) as client:
        yield client


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The server's clock, which stands still until a test sets it."""
    now = [1_000.0]
    monkeypatch.setattr(server.time, "time", lambda: now[0])
    return now


def consent(client: TestClient) -> tuple[str, dict[str, Any]]:
    told = client.post("/api/raters", json={"consent": True}).json()
    return told["rater"], told["next"]


def watch(client: TestClient, clock: list[float], rater: str, film: str) -> None:
    play = {"rater": rater, "film": film, "number": 1}
    assert client.post("/api/plays", json={**play, "event": "started"}).status_code == 200
    clock[0] += 1.1
    ended = client.post("/api/plays", json={**play, "event": "ended", "watched_s": 1.05})
    assert ended.status_code == 200, ended.json()


def rating(rater: str, film: str, **chosen: int) -> dict[str, Any]:
    values = {"lip_sync": 1, "expression": 2, "action": 3, "visual_quality": 4, **chosen}
    return {"rater": rater, "film": film, "answers": values}


def rows(study: Path, table: str) -> list[dict[str, Any]]:
    with ratings.opened(study) as db:
        return [dict(row) for row in db.execute(f"SELECT * FROM {table}")]


# --- blinding ------------------------------------------------------------------------------------


def test_nothing_that_a_browser_gets_tells_the_maker(
    client: TestClient, study: Path, clock: list[float]
) -> None:
    """Answers, headers, addresses and the films themselves, for a whole session."""
    seen = [client.get(path) for path in ("/", "/study.js", "/style.css", "/icon.svg")]
    seen.append(client.get("/api/study"))
    seen.append(client.post("/api/raters", json={"consent": True}))
    told, rater = seen[-1].json(), seen[-1].json()["rater"]
    kinds = set()
    while told["next"]:
        film = told["next"]["film"]
        kinds |= set(told["next"])
        seen.append(client.get(f"/films/{film}"))
        watch(client, clock, rater, film)
        seen.append(client.post("/api/ratings", json=rating(rater, film)))
        told = seen[-1].json()
    assert len(seen) == 6 + 2 * (2 + 6 + 2)
    secrets = [*SYSTEMS, "item0", "item1", "talk", "runs", str(study)]
    secrets += [row["file"] for row in rows(study, "films")]
    for answer in seen:
        assert answer.status_code == 200
        told_all = str(answer.url).encode() + str(answer.headers).encode() + answer.content
        assert not [word for word in secrets if word.encode() in told_all]
    # no word that differs between a trap, a repetition and any other film
    assert kinds == {"film", "training", "prompt", "asks_text", "plays", "played"}
    dates = {answer.headers.get("last-modified") for answer in seen if "/films/" in str(answer.url)}
    assert len(dates) == 1


def test_the_page_asks_no_other_host(client: TestClient) -> None:
    for path in ("/", "/study.js", "/style.css"):
        text = client.get(path).text
        assert "http:" not in text and "https:" not in text
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/films/../study.sqlite",
        "/films/..%2fstudy.sqlite",
        "/films/%2e%2e%2fdesign.json",
        "/films/study.sqlite",
        "/..%2fstudy.sqlite",
        "/study.sqlite",
        "/design.json",
        "/server.py",
        "/films/unknown",
        "/api/raters/unknown",
    ],
)
def test_no_other_file_can_be_asked_for(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_film_is_only_there_for_who_was_given_it(client: TestClient, study: Path) -> None:
    waiting = rows(study, "showings")[0]["token"]
    assert client.get(f"/films/{waiting}").status_code == 404
    rater, film = consent(client)
    assert client.get(f"/films/{film['film']}").status_code == 200
    other, others_film = consent(client)
    answer = client.post("/api/ratings", json=rating(rater, others_film["film"]))
    assert answer.status_code == 404 and "not one of this rater's" in answer.json()["error"]


def test_films_come_in_ranges(client: TestClient) -> None:
    _, film = consent(client)
    whole = client.get(f"/films/{film['film']}")
    part = client.get(f"/films/{film['film']}", headers={"Range": "bytes=100-299"})
    assert whole.headers["content-type"] == "video/mp4"
    assert part.status_code == 206 and part.content == whole.content[100:300]
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole.content)}"


# --- watching and rating -------------------------------------------------------------------------


def test_a_film_is_rated_only_after_it_was_played_to_its_end(
    client: TestClient, study: Path, clock: list[float]
) -> None:
    rater, film = consent(client)
    token = film["film"]
    play = {"rater": rater, "film": token, "number": 1}
    ended = {**play, "event": "ended", "watched_s": 1.05}
    assert client.post("/api/ratings", json=rating(rater, token)).status_code == 409
    assert client.post("/api/plays", json=ended).status_code == 409  # it never began
    client.post("/api/plays", json={**play, "event": "started"})
    clock[0] += 0.5
    assert client.post("/api/plays", json=ended).status_code == 409  # time did not pass
    clock[0] += 0.6
    short = {**ended, "watched_s": 0.6}
    assert client.post("/api/plays", json=short).status_code == 409  # not all was watched
    assert client.post("/api/ratings", json=rating(rater, token)).status_code == 409
    assert rows(study, "ratings") == []
    told = client.post("/api/plays", json=ended).json()
    assert told["next"]["played"] is True
    assert client.post("/api/ratings", json=rating(rater, token)).status_code == 200
    assert len(rows(study, "ratings")) == 1


def test_a_rating_sent_twice_is_stored_once_and_the_first_stays(
    client: TestClient, study: Path, clock: list[float]
) -> None:
    rater, film = consent(client)
    watch(client, clock, rater, film["film"])
    first = client.post("/api/ratings", json=rating(rater, film["film"])).json()
    again = client.post("/api/ratings", json=rating(rater, film["film"], action=1)).json()
    assert first == again
    (row,) = rows(study, "ratings")
    assert [row[name] for name in NAMES] == [1, 2, 3, None, 4]


@pytest.mark.parametrize(
    ("chosen", "status"),
    [({"action": 5}, 400), ({"action": 0}, 400), ({"text_alignment": 2}, 400), ({"more": 1}, 400)],
)
def test_other_answers_are_refused(
    client: TestClient, study: Path, clock: list[float], chosen: dict[str, int], status: int
) -> None:
    rater, film = consent(client)
    watch(client, clock, rater, film["film"])
    assert (
        client.post("/api/ratings", json=rating(rater, film["film"], **chosen)).status_code
        == status
    )
    some = {"rater": rater, "film": film["film"], "answers": {"lip_sync": 1}}
    assert client.post("/api/ratings", json=some).status_code == 400
    assert rows(study, "ratings") == []


def test_without_consent_nobody_takes_part(client: TestClient, study: Path) -> None:
    assert client.post("/api/raters", json={"consent": False}).status_code == 400
    assert client.post("/api/raters", json={}).status_code == 422
    assert client.post("/api/raters", content=b"x" * 20_000).status_code == 413
    assert rows(study, "raters") == []


def test_a_rater_goes_on_at_the_same_film_after_everything_was_closed(
    study: Path, clock: list[float]
) -> None:
    with TestClient(server.application(study)) as client:
        rater, film = consent(client)
        watch(client, clock, rater, film["film"])
        client.post("/api/ratings", json=rating(rater, film["film"]))
        before = client.get(f"/api/raters/{rater}").json()
    with TestClient(server.application(study)) as client:
        assert client.get(f"/api/raters/{rater}").json() == before
    assert before["done"] == 1 and before["next"]["film"] != film["film"]


def test_training_films_are_explained_and_others_are_not(
    client: TestClient, study: Path, clock: list[float]
) -> None:
    rater, film = consent(client)
    told: dict[str, Any] = {"next": film}
    explained = []
    while told["next"]:
        token, training = told["next"]["film"], told["next"]["training"]
        watch(client, clock, rater, token)
        told = client.post("/api/ratings", json=rating(rater, token)).json()
        explained.append((training, told["feedback"]))
    assert [feedback["known"] for training, feedback in explained if training] == [
        {"lip_sync": 1},
        {"visual_quality": 1},
    ]
    assert {feedback for training, feedback in explained if not training} == {None}


def test_a_film_that_does_not_play_is_passed_over_and_its_session_does_not_count(
    client: TestClient, study: Path, clock: list[float]
) -> None:
    rater, film = consent(client)
    token = None
    told: dict[str, Any] = {"next": film}
    while told["next"]:
        token, training = told["next"]["film"], told["next"]["training"]
        if training or told["done"] > 4:
            watch(client, clock, rater, token)
            told = client.post("/api/ratings", json=rating(rater, token)).json()
        else:
            failed = {"rater": rater, "film": token, "number": 1, "event": "failed"}
            told = client.post("/api/plays", json={**failed, "reason": "no decoder"}).json()
    with ratings.opened(study) as db:
        (row,) = tables.read_study(db).raters
    assert row["accepted"] == 0 and "not fully played" in row["faults"]


def test_text_is_asked_only_of_films_with_a_prompt_by_systems_that_saw_it(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", 2)
    lines = ["idx_in_category,category,context_id,prompt"]
    lines += [f"{k + 1},talk,item{k},Prompt {k}" for k in (0, 1)]
    (tmp_path / "benchmark.csv").write_text("\n".join(lines) + "\n")
    freeze(tmp_path / "study", find_films(runs, tmp_path), no_text=["basalt"])
    asked = {
        (row["system"], row["asks_text"], row["prompt"] is not None)
        for row in rows(tmp_path / "study", "films")
        if row["role"] == "rated"
    }
    assert asked == {("amber", 1, True), ("basalt", 0, False)}


# --- the report ----------------------------------------------------------------------------------


def rated_study(tmp_path: Path) -> Path:
    """Four raters: two careful, one deaf, one who says 2 to everything; basalt is always lower."""
    study = write_study(tmp_path, num_items=6, ratings_per_film=4, films_per_session=12)
    choices = [
        lambda film: answers(film, **chosen(film, 0)),
        lambda film: answers(film, **chosen(film, 1)),
        lambda film: answers(film, lip_sync=4),
        lambda film: answers(film, **dict.fromkeys(NAMES, 2)),
    ]
    with ratings.opened(study) as db:
        system = {row["id"]: row["system"] for row in db.execute("SELECT id, system FROM films")}

    def chosen(film: dict[str, Any], rater: int) -> dict[str, int]:
        if film["kind"] == "trap":
            return {"lip_sync": 1}
        return {"lip_sync": 4 if system[film["film"]] == "amber" else 1 + rater, "action": 3}

    for k, choose in enumerate(choices):
        with ratings.opened(study, writing=True) as db:
            rater = ratings.add_rater(db, "test", 0.0)
            next_session(db, rater, ratings.read_design(db), 0.0)
        rate_session(study, rater, choose, 100.0 * k)
    return study


def test_the_report_has_the_numbers_that_were_given(tmp_path: Path) -> None:
    study = rated_study(tmp_path)
    result = write_report(study, tmp_path / "report")
    assert result["raters"] == 4 and result["raters_excluded"] == 2
    assert result["acceptance_rate"] == 0.5
    whole = json.loads((tmp_path / "report/report.json").read_text())
    lips = {row["system"]: row for row in whole["systems"] if row["axis"] == "lip_sync"}
    assert [lips["amber"][key] for key in ("mean", "low", "high", "items")] == [4, 4, 4, 6]
    assert lips["basalt"]["mean"] == 1.5 and lips["basalt"]["ratings"] == 12
    assert lips["basalt"]["majority_mean"] == 1.0  # 1 and 2 tie
    (pair,) = [row for row in whole["pairs"] if row["axis"] == "lip_sync"]
    assert pair["difference"] == 2.5 and pair["win_rate"] == 1.0
    assert pair["p"] == pytest.approx(2 / 2**6) and pair["p_holm"] == pytest.approx(4 * 2 / 2**6)
    assert [row["faults"] for row in whole["raters"][2:]] == [
        "trap failed",
        "all answers alike; trap failed",
    ]
    text = (tmp_path / "report/index.html").read_text()
    assert "4.00" in text and "n/a" in text and "trap failed" in text
    with ratings.opened(study) as db:
        rule = ratings.read_design(db).rule
    assert all(escape(sentence) in text for sentence in rule.sentences())


def test_the_same_sqlite_file_gives_the_same_report(tmp_path: Path) -> None:
    study = rated_study(tmp_path)
    write_report(study, tmp_path / "one")
    (tmp_path / "copy").mkdir()
    with sqlite3.connect(study / ratings.FILE) as old:
        with sqlite3.connect(tmp_path / "copy" / ratings.FILE) as new:
            old.backup(new)
        new.close()
    old.close()
    write_report(tmp_path / "copy", tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 8
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_export_holds_every_rating_and_why_it_does_not_count(tmp_path: Path) -> None:
    study = rated_study(tmp_path)
    file = tmp_path / "ratings.csv"
    done = CliRunner().invoke(commands, ["export", str(study), "--output", str(file)])
    assert done.exit_code == 0, done.output
    exported = list(csv.DictReader(file.read_text().splitlines()))
    assert len(exported) == len(rows(study, "ratings")) == 4 * (12 + 2 + 2)
    counted = [row for row in exported if row["counts"] == "True"]
    assert len(counted) == 2 * 12 and {row["rater"] for row in counted} == {"1", "2"}
    assert {row["why_not"] for row in exported if row["rater"] == "3"} == {"trap failed"}
    assert {row["why_not"] for row in exported if row["rater"] == "1"} == {
        "",
        "training",
        "trap",
        "repeat",
    }
    tokens = [row["token"] for row in rows(study, "raters")]
    assert not [token for token in tokens if token in file.read_text()]


def test_a_study_without_ratings_has_a_report_too(study: Path, tmp_path: Path) -> None:
    result = write_report(study, tmp_path / "report")
    assert result["acceptance_rate"] is None and result["film_ratings"] == 0
    assert "n/a" in (tmp_path / "report/index.html").read_text()


def test_commands_name_mistakes_in_one_line(tmp_path: Path) -> None:
    nothing = CliRunner().invoke(commands, ["report", str(tmp_path), "--output", "x"])
    assert nothing.exit_code == 2 and "holds no study" in nothing.output
    missing = ["serve", "--films", str(tmp_path / "none"), "--output", str(tmp_path / "study")]
    none = CliRunner().invoke(commands, [*missing, "--port", "8999"])
    assert none.exit_code == 2 and "is not a folder" in none.output


def test_commands_work_as_a_shell_expands_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Path] = []
    monkeypatch.setattr(server, "serve", lambda study, bound: served.append(study))
    monkeypatch.chdir(tmp_path)
    nothing = CliRunner().invoke(commands, ["report"])
    assert nothing.exit_code == 2
    assert nothing.output == (
        "error: study holds no study (study.sqlite); start one with study serve\n"
    )
    runs = write_runs(tmp_path / "runs", 2, ("amber", "basalt", "chalk"))
    expanded = [str(run.relative_to(tmp_path)) for run in runs]  # of runs/*
    command = ["serve", "--films", *expanded, "--raters", "2", "--port", "8997"]
    told = CliRunner().invoke(commands, command)
    assert told.exit_code == 0, (told.output, told.exception)
    assert served == [Path("study")]
    design = json.loads((tmp_path / "study/design.json").read_text())
    assert list(design["systems"]) == ["amber", "basalt", "chalk"]
    assert design["ratings_per_film"] == 2
    assert CliRunner().invoke(commands, ["report"]).exit_code == 0
    assert (tmp_path / "study/report/index.html").is_file()


def test_ratings_survive_kill_9_in_the_middle(tmp_path: Path) -> None:
    from benchmarks.study_load import load

    started = time.monotonic()
    found = load(tmp_path, num_raters=4, per_session=2, kills=1, seconds=0.3)
    assert found["failures"] == []
    assert found["kills"] == 1 and found["requests_repeated"] > 0
    assert found["ratings_acknowledged"] == found["films_planned"] == found["ratings_stored"]
    assert found["lost_or_changed"] == 0
    assert time.monotonic() - started < 60
