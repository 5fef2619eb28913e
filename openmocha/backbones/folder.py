"""Model folders: which backbone a folder holds, loading and saving it.

A folder has diffusers' layout: model_index.json says the class of every part.
"""

import os
from dataclasses import asdict
from pathlib import Path

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


def load(name: str | os.PathLike[str]) -> tuple[Backbone, Sampling]:
    """The backbone of a model by name or folder, its files checked, and its settings.

    Raises what `store.model_folder` and `store.verify` raise.
    """
    folder = store.model_folder(name)
    store.verify(folder)
    return load_paper(folder, str(name)), Sampling.from_folder(folder / "scheduler")


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
    """Write a model folder that `load` reads."""
    assert isinstance(backbone, PaperBackbone)
    save_paper(backbone, sampling, folder, dtype)


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
