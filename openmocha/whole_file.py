"""Files that appear whole or not at all: written beside their final name, renamed when complete.

An error, a full disk or an interrupt leaves the old file, or none.
"""

import errno
import os
from pathlib import Path


def check_output(path: str | os.PathLike[str], suffix: str) -> Path:
    """The path if a file of this suffix can be written there; OSError or ValueError with why not.

    Called before the work starts, so that a typing mistake does not cost a generation.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise ValueError(f"output {path} must end in {suffix}")
    if path.is_dir():
        raise IsADirectoryError(f"output {path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"output folder {path.parent} cannot be written to")
    return path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all."""
    path = Path(path)
    part = part_of(path)
    try:
        part.write_bytes(content)
        into_place(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        raise write_error(path, error) from error


def part_of(path: Path) -> Path:
    """Where a file is written until it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def remove_parts(folder: Path) -> None:
    """Delete what killed writers left in a folder; nobody else may be writing there."""
    for pattern in (".*.part", ".*.tmp"):
        for part in folder.glob(pattern):
            part.unlink(missing_ok=True)


def into_place(part: Path, path: Path) -> None:
    """Give a complete file its name."""
    with part.open("rb") as file:
        os.fsync(file.fileno())  # a full disk may show only here
    os.replace(part, path)


def write_error(path: Path, error: BaseException) -> BaseException:
    """An OSError in plain words for what the system or FFmpeg said; other errors as they are."""
    number = getattr(error, "errno", None)
    if not isinstance(error, OSError) or not number:
        return error
    reason = "the disk is full" if number in (errno.ENOSPC, errno.EDQUOT) else os.strerror(number)
    return OSError(f"{path} could not be written: {reason}; no part of it was left behind")
