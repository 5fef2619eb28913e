"""The page and its API: one process, every answer out of SQLite, nothing kept in memory.

    GET  /                          the page (page/), without a request to any other host
    GET  /api/study                 the scales, the organiser's notice, how long it takes
    POST /api/raters                consent -> a rater's secret token and a first session
    GET  /api/raters/{rater}        where this rater stands: the film to rate next
    POST /api/raters/{rater}/sessions   one more session
    POST /api/plays, /api/ratings   what was played, what was answered
    GET  /films/{token}             the film, in ranges, under a token that names no system

The browser learns a film's token, length, prompt and whether the text is asked for; no more.
"""

import contextlib
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from openmocha.evaluation.study import ratings
from openmocha.evaluation.study.assignment import next_session
from openmocha.evaluation.study.axes import AXES
from openmocha.evaluation.study.design import Design

PAGE = Path(__file__).parent / "page"
ANSWERING_S = 30  # per film, roughly
LONGEST_BODY = 10_000  # bytes; a rating has about 200
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Text = Annotated[str, Body(embed=True, max_length=200)]
State = dict[str, Any]


def application(study: Path) -> FastAPI:
    """The web application of a frozen study. Raises FileNotFoundError where there is none."""
    with ratings.opened(study) as db:
        design = ratings.read_design(db)
    # FastAPI's own documentation pages fetch scripts from another host
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _guard(app)
    _serve_page(app)
    _serve_raters(app, study, design)
    _serve_films(app, study, design)
    return app


def _serve_raters(app: FastAPI, study: Path, design: Design) -> None:
    """Who takes part, where they stand, and what they do next."""

    @app.get("/api/study")
    def welcome() -> State:
        with ratings.opened(study) as db:
            return {"axes": [asdict(axis) for axis in AXES], "notice": design.notice, **effort(db)}

    @app.post("/api/raters")
    def join(request: Request, consent: Annotated[bool, Body(embed=True)]) -> State:
        if not consent:
            raise ValueError("nobody takes part without consent")
        now = time.time()
        with ratings.opened(study, writing=True) as db:
            rater = ratings.add_rater(db, request.headers.get("user-agent", ""), now)
            next_session(db, rater, design, now)
            return {"rater": rater, **state(db, rater)}

    @app.get("/api/raters/{rater}")
    def stand(rater: str) -> State:
        with ratings.opened(study) as db:
            return state(db, rater)

    @app.post("/api/raters/{rater}/sessions")
    def one_more(rater: str) -> State:
        with ratings.opened(study, writing=True) as db:
            if state(db, rater)["next"] is None:
                next_session(db, rater, design, time.time())
            return state(db, rater)


def _serve_films(app: FastAPI, study: Path, design: Design) -> None:
    """Films to play, what was played of them, and what was answered."""

    @app.get("/films/{token}")
    def film(token: str) -> Response:
        with ratings.opened(study) as db:
            file = study / "films" / ratings.film_file(db, token)
        headers = {"Cache-Control": "private, max-age=3600"}
        return FileResponse(file, media_type="video/mp4", headers=headers)

    @app.post("/api/plays")
    def play(
        rater: Text,
        film: Text,
        number: Annotated[int, Body(ge=1, le=1000)],
        event: Text,
        watched_s: Annotated[float, Body(ge=0, le=36_000)] = 0.0,
        reason: Annotated[str, Body(max_length=200)] = "",
    ) -> State:
        now = time.time()
        with ratings.opened(study, writing=True) as db:
            if event == "started":
                ratings.play_started(db, rater, film, number, now)
            elif event == "ended":
                share = design.rule.watched_share
                ratings.play_ended(db, rater, film, number, watched_s, share, now)
            elif event == "failed":
                ratings.play_failed(db, rater, film, number, reason or "unknown", now)
            else:
                raise ValueError(f"event is {event!r}; expected started, ended or failed")
            return state(db, rater)

    @app.post("/api/ratings")
    def rate(rater: Text, film: Text, answers: Annotated[dict[str, int], Body()]) -> State:
        with ratings.opened(study, writing=True) as db:
            ratings.add_rating(db, rater, film, answers, time.time())
        with ratings.opened(study) as db:  # what is told here is on the disk by now
            return {"feedback": feedback(db, rater, film), **state(db, rater)}


def effort(db: sqlite3.Connection) -> State:
    """Films of a first session, and the minutes that they take."""
    row = db.execute(
        """
        SELECT COUNT(*) * 1.0 / COUNT(DISTINCT s.session) AS films, AVG(f.duration_s) AS duration_s
        FROM showings s JOIN films f ON f.id = s.film
        """
    ).fetchone()
    seconds = row["films"] * (row["duration_s"] + ANSWERING_S)
    return {"films": round(row["films"]), "minutes": max(1, round(seconds / 60))}


def state(db: sqlite3.Connection, rater: str) -> State:
    """Where a rater stands: films done, films in all, the next one (None: this is the end)."""
    ratings.check_rater(db, rater)
    showings = ratings.showings_of(db, rater)
    waiting = [one for one in showings if one["state"] == "open"]
    session = [one for one in showings if waiting and one["session"] == waiting[0]["session"]]
    done = sum(one["state"] != "open" for one in session)
    return {
        "done": done,
        "films": len(session),
        "rated": sum(one["state"] == "rated" for one in showings),
        "next": _public(db, waiting[0]) if waiting else None,
    }


def _public(db: sqlite3.Connection, showing: dict[str, Any]) -> State:
    """What a rater may know of a film: kinds other than training look the same."""
    played = db.execute(
        "SELECT 1 FROM plays WHERE showing = ? AND ended_at IS NOT NULL", (showing["token"],)
    ).fetchone()
    return {
        "film": showing["token"],
        "training": showing["kind"] == "training",
        "prompt": showing["prompt"],
        "asks_text": bool(showing["asks_text"]),
        "plays": showing["plays"],
        "played": played is not None,
    }


def feedback(db: sqlite3.Connection, rater: str, token: str) -> State | None:
    """The right answers of a training film, after it was rated; nothing for any other."""
    showing = next(one for one in ratings.showings_of(db, rater) if one["token"] == token)
    known = json.loads(showing["known"])
    if showing["kind"] != "training" or not known:
        return None
    return {"known": known, "note": showing["note"]}


def _guard(app: FastAPI) -> None:
    """Headers of every answer, a limit to what is read, and errors as one sentence."""

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        length = request.headers.get("content-length", "0" if request.method == "GET" else "")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            return JSONResponse({"error": "the request is too long"}, 413)
        response: Response = await call_next(request)
        response.headers.update(HEADERS)
        if request.url.path.startswith("/api/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    for kind, status in ((LookupError, 404), (ratings.NotPlayedYet, 409), (ValueError, 400)):
        app.add_exception_handler(kind, _sentence(status))


def _sentence(status: int) -> Any:
    def answer(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error.args[0])}, status)

    return answer


def _serve_page(app: FastAPI) -> None:
    """The page's files, by name, so that no other file can be asked for."""
    kinds = {"study.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}

    @app.get("/")
    def page() -> Response:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/{name}.{suffix}")
    def part(name: str, suffix: str) -> Response:
        file = f"{name}.{suffix}"
        if file not in kinds:
            raise LookupError("there is no such page")
        headers = {"Cache-Control": "no-cache"}
        return FileResponse(PAGE / file, media_type=kinds[file], headers=headers)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Raises OSError, in one sentence, where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            raise OSError(
                f"{host}:{port} cannot be listened at ({error.strerror}); choose another --port"
            ) from error
        yield bound


def serve(study: Path, bound: socket.socket) -> None:
    """Serve until interrupted."""
    import uvicorn

    settings = uvicorn.Config(
        application(study), log_level="warning", access_log=False, server_header=False
    )
    # a connection that stays open keeps SQLite from folding its log in after every request
    with contextlib.closing(sqlite3.connect(study / ratings.FILE)) as kept:
        kept.execute("SELECT json FROM design").fetchone()
        uvicorn.Server(settings).run(sockets=[bound])
