"""MoChaBench's public layout: which items there are, what each one is made from, where films lie.

benchmark/benchmark.csv -> items (prompt, speech, first frame) -> RUN/<category>/<context_id>.mp4

220 items were released; the paper writes of 150 (its camera-ready of 200), which no choice of
categories gives. Numbers of the one and of the other are never mixed.
"""

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MONOLOGUE = (
    "1p_closeup_facingcamera",
    "1p_camera_movement",
    "1p_emotion",
    "1p_mediumshot_actioncontrol",
    "1p_protrait",  # so spelt in every file of the benchmark
    "2p_1clip_1talk",
)
DIALOGUE = ("2p_2clip_2talk",)
CATEGORIES = (*MONOLOGUE, *DIALOGUE, "1p_generalize_chinese")  # the last is in neither group
GROUPS = {"monologue": MONOLOGUE, "dialogue": DIALOGUE}

COLUMNS = ("idx_in_category", "category", "context_id", "prompt")


@dataclass(frozen=True)
class Item:
    """One film to make. `speech` may be missing on this disk; `audio` (the speech with whatever
    sounded behind it) and `first_frame` (of MoCha's own film) are None where they are."""

    index: int
    category: str
    context_id: str
    prompt: str
    speech: Path
    audio: Path | None
    first_frame: Path | None

    @property
    def name(self) -> str:
        return f"{self.category}/{self.context_id}"


def read_benchmark(folder: Path) -> list[Item]:
    """The items of a benchmark in the order of its file.

    `folder` is the one with benchmark.csv in it, or the one above. Each prompt is quoted once more
    inside its CSV quotes, some without the closing one; line breaks are written as backslash-n.
    Raises FileNotFoundError where there is no benchmark.csv, and ValueError, with the line, for a
    file that is not of this form.
    """
    file = benchmark_file(folder)
    items: dict[str, Item] = {}
    for line, row in _rows(file):
        item = _item(file.parent, row, f"line {line} of {file}")
        if item.name in items:
            raise ValueError(f"line {line} of {file} has {item.name} a second time; keep one")
        items[item.name] = item
    if not items:
        raise ValueError(f"{file} has no items; expected lines of {','.join(COLUMNS)}")
    return list(items.values())


def benchmark_file(folder: Path) -> Path:
    """benchmark.csv of a benchmark folder or of the folder above it."""
    for place in (Path(folder), Path(folder) / "benchmark"):
        if (place / "benchmark.csv").is_file():
            return place / "benchmark.csv"
    raise FileNotFoundError(
        f"{folder} is no MoChaBench folder: expected benchmark.csv in it, with speeches/ beside it"
    )


def film_path(run: Path, item: Item) -> Path:
    """Where a system's film of an item lies."""
    return Path(run) / item.category / f"{item.context_id}.mp4"


def choose_items(
    items: Sequence[Item],
    categories: Sequence[str] = (),
    names: Sequence[str] = (),
    limit: int | None = None,
) -> list[Item]:
    """Those of the categories (or groups) and of the names (category/context_id), the first
    `limit` of them. Raises ValueError for one that is not there, with the closest that is."""
    known = list(dict.fromkeys(item.category for item in items))
    wanted = [category for name in categories for category in categories_of(name, known)]
    for name in names:
        if name not in {item.name for item in items}:
            raise ValueError(unknown("item", name, [item.name for item in items]))
    chosen = [
        item
        for item in items
        if (not categories or item.category in wanted) and (not names or item.name in names)
    ]
    if not chosen:
        raise ValueError("no item is in both --category and --items; give one of them")
    return chosen[:limit]


def categories_of(name: str, known: Iterable[str] = CATEGORIES) -> tuple[str, ...]:
    """The categories of a group, or the category itself. Raises ValueError for neither."""
    if name in GROUPS:
        return GROUPS[name]
    if name in known:
        return (name,)
    raise ValueError(unknown("category or group", name, [*GROUPS, *known]))


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """What to say of a name that is not known: the closest, or all if they are few."""
    close = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = f" (known: {', '.join(known)})" if len(known) <= 12 else ""
    return f"there is no {kind} {name!r}{hint}{listed}"


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV file with the benchmark's columns."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                found = ", ".join(reader.fieldnames or []) or "none"
                raise ValueError(
                    f"{file} lacks the columns {', '.join(missing)}; its first line names: {found}"
                )
            return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{file} is not a CSV file ({error})") from error


def _item(folder: Path, row: dict[str, str], where: str) -> Item:
    cells = [row[name] for name in COLUMNS]
    if None in cells or None in row:  # csv's marks for too few and too many cells
        raise ValueError(f"{where} does not have the cells {', '.join(COLUMNS)}")
    index, category, context_id, prompt = cells
    if not index.isdecimal():
        raise ValueError(f"{where} has the index {index!r}; expected a whole number")
    for name in (category, context_id):
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise ValueError(f"{where} has the name {name!r}, which names no file")
    prompt = unquote(prompt)
    if not prompt:
        raise ValueError(f"{where} has an empty prompt")
    audio = folder / "audios" / category / f"{context_id}.wav"
    frame = folder / "first-frames-from-mocha-generation" / category / f"{context_id}.png"
    return Item(
        int(index),
        category,
        context_id,
        prompt,
        # the benchmark's own readme leaves the suffix out, its files have it
        folder / "speeches" / category / f"{context_id}_speech.wav",
        audio if audio.is_file() else None,
        frame if frame.is_file() else None,
    )


def unquote(prompt: str) -> str:
    """A prompt as it is meant: without the inner quotes and edge spaces, with real line breaks."""
    return prompt.strip().removeprefix('"').removesuffix('"').replace("\\n", "\n").strip()
