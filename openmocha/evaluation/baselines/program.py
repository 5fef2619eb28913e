"""A system's own program: where it must lie, what it is called with, and how it is run.

System (what is known of it) + Inputs (one item) -> Call (exact arguments) -> its film
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmocha.evaluation.baselines.first_frame import Crop

LAST_LINES = 20  # of what a program said, kept where it failed
PATIENCE_S = 10.0  # between asking a program to end and ending it


class Failed(Exception):
    """One item has no film; the message is the reason. `facts` go into the record beside it."""

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason)
        self.facts = facts


@dataclass(frozen=True)
class Inputs:
    """What one film is made from. All paths are absolute; `work` is an empty folder of its own."""

    image: Path
    speech: Path
    prompt: str
    work: Path


@dataclass(frozen=True)
class Call:
    """How a program is called for one item, and where its film will lie.

    arguments: those after the Python.  environment: added to the program's own.  folder, pattern:
    exactly one new file must match.  strip_end_s: not None where the film is a strip of three
    panels, whose third is kept up to that time.  notes: what was changed for this system, for the
    record.
    """

    arguments: tuple[str, ...]
    folder: Path
    pattern: str
    environment: dict[str, str] = field(default_factory=dict)
    strip_end_s: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One system. `entry` is the file of its repository that is run; `weights(repo)` lists what
    must have been downloaded; `crop(width, height)` is the rule that its released films show."""

    name: str
    title: str
    url: str
    entry: str
    weights: Callable[[Path], list[Path]]
    crop: Callable[[int, int], Crop]
    call: Callable[[Path, Inputs], Call]


@dataclass(frozen=True)
class Program:
    """A system that was found on this machine."""

    system: System
    repo: Path
    python: Path
    limit_s: float


def find_program(system: System, repo: Path, python: Path | None, limit_s: float) -> Program:
    """Raises ValueError or FileNotFoundError, in one sentence that says where it comes from, for a
    repository, a Python or weights that are not there."""
    if limit_s <= 0:
        raise ValueError(f"the time limit is {limit_s:g} s; expected more than 0")
    repo = repo.expanduser().absolute()
    if not (repo / system.entry).is_file():
        raise FileNotFoundError(
            f"{repo} is no checkout of {system.title} ({system.entry} is not in it); clone "
            f"{system.url} and give its folder with --repo"
        )
    python = _python(system, repo, python)
    missing = [path for path in system.weights(repo) if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{system.title} lacks its weights ({missing[0]} is not there); download them as the "
            f"README of {system.url} says"
        )
    return Program(system, repo, python, limit_s)


def _python(system: System, repo: Path, python: Path | None) -> Path:
    """The Python of the program's own environment; not resolved, or it would leave it."""
    usual = [repo / folder / "bin" / "python" for folder in (".venv", "venv")]
    for path in usual if python is None else [python.expanduser().absolute()]:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    where = usual[0] if python is None else python
    raise FileNotFoundError(
        f"there is no Python at {where}; {system.title} runs in an environment of its own: make it "
        f"as the README of {system.url} says and give its Python with --python"
    )


def commit_of(repo: Path) -> str | None:
    """The commit of a checkout, with "+changes" where tracked files differ; None without git."""
    said = []
    for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(["git", "-C", str(repo), *words], capture_output=True, text=True)
        except FileNotFoundError:
            return None
        if done.returncode:
            return None
        said.append(done.stdout.strip())
    return said[0] + ("+changes" if said[1] else "")


def run_call(program: Program, call: Call, log: Path) -> Path:
    """Run a program and return the one film that it made. Raises Failed with the reason, the exit
    code and the last lines that it wrote."""
    before = set(call.folder.glob(call.pattern))
    code = run(program, call, log)
    facts = {"exit_code": code, "last_lines": last_lines(log)}
    if code is None:
        raise Failed(f"ran past the time limit of {program.limit_s:g} s", **facts)
    if code:
        raise Failed(f"ended with exit code {code}", **facts)
    made = sorted(set(call.folder.glob(call.pattern)) - before)
    if len(made) != 1:
        found = ", ".join(path.name for path in made) or "none"
        raise Failed(f"ended well but left no film (expected one file, found {found})", **facts)
    return made[0]


def run(program: Program, call: Call, log: Path) -> int | None:
    """The exit code, None where the time limit ended it. What the program says goes to `log`."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(program.python), *call.arguments],
            cwd=program.repo,
            env=own_environment(program.python) | call.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it started itself can be ended with it
        )
        try:
            return process.wait(program.limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started, also where it has ended and they have not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)


def own_environment(python: Path) -> dict[str, str]:
    """This process's environment without its Python: the program brings its own, and its ffmpeg
    where that lies beside it."""
    foreign = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept | {"PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"}


def last_lines(log: Path) -> list[str]:
    """The last lines that a program wrote; of a progress bar, its last state."""
    with log.open("rb") as said:
        said.seek(max(0, log.stat().st_size - 20_000))
        text = said.read().decode(errors="replace")
    lines = [re.split(r"\r", line.rstrip("\r"))[-1].rstrip() for line in text.split("\n")]
    return [line[:500] for line in lines if line][-LAST_LINES:]
