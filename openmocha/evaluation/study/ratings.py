"""study.sqlite: the frozen design, the sessions, every play and every rating.

A rating is one INSERT, on the disk before its rater hears of it (write-ahead log,
synchronous=FULL), so a killed server or a closed browser loses nothing. Times are the server's, in
seconds since 1970.
"""

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openmocha.evaluation.study.axes import NAMES, asked, check_answers
from openmocha.evaluation.study.design import Design, StudyFilm, design_from_json
from openmocha.evaluation.study.sessions import Showing

FILE = "study.sqlite"
PASSED_SHARE = 0.9  # of a film's length has to pass on the server's clock; the net may lag a little
MARKS = ", ".join(f"{name} INTEGER CHECK ({name} BETWEEN 1 AND 4)" for name in NAMES)
SCHEMA = f"""
CREATE TABLE design (json TEXT NOT NULL);
CREATE TABLE films (
    id INTEGER PRIMARY KEY, role TEXT NOT NULL, system TEXT, item TEXT, prompt TEXT, speech TEXT,
    asks_text INTEGER NOT NULL, known TEXT NOT NULL, note TEXT,
    file TEXT NOT NULL UNIQUE, duration_s REAL NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE raters (
    token TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, consented_at REAL NOT NULL,
    browser TEXT NOT NULL);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, round INTEGER NOT NULL, again INTEGER UNIQUE REFERENCES sessions,
    rater TEXT REFERENCES raters, given_at REAL);
CREATE TABLE showings (
    token TEXT PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions,
    position INTEGER NOT NULL, kind TEXT NOT NULL, film INTEGER NOT NULL REFERENCES films,
    UNIQUE (session, position));
CREATE TABLE plays (
    showing TEXT NOT NULL REFERENCES showings, number INTEGER NOT NULL, started_at REAL NOT NULL,
    ended_at REAL, watched_s REAL, failed TEXT, PRIMARY KEY (showing, number));
CREATE TABLE ratings (
    showing TEXT PRIMARY KEY REFERENCES showings, rater TEXT NOT NULL REFERENCES raters,
    {MARKS}, rated_at REAL NOT NULL);
CREATE INDEX sessions_of_rater ON sessions (rater);
"""


class NotPlayedYet(ValueError):
    """A rating of a film that its rater has not seen to its end."""


@contextmanager
def opened(study: Path, writing: bool = False) -> Iterator[sqlite3.Connection]:
    """The study's SQLite file; a block that ends well is committed, any other undone.

    Whoever means to write says so: what is read first, and what is written then, are one.

    Raises FileNotFoundError where there is no study.
    """
    file = study / FILE
    if not file.is_file():
        raise FileNotFoundError(f"{study} holds no study ({FILE}); start one with study serve")
    db = sqlite3.connect(file, timeout=60, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
        yield db
        db.execute("COMMIT")
    finally:
        db.close()  # what was not committed is undone


def create(
    study: Path,
    design: Design,
    films: Sequence[StudyFilm],
    sessions: Sequence[tuple[int, Sequence[Showing]]],
) -> None:
    """Write a new study.sqlite; it holds a design, or it is not there."""
    part = study / f".{FILE}.part"
    part.unlink(missing_ok=True)
    db = sqlite3.connect(part)
    db.executescript(SCHEMA)
    for index, film in enumerate(films):
        copy = film.copy
        values = (
            *(index, film.role, film.system, film.item, film.prompt, film.speech, film.asks_text),
            *(json.dumps(film.known), film.note, copy.file, copy.duration_s, copy.sha256),
        )
        db.execute(f"INSERT INTO films VALUES ({', '.join('?' * 12)})", values)
    for turn, showings in sessions:
        add_session(db, turn, showings)
    db.execute("INSERT INTO design VALUES (?)", (design.to_json(),))
    db.commit()
    db.close()
    db = sqlite3.connect(part)
    db.execute("PRAGMA journal_mode = WAL")  # is remembered in the file
    db.close()
    part.replace(study / FILE)


def add_session(
    db: sqlite3.Connection, turn: int, showings: Sequence[Showing], again: int | None = None
) -> int:
    """A session without a rater yet; `again` is the one that it repeats."""
    row = db.execute("INSERT INTO sessions (round, again) VALUES (?, ?)", (turn, again))
    session = row.lastrowid
    assert session is not None
    db.executemany(
        "INSERT INTO showings VALUES (?, ?, ?, ?, ?)",
        [
            (secrets.token_urlsafe(12), session, position, showing.kind, showing.film)
            for position, showing in enumerate(showings)
        ],
    )
    return session


def read_design(db: sqlite3.Connection) -> Design:
    return design_from_json(db.execute("SELECT json FROM design").fetchone()["json"])


# --- raters --------------------------------------------------------------------------------------


def add_rater(db: sqlite3.Connection, browser: str, now: float) -> str:
    """A new rater's secret token."""
    token = secrets.token_urlsafe(12)
    number = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM raters").fetchone()[0]
    db.execute("INSERT INTO raters VALUES (?, ?, ?, ?)", (token, number, now, browser[:200]))
    return token


def check_rater(db: sqlite3.Connection, rater: str) -> None:
    if db.execute("SELECT 1 FROM raters WHERE token = ?", (rater,)).fetchone() is None:
        raise LookupError("this link belongs to no rater of this study")


def showings_of(db: sqlite3.Connection, rater: str) -> list[dict[str, Any]]:
    """A rater's films in order; training is left out after the first session. `state` is rated,
    failed (would not play) or open."""
    rows = db.execute(
        """
        SELECT s.token, s.session, s.position, s.kind, f.id AS film, f.file, f.duration_s,
               f.prompt, f.asks_text, f.known, f.note,
               (SELECT COUNT(*) FROM plays p WHERE p.showing = s.token) AS plays,
               EXISTS (SELECT 1 FROM plays p WHERE p.showing = s.token AND p.failed IS NOT NULL)
                   AS failed,
               EXISTS (SELECT 1 FROM ratings r WHERE r.showing = s.token) AS rated
        FROM showings s JOIN sessions n ON n.id = s.session JOIN films f ON f.id = s.film
        WHERE n.rater = ? ORDER BY n.given_at, n.id, s.position
        """,
        (rater,),
    ).fetchall()
    first = rows[0]["session"] if rows else None
    kept = [dict(row) for row in rows if row["kind"] != "training" or row["session"] == first]
    for row in kept:
        row["state"] = "rated" if row["rated"] else "failed" if row["failed"] else "open"
    return kept


def _own_showing(db: sqlite3.Connection, rater: str, token: str) -> sqlite3.Row:
    """Raises LookupError for the film of somebody else, or of nobody."""
    row: sqlite3.Row | None = db.execute(
        """
        SELECT s.token, f.asks_text, f.duration_s, f.file FROM showings s
        JOIN sessions n ON n.id = s.session JOIN films f ON f.id = s.film
        WHERE s.token = ? AND n.rater = ?
        """,
        (token, rater),
    ).fetchone()
    if row is None:
        raise LookupError("this film is not one of this rater's")
    return row


def film_file(db: sqlite3.Connection, token: str) -> str:
    """The file of a showing that was given to somebody. Raises LookupError for any other."""
    row = db.execute(
        """
        SELECT f.file FROM showings s JOIN sessions n ON n.id = s.session
        JOIN films f ON f.id = s.film WHERE s.token = ? AND n.rater IS NOT NULL
        """,
        (token,),
    ).fetchone()
    if row is None:
        raise LookupError("there is no such film")
    return str(row["file"])


# --- plays and ratings ---------------------------------------------------------------------------


def play_started(db: sqlite3.Connection, rater: str, token: str, number: int, now: float) -> None:
    """The `number`-th play begins; said twice, the first time counts."""
    _own_showing(db, rater, token)
    db.execute(
        "INSERT OR IGNORE INTO plays (showing, number, started_at) VALUES (?, ?, ?)",
        (token, number, now),
    )


def play_ended(
    db: sqlite3.Connection,
    rater: str,
    token: str,
    number: int,
    watched_s: float,
    watched_share: float,
    now: float,
) -> None:
    """A play came to the film's end. Raises NotPlayedYet where less than `watched_share` of it was
    watched, or the film is longer than the time that passed."""
    film = _own_showing(db, rater, token)
    play = db.execute(
        "SELECT started_at FROM plays WHERE showing = ? AND number = ?", (token, number)
    ).fetchone()
    passed_s = 0.0 if play is None else now - play["started_at"]
    length_s = film["duration_s"]
    if passed_s < PASSED_SHARE * length_s or watched_s < watched_share * length_s:
        raise NotPlayedYet("the film was not played to its end; play it once more")
    db.execute(
        "UPDATE plays SET ended_at = ?, watched_s = ? "
        "WHERE showing = ? AND number = ? AND ended_at IS NULL",
        (now, watched_s, token, number),
    )


def play_failed(
    db: sqlite3.Connection, rater: str, token: str, number: int, reason: str, now: float
) -> None:
    """A browser that cannot play the film: it is passed over, and the report tells."""
    _own_showing(db, rater, token)
    db.execute(
        "INSERT INTO plays (showing, number, started_at, failed) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (showing, number) DO UPDATE SET failed = excluded.failed",
        (token, number, now, reason[:200]),
    )


def add_rating(
    db: sqlite3.Connection, rater: str, token: str, answers: Mapping[str, int], now: float
) -> None:
    """Store one film's rating; the same film again changes nothing (the first rating stays).

    Raises LookupError for somebody else's film, ValueError for answers that are not 1-4 on exactly
    the film's axes, NotPlayedYet where it was not played to its end.
    """
    film = _own_showing(db, rater, token)
    check_answers(answers, asked(bool(film["asks_text"])))
    played = db.execute(
        "SELECT 1 FROM plays WHERE showing = ? AND ended_at IS NOT NULL", (token,)
    ).fetchone()
    if played is None:
        raise NotPlayedYet("the film was not played to its end; play it first")
    values = [answers.get(name) for name in NAMES]
    db.execute(
        f"INSERT INTO ratings VALUES (?, ?, {', '.join('?' * len(NAMES))}, ?) "
        "ON CONFLICT (showing) DO NOTHING",
        (token, rater, *values, now),
    )
