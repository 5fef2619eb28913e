"""Teach a public base to hear: Wan or HunyuanVideo with speech attention, in the paper's stages
1-4.

    model folder (`openmocha init`) + films -> shards by its own encoders -> stages -> model folder

The same loop as the embedded model's (train.py). What differs: a causal VAE, whose first latent
stands for one frame, so every crop begins where its film begins; and float32 weights with gradient
checkpointing, sharded over all ranks (torchrun).
"""

import math
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from openmocha.backbones import folder as model_folders
from openmocha.backbones import hunyuan, wan
from openmocha.backbones.assemble import share_other_parts
from openmocha.backbones.diffusers_backbone import DiffusersBackbone
from openmocha.models import store
from openmocha.models.hunyuan import MODEL_TIMESTEPS, HunyuanMoChaTransformer3DModel
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.training import checkpoint
from openmocha.training.encoders import encoder_checksums, pixels_per_cell
from openmocha.training.objective import Objective
from openmocha.training.parallel import Ranks, local_device
from openmocha.training.samples import CausalLayout, Records
from openmocha.training.shards import (
    Encoders,
    TextStream,
    TextTokens,
    bind_to_networks,
    write_empty_prompt,
)
from openmocha.training.stages import Crop, Stage, paper_stages, with_sources
from openmocha.training.toon_clips import ShardPlan, write_plan
from openmocha.training.train import TrainConfig, newest_of, train

CHECKPOINTING_FROM = 500_000_000  # parameters; smaller models keep their activations


@dataclass(frozen=True)
class LargeTraining:
    """How long and on what; the paper's table has 600,000 steps of 512 clips of 128 frames."""

    steps: int = 1000
    minutes: float = math.inf
    batch_size: int = 1
    latent_frames: int = 21
    height: int = 480
    width: int = 832
    learning_rate: float = 1e-5
    films: int = 64  # to draw of each kind where no shards are given
    seed: int = 0
    workers: int = 1  # each holds the encoders


def train_folder(
    model: str | Path, folder: Path, given: LargeTraining, shards: Path | None = None
) -> Path:
    """Train a model folder and return the new one, `folder`/model. Goes on where it stopped.

    `shards` were written with this model's encoders; without them, toon films are drawn. Raises
    ValueError for a model that cannot be trained here.
    """
    source = store.model_folder(model)
    store.check_large(source)
    check_trainable(source)
    rank, world = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    if shards is None:
        if world > 1:
            raise ValueError(
                f"{world} processes cannot draw one set of films; run one process with --steps 1 "
                f"first, then all of them with --data {folder / 'shards'} and another folder"
            )
        shards = folder / "shards"
        draw_shards(source, shards, given)
    network = load_trainable(source).to(local_device())
    # The norms of diffusers' blocks keep float32 weights under autocast, which torch remarks on.
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
    config = TrainConfig(
        seed=given.seed,
        # The paper's: one noise level for a whole clip, all cells alike.
        objective=Objective(independent_share=0.0, prefix_share=0.0),
    )
    stages = with_sources(large_stages(given), Records(shards).sources)
    train(network, shards, folder / "transformer", stages, config)
    if rank == 0:
        export(source, newest_of(folder / "transformer"), folder / "model")
    return folder / "model"


def check_trainable(folder: Path) -> None:
    """Raise ValueError for anything but one transformer that hears Wav2Vec2."""
    index = store.read_json(folder / store.INDEX, ["transformer"])
    config = store.read_json(folder / "transformer" / "config.json")
    kind = index["transformer"][1]
    hears = kind in NETWORKS and config.get("speech_kind") != "humo"
    if not hears or not (folder / "speech_encoder").is_dir():
        raise ValueError(
            f"{folder} ({kind}) has no speech attention that can be trained here; make a model "
            "from Wan or HunyuanVideo with `openmocha init`. HuMo cannot be trained here yet"
        )
    if (index.get("transformer_2") or [None])[0] is not None:
        raise ValueError(f"{folder} has two experts; only models of one can be trained here yet")


def load_trainable(folder: Path) -> "WanInTraining | HunyuanInTraining":
    """The transformer in float32: an optimizer's steps are smaller than bfloat16 can add."""
    kind = store.read_json(folder / store.INDEX)["transformer"][1]
    if kind == HunyuanMoChaTransformer3DModel.__name__:
        model: Any = hunyuan.load_transformer(folder, torch.float32)
    else:
        model = wan.load_transformer(folder / "transformer", kind, torch.float32)
    model.requires_grad_(True)
    if sum(p.numel() for p in model.parameters()) >= CHECKPOINTING_FROM:
        model.enable_gradient_checkpointing()
    network: WanInTraining | HunyuanInTraining = NETWORKS[kind](model)
    return network


def large_stages(given: LargeTraining) -> tuple[Stage, ...]:
    """The paper's stages 1-4 with its shares of films and of steps, at another size."""
    crop = Crop(given.latent_frames, given.batch_size, height=given.height, width=given.width)
    stages = paper_stages()[1:]
    total = sum(stage.steps for stage in stages)
    return tuple(
        replace(
            stage,
            steps=max(1, round(given.steps * stage.steps / total)),
            crops=(crop,),
            learning_rate=given.learning_rate,
            warmup_steps=min(stage.warmup_steps, given.steps // 20),
            time_budget_s=60 * given.minutes * stage.steps / total,
        )
        for stage in stages
    )


class WanInTraining(nn.Module):
    """A Wan transformer as the training loop calls it."""

    def __init__(self, transformer: WanMoChaTransformer3DModel) -> None:
        super().__init__()
        self.transformer = transformer
        self.config = CausalLayout()

    @property
    def blocks(self) -> nn.ModuleList:
        blocks: nn.ModuleList = self.transformer.blocks
        return blocks

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        text: Sequence[tuple[Tensor, Tensor]],
        speech: Tensor | None,
        windows: Tensor,
    ) -> Tensor:
        """Velocity of latents (B, C, F, h, w) at noise levels (B, F); `windows` are the
        transformer's own affair. No speech is zeros before the projector."""
        ((tokens, mask),) = text
        states = nnf.pad(tokens * mask[..., None], (0, 0, 0, wan.TEXT_TOKENS - tokens.shape[1]))
        if speech is None:
            speech = silence(self.transformer, noisy)
        one_level = bool((sigma == sigma[:, :1]).all())
        timestep = 1000 * (sigma[:, 0] if one_level else sigma)
        velocity: Tensor = self.transformer(noisy, timestep, states, speech)
        return velocity


class HunyuanInTraining(nn.Module):
    """HunyuanVideo that hears as the training loop calls it. Text comes in three streams: Llama's
    256 states, padding included, CLIP's vector, and which states are the prompt's."""

    def __init__(self, transformer: HunyuanMoChaTransformer3DModel) -> None:
        super().__init__()
        self.transformer = transformer
        self.config = CausalLayout()

    @property
    def blocks(self) -> list[nn.Module]:
        return [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        text: Sequence[tuple[Tensor, Tensor]],
        speech: Tensor | None,
        windows: Tensor,
    ) -> Tensor:
        """Velocity of latents (B, C, F, h, w) at noise levels (B, F). Raises ValueError where the
        frames of a clip have several: this model is told one."""
        if not (sigma == sigma[:, :1]).all():
            raise ValueError("HunyuanVideo is told one noise level for a clip; set no clean prefix")
        (states, _), (pooled, _), (mask, _) = text
        velocity: Tensor = self.transformer(
            noisy,
            MODEL_TIMESTEPS * sigma[:, 0],
            states,
            mask[..., 0].long(),
            pooled[:, 0],
            torch.full_like(sigma[:, 0], hunyuan.EMBEDDED_GUIDANCE),
            silence(self.transformer, noisy) if speech is None else speech,
        )
        return velocity


NETWORKS: dict[str, Any] = {
    WanMoChaTransformer3DModel.__name__: WanInTraining,
    HunyuanMoChaTransformer3DModel.__name__: HunyuanInTraining,
}


def silence(transformer: Any, noisy: Tensor) -> Tensor:
    """Zeros for the speech of latents (B, C, F, h, w): (B, 1 + 4 (F - 1), layers, width)."""
    config, num_tokens = transformer.config, CausalLayout().num_tokens(noisy.shape[2])
    return noisy.new_zeros(len(noisy), num_tokens, config.speech_layers, config.speech_width)


# --- shards --------------------------------------------------------------------------------------


class CausalVideo:
    """A causal VAE as shards want it: of 4 F frames the first 1 + 4 (F - 1) make F latents."""

    def __init__(self, backbone: DiffusersBackbone) -> None:
        self.backbone = backbone

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """(K, 4 F, 3, H, W) -> (K, C, F, h, w)."""
        film = video[:, : video.shape[1] - 3].to(self.backbone.device)
        return torch.cat([self.backbone.encode_frames(one[None]) for one in film]).cpu()


class PromptStates:
    """A Wan text encoder as shards want it."""

    def __init__(self, backbone: wan.WanBackbone) -> None:
        self.backbone = backbone

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """States (N, 512, width) and which of them are the prompts' (N, 512)."""
        lengths = torch.tensor([self.backbone.num_text_tokens(prompt) for prompt in prompts])
        states = torch.cat([self.backbone.encode_text(prompt) for prompt in prompts])
        return states.cpu(), torch.arange(wan.TEXT_TOKENS) < lengths[:, None]


class PromptStreams:
    """HunyuanVideo's text encoders as shards want them, in the streams of HunyuanInTraining."""

    def __init__(self, backbone: hunyuan.HunyuanBackbone) -> None:
        self.backbone = backbone

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> list[TextStream]:
        """States (N, 256, D), vectors (N, 1, D), masks (N, 256, 1); nothing of them is left out."""
        words = [self.backbone.encode_text(prompt) for prompt in prompts]
        streams = [
            torch.cat([w.states for w in words]),
            torch.cat([w.pooled[:, None] for w in words]),
            torch.cat([w.mask[..., None] for w in words]),
        ]
        return [(s.cpu(), torch.ones(s.shape[:2], dtype=torch.bool)) for s in streams]


def large_encoders(folder: Path) -> Encoders:
    """The frozen networks of a model folder."""
    kind = store.read_json(folder / store.INDEX)["transformer"][1]
    backbone: DiffusersBackbone
    text: TextTokens
    if kind == HunyuanMoChaTransformer3DModel.__name__:
        backbone = hunyuan.load_hunyuan(folder, torch.float32, with_transformer=False)
        text = PromptStreams(backbone)
    else:
        backbone = wan.load_wan(folder, torch.float32, with_transformers=False)
        text = PromptStates(backbone)
    backbone.to(local_device(), torch.float32)
    return Encoders(CausalVideo(backbone), backbone.speech_encoder, text)


def draw_shards(folder: Path, shards: Path, given: LargeTraining) -> None:
    """Toon films from their beginnings, one crop of each, of every source that a stage draws."""
    bind_to_networks(shards, encoder_checksums(folder))
    sources = sorted({source for stage in paper_stages()[1:] for source in stage.shares})
    plan = [
        ShardPlan(
            name=f"films-{source.replace(' ', '-')}",
            source=source,
            first_seed=1_000_000 * (1 + number),
            num_films=given.films,
            latent_frames=given.latent_frames,
            num_crops=1,
            width=given.width,
            height=given.height,
            pixels_per_cell=pixels_per_cell(folder),
            from_start=True,
        )
        for number, source in enumerate(sources)
    ]
    if not (shards / "empty_prompt.safetensors").exists():
        write_empty_prompt(shards, large_encoders(folder).text)
    for _ in write_plan(shards, plan, partial(large_encoders, folder), given.workers):
        pass


# --- result --------------------------------------------------------------------------------------


def export(source: Path, newest: Path, output: Path) -> None:
    """A checkpoint's moving average as a model folder like `source`, weights in bfloat16.

    Raises ValueError where the checkpoint is damaged.
    """
    checkpoint.verify(newest)
    network = load_trainable(source)
    tensors = {f"ema.{name}": tensor for name, tensor in network.state_dict().items()}
    checkpoint.load_tensors(newest, tensors, Ranks())
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    index: dict[str, Any] = store.read_json(source / store.INDEX)
    cast(network.transformer).save_pretrained(part / "transformer")
    share_other_parts(source, part, [*index, "speech_encoder"])
    sampling = source / model_folders.SAMPLING_FILE
    if sampling.is_file():
        shutil.copy2(sampling, part)
    store.write_json(part / store.INDEX, index)
    store.write_checksums(part)
    shutil.rmtree(output, ignore_errors=True)
    part.rename(output)


def cast(model: Any) -> Any:
    """To bfloat16, but for the layers that must stay precise."""
    precise = model._keep_in_fp32_modules or ()
    for name, parameter in model.named_parameters():
        if not any(layer in name.split(".") for layer in precise):
            parameter.data = parameter.data.to(torch.bfloat16)
    return model
