"""What is decided once: the settings of a study, and the films with their roles.

Both are frozen at the first start, in SQLite and, for people to read, in design.json.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from openmocha import whole_file
from openmocha.evaluation.study.checks import Rule
from openmocha.evaluation.study.films import Copy


@dataclass(frozen=True)
class Design:
    """What is frozen at the first start. `systems` says of each whether it was given the text."""

    systems: dict[str, bool]
    items: list[str]
    left_out: dict[str, str]
    ratings_per_film: int
    films_per_session: int
    seed: int
    gold: str
    training: str
    notice: str | None = None  # the organiser's words to raters
    release_h: float = 2.0  # a session without any sign of its rater for so long is given away
    rule: Rule = field(default_factory=Rule)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def design_from_json(text: str) -> Design:
    values = json.loads(text)
    return Design(**{**values, "rule": Rule(**values["rule"])})


@dataclass(frozen=True)
class StudyFilm:
    """A film with its role: rated, trap, gold or training. `known` are right answers."""

    role: str
    copy: Copy
    system: str | None = None
    item: str | None = None
    prompt: str | None = None
    speech: str | None = None
    asks_text: bool = True
    known: dict[str, int] = field(default_factory=dict)
    note: str | None = None


def write_design(study: Path, design: Design) -> None:
    whole_file.write_text(study / "design.json", design.to_json() + "\n")
