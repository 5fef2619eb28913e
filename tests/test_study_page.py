"""The rating page in a real browser, on a desktop and on a phone, from consent to thanks."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_study import write_study

from benchmarks.study_load import Server
from openmocha.evaluation.study import ratings

CHROMIUM = shutil.which("chromium")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install playwright"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt install chromium")

FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
FLAGS += "--disable-sync --no-first-run --autoplay-policy=user-gesture-required"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 640},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    study = write_study(tmp_path, num_items=2, films_per_session=2, ratings_per_film=1)
    server = Server(study)
    server.start()
    server.ask("/api/study")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as home, sync_api.sync_playwright() as play:
        environment = {**os.environ, "HOME": home}
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS.split(), env=environment
        )
        yield browser
        browser.close()


def begin(page: Any, server: Server) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#welcome:visible")
    assert page.is_disabled("#begin")
    page.check("#consent")
    page.click("#begin")
    page.wait_for_selector("#rating:visible")


def watch(page: Any) -> None:
    assert page.query_selector("#fields:disabled") and page.is_disabled("#send")
    page.click("#play")
    page.wait_for_selector("#fields:enabled", timeout=20_000)


def choose(page: Any, mark: int) -> None:
    for axis in page.query_selector_all(".axis"):
        axis.query_selector_all(".mark")[mark - 1].click()


def send(page: Any, mark: int) -> None:
    """Rate the film that was watched, and come to the next one, or to the end."""
    choose(page, mark)
    where = page.inner_text("#where")
    page.click("#send")
    page.wait_for_selector(f"#feedback:visible, #thanks:visible, #where:not(:text-is('{where}'))")
    if page.is_visible("#feedback"):
        page.click("#go-on")


def chosen(page: Any) -> list[str]:
    return [mark.get_attribute("value") for mark in page.query_selector_all("input:checked")]


def stored(server: Server) -> list[list[int]]:
    with ratings.opened(server.study) as db:
        rows = db.execute("SELECT * FROM ratings ORDER BY rated_at").fetchall()
    return [
        [row["lip_sync"], row["expression"], row["action"], row["visual_quality"]] for row in rows
    ]


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_session_from_consent_to_thanks(
    server: Server, browser: Any, device: dict[str, Any]
) -> None:
    """Reloaded with half the answers given, and closed and opened again by its link."""
    context = browser.new_context(**device)
    page = context.new_page()
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    begin(page, server)
    assert page.inner_text("#where") == "Film 1 of 6"
    watch(page)
    for axis in page.query_selector_all(".axis")[:2]:
        axis.query_selector_all(".mark")[2].click()
    page.reload()
    page.wait_for_selector("#rating:visible")
    assert page.inner_text("#where") == "Film 1 of 6"
    assert page.query_selector("#fields:enabled") and page.is_disabled("#send")
    assert chosen(page) == ["3", "3"]
    send(page, 4)
    link = page.url
    context.close()

    context = browser.new_context(**device)  # another browser: nothing but the link
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(link)
    page.wait_for_selector("#rating:visible")
    for number in range(2, 7):
        assert page.inner_text("#where") == f"Film {number} of 6"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        watch(page)
        send(page, 1 + number % 4)
    page.wait_for_selector("#thanks:visible")
    context.close()
    assert stored(server) == [[4] * 4, *[[1 + number % 4] * 4 for number in range(2, 7)]]
    own = f"http://127.0.0.1:{server.port}/"
    assert asked and all(url.startswith(own) for url in asked)
    assert faults == []


def test_an_answer_waits_for_a_server_that_was_killed(server: Server, browser: Any) -> None:
    context = browser.new_context(**DESKTOP)
    page = context.new_page()
    begin(page, server)
    watch(page)
    choose(page, 2)
    server.kill()
    page.click("#send")
    page.wait_for_selector("#trouble:visible")
    assert "No connection" in page.inner_text("#trouble")
    assert stored(server) == []
    server.start()
    page.wait_for_selector("#where:text-is('Film 2 of 6')", state="attached", timeout=20_000)
    context.close()
    assert stored(server) == [[2] * 4]


def test_a_film_that_does_not_play_can_be_left(server: Server, browser: Any) -> None:
    context = browser.new_context(**DESKTOP)
    page = context.new_page()
    page.route("**/films/*", lambda route: route.fulfill(status=200, body=b"no film"))
    begin(page, server)
    page.wait_for_selector("#unplayable:visible")
    page.click("#unplayable")
    page.wait_for_selector("#where:text-is('Film 2 of 6')")
    context.close()
    with ratings.opened(server.study) as db:
        (failed,) = db.execute("SELECT failed FROM plays").fetchone()
    assert failed and stored(server) == []
