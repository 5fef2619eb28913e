"""Many raters at once, and a server that is killed in the middle: is any rating lost or doubled?

    python -m benchmarks.study_load --raters 20 --kills 3

Raters are threads that do over HTTP (loopback only) what the page does: fetch the film, play it for
its length, answer; every fifth answer is sent twice. The server is killed with SIGKILL and started
again while they go on trying. What was acknowledged is then compared with what SQLite holds.
results/study_load.json.
"""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep
from openmocha.evaluation.study import ratings
from openmocha.evaluation.study.axes import NAMES, asked
from openmocha.evaluation.study.films import find_films
from openmocha.evaluation.study.freeze import freeze
from openmocha.media import SPEECH_RATE_HZ, write_film

SERVE = "from openmocha.evaluation.study.commands import study; study()"
GIVE_UP_S = 60.0  # without any answer
RUNS = ("amber", "basalt")


@dataclass
class Log:
    """What all raters were told; `acknowledged` is a film's token -> its answers."""

    acknowledged: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # of rating requests at their first try
    retries: int = 0
    twice: int = 0
    bytes: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Server:
    """`study serve` as a process of its own, on a fixed port of this machine."""

    def __init__(self, study: Path) -> None:
        self.study = study
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", SERVE, "serve", "--output", str(self.study)]
        command += ["--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """SIGKILL; afterwards nobody listens at the port."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        with socket.socket() as closed:
            assert closed.connect_ex(("127.0.0.1", self.port)) != 0, "somebody else answers"

    def ask(self, path: str, body: Any = None, log: Log | None = None) -> Any:
        """One request, repeated until the server answers; raises ValueError where it refuses."""
        data = None if body is None else json.dumps(body)
        until = time.monotonic() + GIVE_UP_S
        while True:
            started = time.monotonic()
            try:
                return self._once(path, data, log, started)
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > until:
                    raise TimeoutError(f"no answer in {GIVE_UP_S:g} s: {error!r}") from error
                if log is not None:
                    with log.lock:
                        log.retries += 1
                time.sleep(0.2)

    def _once(self, path: str, data: str | None, log: Log | None, started: float) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            kind = {"Content-Type": "application/json"}
            connection.request("GET" if data is None else "POST", path, data, kind)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 500:
            raise ConnectionError(f"status {answer.status}")
        if answer.status >= 400:
            raise ValueError(f"{answer.status} {content.decode()}")
        if log is not None and path == "/api/ratings":
            with log.lock:
                log.seconds.append(time.monotonic() - started)
        return content if path.startswith("/films/") else json.loads(content)


def write_study(folder: Path, num_raters: int, per_session: int, seconds: float) -> Path:
    """A study of two systems in which every rater finds a session."""
    num_items = max(2, -(-num_raters * per_session // 2))
    rng = np.random.default_rng(0)
    for system in RUNS:
        (folder / "runs" / system / "talk").mkdir(parents=True)
        for item in range(num_items):
            picture = rng.integers(0, 255, (34, 60, 3), dtype=np.uint8)
            large = picture.repeat(8, axis=0).repeat(8, axis=1)
            frames = np.stack([large] * round(24 * seconds))
            sound = rng.normal(0, 0.1, round(seconds * SPEECH_RATE_HZ)).astype(np.float32)
            write_film(folder / "runs" / system / "talk" / f"{item}.mp4", frames, sound)
    found = find_films([folder / "runs" / system for system in RUNS])
    freeze(folder / "study", found, ratings_per_film=1, films_per_session=per_session)
    return folder / "study"


def rate(server: Server, log: Log, number: int, seconds: float) -> None:
    """One rater from consent to the end of a session."""
    rng = random.Random(number)
    try:
        told = server.ask("/api/raters", {"consent": True}, log)
        rater = told["rater"]
        while told["next"] is not None:
            told = rate_film(server, log, rng, rater, told["next"], seconds)
    except (ValueError, TimeoutError) as error:
        with log.lock:
            log.failures.append(f"rater {number}: {error}")


def rate_film(
    server: Server, log: Log, rng: random.Random, rater: str, film: Any, seconds: float
) -> Any:
    token = film["film"]
    content = server.ask(f"/films/{token}", log=log)
    while True:  # a server that dies between start and end makes the film be played again
        number = film["plays"] + 1
        play = {"rater": rater, "film": token, "number": number}
        server.ask("/api/plays", {**play, "event": "started"}, log)
        time.sleep(seconds)
        try:
            server.ask("/api/plays", {**play, "event": "ended", "watched_s": seconds}, log)
            break
        except ValueError:
            film = {"plays": number}
    answers = {name: rng.randint(1, 4) for name in asked(False)}
    body = {"rater": rater, "film": token, "answers": answers}
    told = server.ask("/api/ratings", body, log)
    with log.lock:
        log.acknowledged[token] = answers
        log.bytes += len(content)
    if rng.random() < 0.2:
        told = server.ask("/api/ratings", body, log)
        with log.lock:
            log.twice += 1
    return told


def kill_and_restart(server: Server, log: Log, counts: list[int], raters: list[Any]) -> list[float]:
    """Kill the server each time so many ratings were acknowledged; how long each kill cost."""
    outages = []
    for count in counts:
        while len(log.acknowledged) < count and any(rater.is_alive() for rater in raters):
            time.sleep(0.01)
        started = time.monotonic()
        server.kill()
        server.start()
        server.ask("/api/study")
        outages.append(round(time.monotonic() - started, 2))
    return outages


def stored(study: Path) -> dict[str, dict[str, int]]:
    with ratings.opened(study) as db:
        rows = db.execute("SELECT * FROM ratings").fetchall()
    found = {
        row["showing"]: {name: row[name] for name in NAMES if row[name] is not None} for row in rows
    }
    assert len(found) == len(rows), "a film was rated twice"
    return found


def load(
    folder: Path, num_raters: int, per_session: int = 12, kills: int = 1, seconds: float = 2.0
) -> dict[str, Any]:
    """Run the whole test in `folder`; what came of it."""
    study = write_study(folder, num_raters, per_session, seconds)
    with ratings.opened(study) as db:
        planned = db.execute("SELECT COUNT(*) FROM showings").fetchone()[0]
    server, log = Server(study), Log()
    server.start()
    try:
        server.ask("/api/study")
        started = time.monotonic()
        raters = [
            threading.Thread(target=rate, args=(server, log, number, seconds))
            for number in range(num_raters)
        ]
        for rater in raters:
            rater.start()
        counts = [planned * (k + 1) // (kills + 1) for k in range(kills)]
        outages = kill_and_restart(server, log, counts, raters)
        for rater in raters:
            rater.join()
        took = time.monotonic() - started
    finally:
        server.kill()
    return summary(log, stored(study), planned, outages, took)


def summary(
    log: Log, found: dict[str, Any], planned: int, outages: list[float], took: float
) -> dict[str, Any]:
    lost = [token for token, answers in log.acknowledged.items() if found.get(token) != answers]
    ms = np.array(log.seconds) * 1000
    return {
        "films_planned": planned,
        "ratings_acknowledged": len(log.acknowledged),
        "ratings_stored": len(found),
        "lost_or_changed": len(lost),
        "stored_without_acknowledgement": len(set(found) - set(log.acknowledged)),
        "sent_twice": log.twice,
        "kills": len(outages),
        "outage_s": outages,
        "requests_repeated": log.retries,
        "failures": log.failures,
        "rating_ms_median": round(float(np.median(ms)), 1),
        "rating_ms_p95": round(float(np.percentile(ms, 95)), 1),
        "rating_ms_max": round(float(ms.max()), 1),
        "film_megabytes": round(log.bytes / 1e6, 1),
        "took_s": round(took, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raters", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--per-session", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a film")
    given = parser.parse_args()
    if not (1 <= given.raters <= 100 and given.kills <= 10 and given.seconds <= 10):
        parser.error("at most 100 raters, 10 kills, and films of 10 s")
    with tempfile.TemporaryDirectory() as folder:
        found = load(Path(folder), given.raters, given.per_session, given.kills, given.seconds)
    result = {"raters": given.raters, "film_s": given.seconds, **found}
    result["load_average"] = round(os.getloadavg()[0], 1)
    keep("study_load", result)
    for key in result:
        print(f"| {key} | {result[key]} |")


if __name__ == "__main__":
    main()
