"""Which ratings count: the rule is frozen with the design, before there is a single rating.

A session is rejected when any check fails; a rater of whose finished sessions too few are accepted
is excluded with all of them (P.910's practice). A rejected session is given to somebody else.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

REPEATS, GOLD, TRAP, RATED = "repeat", "gold", "trap", "rated"


@dataclass(frozen=True)
class Rule:
    """Every limit of the checks."""

    trap_lip_sync: int = 1  # the highest that the sound of another film may get
    gold_off: int = 1  # the largest difference to a known answer
    repeat_off: float = 1.0  # the largest mean difference between two ratings of one film
    watched_share: float = 0.95  # of a film's length
    variance: float = 0.15  # of a session's ratings (n - 1); below it they are all alike
    accepted_share: float = 0.8  # of a rater's sessions

    def sentences(self) -> list[str]:
        return [
            f"A trap film (the sound of another film) has lip-sync {self.trap_lip_sync} at most.",
            f"A film with a known answer is rated within {self.gold_off} of it on each axis known.",
            "A film shown twice is rated alike: the mean difference over its axes is "
            f"{self.repeat_off:g} at most.",
            f"Every film was played for {self.watched_share:.0%} of its length or more, "
            "and none was skipped.",
            "The variance of all ratings of a session's ordinary films is "
            f"{self.variance:g} or more (else: all answers alike).",
            f"A rater of whose finished sessions fewer than {self.accepted_share:.0%} pass is "
            "excluded with all of them. Unfinished sessions are not judged: their ratings do not "
            "count.",
        ]


@dataclass(frozen=True)
class Shown:
    """One film as one rater met it; `answers` is empty where it was skipped. Training is not here.

    `known` are the right answers of a gold film; `again` is the token of the first showing of a
    repeated one.
    """

    token: str
    session: int
    rater: str
    kind: str
    answers: Mapping[str, int]
    watched_share: float
    known: Mapping[str, int]
    again: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What is wrong with each finished session (nothing: it counts), and with each rater."""

    sessions: dict[int, list[str]]
    raters: dict[str, list[str]]

    def counts(self, session: int, rater: str) -> bool:
        return not self.sessions.get(session, ["not finished"]) and not self.raters.get(rater)


def judge(shown: Sequence[Shown], rule: Rule) -> Verdict:
    """Judge finished sessions; `shown` holds every film of each, and of no other."""
    films: dict[int, list[Shown]] = defaultdict(list)
    for one in shown:
        films[one.session].append(one)
    sessions = {session: faults(group, rule) for session, group in films.items()}
    of_rater: dict[str, list[int]] = defaultdict(list)
    for session, group in films.items():
        of_rater[group[0].rater].append(session)
    raters = {
        rater: rater_faults([sessions[session] for session in numbers], rule)
        for rater, numbers in of_rater.items()
    }
    return Verdict(sessions, raters)


def rater_faults(sessions: Sequence[Sequence[str]], rule: Rule) -> list[str]:
    """Why a rater is excluded: the faults of the sessions, where too few are without."""
    accepted = sum(not faults for faults in sessions) / len(sessions)
    if accepted >= rule.accepted_share:
        return []
    return sorted({fault for faults in sessions for fault in faults})


def faults(films: Sequence[Shown], rule: Rule) -> list[str]:
    """What is wrong with one session."""
    by_token = {film.token: film for film in films}
    found = []
    if any(film.watched_share < rule.watched_share or not film.answers for film in films):
        found.append("not fully played")
    played = [film for film in films if film.answers]
    traps = [film for film in played if film.kind == TRAP]
    if any(film.answers["lip_sync"] > rule.trap_lip_sync for film in traps):
        found.append("trap failed")
    if any(off > rule.gold_off for film in played for off in gold_differences(film)):
        found.append("gold missed")
    repeats = [film for film in played if film.again is not None and by_token[film.again].answers]
    if any(mean_off(by_token[str(r.again)].answers, r.answers) > rule.repeat_off for r in repeats):
        found.append("inconsistent on the repeated film")
    values = [value for film in played if film.kind == RATED for value in film.answers.values()]
    if len(values) > 1 and np.var(values, ddof=1) < rule.variance:
        found.append("all answers alike")
    return found


def gold_differences(film: Shown) -> list[int]:
    """How far a gold film's ratings are from what is known; [] for other films."""
    if film.kind != GOLD:
        return []
    return [abs(film.answers[name] - right) for name, right in film.known.items()]


def mean_off(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """The mean absolute difference of two ratings of one film."""
    return float(np.mean([abs(first[name] - second[name]) for name in first]))
