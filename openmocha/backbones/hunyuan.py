"""MoCha-Demo: HunyuanVideo that hears, as its authors sample from it.

    prompt -> Llama's states and CLIP's vector    speech -> Wav2Vec2 features, 24 a second
    image  -> clean first latent frame            noise  -> three velocities a step, Euler

The defaults are the demo's; its own scales are literals in its code, here they are settings.
Dimension letters as in backbone.py; L text tokens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openmocha import media
from openmocha.backbones.backbone import Conditions, FilmFormat, weighted
from openmocha.backbones.diffusers_backbone import NEGATIVE_PROMPT, DiffusersBackbone
from openmocha.models.hunyuan import MODEL_TIMESTEPS, HunyuanMoChaTransformer3DModel
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.sampling import Sampling

EMBEDDED_GUIDANCE = 6000.0  # what the base model was distilled with, 6, times 1000
TEXT_TOKENS = 256
SAMPLING = Sampling(
    num_frames=129,
    height=480,
    width=832,
    num_inference_steps=50,
    text_guidance_scale=7.0,
    speech_guidance_scale=4.0,
    shift=7.0,
)


@dataclass(frozen=True)
class Words:
    """An encoded prompt: Llama's states (1, L, D) with their mask (1, L), CLIP's pooled vector."""

    states: Tensor
    mask: Tensor
    pooled: Tensor


def guidance_weights(text_scale: float, speech_scale: float) -> tuple[float, float, float]:
    """Weights of three velocities: prompt and speech; negative prompt and speech; negative prompt
    and silence (zeros).

    silent + speech_scale (negative - silent) + text_scale (full - negative)

    Unlike the paper's order (flow.guidance_weights), text is judged while speech is heard.
    """
    return text_scale, speech_scale - text_scale, 1 - speech_scale


class HunyuanBackbone(DiffusersBackbone):
    """HunyuanMoChaTransformer3DModel, diffusers' VAE and text encoders, Wav2Vec2."""

    transformer: HunyuanMoChaTransformer3DModel

    def __init__(
        self,
        parts: Any,
        speech_encoder: SpeechEncoder | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parts, speech_encoder, dtype)
        self.pixels_per_latent = self.vae.config.spatial_compression_ratio
        self.latent_channels = self.vae.config.latent_channels
        self.format = FilmFormat(
            causal=True,
            side_multiple=2 * self.pixels_per_latent,
            largest_side=1280,
            negative_prompt=NEGATIVE_PROMPT,
            takes_image=True,
            needs_prompt=False,
            needs_speech=True,
            hears=speech_encoder is not None,
        )

    def encode_text(self, prompt: str) -> Words:
        """Both encoders' answers. Raises ValueError beyond 256 tokens of Llama's; CLIP reads the
        first 77 of its own."""
        from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video as base

        template = base.DEFAULT_PROMPT_TEMPLATE
        asked = self.parts.tokenizer(template["template"].format(prompt)).input_ids
        num_tokens = len(asked) - template["crop_start"]
        if num_tokens > TEXT_TOKENS:
            raise ValueError(
                f"the prompt has {num_tokens} tokens; this model reads {TEXT_TOKENS}: shorten it"
            )
        self.wake_text_encoders()
        states, pooled, mask = self.parts.encode_prompt(
            prompt, device=self.device, max_sequence_length=TEXT_TOKENS
        )
        return Words(states.to(self.dtype), mask, pooled.to(self.dtype))

    def encode_speech(self, speech: media.Speech | None, num_frames: int) -> Tensor | None:
        """Features (1, T, layers, width) of the whole recording as it is, 24 a second, then cut."""
        if speech is None:
            return None
        all_frames = round(len(speech) / media.SPEECH_RATE_HZ * self.format.fps)
        tokens: Tensor = self.speech_encoder.encode(speech, all_frames)[:num_frames]
        if media.is_silent(speech):
            tokens = torch.zeros_like(tokens)
        return tokens[None].to(self.device, self.dtype)

    def velocity(
        self, latents: Tensor, sigma: float, conditions: Conditions, sampling: Sampling
    ) -> Tensor:
        """One pass after the other. The transformer is told one noise level for all frames, a clean
        first frame included."""
        assert conditions.speech is not None
        speech, silence = conditions.speech, torch.zeros_like(conditions.speech)
        weights = guidance_weights(sampling.text_guidance_scale, sampling.speech_guidance_scale)
        words = (conditions.words, conditions.no_words, conditions.no_words)
        timestep = latents.new_tensor([MODEL_TIMESTEPS * sigma])
        guidance = latents.new_tensor([EMBEDDED_GUIDANCE])
        velocity = torch.zeros_like(latents)
        passes = weighted(list(zip(weights, words, (speech, speech, silence), strict=True)))
        for number, (weight, one, heard) in enumerate(passes):
            with self.transformer.cache_context(str(number)):
                predicted = self.transformer(
                    latents.to(self.dtype),
                    timestep,
                    one.states,
                    one.mask,
                    one.pooled,
                    guidance,
                    heard,
                )
            velocity += weight * predicted.float()
        return velocity

    def latent_scale(self) -> tuple[Tensor, Tensor]:
        """Latents are what the VAE encodes to, times a factor."""
        zero = torch.zeros((), device=self.device)
        return zero, 1 / (zero + self.vae.config.scaling_factor)


def load_hunyuan(
    folder: Path, dtype: torch.dtype, with_transformer: bool = True
) -> HunyuanBackbone:
    """A folder that `init` wrote from HunyuanVideo's and MoCha-Demo's. Without its transformer it
    only encodes."""
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
    )
    from transformers import AutoTokenizer, CLIPTextModel, LlamaModel

    local: dict[str, Any] = {"local_files_only": True}
    parts = HunyuanVideoPipeline(
        text_encoder=LlamaModel.from_pretrained(folder / "text_encoder", dtype=dtype, **local),
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", **local),
        transformer=load_transformer(folder, dtype) if with_transformer else None,
        vae=AutoencoderKLHunyuanVideo.from_pretrained(folder / "vae", dtype=dtype),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        text_encoder_2=CLIPTextModel.from_pretrained(
            folder / "text_encoder_2", dtype=dtype, **local
        ),
        tokenizer_2=AutoTokenizer.from_pretrained(folder / "tokenizer_2", **local),
    )
    speech = folder / "speech_encoder"
    encoder = SpeechEncoder.from_pretrained(speech) if speech.is_dir() else None
    return HunyuanBackbone(parts, encoder, dtype)


def load_transformer(folder: Path, dtype: torch.dtype) -> HunyuanMoChaTransformer3DModel:
    """That of a model folder."""
    model: HunyuanMoChaTransformer3DModel = HunyuanMoChaTransformer3DModel.from_pretrained(
        folder / "transformer", dtype=dtype
    )
    return model
