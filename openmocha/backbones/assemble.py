"""A model folder from public pieces: a base model, its speech weights if there are any, and the
speech encoder they belong to.

    base folder (diffusers) + checkpoint + speech encoder -> model folder

    HunyuanVideo + MoCha-Demo's model.ckpt + Wav2Vec2    Wan 2.1 + HuMo's weights + Whisper
    Wan or HunyuanVideo + Wav2Vec2                       speech attention that is silent: train it
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openmocha.models import store
from openmocha.models.demo_checkpoint import OverlayReport, overlay
from openmocha.models.humo_checkpoint import PROJECTOR, from_humo
from openmocha.models.weights import assemble, read_weights

TRANSFORMERS = ("transformer", "transformer_2")
SHARD_SIZE = "5GB"  # of the files written; one of them is in memory twice


@dataclass(frozen=True)
class Pieces:
    """Where the pieces of a model lie: folders, and a file or folder for the checkpoint."""

    base: Path
    speech_encoder: Path
    checkpoint: Path | None = None


def init(
    pieces: Pieces,
    output: Path,
    allow_partial: bool = False,
    dtype: torch.dtype = torch.bfloat16,
    report: Callable[[OverlayReport], None] | None = None,
) -> None:
    """Write a model folder that `openmocha generate --model` opens, weights as sharded safetensors.

    Args:
        allow_partial: where a checkpoint lacks tensors, keep the base model's.
        report: told what of MoCha-Demo's checkpoint fitted, once it did.

    Raises ValueError where the pieces do not belong together, FileNotFoundError for one that is
    missing, FileExistsError for an output that exists.
    """
    index = store.read_json(pieces.base / store.INDEX, ["transformer"])
    encoder = read_speech_encoder(pieces.speech_encoder)
    if output.exists():
        raise FileExistsError(f"{output} exists already; name a new folder")
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for name in TRANSFORMERS:
            if (index.get(name) or [None])[0] is not None:
                kind = index[name][1]
                model = build_transformer(pieces, name, kind, encoder, allow_partial, dtype, report)
                model.save_pretrained(part / name, max_shard_size=SHARD_SIZE)
                index[name] = [type(model).__module__, type(model).__name__]
                del model
        share_other_parts(pieces.base, part, list(index))
        encoder.save_pretrained(part / "speech_encoder")
        store.write_json(part / store.INDEX, index)
        store.write_checksums(part)
        part.rename(output)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_speech_encoder(folder: Path) -> Any:
    """The encoder of a Wav2Vec2 or Whisper folder. Raises ValueError for anything else."""
    from openmocha.models.speech_encoder import SpeechEncoder
    from openmocha.models.whisper_features import WhisperFeatures

    config = folder / "config.json"
    whisper = config.is_file() and store.read_json(config).get("model_type") == "whisper"
    return (WhisperFeatures if whisper else SpeechEncoder).from_pretrained(folder)


def build_transformer(
    pieces: Pieces,
    name: str,
    kind: str,
    encoder: Any,
    allow_partial: bool,
    dtype: torch.dtype,
    report: Callable[[OverlayReport], None] | None,
) -> Any:
    """One transformer of the base, with speech. Raises ValueError for pieces that do not fit."""
    config = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in store.read_json(pieces.base / name / "config.json").items()
        if not key.startswith("_")
    }
    if kind == "HunyuanVideoTransformer3DModel":
        return _hunyuan(config, pieces, name, encoder, allow_partial, dtype, report)
    if kind != "WanTransformer3DModel":
        raise ValueError(
            f"{pieces.base} has a transformer {kind}; expected WanTransformer3DModel or "
            "HunyuanVideoTransformer3DModel"
        )
    if pieces.checkpoint is not None:
        return _humo(config, pieces.checkpoint, encoder, dtype)
    return _wan(config, read_weights(pieces.base / name), encoder, dtype)


def _wan(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], encoder: Any, dtype: torch.dtype
) -> Any:
    from openmocha.models.wan import WanMoChaTransformer3DModel, text_only

    speech = {"speech_layers": encoder.layers, "speech_width": encoder.width}
    return assemble(WanMoChaTransformer3DModel, text_only(config) | speech, tensors, dtype)


def _humo(config: Mapping[str, Any], checkpoint: Path, encoder: Any, dtype: torch.dtype) -> Any:
    """HuMo's weights are whole: of the base only the configuration is used."""
    from openmocha.models.wan import HUMO_TOKENS, HUMO_WINDOW, WanMoChaTransformer3DModel, text_only

    tensors = from_humo(read_weights(checkpoint), config["num_layers"])
    first, last = (tensors[f"{PROJECTOR}.linear_{number}.weight"] for number in (1, 3))
    settings = text_only(config) | {
        "in_channels": tensors["patch_embedding.weight"].shape[1],
        "speech_kind": "humo",
        "speech_layers": encoder.layers,
        "speech_width": first.shape[1] // (HUMO_WINDOW * encoder.layers),
        "speech_hidden": first.shape[0],
        "speech_token_width": last.shape[0] // HUMO_TOKENS,
    }
    if settings["speech_width"] != encoder.width:
        raise ValueError(
            f"HuMo's weights hear features of width {settings['speech_width']}, the speech encoder "
            f"gives {encoder.width}; give whisper-large-v3"
        )
    return assemble(WanMoChaTransformer3DModel, settings, tensors, dtype)


def _hunyuan(
    config: dict[str, Any],
    pieces: Pieces,
    name: str,
    encoder: Any,
    allow_partial: bool,
    dtype: torch.dtype,
    report: Callable[[OverlayReport], None] | None,
) -> Any:
    from accelerate import init_empty_weights

    from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel

    if config.pop("image_condition_type", None) is not None:
        raise ValueError(f"{pieces.base} starts from images; give HunyuanVideo's text-to-video")
    settings = config | {
        "speech_layers": encoder.layers,
        "speech_width": encoder.width,
        "speech_window": "paper" if pieces.checkpoint is None else "own",
    }
    tensors = read_weights(pieces.base / name)
    if pieces.checkpoint is not None:
        with init_empty_weights():
            places = dict(HunyuanMoChaTransformer3DModel(**settings).named_parameters())
        tensors, fitted = overlay(places, tensors, read_weights(pieces.checkpoint), allow_partial)
        if report is not None:
            report(fitted)
    return assemble(HunyuanMoChaTransformer3DModel, settings, tensors, dtype)


def share_other_parts(base: Path, output: Path, names: Sequence[str]) -> None:
    """VAE, text encoders, tokenizers and scheduler as they are; hard links where the disk can."""
    for name in names:
        if name not in TRANSFORMERS and (base / name).is_dir():
            shutil.copytree(base / name, output / name, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk
        shutil.copy2(source, target)
