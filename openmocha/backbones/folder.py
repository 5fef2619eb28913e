"""Model folders: which backbone a folder holds, loading and saving it.

A folder has diffusers' layout: model_index.json says the class of every part.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import openmocha
from openmocha.backbones.backbone import Backbone
from openmocha.backbones.paper import PaperBackbone
from openmocha.memory import (
    GIB,
    Memory,
    MemoryPlan,
    apply_plan,
    check_host,
    choose_plan,
    folder_film,
    folder_parts,
    peak_bytes,
)
from openmocha.models import store
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.text_encoder import PACKAGE, PACKAGE_SHA256, TextEncoder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE
from openmocha.sampling import SETTINGS_FILE, Sampling
from openmocha.toon.caption_reader import CaptionReader

if TYPE_CHECKING:
    from openmocha.backbones.diffusers_backbone import DiffusersBackbone

# Named, not imported: importing diffusers takes seconds, and the embedded model needs none of it.
HUNYUAN = "HunyuanMoChaTransformer3DModel"
LARGE_TRANSFORMERS = (
    "WanTransformer3DModel",
    "WanMoChaTransformer3DModel",
    HUNYUAN,
)
READER = "caption_reader"
GUIDED = "transformer_guided"
SAMPLING_FILE = "openmocha_sampling.json"  # scheduler/ of a diffusers folder is diffusers' own


def load(
    name: str | os.PathLike[str],
    device: torch.device,
    dtype: torch.dtype,
    memory: Memory | None = None,
    lora: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Backbone, Sampling]:
    """The backbone of a model by name or folder, its files checked, on its device, and its
    settings.

    dtype is that of a large model's weights; the embedded model's are float32. `say` is told about
    downloads, and what memory a large model is planned to take, before it is loaded. Raises what
    `store.model_folder` and `store.verify` raise, ValueError for another kind of model, and for one
    that is too large for this machine.
    """
    folder = store.model_folder(name, say)
    kind = store.read_json(folder / store.INDEX, ["transformer"])["transformer"][1]
    if kind == MoChaTransformer3DModel.__name__:
        store.verify(folder)
        if lora is not None:
            raise ValueError(f"model {name} takes no LoRA; large models do")
        settings = Sampling.from_file(folder / "scheduler" / SETTINGS_FILE)
        paper = load_paper(folder, str(name))
        if any(step.scale is None for step in settings.fast_steps) and not paper.guided_transformer:
            raise ValueError(
                f"model {name} has fast steps for a second transformer, but no {GUIDED}/; restore "
                "it, or take fast_steps out of its settings"
            )
        paper.to(device, dtype)
        return paper, settings
    if kind not in LARGE_TRANSFORMERS:
        known = ", ".join((MoChaTransformer3DModel.__name__, *LARGE_TRANSFORMERS))
        raise ValueError(f"model {name} has a transformer {kind}; this version opens {known}")
    store.check_large(folder)
    parts = folder_parts(folder)
    check_host(parts, dtype, str(name))
    sampling = large_sampling(folder, kind)
    plan = MemoryPlan()
    if device.type == "cuda":
        film = folder_film(folder, sampling)
        free = torch.cuda.mem_get_info(device)[0]
        plan = choose_plan(memory or "balanced", parts, film, free, dtype)
        peak = peak_bytes(plan, parts, film, dtype) / GIB
        say(f"{film.name}: about {peak:.0f} GiB of {free / GIB:.0f} GiB of GPU memory; {plan}")
    elif memory is not None:
        say(f"--memory {memory} is for a GPU; on a {device.type} everything is in its own memory")
    backbone = load_large(folder, kind, dtype)
    if lora is not None:
        backbone.load_lora(lora)
    apply_plan(plan, backbone, device)
    return backbone, sampling


def load_large(folder: Path, kind: str, dtype: torch.dtype) -> "DiffusersBackbone":
    """The networks of a folder in diffusers' layout, on the CPU."""
    from openmocha.backbones import humo, hunyuan, wan

    if kind == HUNYUAN:
        return hunyuan.load_hunyuan(folder, dtype)
    config = store.read_json(folder / "transformer" / "config.json")
    is_humo = config.get("speech_kind") == "humo"
    return humo.load_humo(folder, dtype) if is_humo else wan.load_wan(folder, dtype)


def large_sampling(folder: Path, kind: str) -> Sampling:
    """The settings saved with a folder, or else its model's own."""
    from openmocha.backbones import humo, hunyuan, wan

    if (folder / SAMPLING_FILE).is_file():
        return Sampling.from_file(folder / SAMPLING_FILE)
    if kind == HUNYUAN:
        return hunyuan.SAMPLING
    config = store.read_json(folder / "transformer" / "config.json")
    if config.get("speech_kind") == "humo":
        return humo.SAMPLING_17B if config["in_channels"] > 16 else humo.SAMPLING_1_7B
    latent_channels = store.read_json(folder / "vae" / "config.json").get("z_dim", 16)
    hears, two_experts = ((folder / n).is_dir() for n in ("speech_encoder", "transformer_2"))
    return wan.wan_sampling(latent_channels, hears, two_experts)


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
    parts = store.read_json(folder / store.INDEX)
    reader = CaptionReader.from_pretrained(folder / READER) if READER in parts else None
    guided = MoChaTransformer3DModel.from_pretrained(folder / GUIDED) if GUIDED in parts else None
    return PaperBackbone(
        MoChaTransformer3DModel.from_pretrained(folder / "transformer"),
        VideoVAE.from_pretrained(folder / "vae"),
        SpeechEncoder.from_pretrained(folder / "speech_encoder"),
        TextEncoder.from_pretrained(reader=reader),
        guided,
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
    sampling.to_file(folder / SAMPLING_FILE)
    store.write_checksums(folder)


def save_paper(
    backbone: PaperBackbone, sampling: Sampling, folder: str | os.PathLike[str], dtype: torch.dtype
) -> None:
    """Write the model folder, weights in `dtype`; the checksums come last."""
    folder = Path(folder)
    backbone.transformer.save_pretrained(folder / "transformer", dtype)
    backbone.vae.save_pretrained(folder / "vae", dtype=dtype)
    backbone.speech_encoder.save_pretrained(folder / "speech_encoder", dtype=dtype)
    sampling.to_file(folder / "scheduler" / SETTINGS_FILE)
    index = {
        "_class_name": "MoChaPipeline",
        "_openmocha_version": openmocha.__version__,
        "transformer": ["openmocha", type(backbone.transformer).__name__],
        "vae": ["openmocha", type(backbone.vae).__name__],
        "speech_encoder": ["openmocha", type(backbone.speech_encoder).__name__],
        "scheduler": ["openmocha", Sampling.__name__],
        "text_encoder": [PACKAGE, PACKAGE_SHA256],
    }
    reader = backbone.text_encoder.reader
    if reader is not None:
        reader.save_pretrained(folder / READER, dtype)
        index[READER] = ["openmocha", type(reader).__name__]
    if backbone.guided_transformer is not None:
        backbone.guided_transformer.save_pretrained(folder / GUIDED, dtype)
        index[GUIDED] = index["transformer"]
    store.write_json(folder / store.INDEX, index)
    store.write_checksums(folder)
