"""The report page in a real browser: on a desktop and on a phone, films that play together."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_folder import scored_runs
from typer.testing import CliRunner

from openmocha.cli import app

CHROMIUM = shutil.which("chromium")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install playwright"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as home, sync_api.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=flags, env={**os.environ, "HOME": home}
        )
        yield browser
        browser.close()


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    scored_runs(tmp_path)
    runs = sorted((tmp_path / "runs").iterdir())
    command = ["bench", "report", *map(str, runs), "--output", str(tmp_path / "report")]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    return tmp_path / "report" / "index.html"


@pytest.mark.parametrize("width", [1280, 360])
def test_the_report_reads_and_plays(page_file: Path, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(request.url))
    page.goto(page_file.as_uri())
    for fold in page.locator("details > summary").all():
        fold.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    first = page.locator("table").nth(1).inner_text()
    assert "n 3 of 4" in first and "second & <third>" in first
    item = page.locator(".item").first
    films = item.locator("video")
    assert films.count() == 2
    assert all(film.evaluate("film => film.paused") for film in films.all())
    item.locator("button.together").click()
    for film in films.all():
        film.evaluate(
            "film => new Promise(done => film.currentTime > 0.2 ? done() :"
            " film.addEventListener('timeupdate', () => film.currentTime > 0.2 && done()))"
        )
    assert [film.evaluate("film => film.muted") for film in films.all()] == [False, True]
    assert films.first.evaluate("film => film.videoWidth") == 64
    assert faults == []
    page.close()
