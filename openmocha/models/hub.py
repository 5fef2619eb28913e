"""Public models by name: their pieces fetched from the hub, made into one folder, kept.

    name -> repositories -> size against free disk -> download -> (init) -> model folder

Nothing but weights, settings and tokenizers is downloaded. Importing this is cheap; huggingface_hub
comes when something is fetched.
"""

import fnmatch
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmocha.memory import GIB, Film, MemoryPlan, Part, peak_bytes
from openmocha.models import store

# Of a diffusers folder. Pickles only where a file is named in full.
SAFE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


@dataclass(frozen=True)
class Source:
    """Files of a hub repository, and the file or folder among them that is meant."""

    repository: str
    files: tuple[str, ...] = SAFE_FILES
    path: str = ""


@dataclass(frozen=True)
class PublicModel:
    """A model that is fetched by name, what it consists of, and the film it makes by default."""

    name: str
    licence: str
    summary: str
    accepts: str
    base: Source
    parts: tuple[Part, ...]
    film: Film
    speech_encoder: Source | None = None
    checkpoint: Source | None = None
    also_called: tuple[str, ...] = ()


WAN_LICENCE = "Apache-2.0"
WHISPER = Source(
    "openai/whisper-large-v3", ("config.json", "preprocessor_config.json", "model.safetensors")
)
WAV2VEC2 = Source("facebook/wav2vec2-base-960h", ("config.json", "model.safetensors"))
# Parameters, and those of the largest block (tests/test_hub.py counts them).
UMT5 = Part("text_encoder", 5_680_910_336, 1_050_148_864)
WAN_VAE = Part("vae", 126_892_531, 25_441_728)
WAN22_VAE = Part("vae", 704_688_668, 185_613_312)


def _config_only(repository: str) -> Source:
    """A base whose transformer is replaced: of that, its settings suffice."""
    parts = ("vae", "text_encoder", "tokenizer", "scheduler")
    return Source(
        repository,
        ("model_index.json", "transformer/config.json", *(f"{part}/*" for part in parts)),
    )


def _film(frames: int, height: int, width: int, side: int, model: int, at_once: int = 4) -> Film:
    """`side` pixels of a token. Wan's decoder makes four frames at once."""
    tokens = ((frames - 1) // 4 + 1) * (height // side) * (width // side)
    return Film(frames, height, width, tokens, model, at_once)


def _wan(name: str, summary: str, parts: tuple[Part, ...], film: Film) -> PublicModel:
    return PublicModel(
        f"Wan-AI/{name}",
        WAN_LICENCE,
        summary,
        "prompt (speech after `openmocha init` and training)",
        Source(f"Wan-AI/{name}"),
        (UMT5, *parts),
        film,
    )


PUBLIC_MODELS = (
    PublicModel(
        "CongWei1230/MoCha-Demo",
        "none stated; on top of HunyuanVideo's: Tencent Hunyuan Community Licence, which excludes "
        "the EU, the UK and South Korea",
        "HunyuanVideo 13B that hears; 129 frames at 832x480, 24 a second",
        "speech; speech and prompt; image, speech and prompt",
        Source("hunyuanvideo-community/HunyuanVideo"),
        (
            Part("text_encoder", 7_505_186_816, 525_598_720),
            Part("text_encoder_2", 123_060_480, 37_945_344),
            Part("vae", 246_478_803, 49_554_944),
            Part("transformer", 15_676_699_980, 434_234_112),
        ),
        _film(129, 480, 832, 16, 3072, 129),
        WAV2VEC2,
        Source("CongWei1230/MoCha-Demo", ("model.ckpt",), "model.ckpt"),
    ),
    PublicModel(
        "bytedance-research/HuMo-1.7B",
        WAN_LICENCE,
        "Wan 2.1 1.3B that hears; 97 frames at 832x480, 25 a second",
        "speech and prompt",
        _config_only("Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        (UMT5, WAN_VAE, Part("transformer", 1_741_569_088, 55_890_176)),
        _film(97, 480, 832, 16, 1536),
        WHISPER,
        Source("bytedance-research/HuMo", ("HuMo-1.7B/ema.pth",), "HuMo-1.7B/ema.pth"),
        ("bytedance-research/HuMo",),
    ),
    PublicModel(
        "bytedance-research/HuMo-17B",
        WAN_LICENCE,
        "Wan 2.1 14B that hears; 97 frames at 832x480, 25 a second",
        "speech and prompt",
        _config_only("Wan-AI/Wan2.1-T2V-14B-Diffusers"),
        (UMT5, WAN_VAE, Part("transformer", 17_055_925_312, 419_592_704)),
        _film(97, 480, 832, 16, 5120),
        WHISPER,
        Source(
            "bytedance-research/HuMo", ("HuMo-17B/*.safetensors", "HuMo-17B/*.json"), "HuMo-17B"
        ),
    ),
    _wan(
        "Wan2.1-T2V-1.3B-Diffusers",
        "81 frames at 832x480, 16 a second",
        (WAN_VAE, Part("transformer", 1_418_996_800, 46_440_704)),
        _film(81, 480, 832, 16, 1536),
    ),
    _wan(
        "Wan2.1-T2V-14B-Diffusers",
        "81 frames at 832x480, 16 a second",
        (WAN_VAE, Part("transformer", 14_288_491_584, 351_394_304)),
        _film(81, 480, 832, 16, 5120),
    ),
    _wan(
        "Wan2.2-TI2V-5B-Diffusers",
        "121 frames at 1280x704, 24 a second; from an image too",
        (WAN22_VAE, Part("transformer", 4_999_787_712, 163_656_704)),
        _film(121, 704, 1280, 32, 3072),
    ),
    _wan(
        "Wan2.2-T2V-A14B-Diffusers",
        "two experts; 81 frames at 832x480, 16 a second",
        (
            WAN_VAE,
            Part("transformer", 14_288_491_584, 351_394_304),
            Part("transformer_2", 14_288_491_584, 351_394_304),
        ),
        _film(81, 480, 832, 16, 5120),
    ),
)


def public_model(name: str) -> PublicModel | None:
    """The known model of that name."""
    for model in PUBLIC_MODELS:
        if name in (model.name, *model.also_called):
            return model
    return None


def model_rows() -> list[dict[str, Any]]:
    """What `openmocha models` prints. Public models are fetched when they are first used."""
    embedded: list[dict[str, Any]] = [
        {
            "name": model.name,
            "installed": (model.folder / store.INDEX).is_file(),
            "licence": model.licence,
            "summary": model.summary,
            "accepts": "prompt; speech and prompt; image, speech and prompt",
            "weights_gib": None,
            "memory_gib": None,
        }
        for model in store.KNOWN_MODELS
    ]
    public = [
        {
            "name": model.name,
            "installed": True,
            "licence": model.licence,
            "summary": model.summary,
            "accepts": model.accepts,
            "weights_gib": round(2 * sum(p.parameters for p in model.parts) / GIB, 1),
            "memory_gib": memory_gib(model),
        }
        for model in PUBLIC_MODELS
    ]
    return embedded + public


def memory_gib(model: PublicModel) -> dict[str, int]:
    """GPU memory of its default film by --memory setting, in bfloat16: an estimate."""
    plans = {
        "fast": MemoryPlan(vae_tiling=True),
        "balanced": MemoryPlan("model", vae_tiling=True),
        "low": MemoryPlan("group", vae_tiling=True),
    }
    return {n: round(peak_bytes(p, model.parts, model.film) / GIB) for n, p in plans.items()}


def open_public(name: str, say: Callable[[str], None] | None = None) -> Path:
    """The folder of a hub model: a known one made from its pieces once, any other as diffusers
    saved it. Raises what `fetch` and `assemble.init` raise."""
    model = public_model(name)
    if model is None:
        return fetch(Source(name), say)
    if model.speech_encoder is None:
        return fetch(model.base, say)
    made = cache_folder() / model.name.replace("/", "--")
    if (made / store.INDEX).is_file():
        return made
    from openmocha.backbones.assemble import Pieces, init

    transformers = (p.parameters for p in model.parts if p.name.startswith("transformer"))
    check_disk(2 * sum(transformers), made, model.name)
    base, encoder = fetch(model.base, say), fetch(model.speech_encoder, say)
    checkpoint = None if model.checkpoint is None else fetch(model.checkpoint, say)
    init(Pieces(base, encoder, checkpoint), made)
    return made


def cache_folder() -> Path:
    """Where folders made from several pieces are kept; OPENMOCHA_CACHE says otherwise."""
    given = os.environ.get("OPENMOCHA_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "openmocha"


def fetch(source: Source, say: Callable[[str], None] | None = None) -> Path:
    """A repository's files, downloaded unless they are here.

    Raises ValueError that names the repository and the next step: gated, absent, no network, too
    little disk.
    """
    import huggingface_hub as hub
    from huggingface_hub import errors

    name, files = source.repository, list(source.files)
    page = f"https://huggingface.co/{name}"
    try:
        needed = _missing_bytes(source)
        if needed and say is not None:
            say(f"downloading {needed / GIB:.1f} GiB of {name}")
        check_disk(needed, Path(hub.constants.HF_HUB_CACHE), name)
        return Path(hub.snapshot_download(name, allow_patterns=files)) / source.path
    except errors.GatedRepoError as error:
        raise ValueError(
            f"repository {name} is gated: accept its licence at {page}, then run `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"repository {name} does not exist, or is private (`hf auth login`); known models: "
            "`openmocha models`"
        ) from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:  # type: ignore[attr-defined]
        return _from_cache(source, error)


def _from_cache(source: Source, reason: Exception) -> Path:
    """What an earlier download left, where the hub cannot be reached."""
    import huggingface_hub as hub

    try:
        folder = hub.snapshot_download(
            source.repository, allow_patterns=list(source.files), local_files_only=True
        )
    except Exception as error:  # whatever is wrong with the cache, the first reason counts
        raise ValueError(
            f"repository {source.repository} cannot be reached "
            f"({(str(reason) or type(reason).__name__).splitlines()[0]}) and is not in the cache; "
            "check the network, or give a local folder"
        ) from error
    return Path(folder) / source.path


def _missing_bytes(source: Source) -> int:
    """Of the files that are not here yet. Raises what huggingface_hub raises."""
    import huggingface_hub as hub

    info: Any = hub.HfApi().model_info(source.repository, files_metadata=True)
    wanted = [f for f in info.siblings if _matches(f.rfilename, source.files)]
    if not wanted:
        raise ValueError(
            f"repository {source.repository} holds none of {', '.join(source.files)}; it is no "
            "model that this version opens"
        )
    here = hub.try_to_load_from_cache
    return sum(
        f.size or 0 for f in wanted if not isinstance(here(source.repository, f.rfilename), str)
    )


def _matches(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(file, pattern) for pattern in patterns)


def check_disk(needed: int, folder: Path, name: str) -> None:
    """Raise ValueError where a disk has less room than needed."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{name} needs {needed / GIB:.1f} GiB of disk, {folder} has {free / GIB:.1f} GiB free; "
            "make room, or set HF_HOME and OPENMOCHA_CACHE to folders on another disk"
        )
