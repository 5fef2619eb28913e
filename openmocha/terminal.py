"""What the commands share: results and errors for people and for programs, progress, interrupts.

A user's mistake is one sentence and exit code 2, an interrupt is exit code 130.
"""

import atexit
import contextlib
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any

import typer

# Remembered, because an interrupt that arrives while a compiled module is imported gets lost.
interrupted = threading.Event()

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
QualityName = Annotated[
    str | None,
    typer.Option(
        help="fast: few steps with guidance of their own; or high. Not given: fast, if the model "
        "has it and neither steps nor guidance are chosen."
    ),
]
AllowCut = Annotated[
    bool, typer.Option("--allow-cut", help="Use the start of a speech too long for large models.")
]
DeviceName = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
MemoryName = Annotated[
    str | None, typer.Option(help="Of a GPU, for large models: low, balanced or fast.")
]


def parse_size(size: str | None) -> tuple[int | None, int | None]:
    """ "192x128" -> (192, 128); None keeps the model's own size."""
    if size is None:
        return None, None
    if not re.fullmatch(r"[0-9]{1,5}x[0-9]{1,5}", size, re.IGNORECASE):
        raise ValueError(f"size {size!r} is not WIDTHxHEIGHT in pixels, such as 192x128")
    width, height = map(int, size.lower().split("x"))
    return width, height


def heed_interrupts() -> None:
    """Have signals that end a process raise KeyboardInterrupt, so that half-written files are
    removed, and the process end with exit code 130 then."""
    atexit.register(_leave)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    interrupted.set()
    raise KeyboardInterrupt


def _leave() -> None:
    """The last thing done on exit. An interrupt inside exec(), by which libraries make dataclasses
    as they are imported, has Python die of SIGINT whatever the exit code, even if it was caught."""
    if interrupted.is_set():
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # whoever read may be gone
            os._exit(130)


def report(result: dict[str, Any], sentence: str, as_json: bool) -> None:
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else sentence)


@contextlib.contextmanager
def plain_errors(as_json: bool) -> Iterator[None]:
    """Turn users' mistakes into one line and exit code 2, an interrupt into exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; no half-written file was left behind", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        reason = _plain(error)
        if reason is None:
            raise  # a fault of this program: its traceback is wanted
        typer.echo(f"error: {reason}", err=True)
        if as_json:
            typer.echo(json.dumps({"error": reason}, ensure_ascii=False))
        raise typer.Exit(2) from None


def _plain(error: Exception) -> str | None:
    """One sentence for what a user, a file or the machine did wrong; None for anything else."""
    if isinstance(error, ImportError):
        return _missing(error)
    if isinstance(error, MemoryError) or "allocate" in str(error) or "out of memory" in str(error):
        return f"out of memory ({str(error).splitlines()[0]}); try a smaller --size"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    if isinstance(error, ValueError | OSError | FloatingPointError):
        return str(error)
    return None


def _missing(error: ImportError) -> str:
    """What to install for a command whose optional parts are not there."""
    if "libEGL" in str(error) or "libGL" in str(error):
        return f"drawing needs a system library ({error}); on Debian: apt install libegl1 libgl1"
    return f"{error}; this command needs: pip install 'openmocha[voices,toon,train,study]'"


@contextlib.contextmanager
def own_warnings() -> Iterator[list[str]]:
    """Show the package's own warnings as one line each and collect them; hide other libraries'."""
    from openmocha.media import SpeechWarning
    from openmocha.rewording import PromptWarning

    notes: list[str] = []

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        notes.append(str(message))
        typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for own in (SpeechWarning, PromptWarning):
            warnings.simplefilter("always", own)
        warnings.showwarning = show
        yield notes


@contextlib.contextmanager
def progress_bar(what: str, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, as a function of (steps done, steps in all)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = hidden or not console.is_terminal
    with Progress(console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            bar.update(task, completed=done, total=total)

        yield update
