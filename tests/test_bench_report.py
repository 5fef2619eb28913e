"""`openmocha bench report`: one page that needs nobody, whose numbers are those of the tables."""

import csv
import json
import math
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from bench_folder import make_run, scored_runs
from typer.testing import CliRunner

from openmocha.cli import app
from openmocha.evaluation.mochabench import Item, read_benchmark
from openmocha.evaluation.report_plots import Cloud, Strip, scatter_plot, strip_plot, ticks_of
from openmocha.evaluation.report_tables import extremes_table, means_table
from openmocha.evaluation.score_table import Score, append_score, write_run
from openmocha.evaluation.summary import summarise


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *[str(argument) for argument in arguments]])


class Page(HTMLParser):
    """What a page names, its words, and whether every tag is closed in its turn."""

    VOID = {"meta", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.named: list[tuple[str, str]] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "poster", "action", "srcset", "data"):
                self.named.append((name, value))
            if name == "id":
                self.ids.add(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()  # <line/>, <circle/>

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def place(tmp_path):
    return scored_runs(tmp_path)


def test_the_page_needs_nobody_and_all_it_names_is_there(place):
    runs = sorted((place / "runs").iterdir())
    result = bench("report", *runs, "--output", place / "report", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    text = (place / "report/index.html").read_text()
    assert json.loads(result.stdout)["report"] == str(place / "report/index.html")
    page = Page(text)
    assert set(page.open) <= {"html", "body"}  # whose end tags HTML leaves out
    films = 0
    for name, value in page.named:
        if value.startswith("#"):
            assert value[1:] in page.ids
        elif name == "poster":
            assert value.startswith("data:image/jpeg;base64,")
        else:
            assert (place / "report" / unquote(value)).is_file()
            films += 1
    assert films == 7
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert text.count("preload='none'") == 7
    assert "<third>" not in text and "second & <third>" in "".join(page.words)


def test_the_pages_numbers_are_those_of_the_tables(place):
    runs = sorted((place / "runs").iterdir())
    assert bench("report", *runs, "-o", place / "report").exit_code == 0
    words = "\n".join(Page((place / "report/index.html").read_text()).words)
    with (place / "report/summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = {(r["system"], r["group"], r["measure"]): r for r in rows}
    row = told["first", "monologue", "sync_c"]
    assert (float(row["mean"]), row["scored"], row["items"]) == (5.0, "3", "4")
    row = told["second & <third>", "monologue", "sync_c"]
    assert (float(row["mean"]), row["scored"], row["films"], row["items"]) == (5.0, "1", "2", "4")
    assert "n 3 of 4 (75%)" in words and "n 1 of 4 (25%)" in words
    with (place / "report/differences.csv").open() as file:
        gaps = {(r["group"], r["measure"]): r for r in csv.DictReader(file)}
    assert float(gaps["monologue", "sync_c"]["mean"]) == -1.0  # on the one item in common
    assert gaps["monologue", "sync_c"]["items"] == "1"
    with (place / "report/films.csv").open() as file:
        films = list(csv.DictReader(file))
    assert len(films) == 7 and films[0]["sync_c"] == "4.0"
    report = json.loads((place / "report/report.json").read_text())
    assert report["systems"]["first"]["by"]["sync"] == ["SyncNet X"]
    assert "Scored by SyncNet X." in words
    assert "auxiliary, not comparable" in words
    assert "lip advice, no score: mouth open in 6 of 6 loud" in words
    assert "no face that could be followed" in words and "no film" in words


def test_published_numbers_say_whose_they_are(place):
    assert bench("report", place / "runs/first", "-o", place / "report").exit_code == 0
    text = unescape((place / "report/index.html").read_text())
    table = text[text.index("id='sync'") : text.index("id='judge'")]
    assert "As published: MoChaBench's leaderboard, 220 released items" in table
    assert "As published: the paper's first version, 150 items" in table
    for number in ("6.333", "8.185", "4.951", "8.601", "4.866", "9.239", "1.740", "6.037"):
        assert number in table
    judge = text[text.index("id='judge'") : text.index("id='published'")]
    assert "3.85" not in judge  # people's ratings stand apart from a judge's
    assert "3.85" in text[text.index("id='published'") :]


def test_the_crop_of_a_baselines_first_frames_is_named(place):
    run = place / "runs/first"
    done = [{"status": "done", "crop": {"rule": rule}} for rule in ("full", "full", "head-square")]
    items = {str(number): entry for number, entry in enumerate([*done, {"status": "failed"}])}
    for crop, shown, told in (
        ("full", items | {"2": done[0]}, "full"),
        ("as released", items, "as released: full (2), head-square (1)"),
        ("as released", {}, "as released"),
    ):
        write_run(run, {"benchmark": str(place / "benchmark"), "system": "sadtalker"})
        record = {"system": "sadtalker", "crop": crop, "items": shown}
        (run / "baseline.json").write_text(json.dumps(record))
        assert bench("report", run, "-o", place / "report").exit_code == 0
        page = (place / "report/index.html").read_text()
        assert f"<td>sadtalker, crop {told}</td>" in page
        report = json.loads((place / "report/report.json").read_text())
        assert report["systems"]["first"]["crop"] == told
    (run / "baseline.json").write_text("[]")
    result = bench("report", run, "-o", place / "report")
    assert result.exit_code == 2 and "is no record of a baseline" in result.stderr


def test_films_can_be_copied_beside_the_page(place):
    run = place / "runs/first"
    assert bench("report", run, "-o", place / "report", "--copy-films").exit_code == 0
    page = Page((place / "report/index.html").read_text())
    sources = [value for name, value in page.named if name == "src"]
    assert sources and all(value.startswith("films/first/") for value in sources)
    assert all((place / "report" / unquote(value)).is_file() for value in sources)


def test_different_scorers_are_pointed_out(place):
    run = place / "runs/first"
    item = read_benchmark(place / "benchmark")[0]
    append_score(run, Score(item.name, "sync", "SyncNet Y", None, None, {"sync_c": 1.0}))
    assert bench("report", run, "-o", place / "report").exit_code == 0
    words = "".join(Page((place / "report/index.html").read_text()).words)
    assert "Scored in different ways, so compare with care. first: SyncNet X, SyncNet Y." in words


def test_damaged_films_have_no_picture_and_break_nothing(place):
    (place / "runs/first/1p_emotion/1_woman.mp4").write_bytes(b"no film")
    assert bench("report", place / "runs/first", "-o", place / "report").exit_code == 0


def test_bad_runs_are_one_sentence(place, tmp_path):
    empty, report = tmp_path / "empty", tmp_path / "report"
    empty.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "benchmark.csv").write_text("idx_in_category,category,context_id,prompt\n1,a,1_x,w\n")
    strange = make_run(tmp_path / "strange", 1)
    write_run(strange, {"benchmark": str(other)})
    append_score(strange, Score("a/1_x", "free", "free 1", None, None, {"flow": 1.0}))
    first = place / "runs/first"
    for runs, told in (
        ([empty], "has no scores; run: openmocha bench score"),
        ([first, strange], "are of different benchmarks"),
        ([first, first], "a run is given twice"),
    ):
        result = bench("report", *runs, "-o", report)
        assert result.exit_code == 2 and told in result.stderr, result.output
        assert result.stderr.count("\n") == 1
    (first / "run.json").write_text("{")
    result = bench("report", first, "-o", report)
    assert result.exit_code == 2 and "is damaged" in result.stderr
    assert not report.exists()


# --- parts ---------------------------------------------------------------------------------------


def scores(values: list[float]) -> dict[str, Score]:
    names = [f"1p_emotion/{number}_x" for number in range(len(values))]
    return {
        name: Score(name, "sync", "by", None, None, {"sync_c": value, "sync_d": value})
        for name, value in zip(names, values, strict=True)
    }


def test_the_best_and_the_worst_follow_the_better_way():
    found = {"a": scores([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])}
    up = extremes_table("sync", "sync_c", found, (), count=2)
    assert re.findall(r"1p_emotion/(\d)_x", up) == ["5", "0", "1", "3"]
    down = extremes_table("sync", "sync_d", found, (), count=2)
    assert re.findall(r"1p_emotion/(\d)_x", down) == ["1", "3", "5", "0"]
    linked = extremes_table("sync", "sync_c", found, {"1p_emotion/5_x"})
    assert re.findall(r"href='#([^']*)'", linked) == ["1p_emotion/5_x"]
    assert extremes_table("sync", "sync_c", found, (), count=4) == ""  # too few to tell apart


def test_the_best_mean_is_bold_only_among_runs_of_about_as_many_films():
    items = [Item(n, "1p_emotion", f"{n}_x", "words", Path("none"), None, None) for n in range(10)]
    rows = {
        "low": summarise(items, scores([4.0] * 10)),
        "high": summarise(items, scores([5.0] * 9)),
        "few": summarise(items, scores([9.0] * 2)),
    }
    table = means_table("sync", {"low": rows["low"], "high": rows["high"]}, ["monologue"])
    assert re.findall(r"<b>([\d.]+)</b>", table) == ["4.000", "5.000"]  # D of low, C of high
    assert "<b>" not in means_table("sync", rows, ["monologue"])
    assert means_table("sync", rows, ["dialogue"]) == ""


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 9.7), (-4.0, -1.0), (1.0, 1.0), (0.0, 0.0), (0.9791, 0.9802), (7, 7e5)]
)
def test_ticks_span_the_values_with_round_numbers(low, high):
    ticks = ticks_of(low, high)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9 and 2 <= len(ticks) <= 10
    step = ticks[1] - ticks[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_dots_lie_where_their_values_are():
    strip = Strip("a <b>", "#000000", [(0.0, "zero"), (10.0, "ten & more")], 5.0, 2.5, 7.5)
    plot = strip_plot("Title", "", [strip])
    xs = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', plot)]
    assert xs == [108.0, 424.0]
    assert '<line x1="187.0" x2="345.0"' in plot  # the interval, a quarter from either end
    assert "ten &amp; more: 10.000" in plot and "a &lt;b&gt;" in plot
    plot = scatter_plot("T", "x", "y", [Cloud("a", "#000000", [(0, 0, "p"), (10, 10, "q")])])
    ys = [float(y) for y in re.findall(r'cy="([\d.]+)"', plot)]
    assert ys == [290.0, 34.0]  # up is more
    assert strip_plot("Title", "", [strip._replace(dots=[])]) == ""
