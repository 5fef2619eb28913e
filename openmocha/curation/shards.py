"""Kept clips -> training shards: pixels, speech and caption cut out, encoded once by the model that
is to be trained.

A shard is named by a hash of what is in it, so a rerun keeps those whose clips, captions and
encoders are the same, and writes only the others.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.cut import clip_frames, crop_around, frame_times
from openmocha.curation.engines import Engine, run
from openmocha.curation.judge import TWO_CLIP
from openmocha.curation.probe import Unfit
from openmocha.curation.separate import speech_of
from openmocha.curation.settings import Shards
from openmocha.media import FPS, SPEECH_RATE_HZ, write_film
from openmocha.whole_file import remove_parts, write_text

Row = dict[str, Any]
Array = np.ndarray[Any, Any]

FRAMES_PER_LATENT = 4
SHORTEST_CROP = 8  # latent frames
SOURCES = {TWO_CLIP: "dialogue", "wide": "medium"}  # the trainer's names where they differ


@dataclass(frozen=True)
class ShardJob:
    """One shard to be written: its path without suffix, its clips, and how."""

    path: Path
    rows: tuple[Row, ...]
    settings: Shards

    def __hash__(self) -> int:
        return hash(self.path)


def write_shards(
    rows: list[Row], folder: Path, settings: Shards, engine: Engine, say: Callable[[str], None]
) -> list[Row]:
    """Write the shards of all kept clips into `folder`; rows get the columns shard, shard_index.

    Clips that cannot be cut out after all get their reason. Raises ValueError for a model whose
    encoders cannot be used.
    """
    from openmocha.training.encoders import encoder_checksums

    usable = [row for row in rows if row["reason"] is None and not row.get("part_of")]
    usable = [row for row in usable if row["duration_s"] >= shortest_s()]
    checksums = encoder_checksums(settings.model)
    jobs = plan_shards(usable, folder, settings, checksums)
    if not jobs:
        return rows
    prepare(folder, settings.model, checksums, {job.path.name for job in jobs})
    by_id = {row["clip_id"]: row for row in usable}
    for number, (job, placed) in enumerate(run(engine, write_one, jobs), 1):
        for clip_id, outcome in (placed or {}).items():
            if isinstance(outcome, str):
                by_id[clip_id]["reason"] = outcome
            else:
                by_id[clip_id] |= {"shard": job.path.name, "shard_index": outcome}
        say(f"shard {number} of {len(jobs)}")
    return rows


def shortest_s() -> float:
    return SHORTEST_CROP * FRAMES_PER_LATENT / FPS


def plan_shards(
    rows: list[Row], folder: Path, settings: Shards, checksums: dict[str, str]
) -> list[ShardJob]:
    """Clips in the order of their ids, `clips_per_shard` in each; a shard that is there and whose
    clips are all still wanted as they are stays as it is."""
    wanted = {clip_key(row, settings, checksums): row for row in rows}
    jobs = []
    for record in sorted(folder.glob("clips-*.json")):
        keys = json.loads(record.read_text())
        if all(key in wanted for key in keys):
            chosen = tuple(wanted.pop(key) for key in keys)
            jobs.append(ShardJob(folder / record.stem, chosen, settings))
    keys = sorted(wanted)
    for start in range(0, len(keys), settings.clips_per_shard):
        some = keys[start : start + settings.clips_per_shard]
        name = f"clips-{hashlib.sha256(''.join(some).encode()).hexdigest()[:16]}"
        jobs.append(ShardJob(folder / name, tuple(wanted[key] for key in some), settings))
    return jobs


def clip_key(row: Row, settings: Shards, checksums: dict[str, str]) -> str:
    """A hash of all that a clip's record depends on, the clip's id first."""
    given = [row["caption"], row["face_boxes"], asdict(settings), checksums]
    given += [row["speech_file"]] if row.get("speech_file") else []
    return str(row["clip_id"]) + hashlib.sha256(json.dumps(given).encode()).hexdigest()[:8]


def prepare(folder: Path, model: str, checksums: dict[str, str], names: set[str]) -> None:
    """The folder with its empty prompt; shards that are no longer wanted are deleted first."""
    from openmocha.training.encoders import load_encoders
    from openmocha.training.shards import bind_to_networks, write_empty_prompt

    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    stale = [file for file in folder.glob("clips-*") if file.name.split(".")[0] not in names]
    for file in stale:
        file.unlink()
    encoders = folder / "encoders.json"
    if encoders.exists() and json.loads(encoders.read_text()) != checksums:
        encoders.unlink()
        (folder / "empty_prompt.safetensors").unlink(missing_ok=True)
    bind_to_networks(folder, checksums)
    if not (folder / "empty_prompt.safetensors").exists():
        write_empty_prompt(folder, load_encoders(model).text)


def write_one(job: ShardJob) -> dict[str, int | str]:
    """Write a shard. Returns the place of each clip in it, or the reason why it is not there."""
    from openmocha.training.shards import write_shard

    record = job.path.with_suffix(".json")
    placed: dict[str, int | str] = {}
    outcomes = job.path.with_suffix(".placed.json")
    if outcomes.exists():
        found: dict[str, int | str] = json.loads(outcomes.read_text())
        return found

    def clips() -> Iterator[Any]:
        for row in job.rows:
            try:
                clip = training_clip(row, job.settings, job.path.parents[1])
            except Unfit as unfit:
                placed[row["clip_id"]] = str(unfit)
                continue
            placed[row["clip_id"]] = sum(isinstance(at, int) for at in placed.values())
            yield clip

    from openmocha.training.encoders import encoder_checksums

    write_shard(job.path, clips(), _encoders(job.settings.model))
    checksums = encoder_checksums(job.settings.model)
    keys = [clip_key(row, job.settings, checksums) for row in job.rows]
    write_text(outcomes, json.dumps(placed))
    write_text(record, json.dumps(keys))
    return placed


@cache
def _encoders(model: str) -> Any:
    """Loaded once in each process."""
    from openmocha.training.encoders import load_encoders

    return load_encoders(model)


def training_clip(row: Row, settings: Shards, dataset: Path) -> Any:
    """One clip of a dataset as the trainer wants it. Raises Unfit where it cannot be cut out."""
    import cv2

    from openmocha.models.store import model_folder
    from openmocha.training.encoders import is_embedded, pixels_per_cell
    from openmocha.training.shards import TrainingClip
    from openmocha.training.toon_clips import mouth_cells

    path = Path(row["path"])
    times_s = frame_times(row["start_s"], row["end_s"])
    num_latents = len(times_s) // FRAMES_PER_LATENT
    times_s = times_s[: FRAMES_PER_LATENT * num_latents]
    frames = clip_frames(path, row["start_s"], times_s, 2 * max(settings.width, settings.height))
    height, width = frames[0].shape[:2]
    box = row["face_boxes"][0] if row["speaker"] is None else row["face_boxes"][row["speaker"]]
    rows, columns = crop_around(box, width, height, settings.width / settings.height)
    size = (settings.width, settings.height)
    pixels = np.stack(
        [cv2.resize(f[rows, columns], size, interpolation=cv2.INTER_AREA) for f in frames]
    )
    speech = speech_of(row, round(len(times_s) / FPS * SPEECH_RATE_HZ), dataset)
    folder = model_folder(settings.model)
    length = min(num_latents, settings.latent_frames)
    starts = list(range(0, num_latents - length + 1, length))
    starts = starts if is_embedded(folder) else [0]  # a causal VAE begins with its film
    cut_s = row.get("cut_s")
    boxes = np.tile(mouth_box(box, (rows, columns), width, height, size), (len(pixels), 1, 1))
    cells = mouth_cells(boxes, settings.height, settings.width, pixels_per_cell(folder))
    return TrainingClip(
        source=SOURCES.get(row["shot"], str(row["shot"])),
        seed=int(row["clip_id"][:12], 16),
        caption=row["caption"],
        num_frames=len(pixels),
        crops=np.stack([pixels[4 * s : 4 * (s + length)] for s in starts]),
        starts=starts,
        speech=speech,
        mouth_cells=np.stack([cells[s : s + length] for s in starts]),
        cut_frame=None if cut_s is None else round((cut_s - row["start_s"]) * FPS),
    )


def mouth_box(
    face: list[float],
    crop: tuple[slice, slice],
    width: int,
    height: int,
    size: tuple[int, int],
) -> Array:
    """(1, 4) the lower half of a face's middle, where its mouth is, in pixels of the crop."""
    x0, y0, x1, y1 = face
    box = np.array(
        [0.8 * x0 + 0.2 * x1, 0.4 * y0 + 0.6 * y1, 0.2 * x0 + 0.8 * x1, 0.05 * y0 + 0.95 * y1]
    ) * (width, height, width, height)
    rows, columns = crop
    box -= (columns.start, rows.start, columns.start, rows.start)
    scale = size[0] / (columns.stop - columns.start), size[1] / (rows.stop - rows.start)
    return np.asarray((box * np.tile(scale, 2)).clip(0, (*size, *size))[None])


# --- clip files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileJob:
    """One clip to be written as an mp4."""

    row: Row
    output: Path

    def __hash__(self) -> int:
        return hash(self.output)


def write_clip_files(rows: list[Row], folder: Path, engine: Engine) -> list[Row]:
    """Write each kept clip as an mp4 in `folder`, encoded once; rows get the column clip_file."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    kept = [row for row in rows if row["reason"] is None and not row.get("part_of")]
    jobs = [FileJob(row, folder / f"{file_name(row)}.mp4") for row in kept]
    by_id = {row["clip_id"]: row for row in kept}
    for job, reason in run(engine, _write_file, jobs):
        row = by_id[job.row["clip_id"]]
        row |= {"clip_file": str(job.output.name)} if reason == "" else {"reason": reason}
    return rows


def file_name(row: Row) -> str:
    """The clip's id, and by which separation its voice was made, if by one."""
    return Path(row.get("speech_file") or row["clip_id"]).stem


def _write_file(job: FileJob) -> str:
    """ "" where the clip's file is there now, else why not."""
    if job.output.exists():
        return ""
    row = job.row
    times_s = frame_times(row["start_s"], row["end_s"])
    try:
        frames = np.stack(clip_frames(Path(row["path"]), row["start_s"], times_s))
        num_samples = round(len(frames) / FPS * SPEECH_RATE_HZ)
        speech = speech_of(row, num_samples, job.output.parents[1])
        height, width = (side // 2 * 2 for side in frames.shape[1:3])
        metadata = {"prompt": row["caption"], "source": row["path"], "start_s": row["start_s"]}
        write_film(job.output, frames[:, :height, :width], speech, metadata=metadata)
    except Unfit as unfit:
        return str(unfit)
    except OSError as error:
        return f"set aside: {error}"
    return ""
