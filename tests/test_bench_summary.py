"""From scores to a system's numbers: upstream's averages, masks, clustered intervals, alignment."""

import csv
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmocha.evaluation.mochabench import GROUPS, Item, read_benchmark
from openmocha.evaluation.score_table import (
    Score,
    append_score,
    item_rows,
    read_published,
    read_scores,
    write_csv,
)
from openmocha.evaluation.summary import (
    difference,
    groups_of,
    interval,
    summarise,
)
from openmocha.evaluation.viescore import agreement, alignment, quadratic_kappa

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
BENCH = SHARED / "mochabench"
PUBLISHED = BENCH / "eval-lipsync/mocha-eval-results/sync_scores.csv"
EXPECTED = SHARED / "reference/syncnet/expected_benchmark.json"
ALIGNMENT = BENCH / "eval-viescore/viescore-alignment.csv"
needs_shared = pytest.mark.skipif(
    not (PUBLISHED.exists() and EXPECTED.exists()), reason=f"MoChaBench is not in {SHARED}"
)


def item(category: str, number: int) -> Item:
    return Item(number, category, f"{number}_x", "words", Path("none.wav"), None, None)


def score(of: Item, speech: str | None = None, **values: float) -> Score:
    return Score(of.name, "sync", "test", None, speech, values)


# --- upstream's numbers --------------------------------------------------------------------------


@needs_shared
def test_the_published_scores_give_every_published_average():
    items = read_benchmark(BENCH)
    scores = {score.item: score for score in read_published(PUBLISHED, items)}
    rows = {(row.group, row.measure): row for row in summarise(items, scores)}
    expected = json.loads(EXPECTED.read_text())
    wanted = {
        **expected["per_category"],
        "monologue": expected["monologue"],
        "dialogue": expected["dialogue"],
    }
    assert {group for group, _ in rows} == {*wanted}
    for group, numbers in wanted.items():
        for measure, column in (("sync_c", "conf"), ("sync_d", "dist")):
            row = rows[group, measure]
            assert row.scored == numbers["n"]
            assert row.mean == pytest.approx(numbers[column], abs=1e-6)
    monologue = rows["monologue", "sync_c"], rows["monologue", "sync_d"]
    assert [round(row.mean, 6) for row in monologue] == [6.333389, 8.184897]
    dialogue = rows["dialogue", "sync_c"], rows["dialogue", "sync_d"]
    assert [round(row.mean, 6) for row in dialogue] == [4.950737, 8.601394]
    assert (monologue[0].items, monologue[0].films, monologue[0].scored) == (201, 201, 199)
    assert monologue[0].coverage == 199 / 201


@needs_shared
def test_neither_the_mean_of_categories_nor_the_stored_zeros_are_reported():
    items = read_benchmark(BENCH)
    scores = {score.item: score for score in read_published(PUBLISHED, items)}
    rows = {(row.group, row.measure): row.mean for row in summarise(items, scores)}
    macro = [np.mean([rows[name, m] for name in GROUPS["monologue"]]) for m in ("sync_c", "sync_d")]
    assert np.round(macro, 3).tolist() == [6.262, 8.180]
    with PUBLISHED.open() as file:
        stored = [row for row in csv.DictReader(file) if row["category"] in GROUPS["monologue"]]
    trap = [np.mean([float(row[name]) for row in stored]) for name in ("best_conf", "min_dist")]
    assert np.round(trap, 3).tolist() == [6.270, 8.103]
    for wrong in (macro, trap):
        assert abs(rows["monologue", "sync_c"] - wrong[0]) > 0.05
        assert abs(rows["monologue", "sync_d"] - wrong[1]) > 0.004


@needs_shared
def test_intervals_of_the_published_scores_are_near_those_known_for_single_films():
    items = read_benchmark(BENCH)
    scores = {s.item: replace(s, speech=None) for s in read_published(PUBLISHED, items)}
    rows = {(row.group, row.measure): row for row in summarise(items, scores)}
    for group, measure, low, high in (
        ("monologue", "sync_c", 6.107, 6.565),
        ("monologue", "sync_d", 8.045, 8.323),
        ("dialogue", "sync_c", 4.33, 5.65),
        ("dialogue", "sync_d", 8.16, 9.08),
    ):
        row = rows[group, measure]
        assert (row.low, row.high) == pytest.approx((low, high), abs=0.03)


@pytest.mark.skipif(not ALIGNMENT.exists(), reason=f"MoChaBench is not in {SHARED}")
@pytest.mark.parametrize(("leave_out", "name"), [(True, "shipped_script_n19"), (False, "all_20")])
def test_the_published_alignment_of_judge_and_people(leave_out, name):
    rows = {row.aspect.split()[0]: row for row in alignment(ALIGNMENT, leave_out)}
    expected = json.loads(EXPECTED.read_text())["viescore"][name]
    assert {*rows} == {*expected}
    for aspect, numbers in expected.items():
        row = rows[aspect]
        assert round(row.rho, 3) == numbers["rho"], aspect
        assert round(row.footrule, 2) == numbers["footrule"], aspect
        assert round(row.kappa, 3) == numbers["qwk"], aspect
        assert round(row.mae, 3) == numbers["mae"], aspect
    without_rho = {aspect: row.examples - row.rho_examples for aspect, row in rows.items()}
    known = {"Facial": (1, 1), "Action": (10, 10), "Text": (7, 8), "Visual": (4, 4)}
    for aspect, counts in known.items():
        assert without_rho[aspect] == counts[0 if leave_out else 1]
    if leave_out:
        told = rows["Global"]
        assert (told.rho, told.footrule) == pytest.approx((0.563743, 3.092105), abs=1e-6)
        assert (told.kappa, told.mae) == pytest.approx((0.198933, 1.417763), abs=1e-6)


# --- by hand -------------------------------------------------------------------------------------


def test_a_film_without_a_value_counts_in_coverage_and_not_in_the_mean():
    items = [item("1p_emotion", n) for n in range(1, 5)] + [item("2p_2clip_2talk", 1)]
    scores = {
        items[0].name: score(items[0], "a", sync_c=4.0, other=1.0),
        items[1].name: score(items[1], "b", sync_c=8.0),
        items[2].name: score(items[2], "c"),  # no face
    }
    rows = {(row.group, row.measure): row for row in summarise(items, scores)}
    row = rows["monologue", "sync_c"]
    assert (row.items, row.films, row.scored, row.mean) == (4, 3, 2, 6.0)
    assert row.coverage == 0.5
    assert rows["1p_emotion", "other"].scored == 1
    assert rows["1p_emotion", "other"].low is None  # one speech: nothing to draw from
    assert (rows["dialogue", "sync_c"].scored, rows["dialogue", "sync_c"].mean) == (0, None)


def test_chinese_and_new_categories_are_in_neither_group():
    items = [item("1p_generalize_chinese", 1), item("own", 1), item("1p_protrait", 1)]
    groups = groups_of(items)
    assert list(groups) == ["monologue", "1p_generalize_chinese", "own", "1p_protrait"]
    assert groups["monologue"] == [items[2]]


def test_the_interval_draws_whole_clusters():
    """Against a loop that draws clusters one by one, and against the variance of cluster sums."""
    rng = np.random.default_rng(1)
    clusters = [f"c{number}" for number in rng.integers(0, 12, 60)]
    values = rng.normal(size=60) + np.array([int(name[1:]) for name in clusters]) / 4
    names = sorted(set(clusters))
    members = {n: values[[c == n for c in clusters]] for n in names}
    means = []
    for _ in range(20_000):
        drawn = [members[names[i]] for i in rng.integers(0, len(names), len(names))]
        means.append(np.concatenate(drawn).mean())
    low, high = interval(values, clusters)
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.03)
    alone = interval(values, [str(i) for i in range(60)])
    assert high - low > 1.5 * (alone[1] - alone[0])  # shared speeches make the mean less sure
    assert interval(values, clusters) == (low, high)  # seeded


def test_the_interval_of_independent_values_is_that_of_the_normal_law():
    values = np.random.default_rng(2).normal(5, 2, 400)
    low, high = interval(values, [str(i) for i in range(400)])
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert interval(values, ["same"] * 400) == (None, None)
    assert interval(values, ["a", "b", "c", "d"] * 100) == (None, None)


def test_differences_are_paired_on_common_items():
    items = [item("1p_emotion", n) for n in range(1, 10)]
    first = {i.name: score(i, i.name, sync_c=10.0 * i.index + 1) for i in items[:8]}
    second = {i.name: score(i, i.name, sync_c=10.0 * i.index) for i in items[1:]}
    second[items[3].name] = score(items[3], "x")  # no face here: no pair
    told = difference(("a", "b"), items, first, second, "monologue", "sync_c")
    assert (told.items, told.mean, told.low, told.high, told.higher) == (6, 1.0, 1.0, 1.0, 1.0)
    assert difference(("a", "b"), items, first, {}, "monologue", "sync_c") is None


def test_agreement_by_hand():
    rho, footrule, kappa, mae = agreement(np.array([4.0, 2, 1, 1]), np.array([4.0, 3, 3, 1]))
    # ranks 4 3 1.5 1.5 against 4 2.5 2.5 1, both with mean 2.5 and squares 4.5
    assert footrule == 0.5 + 1.0 + 0.5
    assert rho == pytest.approx((1.5 * 1.5 + 1.0 * 1.5) / 4.5)
    assert mae == 0.75
    # in steps between given scores (1 2 3 4): squared gaps 0 1 4 0 against all 16 pairs
    pairs = [(a - b) ** 2 for a in (4, 2, 1, 1) for b in (4, 3, 3, 1)]
    assert kappa == pytest.approx(1 - (5 / 4) / (sum(pairs) / 16))
    assert math.isnan(agreement(np.array([4.0, 2, 1, 1]), np.full(4, 3.0))[0])
    assert quadratic_kappa(np.array([1.0, 4]), np.array([1.0, 4])) == 1.0
    # 1 and 4 are one step apart where nothing between them was given
    assert quadratic_kappa(np.array([1.0, 4]), np.array([4.0, 1])) == -1.0
    assert math.isnan(quadratic_kappa(np.full(4, 2.0), np.full(4, 2.0)))


def test_alignment_skips_what_has_no_rank_correlation(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "Model,A,A,B,B\nAspect,1. Look,1. Look,1. Look,1. Look\n"
        "Example idx,Human,Judge,Human,Judge\n1,4,4,1,1\n2,3,4,2,4\n3,9,9,9,8\n"
    )
    look, every = alignment(path)
    assert (look.aspect, look.examples, look.rho_examples) == ("Look", 2, 1)
    assert (look.rho, look.mae) == (1.0, (0 + 1.5) / 2)
    assert every[1:] == look[1:]
    assert alignment(path, leave_out_last=False)[0].examples == 3


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "Model,A\nAspect,B\nExample idx,Human\n1,x"])
def test_another_table_is_no_alignment(tmp_path, content):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(ValueError, match="is not a table like viescore-alignment.csv"):
        alignment(tmp_path / "x.csv")


# --- files ---------------------------------------------------------------------------------------


def test_lines_outlive_a_kill_and_the_later_counts(tmp_path):
    one = item("1p_emotion", 1)
    append_score(tmp_path, score(one, "a", sync_c=1.0))
    append_score(tmp_path, score(one, "a", sync_c=2.0))
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('{"item": "1p_emo')
    found = read_scores(tmp_path)
    assert found["sync"][one.name].values == {"sync_c": 2.0}
    assert item_rows([one], found) == [
        {"category": "1p_emotion", "context_id": "1_x", "sync_c": 2.0, "notes": ""}
    ]
    write_csv(tmp_path / "t.csv", [{"a": 1, "b": "x,y"}, {"c": 2}])
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n1,"x,y",\n,,2\n'


PUBLISHED_HEAD = "idx,category,video,audio,offsets,best_conf,min_dist,has_face,runtime_s\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("idx,video\n", "lacks the columns category, offsets"),
        (PUBLISHED_HEAD, "has no lines"),
        (
            PUBLISHED_HEAD + "1,a,a\\9_x.mp4,a,[0],1,2,True,1\n",
            "line 2 .* 'a/9_x', which the bench",
        ),
        (PUBLISHED_HEAD + "1,a,a\\1_x.mp4,a,[0],high,2,True,1\n", "line 2 .* is not a line"),
        (PUBLISHED_HEAD + "1,a,a\\1_x.mp4,a,[0],1,2,yes,1\n", "line 2 .* is not a line"),
        (PUBLISHED_HEAD + "1,a,a\\1_x.mp4,a,[0],1,2,True,1\n" * 2, "line 3 .* a second time"),
    ],
)
def test_a_wrong_published_file_is_one_sentence(tmp_path, text, told):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_published(tmp_path / "s.csv", [item("a", 1)])
