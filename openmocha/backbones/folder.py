"""Model folders: which backbone a folder holds, loading and saving it.

A folder has diffusers' layout: model_index.json says the class of every part.
"""

import os
import shutil
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

# Named, not imported: importing diffusers takes seconds, and the embedded model needs none of it.
WAN_TRANSFORMERS = ("WanTransformer3DModel", "WanMoChaTransformer3DModel")


def load(name: str | os.PathLike[str], dtype: torch.dtype) -> tuple[Backbone, Sampling]:
    """The backbone of a model by name or folder, its files checked, and its settings.

    dtype is that of a large model's weights; the embedded model's are float32. Raises what
    `store.model_folder` and `store.verify` raise, ValueError for another kind of model.
    """
    folder = store.model_folder(name)
    kind = store.read_json(folder / store.INDEX, ["transformer"])["transformer"][1]
    if kind == MoChaTransformer3DModel.__name__:
        store.verify(folder)
        return load_paper(folder, str(name)), Sampling.from_folder(folder / "scheduler")
    if kind in WAN_TRANSFORMERS:
        from openmocha.backbones.wan import load_wan, wan_sampling

        if (folder / store.CHECKSUMS).is_file():  # diffusers' own folders have none
            store.verify(folder)
        wan = load_wan(folder, dtype)
        return wan, wan_sampling(wan)
    known = ", ".join((MoChaTransformer3DModel.__name__, *WAN_TRANSFORMERS))
    raise ValueError(f"model {name} has a transformer {kind}; this version opens {known}")


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
    if not isinstance(backbone, PaperBackbone):
        raise ValueError(f"a {type(backbone).__name__} cannot be saved yet; only PaperBackbone can")
    save_paper(backbone, sampling, folder, dtype)


def init_wan(base: Path, speech_encoder: Path, output: Path) -> None:
    """A base folder of Wan with silent speech attention and a speech encoder, ready to train.

    Raises ValueError where the base is no Wan text-to-video model, FileExistsError for an output
    that exists.
    """
    from openmocha.backbones.diffusers_backbone import TRANSFORMERS
    from openmocha.backbones.wan import load_transformer

    index = store.read_json(store.model_folder(base) / store.INDEX, ["transformer"])
    if index["transformer"][1] != WAN_TRANSFORMERS[0]:
        raise ValueError(
            f"{base} has a transformer {index['transformer'][1]}; expected {WAN_TRANSFORMERS[0]}"
        )
    encoder = SpeechEncoder.from_pretrained(speech_encoder)
    if output.exists():
        raise FileExistsError(f"{output} exists already; name a new folder")
    output.mkdir(parents=True)
    for name in TRANSFORMERS:
        if (index.get(name) or [None])[0] is None:
            continue
        model = load_transformer(
            base / name,
            WAN_TRANSFORMERS[0],
            torch.bfloat16,
            speech_layers=encoder.layers,
            speech_width=encoder.width,
        )
        model.save_pretrained(output / name)
        index[name] = ["openmocha.models.wan", WAN_TRANSFORMERS[1]]
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(base / part, output / part)
    encoder.save_pretrained(output / "speech_encoder")
    index["speech_encoder"] = ["openmocha", SpeechEncoder.__name__]
    store.write_json(output / store.INDEX, index)
    store.write_checksums(output)


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
