"""Model folders: which backbone a folder holds, loading and saving it.

A folder has diffusers' layout: model_index.json says the class of every part.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import openmocha
from openmocha.backbones.backbone import Backbone
from openmocha.backbones.paper import PaperBackbone
from openmocha.models import store
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.text_encoder import PACKAGE, PACKAGE_SHA256, TextEncoder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE
from openmocha.sampling import SETTINGS_FILE, Sampling

# Named, not imported: importing diffusers takes seconds, and the embedded model needs none of it.
LARGE_TRANSFORMERS = (
    "WanTransformer3DModel",
    "WanMoChaTransformer3DModel",
    "HunyuanMoChaTransformer3DModel",
)
SAMPLING_FILE = "openmocha_sampling.json"  # scheduler/ of a diffusers folder is diffusers' own


def load(name: str | os.PathLike[str], dtype: torch.dtype) -> tuple[Backbone, Sampling]:
    """The backbone of a model by name or folder, its files checked, and its settings.

    dtype is that of a large model's weights; the embedded model's are float32. Raises what
    `store.model_folder` and `store.verify` raise, ValueError for another kind of model.
    """
    folder = store.model_folder(name)
    kind = store.read_json(folder / store.INDEX, ["transformer"])["transformer"][1]
    if kind == MoChaTransformer3DModel.__name__:
        store.verify(folder)
        settings = Sampling.from_file(folder / "scheduler" / SETTINGS_FILE)
        return load_paper(folder, str(name)), settings
    if kind not in LARGE_TRANSFORMERS:
        known = ", ".join((MoChaTransformer3DModel.__name__, *LARGE_TRANSFORMERS))
        raise ValueError(f"model {name} has a transformer {kind}; this version opens {known}")
    store.check_large(folder)
    return load_large(folder, kind, dtype)


def load_large(folder: Path, kind: str, dtype: torch.dtype) -> tuple[Backbone, Sampling]:
    """A folder in diffusers' layout, and the settings saved with it or else the model's own."""
    from openmocha.backbones import humo, hunyuan, wan

    config = store.read_json(folder / "transformer" / "config.json")
    backbone: Backbone
    if kind == "HunyuanMoChaTransformer3DModel":
        backbone = hunyuan.load_hunyuan(folder, dtype)
        sampling = hunyuan.SAMPLING
    elif config.get("speech_kind") == "humo":
        backbone = humo.load_humo(folder, dtype)
        sampling = humo.humo_sampling(backbone)
    else:
        backbone = wan.load_wan(folder, dtype)
        sampling = wan.wan_sampling(backbone)
    if (folder / SAMPLING_FILE).is_file():
        sampling = Sampling.from_file(folder / SAMPLING_FILE)
    return backbone, sampling


def load_paper(folder: Path, name: str) -> PaperBackbone:
    """The parts of a folder that `save` wrote. Raises ValueError for another text encoder."""
    text_package, text_sha256 = store.read_json(folder / store.INDEX, ["text_encoder"])[
        "text_encoder"
    ]
    if (text_package, text_sha256) != (PACKAGE, PACKAGE_SHA256):
        raise ValueError(
            f"model {name} wants the text encoder {text_package} (sha256 {text_sha256[:12]}); "
            f"this version knows {PACKAGE} ({PACKAGE_SHA256[:12]}): install a matching version"
        )
    return PaperBackbone(
        MoChaTransformer3DModel.from_pretrained(folder / "transformer"),
        VideoVAE.from_pretrained(folder / "vae"),
        SpeechEncoder.from_pretrained(folder / "speech_encoder"),
        TextEncoder.from_pretrained(),
    )


def save(
    backbone: Backbone, sampling: Sampling, folder: str | os.PathLike[str], dtype: torch.dtype
) -> None:
    """Write a model folder that `load` reads. A large model's weights keep their own dtype."""
    if isinstance(backbone, PaperBackbone):
        save_paper(backbone, sampling, folder, dtype)
    else:
        save_large(backbone, sampling, Path(folder))


def save_large(backbone: Any, sampling: Sampling, folder: Path) -> None:
    """A diffusers folder, with the speech encoder and settings beside diffusers' parts."""
    backbone.parts.save_pretrained(folder)
    if backbone.speech_encoder is not None:
        backbone.speech_encoder.save_pretrained(folder / "speech_encoder")
    store.write_json(folder / SAMPLING_FILE, asdict(sampling))
    store.write_checksums(folder)


def save_paper(
    backbone: PaperBackbone, sampling: Sampling, folder: str | os.PathLike[str], dtype: torch.dtype
) -> None:
    """Write the model folder, weights in `dtype`; the checksums come last."""
    folder = Path(folder)
    backbone.transformer.save_pretrained(folder / "transformer", dtype)
    backbone.vae.save_pretrained(folder / "vae", dtype=dtype)
    backbone.speech_encoder.save_pretrained(folder / "speech_encoder", dtype=dtype)
    store.write_json(folder / "scheduler" / SETTINGS_FILE, asdict(sampling))
    index = {
        "_class_name": "MoChaPipeline",
        "_openmocha_version": openmocha.__version__,
        "transformer": ["openmocha", type(backbone.transformer).__name__],
        "vae": ["openmocha", type(backbone.vae).__name__],
        "speech_encoder": ["openmocha", type(backbone.speech_encoder).__name__],
        "scheduler": ["openmocha", Sampling.__name__],
        "text_encoder": [PACKAGE, PACKAGE_SHA256],
    }
    store.write_json(folder / store.INDEX, index)
    store.write_checksums(folder)
