"""A study small enough for tests: one-second films of two systems, and raters without a browser."""

import functools
import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.evaluation.study import ratings
from openmocha.evaluation.study.axes import asked
from openmocha.evaluation.study.films import find_films
from openmocha.evaluation.study.freeze import freeze
from openmocha.media import SPEECH_RATE_HZ, write_film

SYSTEMS = ("amber", "basalt")


def write_runs(
    folder: Path,
    num_items: int = 3,
    systems: tuple[str, ...] = SYSTEMS,
    seconds: float = 1.0,
    size: int = 64,
) -> list[Path]:
    """runs/<system>/talk/<item>.mp4: grey pictures that say who made them, a tone per item."""
    for system in systems:
        (folder / system / "talk").mkdir(parents=True)
        for item in range(num_items):
            content = film_bytes(system, item, seconds, size)
            (folder / system / "talk" / f"item{item}.mp4").write_bytes(content)
    return [folder / system for system in systems]


@functools.cache
def film_bytes(system: str, item: int, seconds: float, size: int) -> bytes:
    frames = np.full((round(24 * seconds), size, size, 3), 60 + 10 * len(system), np.uint8)
    frames[:, : size // 4, : size // 4] = 30 * item
    times = np.arange(round(seconds * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    tone = (0.2 * np.sin(2 * np.pi * (200 + 40 * item) * times)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_film(path, frames, tone, metadata={"model": system, "prompt": "secret"})
        return path.read_bytes()


def write_study(folder: Path, **settings: Any) -> Path:
    """A frozen study of two systems and three items."""
    num_items = settings.pop("num_items", 3)
    runs = write_runs(folder / "runs", num_items)
    settings = {"ratings_per_film": 2, "films_per_session": 6, **settings}
    freeze(folder / "study", find_films(runs), **settings)
    return folder / "study"


def rate_session(
    study: Path, rater: str, choose: Callable[[dict[str, Any]], dict[str, int]], now: float
) -> None:
    """Play and rate every film that waits for a rater; `choose` sees what the rater does not."""
    with ratings.opened(study, writing=True) as db:
        for showing in ratings.showings_of(db, rater):
            if showing["state"] != "open":
                continue
            token, length_s = showing["token"], showing["duration_s"]
            ratings.play_started(db, rater, token, 1, now)
            ratings.play_ended(db, rater, token, 1, length_s, 0.95, now + length_s)
            ratings.add_rating(db, rater, token, choose(showing), now + length_s)
            now += length_s


def answers(showing: dict[str, Any], **chosen: int) -> dict[str, int]:
    """2 and 3 in turn, but for what is chosen; a trap is found out."""
    names = asked(bool(showing["asks_text"]))
    values = {name: 2 + k % 2 for k, name in enumerate(names)}
    values |= {"lip_sync": 1} if showing["kind"] == "trap" else {}
    return values | {name: value for name, value in chosen.items() if name in names}


def request(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """(status, JSON) of one request; errors of the server are answers too."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers), timeout=30
        ) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
