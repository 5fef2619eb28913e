"""The scores of a run on disk: one line per film and metric as it is made, tables at the end.

RUN/run.json        what is scored: benchmark, films, and what made them
RUN/scores.jsonl    one line per film and metric; of two lines on the same, the later counts
RUN/scores.csv      one line per film, one column per measure
RUN/summary.json    means, intervals and coverage per group (also as .csv)

MoChaBench's own sync_scores.csv becomes lines of the same kind.
"""

import ast
import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openmocha.evaluation.mochabench import Item
from openmocha.whole_file import write_text

SCORES = "scores.jsonl"
PUBLISHED_COLUMNS = ("category", "video", "offsets", "best_conf", "min_dist", "has_face")


@dataclass(frozen=True)
class Score:
    """What one metric says of one film. No values: it could not be scored, and `note` says why.

    by: the scorer and its settings; film, speech: sha256 of the files, None where there is none.
    Lines of the same by, film and speech need not be made again.
    """

    item: str
    metric: str
    by: str
    film: str | None
    speech: str | None
    values: dict[str, float]
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """Films of one speech are not independent of each other; without its file, an item stands
        for itself."""
        return self.speech or self.item


def content_hash(path: Path) -> str | None:
    """sha256 of a file, None where it is missing."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The values that are numbers; a measure that found nothing to measure is no value."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


# --- lines ---------------------------------------------------------------------------------------


def append_score(run: Path, score: Score) -> None:
    """Add a line at once, in one write, so that several processes may add to one file."""
    line = json.dumps(asdict(score), ensure_ascii=False) + "\n"
    file = os.open(run / SCORES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def read_scores(run: Path) -> dict[str, dict[str, Score]]:
    """metric -> item -> score. A line cut short by a kill is passed over: it is made again."""
    scores: dict[str, dict[str, Score]] = {}
    if not (run / SCORES).is_file():
        return scores
    for line in (run / SCORES).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            score = Score(**json.loads(line))
        except (ValueError, TypeError):
            continue
        scores.setdefault(score.metric, {})[score.item] = score
    return scores


# --- the run -------------------------------------------------------------------------------------


def read_run(run: Path) -> dict[str, Any]:
    """run.json; {} where there is none. Raises ValueError where it is damaged."""
    file = run / "run.json"
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); delete it to start anew") from error
    if not isinstance(told, dict):
        raise ValueError(f"{file} is damaged (no object); delete it to start anew")
    return told


def noted_benchmark(runs: Iterable[Path]) -> Path | None:
    """The benchmark's folder that runs say they were made of; None where some say none, or they
    differ, or it is not on this disk."""
    noted = {read_run(run).get("benchmark") for run in runs}
    place = noted.pop() if len(noted) == 1 else None
    return Path(place) if place is not None and Path(place).is_dir() else None


def crop_told(run: Path) -> str | None:
    """The rule by which a baseline's first frames were cropped, as its baseline.json says, with
    the rules that this meant for its films; None for films that no baseline made.

    Raises ValueError where the file is damaged.
    """
    file = run / "baseline.json"
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        entries = [entry for entry in record["items"].values() if entry["status"] == "done"]
        used = Counter(entry["crop"]["rule"] for entry in entries)
        rule = str(record["crop"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no record of a baseline; delete it or move it") from error
    if list(used) in ([], [rule]):
        return rule
    return f"{rule}: {', '.join(f'{name} ({count})' for name, count in used.items())}"


def write_run(run: Path, told: dict[str, Any]) -> None:
    """Write run.json."""
    run.mkdir(parents=True, exist_ok=True)
    write_text(run / "run.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")


# --- tables --------------------------------------------------------------------------------------


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows under the union of their names, in the order in which those first come."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def item_rows(
    items: Iterable[Item], scores: Mapping[str, Mapping[str, Score]]
) -> list[dict[str, Any]]:
    """One row per item that any metric has seen: its values and notes."""
    rows = []
    for item in items:
        found = [by_item[item.name] for by_item in scores.values() if item.name in by_item]
        if not found:
            continue
        row: dict[str, Any] = {"category": item.category, "context_id": item.context_id}
        for score in found:
            row |= score.values
        row["notes"] = "; ".join(f"{score.metric}: {score.note}" for score in found if score.note)
        rows.append(row)
    return rows


# --- published scores ----------------------------------------------------------------------------


def read_published(path: Path, items: Sequence[Item]) -> list[Score]:
    """MoChaBench's sync_scores.csv as scores of the metric "sync".

    Raises FileNotFoundError, or ValueError with the line for a file that is not of this form or
    names a film that the benchmark lacks.
    """
    by_name = {item.name: item for item in items}
    found: dict[str, Score] = {}
    by = f"the published file {path.name}, sha256 {str(content_hash(path))[:12]}"
    for line, row in _published_rows(path):
        score = _published_score(row, by, by_name, f"line {line} of {path}")
        if score.item in found:
            raise ValueError(f"line {line} of {path} has {score.item} a second time")
        found[score.item] = score
    if not found:
        raise ValueError(f"{path} has no lines of scores")
    return list(found.values())


def _published_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"published scores {path} are not there; expected MoChaBench's sync_scores.csv, such "
            "as eval-lipsync/mocha-eval-results/sync_scores.csv in its repository"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            named = reader.fieldnames or []
            missing = [name for name in PUBLISHED_COLUMNS if name not in named]
            if missing:
                raise ValueError(
                    f"{path} is no sync_scores.csv: it lacks the columns {', '.join(missing)}"
                )
            return [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as CSV in UTF-8 ({error})") from error


def _published_score(
    row: dict[str, str], by: str, by_name: Mapping[str, Item], where: str
) -> Score:
    try:
        # its paths are those of Windows
        name = "/".join(row["video"].replace("\\", "/").removesuffix(".mp4").split("/")[-2:])
        has_face = {"True": True, "False": False}[row["has_face"]]
        values = {"sync_c": float(row["best_conf"]), "sync_d": float(row["min_dist"])}
        offsets = [int(offset) for offset in ast.literal_eval(row["offsets"])]
    except (KeyError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise ValueError(f"{where} is not a line of sync_scores.csv ({error!r})") from error
    if name not in by_name:
        raise ValueError(f"{where} is about {name!r}, which the benchmark does not have")
    return Score(
        item=name,
        metric="sync",
        by=by,
        film=None,
        speech=content_hash(by_name[name].speech),
        values=values if has_face else {},  # stored as 0 and 0, which would flatter Sync-D
        note="" if has_face else "no face that could be followed",
        details={"offsets": offsets, "num_tracks": len(offsets)},
    )
