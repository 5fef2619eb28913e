"""A benchmark's items -> a baseline's films of them, in the benchmark's layout, and their record.

for each item: first frame -> crop -> the system's own command -> its film under the item's name

The record, baseline.json in the run's folder, says what each film was made from and how, and why
there is none. A rerun keeps what is there and tries the rest again.
"""

import contextlib
import fcntl
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.contact_sheet import write_png
from openmocha.curation.faces import FaceFinder, face_finder
from openmocha.evaluation.baselines.aniportrait import ANIPORTRAIT
from openmocha.evaluation.baselines.first_frame import (
    Crop,
    check_crop,
    crop_box,
    first_frame,
    main_face,
)
from openmocha.evaluation.baselines.hallo3 import HALLO3
from openmocha.evaluation.baselines.panel import cut_panel
from openmocha.evaluation.baselines.program import (
    Call,
    Failed,
    Inputs,
    Program,
    System,
    commit_of,
    find_program,
    run_call,
)
from openmocha.evaluation.baselines.sadtalker import SADTALKER
from openmocha.evaluation.mochabench import Item, film_path
from openmocha.media import load_image
from openmocha.whole_file import into_place, part_of, write_text

SYSTEMS = (SADTALKER, ANIPORTRAIT, HALLO3)
RECORD = "baseline.json"
LIMIT_S = 3600.0
RESULT_PANEL = 2


@dataclass(frozen=True)
class Start:
    """Where first frames come from: films of `run` (None: the benchmark's own pictures), cropped by
    `crop` (None: as the system's released films were)."""

    run: Path | None
    crop: Crop | None
    find_faces: Callable[[], FaceFinder]


def run_baseline(
    system: str,
    repo: Path,
    items: Sequence[Item],
    output: Path,
    *,
    run: Path | None = None,
    python: Path | None = None,
    crop: str | None = None,
    faces: str = "photo",
    limit_s: float = LIMIT_S,
    find_faces: FaceFinder | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Make a system's films of all items that have none yet; returns how many are done and failed.

    `run` is the folder of the films whose first frames are given to it. An item's failure is kept
    in the record and the run goes on. Raises ValueError or OSError, in one sentence, where the
    system, its repository, environment or weights are not there, or where `output` was begun with
    other settings.
    """
    program = find_program(system_named(system), repo, python, limit_s)
    start = Start(run, None if crop is None else check_crop(crop), _once(faces, find_faces))
    if run is not None and not run.is_dir():
        raise FileNotFoundError(f"{run} is no folder; give the run whose first frames are used")
    with only_one(output):
        record = open_record(output, program, start, faces)
        for number, item in enumerate(items, 1):
            before = record["items"].get(item.name, {})
            if before.get("status") != "done" or not film_path(output, item).is_file():
                record["items"][item.name] = make_film(program, item, start, output)
                write_text(output / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
                say(f"{number}/{len(items)} {item.name}: {_outcome(record['items'][item.name])}")
    entries = [record["items"][item.name] for item in items]
    done = sum(entry["status"] == "done" for entry in entries)
    return {"items": len(items), "done": done, "failed": len(items) - done}


def system_named(name: str) -> System:
    for system in SYSTEMS:
        if system.name == name:
            return system
    known = ", ".join(system.name for system in SYSTEMS)
    raise ValueError(f"there is no baseline {name!r}; expected {known}")


def _once(faces: str, given: FaceFinder | None) -> Callable[[], FaceFinder]:
    """The face finder, loaded when it is first needed: a whole frame needs none."""
    if faces not in ("photo", "toon"):
        raise ValueError(f"faces are {faces!r}; expected photo (of real people) or toon (drawn)")
    found = [] if given is None else [given]

    def load() -> FaceFinder:
        if not found:
            found.append(face_finder(faces))
        return found[0]

    return load


def _outcome(entry: dict[str, Any]) -> str:
    words = "done" if entry["status"] == "done" else f"failed: {entry['reason']}"
    return f"{words} ({entry.get('duration_s', 0):.0f} s)"


# --- one item ------------------------------------------------------------------------------------


def make_film(program: Program, item: Item, start: Start, output: Path) -> dict[str, Any]:
    """Make one film; returns its entry of the record, with all that was known when it failed."""
    entry: dict[str, Any] = {}
    work = (output / ".work" / item.category / item.context_id).absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        if not item.speech.is_file():
            raise Failed(f"its speech {item.speech} is not there")
        image = start_image(program.system, item, start, work, entry)
        call = program.system.call(
            program.repo, Inputs(image, item.speech.absolute(), item.prompt, work)
        )
        entry |= {"command": [str(program.python), *call.arguments], **call.notes}
        entry["environment"] = call.environment
        before_s = time.monotonic()
        try:
            made = run_call(program, call, work / "log.txt")
        finally:
            entry["duration_s"] = round(time.monotonic() - before_s, 2)
        film = film_path(output, item)
        keep_film(call, made, film)
        entry |= {"status": "done", "exit_code": 0, "film": facts_of(film)}
    except Failed as failure:
        return {"status": "failed", "reason": str(failure), **entry, **failure.facts}
    shutil.rmtree(work)
    return entry


def start_image(
    system: System, item: Item, start: Start, work: Path, entry: dict[str, Any]
) -> Path:
    """Write the picture that the system starts from; what it was made from goes into the entry."""
    source = item.first_frame if start.run is None else film_path(start.run, item)
    if source is None or not source.is_file():
        what = "no first frame in the benchmark" if start.run is None else f"no film {source}"
        raise Failed(f"there is {what} to start from")
    try:
        pixels = load_image(source) if start.run is None else first_frame(source)
        height, width = pixels.shape[:2]
        crop = start.crop or system.crop(width, height)
        face = None if crop == "full" else main_face(pixels, start.find_faces())
        left, top, right, bottom = crop_box(crop, width, height, face)
    except ValueError as error:
        raise Failed(str(error)) from error
    # some systems name their film after the picture, in a folder that all items share
    path = work / f"{item.context_id}-{secrets.token_hex(4)}.png"
    write_png(path, np.ascontiguousarray(pixels[top:bottom, left:right]))
    entry["first_frame"] = {
        "source": str(source),
        "sha256": sha256(source),
        "size": [width, height],
    }
    entry["crop"] = {"rule": crop, "box": [left, top, right, bottom]}
    if crop != "full":
        entry["crop"]["face"] = None if face is None else [round(v, 4) for v in face[:4]]
    entry["image_sha256"] = sha256(path)
    return path


def keep_film(call: Call, made: Path, film: Path) -> None:
    """Give a system's film the item's name: as it is, or its third panel."""
    film.parent.mkdir(parents=True, exist_ok=True)
    try:
        if call.strip_end_s is None:
            facts_of(made)
            copy_whole(made, film)
        else:
            cut_panel(made, RESULT_PANEL, film, call.strip_end_s)
    except ValueError as error:
        raise Failed(f"its film cannot be used: {error}", exit_code=0) from error
    made.unlink()


def copy_whole(made: Path, film: Path) -> None:
    """Copy a file, perhaps from another disk, whole or not at all."""
    part = part_of(film)
    try:
        shutil.copyfile(made, part)
        into_place(part, film)
    finally:
        part.unlink(missing_ok=True)


def facts_of(film: Path) -> dict[str, Any]:
    """Size, frame rate, frames and sound of a film. Raises ValueError for one without a picture."""
    import av

    try:
        with av.open(str(film)) as container:
            if not container.streams.video:
                raise ValueError("it has no picture")
            stream, sound = container.streams.video[0], container.streams.audio
            frames = sum(1 for _ in container.decode(stream))
            if not frames:
                raise ValueError("it holds no frames")
            return {
                "size": [stream.width, stream.height],
                "fps": round(float(stream.average_rate or 0), 4),
                "frames": frames,
                "sound": sound[0].codec_context.codec.canonical_name if sound else None,
            }
    except av.error.FFmpegError as error:
        raise ValueError(f"it cannot be decoded ({error.strerror})") from error


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the record ----------------------------------------------------------------------------------


def open_record(output: Path, program: Program, start: Start, faces: str) -> dict[str, Any]:
    """The record of a run, from its folder or new. Raises ValueError where it was begun with other
    settings: films of two settings must not be averaged."""
    settings = {
        "system": program.system.name,
        "repository": program.system.url,
        "commit": commit_of(program.repo),
        "crop": start.crop or "as released",
        "faces": faces,
        "first_frames_from": "the benchmark" if start.run is None else str(start.run),
    }
    path = output / RECORD
    if not path.is_file():
        return {**settings, "items": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        items = record["items"]
        assert isinstance(items, dict)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path} is no record of a baseline; delete it or move it") from error
    for name, value in settings.items():
        if record.get(name) != value:
            raise ValueError(
                f"{output} was begun with {name} {record.get(name)!r}, now it is {value!r}; give "
                "another --output"
            )
    return {**settings, "items": items}


@contextlib.contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Keep a second process away from a run. Raises ValueError where another one is at it."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"another process is making films in {output}; wait for it") from error
        yield
