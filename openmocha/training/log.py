"""Rows of numbers of a training, as JSONL and for TensorBoard."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openmocha.training.parallel import Ranks


@contextmanager
def open_log(
    folder: Path, first_step: int, ranks: Ranks
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What appends a row to log.jsonl and its numbers to TensorBoard, on the first rank."""
    if not ranks.first:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter
    path = folder / "log.jsonl"
    forget_rows_after(path, first_step)
    with (
        path.open("a", buffering=1) as file,
        writer(folder / "tensorboard", purge_step=first_step) as board,
    ):

        def log(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            for name, value in row.items():
                if isinstance(value, float):
                    board.add_scalar(name, value, row["step"])

        yield log


def forget_rows_after(path: Path, step: int) -> None:
    """Cut a log before the steps that a kill has lost: they, and their rows, come again."""
    rows = path.read_text().splitlines() if path.exists() else []
    kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= step]
    path.write_text("".join(f"{row}\n" for row in kept))
