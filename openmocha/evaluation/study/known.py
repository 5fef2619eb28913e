"""Films with known answers: the organiser's YAML of gold and training films.

gold:
  - film: extra/real.mp4
    ratings: {lip_sync: 4, visual_quality: 4}
training:
  - film: extra/frozen.mp4
    ratings: {action: 1}
    prompt: A man runs along a beach.
    note: Nothing moves, so action is 1.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from openmocha.evaluation.study import films as media
from openmocha.evaluation.study.axes import TEXT, asked, check_answers
from openmocha.evaluation.study.design import StudyFilm
from openmocha.evaluation.study.films import Found


@dataclass(frozen=True)
class Known:
    """A film with known answers, as the organiser's YAML names it."""

    film: Path
    ratings: dict[str, int]
    prompt: str | None = None
    note: str | None = None


def read_known(file: Path, found: Found) -> tuple[list[Known], list[Known]]:
    """(gold, training) of the organiser's YAML: lists of film, ratings, and maybe prompt and note.

    Films lie relative to the YAML file. Raises ValueError for another form, ratings outside 1-4,
    or a gold film that is itself rated: raters would see it twice.
    """
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML ({error})") from error
    if not isinstance(content, dict) or not set(content) <= {"gold", "training"}:
        raise ValueError(f"{file} must hold lists called gold and training, and nothing else")
    rated = {path.resolve() for of in found.films.values() for path in of.values()}
    gold, training = (
        [_known(file, part, entry) for entry in content.get(part) or []]
        for part in ("gold", "training")
    )
    for one in gold:
        if one.film.resolve() in rated:
            raise ValueError(f"gold film {one.film} is rated itself; name one outside the runs")
    return gold, training


def _known(file: Path, part: str, entry: Any) -> Known:
    if not isinstance(entry, dict) or not set(entry) <= {"film", "ratings", "prompt", "note"}:
        raise ValueError(f"{file}: an entry of {part} is {entry!r}; expected film, ratings, prompt")
    if "film" not in entry or not isinstance(entry.get("ratings"), dict):
        raise ValueError(f"{file}: an entry of {part} needs film and ratings; it is {entry!r}")
    one = Known(
        file.parent / entry["film"], entry["ratings"], entry.get("prompt"), entry.get("note")
    )
    allowed = asked(one.prompt is not None)
    if not one.ratings or not set(one.ratings) <= set(allowed):
        hint = f" ({TEXT} needs a prompt)" if TEXT in one.ratings and one.prompt is None else ""
        raise ValueError(
            f"{file}: {one.film.name} has ratings of {sorted(one.ratings)}; expected some of "
            f"{', '.join(allowed)}{hint}"
        )
    check_answers(one.ratings, tuple(one.ratings))
    return one


def known_film(role: str, one: Known, folder: Path) -> StudyFilm:
    if not one.film.is_file():
        raise FileNotFoundError(f"{role} film {one.film} does not exist; check the YAML file")
    if reason := media.damage(one.film):
        raise ValueError(f"{role} film {one.film} is damaged ({reason}); make it again")
    return StudyFilm(
        role,
        media.plain_copy(one.film, folder),
        prompt=one.prompt,
        asks_text=one.prompt is not None,
        known=one.ratings,
        note=one.note,
    )
