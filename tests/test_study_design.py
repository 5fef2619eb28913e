"""Films without their makers' names, sessions that are balanced, checks that find what is wrong."""

import json
import random
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from tiny_study import answers, rate_session, write_runs, write_study

from openmocha.evaluation.score_table import noted_benchmark, write_run
from openmocha.evaluation.study import freeze, ratings
from openmocha.evaluation.study.assignment import next_session
from openmocha.evaluation.study.checks import Rule, Shown, faults, judge
from openmocha.evaluation.study.films import (
    Found,
    coarse_copy,
    find_films,
    mismatched_copy,
    plain_copy,
)
from openmocha.evaluation.study.freeze import open_or_freeze
from openmocha.evaluation.study.sessions import balanced_sessions
from openmocha.media import load_speech, read_film, write_film

DAY_S = 86_400.0


# --- films ---------------------------------------------------------------------------------------


def test_a_copy_has_the_same_picture_and_no_trace_of_its_maker(tmp_path: Path) -> None:
    amber, basalt = write_runs(tmp_path, 2)
    source = amber / "talk/item1.mp4"
    copy = plain_copy(source, tmp_path)
    path = tmp_path / copy.file
    assert b"amber" in source.read_bytes() and b"secret" in source.read_bytes()
    assert b"amber" not in path.read_bytes() and b"secret" not in path.read_bytes()
    assert (read_film(path).frames == read_film(source).frames).all()
    assert copy.duration_s == pytest.approx(1.0, abs=0.07)
    assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")  # starts at once
    other = plain_copy(basalt / "talk/item1.mp4", tmp_path)
    assert path.stat().st_mtime == (tmp_path / other.file).stat().st_mtime


def test_a_mismatched_copy_has_the_picture_of_one_and_the_sound_of_the_other(
    tmp_path: Path,
) -> None:
    run = write_runs(tmp_path, 2)[0]
    long = np.sin(np.arange(48_000) * 0.3).astype(np.float32)
    write_film(run / "talk/item1.mp4", np.zeros((72, 64, 64, 3), np.uint8), long)
    picture, sound = run / "talk/item0.mp4", run / "talk/item1.mp4"
    copy = mismatched_copy(picture, sound, tmp_path)
    made = read_film(tmp_path / copy.file)
    assert (made.frames == read_film(picture).frames).all()
    assert made.speech is not None
    num = len(made.speech)
    assert num <= 16_000 + 1024  # cut with the picture, to the packet
    assert made.speech == pytest.approx(load_speech(sound)[:num], abs=1e-6)


def test_a_coarse_copy_is_constant_in_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (6, 72, 72, 3), np.uint8)
    write_film(tmp_path / "noise.mp4", frames, np.zeros(4000, np.float32))
    made = read_film(tmp_path / coarse_copy(tmp_path / "noise.mp4", tmp_path).file).frames
    blocks = made.reshape(6, 6, 12, 6, 12, 3).astype(float)
    assert blocks.std(axis=(2, 4)).mean() < 0.2 * blocks.std()


def test_films_that_a_phone_would_not_play_are_named(tmp_path: Path) -> None:
    write_film(tmp_path / "mute.mp4", np.zeros((4, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="mute.mp4 has no sound"):
        plain_copy(tmp_path / "mute.mp4", tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="broken.mp4 cannot be opened"):
        plain_copy(tmp_path / "broken.mp4", tmp_path)
    with av.open(str(tmp_path / "old.mp4"), "w") as film:
        video, sound = film.add_stream("mpeg4", rate=24), film.add_stream("aac", rate=16_000)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        tone.sample_rate = 16_000
        film.mux([*video.encode(frame), *video.encode(None)])
        film.mux([*sound.encode(tone), *sound.encode(None)])
    with pytest.raises(ValueError, match="old.mp4 is mpeg4"):
        plain_copy(tmp_path / "old.mp4", tmp_path)


def test_items_without_a_film_of_every_system_are_left_out_by_name(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, 3)
    (runs[1] / "talk/item1.mp4").unlink()
    found = find_films(runs)
    assert list(found.items) == ["talk/item0", "talk/item2"]
    assert found.left_out == {"talk/item1": "no film of basalt"}
    with pytest.raises(ValueError, match="two runs are called 'amber'"):
        find_films([runs[0], runs[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no films"):
        find_films([tmp_path / "empty"])


def test_a_benchmark_gives_prompts_and_tells_who_shares_a_speech(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, 3)
    lines = ["idx_in_category,category,context_id,prompt"]
    lines += [f'{k + 1},talk,item{k},"""A man, number {k}."""' for k in (0, 1)]
    (tmp_path / "benchmark.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "speeches/talk").mkdir(parents=True)
    for k in (0, 1):
        (tmp_path / f"speeches/talk/item{k}_speech.wav").write_bytes(b"the same words")
    found = find_films(runs, tmp_path)
    assert found.items["talk/item0"].prompt == "A man, number 0."
    assert found.items["talk/item0"].speech == found.items["talk/item1"].speech
    assert found.left_out == {"talk/item2": "not in the benchmark"}


# --- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_items", "num_systems", "size"),
    [(24, 4, 12), (7, 3, 12), (5, 2, 4), (3, 5, 12), (1, 1, 9)],
)
def test_a_round_shows_every_film_once_and_sessions_are_balanced(
    num_items: int, num_systems: int, size: int
) -> None:
    sessions = balanced_sessions(num_items, num_systems, size, random.Random(0))
    films = [film for session in sessions for film in session]
    assert sorted(films) == [(i, s) for i in range(num_items) for s in range(num_systems)]
    for session in sessions:
        of_system = Counter(system for _, system in session)
        assert len(of_system) == num_systems and len(set(of_system.values())) == 1
        assert len(session) <= max(size, num_systems)


def test_a_session_of_a_large_study_has_no_item_twice() -> None:
    sessions = balanced_sessions(220, 4, 12, random.Random(0))
    assert len(sessions) == 74 and {len(session) for session in sessions} <= {8, 12}
    twice = [s for s in sessions if len({item for item, _ in s}) < len(s)]
    assert not twice


def test_each_film_is_planned_as_often_as_wanted_with_a_trap_and_a_repetition(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path, num_items=4, ratings_per_film=3, films_per_session=4)
    with ratings.opened(study) as db:
        planned = db.execute(
            "SELECT film, COUNT(*) FROM showings WHERE kind = 'rated' GROUP BY film"
        ).fetchall()
        assert [num for _, num in planned] == [3] * 8
        for (session,) in db.execute("SELECT id FROM sessions").fetchall():
            kinds = [
                row[0]
                for row in db.execute(
                    "SELECT kind FROM showings WHERE session = ? ORDER BY position", (session,)
                )
            ]
            assert Counter(kinds) == {"training": 3, "rated": 4, "trap": 1, "repeat": 1}
            assert kinds[:3] == ["training"] * 3 and kinds[3] == "rated"
        orders = db.execute(
            "SELECT GROUP_CONCAT(film) FROM (SELECT * FROM showings WHERE kind = 'rated' "
            "ORDER BY session, position) GROUP BY session"
        ).fetchall()
    assert len({order for (order,) in orders}) == len(orders)


def test_gold_and_training_films_are_the_organisers(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("gold", "bad"):
        frames = np.full((24, 64, 64, 3), 90, np.uint8)
        write_film(tmp_path / f"more/{name}.mp4", frames, np.zeros(16_000, np.float32))
    known = {
        "gold": [{"film": "more/gold.mp4", "ratings": {"lip_sync": 4}}],
        "training": [{"film": "more/bad.mp4", "ratings": {"action": 1}, "note": "Nothing moves."}],
    }
    file = tmp_path / "known.yaml"
    file.write_text(yaml.safe_dump(known))
    study = write_study(tmp_path, known=file)
    with ratings.opened(study) as db:
        kinds = db.execute(
            "SELECT kind FROM showings WHERE session = 1 ORDER BY position"
        ).fetchall()
        assert Counter(row[0] for row in kinds) == {"training": 1, "rated": 6, "trap": 1, "gold": 1}
        assert ratings.read_design(db).gold == "named by the organiser"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("gold: [{film: x.mp4, ratings: {lip_sync: 5}}]", "lip_sync is 5"),
        ("gold: [{film: x.mp4, ratings: {lips: 1}}]", "expected some of lip_sync"),
        ("gold: [{film: x.mp4, ratings: {text_alignment: 1}}]", "needs a prompt"),
        ("gold: [{film: x.mp4}]", "needs film and ratings"),
        ("silver: []", "lists called gold and training"),
        ("gold: [", "is not YAML"),
        ("gold: [{film: runs/amber/talk/item0.mp4, ratings: {lip_sync: 1}}]", "is rated itself"),
        ("gold: [{film: nowhere.mp4, ratings: {lip_sync: 1}}]", "does not exist"),
    ],
)
def test_mistakes_in_the_known_answers_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "known.yaml").write_text(content)
    with pytest.raises((ValueError, OSError), match=words):
        write_study(tmp_path, known=tmp_path / "known.yaml", num_items=2)


def test_a_study_is_frozen_and_goes_on(tmp_path: Path) -> None:
    study = write_study(tmp_path, no_text=["basalt"])
    told: list[str] = []
    design = open_or_freeze(study, [], None, tell=told.append, ratings_per_film=9)
    assert design.ratings_per_film == 2 and design.systems == {"amber": True, "basalt": False}
    assert json.loads((study / "design.json").read_text())["ratings_per_film"] == 2
    with pytest.raises(ValueError, match="frozen at its first start"):
        open_or_freeze(study, [tmp_path / "runs/amber"], None, tell=told.append)
    with pytest.raises(ValueError, match="holds no study yet"):
        open_or_freeze(tmp_path / "new", [], None, tell=told.append)
    with pytest.raises(FileNotFoundError, match="holds no study"), ratings.opened(tmp_path):
        pass


def test_a_study_has_the_benchmark_that_its_runs_were_made_of(tmp_path: Path, monkeypatch) -> None:
    runs, found, told = write_runs(tmp_path / "runs"), [], []

    def find(runs: list[Path], benchmark: Path | None) -> Found:
        found.append(benchmark)
        return find_films(runs)

    monkeypatch.setattr(freeze, "find_films", find)
    open_or_freeze(tmp_path / "first", runs, None, tell=told.append)
    assert found == [None] and "no benchmark is known" in told[0]
    for run in runs:
        write_run(run, {"benchmark": str(tmp_path)})
    told.clear()
    open_or_freeze(tmp_path / "second", runs, None, tell=told.append)
    assert found[1] == tmp_path and not any("no benchmark" in words for words in told)
    write_run(runs[0], {"benchmark": str(tmp_path / "runs")})
    assert noted_benchmark(runs) is None  # they differ
    assert noted_benchmark(runs[:1]) == tmp_path / "runs"
    write_run(runs[0], {"benchmark": str(tmp_path / "gone")})
    assert noted_benchmark(runs[:1]) is None and noted_benchmark([]) is None


def test_films_with_one_sound_make_no_trap_and_leave_nothing_behind(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", 1)
    with pytest.raises(ValueError, match="need items with two speeches"):
        open_or_freeze(tmp_path / "study", runs, None, tell=print)
    assert not (tmp_path / "study").exists()
    (tmp_path / "study").mkdir()
    (tmp_path / "study/notice.txt").touch()  # the organiser's own
    with pytest.raises(ValueError, match="need items with two speeches"):
        open_or_freeze(tmp_path / "study", runs, None, tell=print)
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["notice.txt"]


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_an_item_with_a_damaged_film_is_left_out_by_name(tmp_path: Path, part: float) -> None:
    runs, told = write_runs(tmp_path / "runs", 3), []
    film = runs[1] / "talk/item1.mp4"
    film.write_bytes(film.read_bytes()[: int(part * film.stat().st_size)] or b"nothing")
    design = open_or_freeze(tmp_path / "study", runs, None, tell=told.append)
    assert design.items == ["talk/item0", "talk/item2"]
    assert f"film {film} is damaged (Invalid data" in design.left_out["talk/item1"]
    assert f"left out: 1 item: {design.left_out['talk/item1']}" in told
    for path in runs[0].glob("*/*.mp4"):
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"every item has a damaged film, film .*item0.mp4"):
        open_or_freeze(tmp_path / "other", runs, None, tell=told.append)
    assert not (tmp_path / "other").exists()


# --- checks --------------------------------------------------------------------------------------


def shown(kind: str = "rated", *values: int, **more: object) -> Shown:
    names = ("lip_sync", "expression", "action", "visual_quality")
    plain = {
        "token": kind,
        "session": 1,
        "rater": "r",
        "kind": kind,
        "answers": dict(zip(names, values, strict=False)),
        "watched_share": 1.0,
        "known": {},
    }
    return Shown(**{**plain, **more})  # type: ignore[arg-type]


GOOD = [shown("rated", 2, 3, 4, 1, token="a"), shown("rated", 3, 3, 2, 2, token="b")]


@pytest.mark.parametrize(
    ("film", "fault"),
    [
        (shown("trap", 1, 4, 4, 4), None),
        (shown("trap", 2, 4, 4, 4), "trap failed"),
        (shown("gold", 3, 1, 1, 1, known={"lip_sync": 4}), None),
        (shown("gold", 2, 1, 1, 1, known={"lip_sync": 4}), "gold missed"),
        (shown("repeat", 3, 2, 3, 2, again="a"), None),
        (shown("repeat", 4, 1, 3, 1, again="a"), "inconsistent on the repeated film"),  # by 5/4
        (shown("rated", 1, 2, 3, 4, watched_share=0.94), "not fully played"),
        (shown("rated"), "not fully played"),
    ],
)
def test_each_check_finds_its_fault_alone(film: Shown, fault: str | None) -> None:
    assert faults([*GOOD, film], Rule()) == ([fault] if fault else [])


def test_answers_that_are_all_alike_are_found() -> None:
    """One 3 among twelve values has the variance 11/132; two have 20/132 (n - 1)."""
    alike = [shown("rated", 2, 2, 2, 2, token=str(k)) for k in range(2)]
    assert faults([*alike, shown("rated", 2, 2, 2, 3)], Rule()) == ["all answers alike"]
    assert faults([*alike, shown("rated", 2, 2, 3, 3)], Rule()) == []
    traps = shown("trap", 1, 4, 4, 4)  # a check is no evidence of care with the others
    assert faults([*alike, traps], Rule()) == ["all answers alike"]


def test_a_rater_with_too_many_bad_sessions_is_excluded_with_all_of_them() -> None:
    films = [
        shown(
            "rated",
            1,
            2,
            3,
            4,
            token=f"{k}",
            session=k,
            watched_share=0.5 if k < bad else 1.0,
            rater=rater,
        )
        for rater, bad, first in (("good", 11, 10), ("bad", 22, 20))
        for k in range(first, first + 5)
    ]
    verdict = judge(films, Rule())
    assert verdict.raters == {"good": [], "bad": ["not fully played"]}
    assert [verdict.counts(k, "good") for k in (10, 11)] == [False, True]
    assert not any(verdict.counts(k, "bad") for k in range(20, 25))
    assert not verdict.counts(99, "good")  # never finished


# --- who gets which session ----------------------------------------------------------------------


def join(study: Path, now: float) -> tuple[str, int | None]:
    with ratings.opened(study, writing=True) as db:
        rater = ratings.add_rater(db, "test", now)
        return rater, next_session(db, rater, ratings.read_design(db), now)


def more(study: Path, rater: str, now: float) -> int | None:
    with ratings.opened(study, writing=True) as db:
        return next_session(db, rater, ratings.read_design(db), now)


def test_a_session_has_one_rater_and_nobody_meets_a_film_twice(tmp_path: Path) -> None:
    study = write_study(tmp_path, num_items=4, ratings_per_film=2, films_per_session=4)
    ann, first = join(study, 0.0)
    ben, second = join(study, 1.0)
    assert first != second
    rate_session(study, ann, answers, 10.0)
    assert more(study, ann, 100.0) is None  # the second of her round is Ben's
    with ratings.opened(study) as db:
        rows = db.execute(
            "SELECT s.film FROM showings s JOIN sessions n ON n.id = s.session "
            "WHERE n.rater = ? AND s.kind = 'rated'",
            (ann,),
        ).fetchall()
    assert len(rows) == len(set(rows)) == 4


def test_sessions_left_or_rejected_are_given_to_somebody_else(tmp_path: Path) -> None:
    study = write_study(tmp_path, ratings_per_film=1)  # a single session
    ann, first = join(study, 0.0)
    assert first == 1 and join(study, 60.0)[1] is None
    ben, second = join(study, DAY_S)  # Ann has not been seen for long
    assert second == 2
    rate_session(study, ben, lambda film: answers(film, lip_sync=4), DAY_S)  # deaf to the trap
    eve, third = join(study, DAY_S + 1000)
    assert third == 3
    rate_session(study, eve, answers, DAY_S + 1000)
    assert join(study, 3 * DAY_S)[1] is None  # all is rated
    with ratings.opened(study) as db:
        tokens = db.execute("SELECT COUNT(DISTINCT token), COUNT(*) FROM showings").fetchone()
        films = [
            sorted(
                row[0] for row in db.execute("SELECT film FROM showings WHERE session = ?", (k,))
            )
            for k in (1, 2, 3)
        ]
    assert tokens[0] == tokens[1]
    assert films[0] == films[1] == films[2]
