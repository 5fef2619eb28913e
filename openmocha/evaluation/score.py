"""Films of a run -> scores per film, per category and per group, kept as they are made.

for each metric: for each film that has no score yet -> score it -> a line in RUN/scores.jsonl
then: RUN/scores.csv, RUN/summary.json, RUN/summary.csv

sync        Sync-C and Sync-D of SyncNet, with the weights of the user
toon-sync   the same of the project's own network, for drawn films only; never called Sync-C
judge       a vision-language model's 1 to 4 on four aspects
free        measures without weights: auxiliary, not comparable with anybody's

A film is scored again when its content, its speech or the scorer's settings changed. A metric that
cannot be had (no weights, endpoint down) does not stop the others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from openmocha.curation.endpoint import EndpointError
from openmocha.evaluation.mochabench import (
    Item,
    benchmark_file,
    choose_items,
    film_path,
    read_benchmark,
    unknown,
)
from openmocha.evaluation.score_table import (
    Score,
    append_score,
    content_hash,
    finite,
    item_rows,
    read_published,
    read_run,
    read_scores,
    write_csv,
    write_run,
)
from openmocha.evaluation.scorers import Settings, open_scorer
from openmocha.evaluation.summary import as_row, summarise
from openmocha.whole_file import write_text

Say = Callable[[str], None]

METRICS = ("sync", "toon-sync", "judge", "free")


@dataclass
class Scored:
    """Counts of films, and the metrics that could not be had, with the reason."""

    films: int = 0
    missing: int = 0
    scored: int = 0
    unscored: int = 0
    known: int = 0
    without_speech: int = 0
    set_aside: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What is scored: a run, films that may lie elsewhere, some of the items of a benchmark, and
    perhaps a published sync_scores.csv. What the run knows of itself need not be said again."""

    run: Path
    benchmark: Path | None = None
    films: Path | None = None
    published: Path | None = None
    categories: Sequence[str] = ()
    names: Sequence[str] = ()
    limit: int | None = None


class Film(NamedTuple):
    """A film that is there, by content."""

    item: Item
    path: Path
    content: str
    speech: str | None


def score_run(
    work: Work, metrics: Sequence[str], settings: Settings, say: Say = print
) -> dict[str, Any]:
    """Score, write the tables, and return the counts and the summary.

    Raises ValueError or OSError, in one sentence, for a wrong benchmark, choice, metric, layout or
    published file.
    """
    check_metrics(metrics, work.published is not None)
    told = describe(work)
    films = Path(told.get("films", work.run))
    items = read_benchmark(Path(told["benchmark"]))
    chosen = choose_items(items, work.categories, work.names, work.limit)
    published = [] if work.published is None else read_published(work.published, items)
    counts = Scored()
    if metrics:
        counts = score_films(chosen, work.run, films, metrics, settings, say)
    if told != read_run(work.run):
        write_run(work.run, told)
    for score in published:
        append_score(work.run, score)
    for stranger in strangers(items, films)[:5]:
        say(f"warning: {stranger} belongs to no item of the benchmark")
    summary = write_tables(items, work.run)
    return {"run": str(work.run), **asdict(counts), "published": len(published), **summary}


def describe(work: Work) -> dict[str, Any]:
    """What run.json will say. Raises ValueError where neither the run nor the user names a
    benchmark."""
    told = read_run(work.run)
    if work.benchmark is not None:
        told["benchmark"] = str(benchmark_file(work.benchmark).parent.resolve())
    if "benchmark" not in told:
        raise ValueError(f"{work.run} does not say of which benchmark it is: give it --benchmark")
    if work.films is not None:
        told["films"] = str(work.films.resolve())
    return told


def score_films(
    items: Sequence[Item],
    run: Path,
    films: Path,
    metrics: Sequence[str],
    settings: Settings,
    say: Say = print,
) -> Scored:
    """Score the films in `films`; lines and tables go into `run`, which may be the same folder.

    Raises ValueError where no film of the items is there.
    """
    found = find_films(items, films)
    run.mkdir(parents=True, exist_ok=True)
    counts = Scored(films=len(found), missing=len(items) - len(found))
    for metric in metrics:
        known = read_scores(run).get(metric, {})
        try:
            if metric == "judge":
                _judge(found, known, run, settings, counts, say)
            else:
                _score(metric, found, known, run, settings, counts, say)
        except (ValueError, OSError, ImportError, EndpointError) as error:
            counts.failed[metric] = str(error)
            say(f"error: {metric}: {error}")
    return counts


def check_metrics(metrics: Sequence[str], published: bool) -> None:
    """Raises ValueError where none is chosen, one is not known, or Sync comes from two places."""
    if not metrics and not published:
        raise ValueError(f"no metric is chosen; expected some of {', '.join(METRICS)}")
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(unknown("metric", metric, METRICS))
    if published and "sync" in metrics:
        raise ValueError("sync comes from the published file: leave it out of --metrics")


def find_films(items: Sequence[Item], films: Path) -> list[Film]:
    """The films that are there. Raises ValueError where there is none, with what is there."""
    found = []
    for item in items:
        content = content_hash(film_path(films, item))
        if content is not None:
            path = film_path(films, item)
            found.append(Film(item, path, content, content_hash(item.speech)))
    if found:
        return found
    if not films.is_dir():
        raise FileNotFoundError(f"run folder {films} does not exist; check the path")
    others = sorted(path for path in films.rglob("*.mp4") if not path.name.startswith("."))
    there = f"{len(others)} other mp4 files, such as {others[0]}" if others else "no mp4 file"
    raise ValueError(
        f"{films} holds no film of the chosen items, and {there}; expected "
        f"<category>/<context_id>.mp4, such as {film_path(films, items[0])}"
    )


def strangers(items: Sequence[Item], films: Path) -> list[Path]:
    """Films in a run that belong to no item of the benchmark: misspelt names, most often."""
    known = {film_path(films, item) for item in items}
    return sorted(p for p in films.glob("*/*.mp4") if p not in known and p.name[0] != ".")


def write_tables(items: Sequence[Item], run: Path) -> dict[str, Any]:
    """Write scores.csv, summary.json and summary.csv of all that is known; returns the summary."""
    scores = read_scores(run)
    write_csv(run / "scores.csv", item_rows(items, scores))
    rows = {metric: [as_row(row) for row in summarise(items, scores[metric])] for metric in scores}
    write_csv(
        run / "summary.csv",
        [{"metric": metric, **row} for metric, told in rows.items() for row in told],
    )
    by = {metric: sorted({s.by for s in by_item.values()}) for metric, by_item in scores.items()}
    unscored = [
        {"metric": metric, "item": score.item, "note": score.note}
        for metric, by_item in scores.items()
        for score in by_item.values()
        if not score.values
    ]
    summary = {"items": len(items), "by": by, "summary": rows, "unscored_films": unscored}
    write_text(run / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


# --- film by film --------------------------------------------------------------------------------


def _score(
    metric: str,
    films: Sequence[Film],
    known: Mapping[str, Score],
    run: Path,
    settings: Settings,
    counts: Scored,
    say: Say,
) -> None:
    """One metric over all films, a line as soon as a film is done."""
    with_speech = [film for film in films if film.speech is not None]
    counts.without_speech = max(counts.without_speech, len(films) - len(with_speech))
    scorer = open_scorer(metric, settings)
    for number, film in enumerate(with_speech, 1):
        if is_known(known.get(film.item.name), film, scorer.by):
            counts.known += 1
            continue
        try:
            values, note, details = scorer.score(film.item, film.path)
        except (ValueError, OSError) as error:  # of this film; the others go on
            values, note, details = {}, str(error), {}
        _keep(metric, scorer.by, film, finite(values), note, details, run, counts)
        told = ", ".join(f"{name} {value:.3f}" for name, value in finite(values).items())
        say(f"{metric} {number}/{len(with_speech)} {film.item.name}: {told or note}")


def is_known(score: Score | None, film: Film, by: str) -> bool:
    """True if this very film was scored by this scorer."""
    return (
        score is not None
        and (score.by, score.film) == (by, film.content)
        and score.speech == film.speech
    )


def _keep(
    metric: str,
    by: str,
    film: Film,
    values: dict[str, float],
    note: str,
    details: dict[str, Any],
    run: Path,
    counts: Scored,
) -> None:
    score = Score(film.item.name, metric, by, film.content, film.speech, values, note, details)
    append_score(run, score)
    counts.scored += bool(values)
    counts.unscored += not values


# --- judge ---------------------------------------------------------------------------------------


def _judge(
    films: Sequence[Film],
    known: Mapping[str, Score],
    run: Path,
    settings: Settings,
    counts: Scored,
    say: Say,
) -> None:
    """Ask about all films that have no scores yet; what is not answered waits for the next run."""
    from openmocha.evaluation.vlm_judge import cost, judge_films

    endpoint = settings.endpoint
    if endpoint is None:
        raise ValueError(
            "the judge is a vision-language model: give --endpoint (an OpenAI-compatible server, "
            "as far as /v1) and --llm (its name there)"
        )
    by = f"{endpoint.model}, {settings.num_frames} frames, our questions 1"
    waiting = [film for film in films if not is_known(known.get(film.item.name), film, by)]
    counts.known += len(films) - len(waiting)
    if not waiting:
        return
    told = cost(len(waiting), endpoint, settings.num_frames, settings.lip_advice)
    # with one of the two, "at most" would be wrong
    priced = endpoint.usd_per_million_input and endpoint.usd_per_million_output
    unknown_price = "price unknown: give --usd-in and --usd-out"
    price = f"{told['usd']:.2f} USD" if priced else unknown_price
    say(
        f"judge: {len(waiting)} films, at most {told['requests']} requests, "
        f"{told['input_tokens']:,} tokens in, {told['output_tokens']:,} out, {price}"
    )
    asked = [(film.item, film.path) for film in waiting]
    answers = judge_films(
        asked, endpoint, run / "answers", settings.num_frames, settings.lip_advice
    )
    errors = []
    for index, found in answers:
        film = waiting[index]
        if found.error is not None:
            counts.set_aside += 1
            errors.append(str(found.error))
            continue
        values = {f"judge_{aspect}": score for aspect, score in found.scores.items()}
        details = {"reasons": found.reasons, "lip_advice": found.advice}
        _keep("judge", by, film, values, found.damage, details, run, counts)
        say(f"judge {film.item.name}: {found.damage or values}")
    if errors:
        raise ValueError(
            f"{len(errors)} films were not judged ({errors[0]}); run again, what was answered is "
            "kept"
        )
