"""How a large model fits the memory there is: a plan, chosen before anything is loaded.

    sizes of the folder's networks + the film's shape + free memory -> MemoryPlan -> apply_plan

"fast" keeps everything on the GPU and skips blocks whose input hardly changed; "balanced" keeps one
network there at a time where they do not fit together; "low" brings the transformer block by block.
Everything is diffusers' and torchao's; estimates are arithmetic, not measurements (`peak_bytes`).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from openmocha.models import store
from openmocha.sampling import Sampling

Memory = Literal["low", "balanced", "fast"]
MEMORY: tuple[Memory, ...] = ("low", "balanced", "fast")
GIB = 2**30
SHARE = 0.92  # of free memory that a plan may ask for; kernels and fragments take some
TRANSFORMERS = ("transformer", "transformer_2")

# A block holds about this many arrays of (tokens, width) float32 at its widest: residual, query,
# key, value, attended, and four widths of FFN, of which base models compute some in float32.
LIVE_WIDTHS = 12
# A decoder's widest arrays have this many channels at full resolution, and three are live.
DECODER_CHANNELS, DECODER_LIVE = 128, 3
TILE_PIXELS = 256 * 256 * 16


@dataclass(frozen=True)
class Part:
    """A network of a model folder: parameters, and those of its largest block."""

    name: str
    parameters: int
    largest_block: int = 0


@dataclass(frozen=True)
class Film:
    """What is to be made: frames, rows, columns, and what a block of the transformer holds."""

    num_frames: int
    height: int
    width: int
    tokens: int
    model_width: int
    decoded_at_once: int  # frames

    @property
    def name(self) -> str:
        return f"{self.num_frames} frames of {self.width}x{self.height}"


@dataclass(frozen=True)
class MemoryPlan:
    """Where networks are and in what form.

    offload: "none"; "model" (one network at a time on the GPU); "group" (one block at a time);
        "disk" (as group, the rest in files of `offload_folder`).
    quantisation: of the transformer. "fp8" stores weights in 8 bits and multiplies in bfloat16
        (diffusers' layerwise casting); "int8" is torchao's, weights only.
    first_block_cache: how much a first block's answer may change before the others are computed.
    attention: a backend of diffusers, such as "flash"; None is torch's own choice.
    """

    offload: Literal["none", "model", "group", "disk"] = "none"
    quantisation: Literal["int8", "fp8"] | None = None
    vae_tiling: bool = False
    first_block_cache: float | None = None
    compile: bool = False
    attention: str | None = None
    offload_folder: str | None = None

    def __post_init__(self) -> None:
        if self.compile and (self.first_block_cache is not None or self.offload != "none"):
            raise ValueError(
                "a plan compiles blocks, and caches or offloads them: its hooks would interrupt "
                "every compiled block; choose one"
            )
        if self.quantisation == "int8" and self.offload != "none":
            raise ValueError("torchao's int8 weights cannot be offloaded; choose fp8")
        if (self.offload == "disk") != (self.offload_folder is not None):
            raise ValueError("offload 'disk' needs offload_folder, and nothing else has one")

    def __str__(self) -> str:
        where = {
            "none": "everything on the GPU",
            "model": "one network at a time on the GPU",
            "group": "one block at a time on the GPU",
            "disk": f"one block at a time on the GPU, the rest in {self.offload_folder}",
        }[self.offload]
        more = [
            self.quantisation and f"transformer in {self.quantisation}",
            self.vae_tiling and "decoded in tiles",
            self.first_block_cache and f"first-block cache {self.first_block_cache}",
            self.compile and "compiled blocks",
            self.attention and f"{self.attention} attention",
        ]
        return ", ".join([where, *(text for text in more if text)])


PLANS: dict[Memory, tuple[MemoryPlan, ...]] = {
    "fast": (
        MemoryPlan(first_block_cache=0.05),
        MemoryPlan(first_block_cache=0.05, vae_tiling=True),
        MemoryPlan(first_block_cache=0.05, vae_tiling=True, quantisation="fp8"),
    ),
    "balanced": (
        MemoryPlan(),
        MemoryPlan(vae_tiling=True),
        MemoryPlan("model", vae_tiling=True),
        MemoryPlan("model", "fp8", vae_tiling=True),
    ),
    "low": (
        MemoryPlan("group", vae_tiling=True),
        MemoryPlan("group", "fp8", vae_tiling=True),
    ),
}


def checked_memory(name: str | None) -> Memory | None:
    """A setting by name. Raises ValueError for another."""
    for known in MEMORY:
        if name == known:
            return known
    if name is not None:
        raise ValueError(f"memory is {name!r}; expected {', '.join(MEMORY)}")
    return None


def folder_parts(folder: Path) -> list[Part]:
    """The networks of a folder, counted from the headers of their files."""
    from openmocha.models.weights import tensor_sizes, weight_files

    parts = []
    for name, kind in store.read_json(folder / store.INDEX).items():
        if isinstance(kind, list) and (folder / name / "config.json").is_file():
            sizes = tensor_sizes(weight_files(folder / name))
            parts.append(Part(name, sum(sizes.values()), largest_block(sizes)))
    return parts


def largest_block(sizes: Mapping[str, int]) -> int:
    """Elements of the largest of a network's blocks, by the names of its tensors.

    >>> largest_block({"blocks.0.q": 2, "blocks.0.k": 2, "blocks.1.q": 3, "out": 1})
    4
    """
    blocks: dict[str, int] = {}
    for name, size in sizes.items():
        numbered = re.match(r".*?\.\d+(?=\.)", name)
        block = numbered.group() if numbered else name
        blocks[block] = blocks.get(block, 0) + size
    return max(blocks.values())


def folder_film(folder: Path, sampling: Sampling) -> Film:
    """The longest film that a folder's settings ask for, as its transformer sees it."""
    config = store.read_json(folder / "transformer" / "config.json")
    vae = store.read_json(folder / "vae" / "config.json")
    wan = "z_dim" in vae
    pixels = vae.get("scale_factor_spatial") or vae.get("spatial_compression_ratio") or 8
    side = 2 * pixels  # of a token: both models patch latents 2 x 2
    latents = (sampling.num_frames - 1) // 4 + 1
    return Film(
        sampling.num_frames,
        sampling.height,
        sampling.width,
        latents * (sampling.height // side) * (sampling.width // side),
        config["num_attention_heads"] * config["attention_head_dim"],
        4 if wan else sampling.num_frames,  # Wan's decoder goes latent by latent
    )


def part_bytes(part: Part, plan: MemoryPlan, dtype: torch.dtype) -> int:
    """What a part's weights take; a quantised transformer's a byte each."""
    quantised = part.name in TRANSFORMERS and plan.quantisation is not None
    return part.parameters * (1 if quantised else dtype.itemsize)


def weights_bytes(plan: MemoryPlan, parts: Sequence[Part], dtype: torch.dtype) -> int:
    """Weights on the GPU at one time."""
    sizes = {part.name: part_bytes(part, plan, dtype) for part in parts}
    if plan.offload == "none":
        return sum(sizes.values())
    if plan.offload == "model":
        return max(sizes.values())
    # The next block is on its way while one works.
    blocks = [2 * p.largest_block * sizes[p.name] // max(1, p.parameters) for p in parts]
    return max(blocks)


def peak_bytes(
    plan: MemoryPlan, parts: Sequence[Part], film: Film, dtype: torch.dtype = torch.bfloat16
) -> int:
    """GPU memory at the most: weights, and the larger of a block's arrays and the decoder's.

    An estimate. Attention is counted without its matrix of scores, as flash kernels work.
    """
    denoising = film.tokens * film.model_width * LIVE_WIDTHS * 4
    pixels = film.num_frames * film.height * film.width
    at_once = min(film.decoded_at_once, film.num_frames) * film.height * film.width
    if plan.vae_tiling:
        at_once = min(at_once, TILE_PIXELS)
    decoding = at_once * DECODER_CHANNELS * DECODER_LIVE * dtype.itemsize + 2 * pixels * 3 * 4
    return weights_bytes(plan, parts, dtype) + max(denoising, decoding)


def choose_plan(
    memory: Memory,
    parts: Sequence[Part],
    film: Film,
    free_bytes: int,
    dtype: torch.dtype = torch.bfloat16,
) -> MemoryPlan:
    """The first plan of a setting that fits. Raises ValueError, with needed and free, if none."""
    for plan in PLANS[memory]:
        if peak_bytes(plan, parts, film, dtype) <= SHARE * free_bytes:
            return plan
    least = peak_bytes(PLANS[memory][-1], parts, film, dtype)
    lower = MEMORY[: MEMORY.index(memory)]
    advice = f"--memory {lower[-1]}" if lower else "a smaller --size"
    raise ValueError(
        f"{film.name} need about {least / GIB:.0f} GiB of GPU memory with --memory {memory}, "
        f"{free_bytes / GIB:.0f} GiB are free; try {advice}"
    )


def check_host(parts: Sequence[Part], dtype: torch.dtype, name: str) -> None:
    """Raise ValueError where the weights are more than the memory that this machine has free."""
    needed = sum(part.parameters for part in parts) * dtype.itemsize
    free = available_bytes()
    if needed > free:
        raise ValueError(
            f"model {name} has {needed / GIB:.1f} GiB of weights, this machine has "
            f"{free / GIB:.1f} GiB of memory free; use a machine with more, or a smaller model"
        )


def available_bytes() -> int:
    """Memory that programs could get without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":") for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def apply_plan(plan: MemoryPlan, backbone: Any, device: torch.device) -> None:
    """Bring a loaded DiffusersBackbone into the form and to the place that a plan says."""
    for transformer in _transformers(backbone.parts):
        if plan.quantisation == "fp8":
            transformer.enable_layerwise_casting(
                storage_dtype=torch.float8_e4m3fn, compute_dtype=backbone.dtype
            )
        if plan.quantisation == "int8":
            _quantise(transformer)
        if plan.attention is not None:
            transformer.set_attention_backend(plan.attention)
        if plan.first_block_cache is not None:
            from diffusers import FirstBlockCacheConfig

            transformer.enable_cache(FirstBlockCacheConfig(plan.first_block_cache))
        if plan.compile:
            transformer.compile_repeated_blocks()
    if plan.vae_tiling:
        backbone.vae.enable_tiling()
    _offload(plan, backbone, device)


def _transformers(parts: Any) -> list[Any]:
    found = (getattr(parts, name, None) for name in TRANSFORMERS)
    return [transformer for transformer in found if transformer is not None]


def _quantise(transformer: nn.Module) -> None:
    """torchao's int8 for the linear layers of blocks; what is outside of them is small and
    sensitive."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    def inside_block(module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Linear) and "blocks." in name

    quantize_(transformer, Int8WeightOnlyConfig(), filter_fn=inside_block)


def _offload(plan: MemoryPlan, backbone: Any, device: torch.device) -> None:
    backbone.placed_by_plan = plan.offload != "none"
    if plan.offload == "model":
        backbone.parts.enable_model_cpu_offload(device=device)
    elif plan.offload in ("group", "disk"):
        backbone.parts.enable_group_offload(
            onload_device=device,
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
            offload_to_disk_path=plan.offload_folder,
        )
    backbone.to(device, backbone.dtype)
