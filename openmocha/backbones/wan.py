"""Wan 2.1 and 2.2 with speech: parts of a diffusers folder, UniPC, a negative prompt.

Dimension letters as in backbone.py; L text tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from einops import rearrange
from torch import Tensor

from openmocha.backbones.backbone import Conditions, FilmFormat, Solver, mocha_passes
from openmocha.backbones.diffusers_backbone import NEGATIVE_PROMPT, TRANSFORMERS, DiffusersBackbone
from openmocha.models import store
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.sampling import Sampling

TEXT_TOKENS = 512
LOW_NOISE_TEXT = 3 / 4  # of two experts, the one for low noise is guided less: 3 where 4
STANDARD_CHANNELS = 16  # of latents; only Wan 2.2's 5B has more, of a VAE of twice the side


class UniPC(Solver):
    """diffusers' UniPC with a shift; it rounds noise levels to thousandths."""

    def __init__(self, config: Any, num_steps: int, shift: float) -> None:
        self.scheduler = UniPCMultistepScheduler.from_config(config, flow_shift=shift)
        self.scheduler.set_timesteps(num_steps)
        self.sigmas = self.scheduler.sigmas

    def level(self, step: int) -> float:
        return float(self.scheduler.timesteps[step]) / 1000

    def step(self, step: int, velocity: Tensor, latents: Tensor) -> Tensor:
        stepped: Tensor = self.scheduler.step(
            velocity, self.scheduler.timesteps[step], latents, return_dict=False
        )[0]
        return stepped


class WanBackbone(DiffusersBackbone):
    """WanMoChaTransformer3DModel (one, or two experts), diffusers' VAE and text encoder, Wav2Vec2.

    Wan 2.2's 5B can start from an image: its first latent frame is told that it has no noise.
    """

    transformer: WanMoChaTransformer3DModel

    def __init__(self, parts: WanPipeline, speech_encoder: Any, dtype: torch.dtype) -> None:
        super().__init__(parts, speech_encoder, dtype)
        self.transformer_2: WanMoChaTransformer3DModel | None = parts.transformer_2
        self.boundary: float = parts.config.boundary_ratio or 0.0
        self.pixels_per_latent = self.vae.config.scale_factor_spatial
        self.latent_channels = self.vae.config.z_dim
        high_compression = self.latent_channels > STANDARD_CHANNELS
        self.format = FilmFormat(
            # What is made to hear keeps the paper's rate; the other bases learnt from 16.
            fps=24 if high_compression or speech_encoder is not None else 16,
            causal=True,
            side_multiple=2 * self.pixels_per_latent,
            largest_side=1280,
            negative_prompt=NEGATIVE_PROMPT,
            takes_image=high_compression,
            hears=speech_encoder is not None,
        )

    def num_text_tokens(self, prompt: str) -> int:
        """How much of the text encoder's room a prompt takes."""
        return len(self.parts.tokenizer(prompt).input_ids)

    def encode_text(self, prompt: str) -> Tensor:
        """States (1, 512, width), zeros beyond the prompt. Raises ValueError beyond 512 tokens."""
        num_tokens = self.num_text_tokens(prompt)
        if num_tokens > TEXT_TOKENS:
            raise ValueError(
                f"the prompt has {num_tokens} tokens; this model reads {TEXT_TOKENS}: shorten it"
            )
        self.wake_text_encoders()
        states: Tensor = self.parts.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            max_sequence_length=TEXT_TOKENS,
            device=self.device,
        )[0]
        return states.to(self.device)

    def solver(self, sampling: Sampling) -> UniPC:
        """UniPC, as the base models were published with."""
        return UniPC(self.parts.scheduler.config, sampling.num_inference_steps, sampling.shift)

    def velocity(
        self, latents: Tensor, sigma: float, conditions: Conditions, sampling: Sampling
    ) -> Tensor:
        """One pass after the other: a large model's memory holds one."""
        timestep = torch.full((1, latents.shape[2]), 1000 * sigma, device=latents.device)
        if conditions.known is None:
            timestep = timestep[:, 0]
        else:
            timestep[:, : conditions.num_known] = 0
        transformer = self.transformer
        if self.transformer_2 is not None and sigma < self.boundary:
            transformer = self.transformer_2
            text_scale = max(1.0, LOW_NOISE_TEXT * sampling.text_guidance_scale)
            sampling = sampling.with_given(text_guidance_scale=text_scale)
        velocity = torch.zeros_like(latents)
        for number, (weight, words, speech) in enumerate(mocha_passes(conditions, sampling)):
            heard = None if speech is None else speech.to(self.dtype)
            with transformer.cache_context(str(number)):
                predicted = transformer(latents.to(self.dtype), timestep, words, heard)
            velocity += weight * predicted.float()
        return velocity

    def latent_scale(self) -> tuple[Tensor, Tensor]:
        """By channel, (1, C, 1, 1, 1) each."""
        config = self.vae.config
        both = torch.tensor([config.latents_mean, config.latents_std], device=self.device)
        mean, deviation = rearrange(both, "two C -> two 1 C 1 1 1")
        return mean, deviation


def load_wan(folder: Path, dtype: torch.dtype, with_transformers: bool = True) -> WanBackbone:
    """A diffusers folder of Wan text-to-video, or one that `init` wrote. Without transformers it
    only encodes."""
    parts = wan_parts(folder, dtype, TRANSFORMERS if with_transformers else ())
    speech = folder / "speech_encoder"
    encoder = SpeechEncoder.from_pretrained(speech) if speech.is_dir() else None
    return WanBackbone(parts, encoder, dtype)


def wan_parts(folder: Path, dtype: torch.dtype, names: Sequence[str] = TRANSFORMERS) -> WanPipeline:
    """The networks of a folder, their weights in `dtype`; those of the VAE, which is small and
    loses detail in bfloat16, in float32."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    index = store.read_json(folder / store.INDEX, ["transformer", "vae", "text_encoder"])
    transformers = {
        name: load_transformer(folder / name, index[name][1], dtype)
        for name in names
        if (index.get(name) or [None])[0] is not None
    }
    return WanPipeline(
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        text_encoder=UMT5EncoderModel.from_pretrained(
            folder / "text_encoder", dtype=dtype, local_files_only=True
        ),
        vae=AutoencoderKLWan.from_pretrained(folder / "vae", dtype=torch.float32),
        scheduler=UniPCMultistepScheduler.from_pretrained(folder / "scheduler"),
        boundary_ratio=index.get("boundary_ratio"),
        expand_timesteps=index.get("expand_timesteps", False),
        **({"transformer": None} | transformers),
    )


def load_transformer(
    folder: Path, kind: str, dtype: torch.dtype, **speech: Any
) -> WanMoChaTransformer3DModel:
    """A transformer that hears, or a base model's with speech attention that is still silent."""
    if kind == WanMoChaTransformer3DModel.__name__:
        model: WanMoChaTransformer3DModel = WanMoChaTransformer3DModel.from_pretrained(
            folder, dtype=dtype
        )
        return model
    base = WanTransformer3DModel.from_pretrained(folder, dtype=dtype)
    fresh: WanMoChaTransformer3DModel = WanMoChaTransformer3DModel.from_base(base, **speech)
    return fresh


def wan_sampling(latent_channels: int, hears: bool, two_experts: bool) -> Sampling:
    """The base model's defaults, with the paper's scale of speech (7.5)."""
    speech = 7.5 if hears else 1.0
    if two_experts:
        return Sampling(81, 480, 832, 40, 4.0, speech, shift=12.0)
    high_compression = latent_channels > STANDARD_CHANNELS
    shape = (121, 704, 1280) if high_compression else (81, 480, 832)
    return Sampling(
        *shape,
        num_inference_steps=50,
        text_guidance_scale=5.0,
        speech_guidance_scale=speech,
        shift=5.0 if high_compression else 3.0,
    )
