"""Shards: what the transformer trains on, computed once.

    TrainingClip (pixels, speech, caption) --encode_clips--> records --write_shard--> *.array_record
    + *.parquet

A record is the safetensors bytes of one film; a shard is an ArrayRecord file of records with a
Parquet manifest beside it, one row per record. The manifest is renamed into place last: a shard
without one is not there. A record does not know where its film came from, toon or curated video.

Dimension letters: K crops of one film, F latent frames of a crop, C latent channels, h w latent
rows/cols, T video frames of the whole film, L text tokens.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange
from safetensors.numpy import load, save
from torch import Tensor

from openmocha.precision import mixed_precision

ENCODERS_FILE = "encoders.json"  # of a folder of shards
FRAMES_PER_LATENT = 4


@dataclass(frozen=True)
class TrainingClip:
    """One film, before its features are computed.

    crops: uint8 (K, 4 F, H, W, 3), the pixels of K crops; starts: (K,) first latent frame of each.
    speech: float32 (samples,) 16 kHz, that of the whole film of `num_frames`, or None.
    mouth_cells: uint8 (K, F, h, w), 1 where a mouth is.
    cut_frame: video frame of the film where it cuts to its second clip, if it does.
    views: float32 (T / 4, 3), where the camera is in each latent frame of the film
    (models/places.py), if that is known.
    answers, poses: int8 (T / 4, A) and float32 (T / 4, K), what is to be read from each latent
    frame (latent_truth.py), if that is known.
    figures: float32 (T / 4, K), what is done where (models/figures.py), if that is known.
    """

    source: str
    seed: int
    caption: str
    num_frames: int
    crops: np.ndarray[Any, Any]
    starts: Sequence[int]
    speech: np.ndarray[Any, Any] | None
    mouth_cells: np.ndarray[Any, Any]
    cut_frame: int | None = None
    views: np.ndarray[Any, Any] | None = None
    answers: np.ndarray[Any, Any] | None = None
    poses: np.ndarray[Any, Any] | None = None
    figures: np.ndarray[Any, Any] | None = None


class VideoEncoder(Protocol):
    def encode(self, video: Tensor) -> Tensor: ...


class SpeechTokens(Protocol):
    def encode(self, speech: Any, num_frames: int) -> Tensor: ...


TextStream = tuple[Tensor, Tensor]  # tokens (N, L, D) of N prompts, and which are there (N, L)


class TextTokens(Protocol):
    """One stream, or a list of several where a model reads prompts in several ways.

    An encoder whose first rows sum up a prompt's clips says which clip each is about: slot_clips.
    """

    def encode(self, prompts: list[str]) -> TextStream | list[TextStream]: ...


@dataclass(frozen=True)
class Encoders:
    """The three frozen networks whose outputs are stored."""

    vae: VideoEncoder
    speech: SpeechTokens
    text: TextTokens


@torch.inference_mode()
def encode_clips(clips: Sequence[TrainingClip], encoders: Encoders) -> list[bytes]:
    """Records of `clips`, one each. Their text is encoded as one batch."""
    streams = text_streams(encoders.text, [clip.caption for clip in clips])
    records = []
    for number, clip in enumerate(clips):
        tensors = text_arrays(streams, number) | {
            "latents": encode_crops(clip.crops, encoders.vae),
            "start": np.asarray(clip.starts, np.int32),
            "mouth_cells": clip.mouth_cells.astype(np.uint8),
        }
        if clip.speech is not None:
            speech_tokens = encoders.speech.encode(clip.speech, clip.num_frames)
            tensors["speech_tokens"] = speech_tokens.float().numpy().astype(np.float16)
        if clip.cut_frame is not None:
            tensors["cut_frame"] = np.asarray([clip.cut_frame], np.int32)
        if clip.views is not None:
            tensors["views"] = clip.views.astype(np.float32)
        if clip.answers is not None and clip.poses is not None:
            tensors["answers"] = clip.answers.astype(np.int8)
            tensors["poses"] = clip.poses.astype(np.float32)
        if clip.figures is not None:
            tensors["figures"] = clip.figures.astype(np.float32)
        tensors["slot_clips"] = np.asarray(getattr(encoders.text, "slot_clips", ()), np.int8)
        # save() writes memory as it lies; a convolution's output lies with its channels last.
        records.append(save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))
    return records


def text_streams(encoder: TextTokens, prompts: list[str]) -> list[TextStream]:
    """All streams of an encoder."""
    encoded = encoder.encode(prompts)
    return encoded if isinstance(encoded, list) else [encoded]


def text_arrays(streams: Sequence[TextStream], number: int) -> dict[str, np.ndarray[Any, Any]]:
    """What a record keeps of its prompt: text_tokens, and of further streams text_tokens_1, ..."""
    return {
        f"text_tokens_{i}" if i else "text_tokens": tokens[number][mask[number]]
        .float()
        .numpy()
        .astype(np.float16)
        for i, (tokens, mask) in enumerate(streams)
    }


def stored_text(record: dict[str, np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], ...]:
    """The streams of a record's prompt, float16 (L, D) each."""
    return tuple(record[name] for name in sorted(record) if name.startswith("text_tokens"))


def shown_text(
    record: dict[str, np.ndarray[Any, Any]], start: int, latent_frames: int, words: bool = True
) -> tuple[np.ndarray[Any, Any], ...]:
    """The streams of a record's prompt without the slots about a clip that `latent_frames` frames
    from `start` on do not show: in a part of a conversation nothing else says whose turn it is.
    Without `words` only slots are left, where there are any. Raises ValueError where shards do not
    say which those are."""
    first, *others = stored_text(record)
    if not words and "slot_clips" not in record:
        raise ValueError("these shards are of an older kind (no slot_clips): write them anew")
    about = record.get("slot_clips", np.zeros(0, np.int8))
    kept = np.ones(len(first), bool)
    if "cut_frame" in record:
        cut = record["cut_frame"].item()
        shown = range(FRAMES_PER_LATENT * start, FRAMES_PER_LATENT * (start + latent_frames))
        hidden = ((about == 0) & (shown.start >= cut)) | ((about == 1) & (shown.stop <= cut))
        kept[: len(about)] = ~hidden
    if not words and len(about):
        kept[len(about) :] = False
    return (first[kept], *others)


def encode_crops(crops: np.ndarray[Any, Any], vae: VideoEncoder) -> np.ndarray[Any, Any]:
    """Pixels uint8 (K, 4 F, H, W, 3) -> latents float16 (K, C, F, h, w)."""
    video = rearrange(torch.from_numpy(crops), "K T H W c -> K T c H W").float() / 127.5 - 1
    with mixed_precision():
        latents = vae.encode(video)
    return latents.float().numpy().astype(np.float16)


def read_record(record: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of one record, by name."""
    return dict(load(record))


def write_shard(
    path: Path, clips: Iterable[TrainingClip], encoders: Encoders, chunk: int = 16
) -> bool:
    """Write the shard `path` (without suffix) and its manifest; False where it was finished before.

    `clips` is read as the shard is written, `chunk` at a time, so films need not all be in memory.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    if manifest_path(path).exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    # Latents do not compress, and one record per group makes every one of them cheap to read alone.
    writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
    rows: list[dict[str, Any]] = []
    pending: list[TrainingClip] = []

    def write_pending() -> None:
        for clip, record in zip(pending, encode_clips(pending, encoders), strict=True):
            writer.write(record)
            rows.append(_manifest_row(path.name, len(rows), clip))
        pending.clear()

    for clip in clips:
        pending.append(clip)
        if len(pending) == chunk:
            write_pending()
    if pending:
        write_pending()
    writer.close()
    temporary.rename(record_path(path))
    _write_manifest(manifest_path(path), rows)
    return True


def record_path(path: Path) -> Path:
    """The ArrayRecord file of the shard `path`."""
    return path.with_name(f"{path.name}.array_record")


def manifest_path(path: Path) -> Path:
    """The Parquet manifest of the shard `path`."""
    return path.with_name(f"{path.name}.parquet")


def finished_shards(folder: Path) -> list[str]:
    """Names of the finished shards of a folder, sorted."""
    return sorted(p.stem for p in folder.glob("*.parquet") if not p.name.startswith("."))


def read_manifest(folder: Path, shards: Sequence[str]) -> Any:
    """The rows of `shards` as one pyarrow table. Raises ValueError where there is none."""
    import pyarrow
    import pyarrow.parquet

    if not shards:
        raise ValueError(
            f"{folder} holds no finished shard; write some first (openmocha train toon)"
        )
    return pyarrow.concat_tables(
        pyarrow.parquet.read_table(manifest_path(folder / shard)) for shard in shards
    )


def write_empty_prompt(folder: Path, text_encoder: TextTokens) -> None:
    """Store the tokens of the empty prompt, which stand in where training drops the text."""
    folder.mkdir(parents=True, exist_ok=True)
    record = save(text_arrays(text_streams(text_encoder, [""]), 0))
    temporary = folder / ".empty_prompt.tmp"
    temporary.write_bytes(record)
    temporary.rename(folder / "empty_prompt.safetensors")


def read_empty_prompt(folder: Path) -> tuple[np.ndarray[Any, Any], ...]:
    """Streams of the empty prompt, float16 (L, D) each."""
    return stored_text(read_record((folder / "empty_prompt.safetensors").read_bytes()))


def bind_to_networks(folder: Path, fingerprints: dict[str, str]) -> None:
    """Note which networks made what a folder holds; beside others it is worthless.

    Raises ValueError where the folder belongs to other networks (a VAE was retrained, say).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ENCODERS_FILE
    if path.exists() and json.loads(path.read_text()) != fingerprints:
        raise ValueError(
            f"what lies in {folder} was made with other networks than those given now; "
            "delete the folder, or train with the networks it was made with"
        )
    temporary = folder / ".encoders.tmp"
    temporary.write_text(json.dumps(fingerprints, indent=1))
    temporary.rename(path)


def _manifest_row(shard: str, index: int, clip: TrainingClip) -> dict[str, Any]:
    num_crops, crop_frames, height, width, _ = clip.crops.shape
    return {
        "shard": shard,
        "index": index,
        "source": clip.source,
        "height": height,
        "width": width,
        "crops": num_crops,
        "latent_frames": crop_frames // 4,
        "num_frames": clip.num_frames,
        "caption": clip.caption,
        "seed": clip.seed,
    }


def _write_manifest(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    temporary = path.with_name(f".{path.name}.tmp")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)
    temporary.rename(path)
