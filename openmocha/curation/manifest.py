"""The manifest: one Parquet table with a row for every clip, and for every file that had none."""

import os
from pathlib import Path
from typing import Any

from openmocha.whole_file import into_place, part_of, write_error

Row = dict[str, Any]

_TEXT = (
    "path", "film_id", "faces", "clip_id", "reason", "part_of", "duplicate_of", "caption",
    "caption_by", "shot", "camera", "background_colour", "picture_hash", "sound_hash", "codec",
    "licence", "shard", "clip_file", "speech_file", "prominence",
)  # fmt: skip
_NUMBER = (
    "start_s", "end_s", "duration_s", "cut_s", "fps", "speech_share", "level_db",
    "dynamic_range_db", "flatness", "most_faces", "face_share", "face_height", "difference", "flow",
    "camera_flow", "brightness", "lip_in_time", "lip_score", "lip_shifted", "sync_c",
    "removed_pauses_db", "removed_speech_db",
)  # fmt: skip
_WHOLE = (
    "scene",
    "width",
    "height",
    "num_people",
    "speaker",
    "lip_lag",
    "shard_index",
    "sync_offset",
)
_LISTS = {"speech_s": 2, "face_boxes": 2, "mouth_motion": 1}  # of numbers, how deep
_WORDS = ("facing", "clothes_colours", "parts")


def schema() -> Any:
    """The columns and their types: the same for every dataset, so that tables can be joined."""
    import pyarrow as pa

    columns = [(name, pa.string()) for name in _TEXT] + [(n, pa.float64()) for n in _NUMBER]
    columns += [(name, pa.int64()) for name in _WHOLE]
    for name, depth in _LISTS.items():
        kind = pa.float64()
        for _ in range(depth):
            kind = pa.list_(kind)
        columns.append((name, kind))
    columns += [(name, pa.list_(pa.string())) for name in _WORDS]
    return pa.schema(columns)


def write_manifest(rows: list[Row], path: Path) -> None:
    """Write the table, whole or not at all. Raises OSError where it cannot be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table_schema = schema()
    unknown = {name for row in rows for name in row} - set(table_schema.names)
    assert not unknown, f"columns without a place in the manifest: {sorted(unknown)}"
    # names that are no UTF-8 are shown with their bytes escaped
    shown = [
        row | {"path": row["path"].encode("utf-8", "backslashreplace").decode()} for row in rows
    ]
    columns = {
        name: pa.array([row.get(name) for row in shown], type=table_schema.field(name).type)
        for name in table_schema.names
    }
    part = part_of(path)
    try:
        pq.write_table(pa.table(columns, schema=table_schema), part)
        into_place(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise write_error(path, error) from error


def read_manifest(folder: Path) -> list[Row]:
    """The rows of a dataset folder. Raises ValueError where there is no manifest."""
    import pyarrow.parquet as pq

    path = Path(folder) / "manifest.parquet"
    if not os.path.isfile(path):
        raise ValueError(f"{folder} holds no manifest.parquet; run openmocha curate first")
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows
