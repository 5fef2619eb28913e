"""The frozen networks of a model folder: what writes training shards for it."""

import json
from pathlib import Path

from openmocha.models import store
from openmocha.training.shards import Encoders

FROZEN = ("vae/", "speech_encoder/", "text_encoder/", "caption_reader/")


def is_embedded(folder: Path) -> bool:
    """Whether a model folder holds the paper's own transformer with its small encoders."""
    index = store.read_json(folder / store.INDEX, ["transformer"])
    return bool(index["transformer"][1] == "MoChaTransformer3DModel")


def pixels_per_cell(folder: Path) -> int:
    """Pixels of a latent cell's side."""
    vae = store.read_json(folder / "vae" / "config.json")
    if "widths" in vae:  # a VideoVAE
        return int(2 ** len(vae["widths"]))
    sides = ("scale_factor_spatial", "spatial_compression_ratio")  # Wan's name, HunyuanVideo's
    return int(next((vae[side] for side in sides if side in vae), 8))


def load_encoders(model: str | Path) -> Encoders:
    """Raises ValueError for a model that has no speech encoder to train with."""
    from openmocha.training import large

    folder = store.model_folder(model)
    if not is_embedded(folder):
        large.check_trainable(folder)
        return large.large_encoders(folder)
    from openmocha.backbones.folder import load_paper

    backbone = load_paper(folder, str(model))
    return Encoders(backbone.vae, backbone.speech_encoder, backbone.text_encoder)


def encoder_checksums(model: str | Path) -> dict[str, str]:
    """SHA-256 of each file that shards depend on, by its name in the model folder."""
    record = json.loads((store.model_folder(model) / store.CHECKSUMS).read_text())
    return {name: e["sha256"] for name, e in record.items() if name.startswith(FROZEN)}
