"""Who sees what: systems x items fully crossed, cut into short balanced sessions with checks.

The sessions of a round show every film exactly once, and there is a round for each rating wanted.
A session has the same number of films of every system, a trap, a gold film (or a repeated one), and
training films, which are shown in a rater's first session only.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from openmocha.evaluation.study.design import Design, StudyFilm


@dataclass(frozen=True)
class Showing:
    """A place in a session: the kind of film, and which (an index into the study's films)."""

    kind: str
    film: int


def balanced_sessions(
    num_items: int, num_systems: int, films_per_session: int, rng: random.Random
) -> list[list[tuple[int, int]]]:
    """One round: sessions of (item, system) that together hold every pair exactly once.

    A session has the same number of films of every system, and items differ within it as far as
    there are enough. Group j holds system s with item j + s (a Latin square), so that every
    group is balanced; a session is a few groups.
    """
    items = rng.sample(range(num_items), num_items)
    systems = rng.sample(range(num_systems), num_systems)
    # neighbours share no item: 0, N, 2N, ..., then 1, N+1, ...
    order = sorted(range(num_items), key=lambda j: (j % num_systems, j))
    per_session = max(1, films_per_session // num_systems)
    num_sessions = -(-num_items // per_session)
    bounds = [num_items * k // num_sessions for k in range(num_sessions + 1)]
    return [
        [
            (items[(j + s) % num_items], system)
            for j in order[start:end]
            for s, system in enumerate(systems)
        ]
        for start, end in zip(bounds, bounds[1:], strict=False)
    ]


def with_checks(
    rated: Sequence[int],
    films: Sequence[StudyFilm],
    number: int,
    made_training: bool,
    rng: random.Random,
) -> list[Showing]:
    """A whole session in random order: training, then the films with a trap and a gold film.

    Without gold films, one of the first third comes again at the end. Trap and training films are
    of other items than the session's, as far as there are any; before training films that were
    made, one comes as it is.
    """
    order = rng.sample(list(rated), len(rated))
    session = [Showing("rated", film) for film in order]
    gold = with_role("gold", films)
    if gold:
        session.insert(rng.randint(1, len(session)), Showing("gold", gold[number % len(gold)]))
    elif len(order) >= 3:
        session.append(Showing("repeat", order[rng.randrange(-(-len(order) // 3))]))
    traps = strangers(with_role("trap", films), rated, films)
    session.insert(rng.randint(1, len(session)), Showing("trap", traps[number % len(traps)]))
    training = with_role("training", films)
    own = strangers(sorted(set(with_role("rated", films)) - set(rated)), rated, films)
    if made_training and own:
        training = [rng.choice(own), *training]
    return [Showing("training", film) for film in training] + session


def with_role(role: str, films: Sequence[StudyFilm]) -> list[int]:
    return [index for index, film in enumerate(films) if film.role == role]


def strangers(
    candidates: Sequence[int], rated: Sequence[int], films: Sequence[StudyFilm]
) -> Sequence[int]:
    """Those whose item is not in the session; all where there is none."""
    seen = {films[k].item for k in rated}
    return [k for k in candidates if films[k].item not in seen] or candidates


def plan(
    films: Sequence[StudyFilm], design: Design, made_training: bool, rng: random.Random
) -> list[tuple[int, list[Showing]]]:
    """Every session with the number of its round."""
    systems = list(design.systems)
    where = {(film.item, film.system): k for k, film in enumerate(films) if film.role == "rated"}
    sessions: list[tuple[int, list[Showing]]] = []
    for turn in range(design.ratings_per_film):
        blocks = balanced_sessions(len(design.items), len(systems), design.films_per_session, rng)
        for block in blocks:
            rated = [where[design.items[item], systems[system]] for item, system in block]
            session = with_checks(rated, films, len(sessions), made_training, rng)
            sessions.append((turn, session))
    return sessions
