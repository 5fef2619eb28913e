"""The session that a rater gets next: one that nobody has, or one that has to be done again.

Each session belongs to one rater for ever. One that its rater left, or that the checks rejected, is
copied in a new order, so that every film gets the ratings that were planned.
"""

import json
import random
import sqlite3

from openmocha.evaluation.study import ratings
from openmocha.evaluation.study.axes import NAMES
from openmocha.evaluation.study.checks import Shown, judge
from openmocha.evaluation.study.design import Design
from openmocha.evaluation.study.sessions import Showing


def next_session(db: sqlite3.Connection, rater: str, design: Design, now: float) -> int | None:
    """Give the rater a session without any film they have rated; None where there is none.

    Their own round comes first (its sessions share no film), then the earliest.
    """
    reopen(db, design, now)
    row = db.execute(
        """
        SELECT n.id FROM sessions n WHERE n.rater IS NULL AND NOT EXISTS (
            SELECT 1 FROM showings s JOIN showings seen ON seen.film = s.film
            JOIN sessions own ON own.id = seen.session
            WHERE s.session = n.id AND s.kind = 'rated'
              AND own.rater = ? AND seen.kind = 'rated')
        ORDER BY n.round NOT IN (SELECT round FROM sessions WHERE rater = ?), n.round, n.id LIMIT 1
        """,
        (rater, rater),
    ).fetchone()
    if row is None:
        return None
    db.execute("UPDATE sessions SET rater = ?, given_at = ? WHERE id = ?", (rater, now, row["id"]))
    return int(row["id"])


def reopen(db: sqlite3.Connection, design: Design, now: float) -> None:
    """Copy each session that was left or rejected, once."""
    verdict = judge(shown_films(db), design.rule)
    rows = db.execute(
        """
        SELECT n.id, n.round, n.rater, MAX(n.given_at, COALESCE(MAX(r.rated_at), 0),
               COALESCE((SELECT MAX(p.started_at) FROM plays p JOIN showings x
                         ON x.token = p.showing WHERE x.session = n.id), 0)) AS seen_at
        FROM sessions n JOIN showings s ON s.session = n.id
        LEFT JOIN ratings r ON r.showing = s.token
        WHERE n.rater IS NOT NULL AND n.id NOT IN (
            SELECT again FROM sessions WHERE again IS NOT NULL)
        GROUP BY n.id
        """
    ).fetchall()
    for row in rows:
        finished = row["id"] in verdict.sessions
        left = not finished and now - row["seen_at"] > design.release_h * 3600
        if left or (finished and not verdict.counts(row["id"], row["rater"])):
            copy_session(db, row["id"], row["round"])


def copy_session(db: sqlite3.Connection, session: int, turn: int) -> None:
    """The same films in another order: training first, a repeated film last."""
    rows = db.execute(
        "SELECT kind, film FROM showings WHERE session = ? ORDER BY position", (session,)
    ).fetchall()
    showings = [Showing(row["kind"], row["film"]) for row in rows]
    first = [one for one in showings if one.kind == "training"]
    last = [one for one in showings if one.kind == "repeat"]
    rest = [one for one in showings if one.kind not in ("training", "repeat")]
    random.Random(session).shuffle(rest)
    repeated = {("rated", one.film) for one in last}
    rest.sort(key=lambda one: (one.kind, one.film) not in repeated)  # far from its repetition
    ratings.add_session(db, turn, first + rest + last, again=session)


def shown_films(db: sqlite3.Connection) -> list[Shown]:
    """Every film of every finished session (rated or skipped to its end), without training."""
    rows = db.execute(
        f"""
        SELECT s.token, s.session, s.kind, s.film, n.rater, f.known, f.duration_s,
               {", ".join("r." + name for name in NAMES)}, r.showing IS NOT NULL AS rated,
               (SELECT MAX(p.watched_s) FROM plays p WHERE p.showing = s.token) AS watched_s,
               EXISTS (SELECT 1 FROM plays p WHERE p.showing = s.token AND p.failed IS NOT NULL)
                   AS failed
        FROM showings s JOIN sessions n ON n.id = s.session JOIN films f ON f.id = s.film
        LEFT JOIN ratings r ON r.showing = s.token
        WHERE n.rater IS NOT NULL AND s.kind != 'training' ORDER BY s.session, s.position
        """
    ).fetchall()
    unfinished = {row["session"] for row in rows if not row["rated"] and not row["failed"]}
    firsts = {(row["session"], row["film"]): row["token"] for row in rows if row["kind"] == "rated"}
    return [
        Shown(
            token=row["token"],
            session=row["session"],
            rater=row["rater"],
            kind=row["kind"],
            answers={name: row[name] for name in NAMES if row[name] is not None},
            watched_share=min(1.0, (row["watched_s"] or 0.0) / row["duration_s"]),
            known=json.loads(row["known"]),
            again=firsts[row["session"], row["film"]] if row["kind"] == "repeat" else None,
        )
        for row in rows
        if row["session"] not in unfinished
    ]
