"""The first start of a study: films are copied, checks made, sessions planned, all written down.

runs of the systems + benchmark + films with known answers -> study/ (films, SQLite, design.json)
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openmocha.evaluation.score_table import noted_benchmark
from openmocha.evaluation.study import films as media
from openmocha.evaluation.study import ratings
from openmocha.evaluation.study.design import Design, StudyFilm, write_design
from openmocha.evaluation.study.films import Copy, Found, find_films, without_damaged
from openmocha.evaluation.study.known import Known, known_film, read_known
from openmocha.evaluation.study.sessions import plan

TRAPS = 12  # different trap films at most
TRAP_NOTE = "The voice belongs to another film, so lip-sync is 1."
COARSE_NOTE = "The picture consists of large blocks, so visual quality is 1."


def open_or_freeze(
    study: Path,
    runs: Sequence[Path],
    benchmark: Path | None,
    *,
    tell: Callable[[str], None],
    **settings: Any,
) -> Design:
    """The design of a study's folder; made from the runs where there is none yet.

    Raises ValueError where the folder's design is of other systems, or there is none and no runs
    are named.
    """
    if (study / ratings.FILE).is_file():
        with ratings.opened(study) as db:
            design = ratings.read_design(db)
        given = {Path(run).resolve().name for run in runs}
        if given and given != set(design.systems):
            raise ValueError(
                f"{study} is a study of {', '.join(design.systems)}, frozen at its first start; "
                f"for {', '.join(sorted(given))} name another --output"
            )
        tell(f"{study} goes on as it was frozen at its first start")
        return design
    if not runs:
        raise ValueError(f"{study} holds no study yet; name the films: --films RUN for each system")
    benchmark = benchmark or noted_benchmark(runs)
    if benchmark is None:
        tell(
            "warning: no benchmark is known: raters see no prompts and are not asked about them, "
            "and films of one speech count as if of several; name it with --benchmark"
        )
    found = find_films(runs, benchmark)
    tell(f"{len(found.films)} systems, {len(found.items)} items; copying films, making checks")
    design = freeze(study, found, **settings)
    for reason, count in Counter(design.left_out.values()).items():
        tell(f"left out: {count} {'item' if count == 1 else 'items'}: {reason}")
    tell(f"{len(design.left_out)} items left out, see {study / 'design.json'}; gold: {design.gold}")
    return design


def freeze(
    study: Path,
    found: Found,
    *,
    no_text: Sequence[str] = (),
    known: Path | None = None,
    ratings_per_film: int = 5,
    films_per_session: int = 12,
    sample: int | None = None,
    notice: str | None = None,
    seed: int = 0,
) -> Design:
    """Copy the films, make the checks, plan every session, and write it all down.

    An item with a damaged film is left out. Raises ValueError for a film that phones do not play,
    an unknown system or item, or films that all have one sound (then no trap can be made); nothing
    is left behind then.
    """
    rng = random.Random(seed)
    found = without_damaged(_sampled(found, sample, rng))
    for name in no_text:
        if name not in found.films:
            raise ValueError(
                f"--no-text {name!r} is no system; there are: {', '.join(found.films)}"
            )
    gold, training = ([], []) if known is None else read_known(known, found)
    design = Design(
        systems={system: system not in no_text for system in found.films},
        items=list(found.items),
        left_out=found.left_out,
        ratings_per_film=ratings_per_film,
        films_per_session=films_per_session,
        seed=seed,
        gold="named by the organiser" if gold else "none: one film of a session comes twice",
        training="named by the organiser" if training else "made from films of the study",
        notice=notice,
    )
    with _film_folder(study) as folder:
        films = _all_films(found, design, folder, gold, training, rng)
        sessions = plan(films, design, made_training=not training, rng=rng)
        ratings.create(study, design, films, sessions)
    write_design(study, design)
    return design


@contextmanager
def _film_folder(study: Path) -> Iterator[Path]:
    """A new folder for the films; it goes again where no study comes of it."""
    folder, is_new = study / "films", not study.exists()
    shutil.rmtree(folder, ignore_errors=True)  # of a start that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        if not (study / ratings.FILE).is_file():  # else its films are needed
            shutil.rmtree(study if is_new else folder, ignore_errors=True)
        raise


def _all_films(
    found: Found,
    design: Design,
    folder: Path,
    gold: Sequence[Known],
    training: Sequence[Known],
    rng: random.Random,
) -> list[StudyFilm]:
    films = rated_films(found, design, folder)
    films += [known_film("gold", one, folder) for one in gold]
    films += trap_films(found, design, folder, rng)
    films += [known_film("training", one, folder) for one in training]
    films += [] if training else made_training_films(found, design, folder, rng)
    return films


def _sampled(found: Found, sample: int | None, rng: random.Random) -> Found:
    if sample is None or sample >= len(found.items):
        return found
    names = set(rng.sample(sorted(found.items), sample))
    rest = {name: "not sampled" for name in found.items if name not in names}
    return Found(
        {
            system: {n: path for n, path in of.items() if n in names}
            for system, of in found.films.items()
        },
        {name: item for name, item in found.items.items() if name in names},
        {**found.left_out, **rest},
    )


def rated_films(found: Found, design: Design, folder: Path) -> list[StudyFilm]:
    return [
        _of_item("rated", found, design, system, name, media.plain_copy(path, folder))
        for system, of in found.films.items()
        for name, path in of.items()
    ]


def trap_films(found: Found, design: Design, folder: Path, rng: random.Random) -> list[StudyFilm]:
    """Films with the sound of another item's film by the same system, systems in turn."""
    systems, names = list(found.films), rng.sample(list(found.items), len(found.items))
    traps = []
    for number, name in enumerate(names[:TRAPS]):
        system = systems[number % len(systems)]
        copy = mismatched(found, system, name, folder, rng)
        traps.append(
            _of_item("trap", found, design, system, name, copy, {"lip_sync": 1}, TRAP_NOTE)
        )
    return traps


def made_training_films(
    found: Found, design: Design, folder: Path, rng: random.Random
) -> list[StudyFilm]:
    """Two films that show what 1 means: foreign sound, coarse picture."""
    system, other = rng.choice(list(found.films)), rng.choice(list(found.films))
    name, second = rng.choice(list(found.items)), rng.choice(list(found.items))
    foreign = mismatched(found, system, name, folder, rng)
    coarse = media.coarse_copy(found.films[other][second], folder)
    return [
        _of_item("training", found, design, system, name, foreign, {"lip_sync": 1}, TRAP_NOTE),
        _of_item(
            "training", found, design, other, second, coarse, {"visual_quality": 1}, COARSE_NOTE
        ),
    ]


def mismatched(found: Found, system: str, name: str, folder: Path, rng: random.Random) -> Copy:
    """A film with the sound of another one that says something else."""
    films, items = found.films[system], found.items
    own = media.sound_id(films[name])
    for other in rng.sample(list(items), len(items)):
        if items[other].speech == items[name].speech or media.sound_id(films[other]) == own:
            continue
        return media.mismatched_copy(films[name], films[other], folder)
    raise ValueError(
        f"the films of {system} all have the same sound; trap films need items with two speeches"
    )


def _of_item(
    role: str,
    found: Found,
    design: Design,
    system: str,
    name: str,
    copy: Copy,
    known: dict[str, int] | None = None,
    note: str | None = None,
) -> StudyFilm:
    item = found.items[name]
    asks_text = design.systems[system] and item.prompt is not None
    prompt = item.prompt if asks_text else None
    return StudyFilm(role, copy, system, name, prompt, item.speech, asks_text, known or {}, note)
