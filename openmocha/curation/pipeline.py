"""Raw videos in, a dataset out: the paper's data pipeline (appendix, four stages) as one recipe.

videos -> measured once -> lip readers -> clips with reasons -> duplicates -> captions -> shards
                                                          (SyncNet, Demucs: where their weights are)

dataset/
  manifest.parquet   a row per clip and per unfit file: source, span, measurements, reason
  shards/            what `openmocha train --data dataset/` reads
  clips/             the kept clips as mp4, where asked for
  report.html        what came in, what was dropped and why
  lips.json          the lip reader of this dataset, fitted once (lips-toon.json: of drawn films)
  work/              measurements and captions, so that nothing is done twice
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from openmocha.curation.captions import caption_rows
from openmocha.curation.duplicates import drop_duplicates
from openmocha.curation.engines import Engine, run
from openmocha.curation.judge import Judged, Row, file_columns, judge, lip_samples
from openmocha.curation.kind import film_kind
from openmocha.curation.lips import (
    SAMPLE,
    SHIPPED,
    SHIPPED_TOON,
    LipReader,
    fit,
    reader_path,
)
from openmocha.curation.manifest import write_manifest
from openmocha.curation.measure import Source, measure
from openmocha.curation.probe import content_id, find_videos
from openmocha.curation.separate import separate_rows
from openmocha.curation.settings import KINDS, Settings
from openmocha.curation.shards import write_clip_files, write_shards
from openmocha.curation.sync import sync_rows
from openmocha.whole_file import remove_parts, write_text

DIED = "set aside: its reader died three times"
SAMPLED_FILMS = 400  # of which the lip reader's clips are taken
Say = Callable[[str], None]


@dataclass(frozen=True)
class Curated:
    """What a curation came to."""

    folder: Path
    rows: list[Row]

    @property
    def kept(self) -> list[Row]:
        """The clips that shards are made of: a conversation counts, its two halves do not."""
        return [row for row in self.rows if row["reason"] is None and not row.get("part_of")]

    @property
    def set_aside(self) -> int:
        """How many files or clips wait for the next run: the machine's or the endpoint's fault."""
        return sum(str(row["reason"]).startswith("set aside") for row in self.rows)


def curate(
    places: Sequence[Path],
    folder: Path,
    settings: Settings,
    engine: Engine | None = None,
    say: Say = lambda words: None,
) -> Curated:
    """Curate all videos in `places` into the dataset `folder`; goes on where it was stopped.

    The same files and settings give the same dataset with every engine. Raises ValueError for
    settings or folders that cannot be used and OSError where the folder cannot be written; what is
    wrong with a single file is its reason in the manifest.
    """
    engine = engine or Engine("one")
    with only_one(folder):
        for place in (folder, folder / "work" / "captions"):
            remove_parts(place)
        sources = list_sources(places, folder, settings)
        say(f"{len(sources)} files")
        failed: dict[str, str] = {}  # the reasons of films, by their ids
        if settings.faces == "auto":
            say("each film is asked whether it is photographed or drawn")
            sources, failed = of_their_kinds(sources, engine)
        failed |= measure_all([s for s in sources if s.film_id not in failed], engine, say)
        readers = lip_readers(folder, [s for s in sources if s.film_id not in failed], engine)
        rows = judge_all(sources, failed, readers, engine)
        rows = drop_duplicates(rows, settings.thresholds.same_picture)
        rows = sync_rows(rows, folder / "work" / "sync", settings, engine, say)
        rows = separate_rows(rows, folder / "work" / "speech", settings, engine, say)
        rows = caption_rows(rows, folder / "work" / "captions", settings, say)
        rows = write_clip_files(rows, folder / "clips", engine) if settings.clip_files else rows
        rows = write_shards(rows, folder / "shards", settings.shards, engine, say)
        write_manifest(rows, folder / "manifest.parquet")
        curated = Curated(folder, rows)
        write_text(folder / "settings.json", json.dumps(asdict(settings), indent=1) + "\n")
    say(f"{len(curated.kept)} clips kept, {curated.set_aside} set aside for the next run")
    return curated


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """A lock on the dataset that goes with the process, however it ends."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another curation is at work in {folder}; wait for it") from None
        yield


def list_sources(places: Sequence[Path], folder: Path, settings: Settings) -> list[Source]:
    """All files with the ids of their contents, in the order of their paths."""
    found = []
    for path in sorted(set(find_videos(list(places)))):
        try:
            film_id = content_id(path) if path.is_file() else ""
        except OSError:
            film_id = ""
        # a file that cannot be read has no content to be known by: its path stands in
        film_id = film_id or hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        found.append(Source(path, film_id, folder / "work", settings))
    return found


def once_each(sources: list[Source]) -> list[Source]:
    """The first file of each content: two workers on one film would be in each other's way."""
    return list({source.film_id: source for source in reversed(sources)}.values())[::-1]


def of_their_kinds(sources: list[Source], engine: Engine) -> tuple[list[Source], dict[str, str]]:
    """Each film with the settings of what it is, photographed or drawn: a few looks tell. Also the
    reasons of those that this machine could not look at."""
    asked = run(engine, film_kind, once_each(sources))
    kinds = {source.film_id: kind or DIED for source, kind in asked}
    failed = {film_id: kind for film_id, kind in kinds.items() if kind not in KINDS}
    return [replace(s, settings=s.settings.of(kinds[s.film_id])) for s in sources], failed


def measure_all(sources: list[Source], engine: Engine, say: Say) -> dict[str, str]:
    """Decode every film once. Returns the reasons, by id, of those whose worker died each time."""
    crashed = {}
    once = once_each(sources)
    for number, (source, outcome) in enumerate(run(engine, _measure, once), 1):
        if outcome is None:
            crashed[source.film_id] = DIED
        if number % 100 == 0:
            say(f"{number} of {len(once)} files measured")
    return crashed


def _measure(source: Source) -> str:
    return measure(source) or ""


def lip_readers(folder: Path, sources: list[Source], engine: Engine) -> dict[str, LipReader]:
    """The reader of each kind of films that there is."""
    settings = {source.settings.faces: source.settings for source in sources}
    return {
        kind: lip_reader(
            reader_path(folder, kind), own, [s for s in sources if s.settings.faces == kind], engine
        )
        for kind, own in settings.items()
    }


def lip_reader(path: Path, settings: Settings, sources: list[Source], engine: Engine) -> LipReader:
    """The reader named in the settings, the one that is there, or one fitted now on the films
    whose ids come first, whatever their order or number of workers."""
    if settings.lips:
        given = SHIPPED_TOON if settings.lips == "toon" else Path(settings.lips)
        reader = LipReader.load(given)
    elif path.exists() and LipReader.load(path).hidden is None:  # else one of drawn mouths
        return LipReader.load(path)
    else:
        chosen = sorted({s.film_id: s for s in sources}.values(), key=lambda s: s.film_id)
        results = dict(run(engine, lip_samples, chosen[:SAMPLED_FILMS]))
        samples = [sample for source in chosen for sample in results.get(source) or []]
        reader = fit(samples[:SAMPLE], LipReader.load(SHIPPED).weights[0])
    reader.save(path)
    return LipReader.load(path)


def judge_all(
    sources: list[Source], failed: dict[str, str], readers: dict[str, LipReader], engine: Engine
) -> list[Row]:
    """Rows of all films in the order of their paths; a second copy of a file is named as such."""
    first: dict[str, Source] = {}
    rows: list[Row] = []
    for source in sources:
        original = first.setdefault(source.film_id, source)
        if original is not source:
            rows.append(file_columns(source) | {"reason": "same file as another"})
    for film_id, reason in failed.items():
        rows.append(file_columns(first[film_id]) | {"reason": reason})
    fit_to_judge = [
        Judged(s, readers[s.settings.faces]) for s in first.values() if s.film_id not in failed
    ]
    for judged, found in run(engine, judge, fit_to_judge):
        lost = [file_columns(judged.source) | {"reason": DIED}]
        rows += lost if found is None else found
    return sorted(rows, key=lambda r: (r["path"], r.get("start_s", -1), r.get("end_s", -1)))
