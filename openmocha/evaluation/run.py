"""A model over a benchmark: every item's prompt and speech -> a film under the item's name.

items with a speech -> claim one -> MoChaPipeline -> RUN/<category>/<context_id>.mp4

Films appear whole or not at all and are never made again, so a run goes on where it stopped. An
item that fails is written to RUN/failures.jsonl and the run goes on. Any number of processes, also
of separate invocations on one disk, may work on one run: a film is claimed by a lock that goes with
the process, however it ends.
"""

import ctypes
import fcntl
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmocha.evaluation.mochabench import Item, film_path
from openmocha.evaluation.score_table import read_run, write_run
from openmocha.models.store import identity
from openmocha.prompt import parse_prompt
from openmocha.sampling import Quality

if TYPE_CHECKING:
    from openmocha.pipeline import MoChaPipeline

Say = Callable[[str], None]

FAILURES = "failures.jsonl"
PR_SET_PDEATHSIG = 1  # of Linux's prctl: children end with their parent


@dataclass(frozen=True)
class Making:
    """What makes the films of a run, the same for all of them; None is the model's own value."""

    model: str = "toon"
    seed: int = 0
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    text_guidance: float | None = None
    speech_guidance: float | None = None
    feeling_guidance: float | None = None
    quality: Quality | None = None
    allow_cut: bool = False
    device: str = "cpu"
    memory: str | None = None

    @property
    def content(self) -> dict[str, Any]:
        """What the films depend on: all but where they are made."""
        told = asdict(self)
        del told["device"], told["memory"]
        return told


@dataclass(frozen=True)
class Made:
    """Counts of items. elsewhere: being made by another process, or left by one that died."""

    made: int
    before: int
    without_speech: int
    failed: int
    elsewhere: int


def make_films(
    items: Sequence[Item],
    benchmark: Path,
    output: Path,
    making: Making,
    processes: int = 1,
    say: Say = print,
) -> Made:
    """Make all films that are not there yet.

    Raises ValueError where `output` holds films of other settings, and whatever loading the model
    raises; what goes wrong with one item is kept in failures.jsonl.
    """
    ready = [item for item in items if item.speech.is_file()]
    waiting = [item for item in ready if not film_path(output, item).is_file()]
    begin_run(output, benchmark, making)
    attempt = secrets.token_hex(4)  # by which this invocation's failures are known
    if processes == 1 or len(waiting) < 2:
        make_share(waiting, output, making, attempt, say)
    else:
        _make_in_processes(waiting, output, making, attempt, min(processes, len(waiting)), say)
    done = {item.name for item in waiting if film_path(output, item).is_file()}
    failed = {row["item"] for row in read_failures(output) if row["attempt"] == attempt} - done
    before = len(ready) - len(waiting)
    elsewhere = len(waiting) - len(done) - len(failed)
    return Made(len(done), before, len(items) - len(ready), len(failed), elsewhere)


def begin_run(output: Path, benchmark: Path, making: Making) -> None:
    """Write what the run is, or check that it is the same as before."""
    told = read_run(output)
    content = making.content | {"weights": identity(making.model)}
    for name, value in content.items():
        before = told.get("making", {}).get(name, value)
        if before != value:
            raise ValueError(
                f"{output} was begun with {name} {before!r}, now it is {value!r}; films of two "
                "settings must not be averaged: give another --output"
            )
    write_run(output, {**told, "benchmark": str(benchmark.resolve()), "making": content})


# --- one process ---------------------------------------------------------------------------------


def make_share(items: Sequence[Item], output: Path, making: Making, attempt: str, say: Say) -> None:
    """Make the films of some items one after the other; the model is loaded if there is one."""
    if not items:
        return
    pipeline = load(making, say)
    for number, item in enumerate(items, 1):
        with claimed(output, item) as is_mine:
            if not is_mine or film_path(output, item).is_file():
                continue
            started_s = time.monotonic()
            try:
                make_film(pipeline, item, output, making)
                outcome = f"{time.monotonic() - started_s:.1f} s"
            # whatever it is, the other films shall be made: it is kept, counted and said
            except Exception as error:
                outcome = f"failed: {error}"
                keep_failure(output, item, attempt, error)
            say(f"{number}/{len(items)} {item.name}: {outcome}")


def load(making: Making, say: Say) -> "MoChaPipeline":
    from transformers.utils import logging

    from openmocha.memory import checked_memory
    from openmocha.pipeline import MoChaPipeline

    logging.disable_progress_bar()  # of transformers, one for each network it loads
    memory = checked_memory(making.memory)
    pipeline = MoChaPipeline.from_pretrained(making.model, making.device, memory=memory, say=say)
    pipeline.sampling = pipeline.sampling.with_given(default_shot="")  # nothing is added
    return pipeline


def make_film(pipeline: "MoChaPipeline", item: Item, output: Path, making: Making) -> None:
    """One film of an item, from its own prompt, which a model may retell, and its own speech."""
    film = pipeline.stream(
        parse_prompt(item.prompt),  # the paper's template: characters and clips; else word by word
        item.speech,
        width=making.width,
        height=making.height,
        num_inference_steps=making.steps,
        text_guidance_scale=making.text_guidance,
        speech_guidance_scale=making.speech_guidance,
        feeling_guidance_scale=making.feeling_guidance,
        seed=making.seed,
        quality=making.quality,
        allow_cut=making.allow_cut,
    )
    path = film_path(output, item)
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save(path)


@contextmanager
def claimed(output: Path, item: Item) -> Iterator[bool]:
    """True if this process alone may make the item's film; what a killed one left of it is gone."""
    path = film_path(output, item)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f".{path.name}.lock")
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        for part in path.parent.glob(f".{path.name}.*.part"):
            part.unlink(missing_ok=True)
        try:
            yield True
        finally:
            lock_path.unlink(missing_ok=True)


def keep_failure(output: Path, item: Item, attempt: str, error: Exception) -> None:
    """Add a line to failures.jsonl, in one write."""
    reason = str(error) if isinstance(error, ValueError | OSError) else repr(error)
    row = {"item": item.name, "reason": reason, "attempt": attempt, "time": int(time.time())}
    with (output / FAILURES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_failures(output: Path) -> list[dict[str, Any]]:
    """All failures of a run in their order, also of items whose film was made later."""
    try:
        lines = (output / FAILURES).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            continue  # cut short by a kill
    return [row for row in rows if {"item", "reason", "attempt"} <= row.keys()]


# --- several processes ---------------------------------------------------------------------------


def _make_in_processes(
    items: Sequence[Item], output: Path, making: Making, attempt: str, processes: int, say: Say
) -> None:
    """Process k of n takes every n-th item from the k-th on."""
    from openmocha.models.store import model_folder

    model_folder(making.model)  # a wrong name is said once, and not by every process
    context = get_context("spawn")  # forking beside the threads of torch or FFmpeg can hang
    threads = max(1, (os.cpu_count() or 1) // processes)
    workers = [
        context.Process(
            target=_work, args=(items[k::processes], output, making, attempt, threads, os.getpid())
        )
        for k in range(processes)
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
                worker.join()
    for number, worker in enumerate(workers, 1):
        if worker.exitcode:
            say(f"process {number} ended with code {worker.exitcode}; run again to make its films")


def _work(
    items: Sequence[Item], output: Path, making: Making, attempt: str, threads: int, parent: int
) -> None:
    """A process's share. It ends with its parent, even where that is killed."""
    from openmocha.terminal import own_warnings

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is first imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    try:
        with own_warnings():
            make_share(items, output, making, attempt, say)
    except (ValueError, OSError) as error:
        say(f"error: {error}")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
