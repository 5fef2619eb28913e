"""How MoCha-Demo samples: its speech features and their trim, its guidance, its image mode.

    speech -> features (T, layers, width), T = 1 + 4k      image -> clean first latent frame
    noise -> denoise: three velocities a step, Euler from sigma 1 to 0 -> latents

The defaults are the demo's; its own scales are literals in its code, here they are arguments.
Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols, T video
frames, H W pixels, L text tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor, nn

from openmocha import flow
from openmocha.models.hunyuan import FRAMES_PER_LATENT, MODEL_TIMESTEPS
from openmocha.models.speech_encoder import SpeechEncoder

LATENT_SCALE = 0.476986  # latents = what the VAE encodes to, times this
EMBEDDED_GUIDANCE = 6000.0  # what the base model was distilled with, 6, times 1000
FPS = 24
NEGATIVE_PROMPT = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, weak dynamics, erratic motions, "
    "JPEG compression residue, ugly, incomplete, extra fingers, poorly drawn hands, poorly drawn "
    "faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy "
    "background, three legs, many people in the background, walking backwards."
)


@dataclass(frozen=True)
class Prompt:
    """An encoded prompt: Llama's states (1, L, D) with their mask (1, L), CLIP's pooled vector."""

    states: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class DemoSampling:
    """The demo's settings of a film."""

    num_inference_steps: int = 50
    shift: float = 7.0
    text_guidance_scale: float = 7.0
    speech_guidance_scale: float = 4.0


def trimmed_length(num_speech_frames: int, num_frames: int) -> int:
    """Frames of the film: the longest 1 + 4k within both the speech and what was asked for.

    >>> trimmed_length(120, 129)
    117
    """
    shorter = min(num_speech_frames, num_frames)
    return (shorter - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1


def speech_features(encoder: SpeechEncoder, speech: np.ndarray | Tensor) -> Tensor:
    """(T, layers, width) of a whole recording (samples,) at 16 kHz, 24 a second; not yet trimmed.

    Rounds half a frame to the even number, as the demo does.
    """
    return encoder.encode(speech, round(len(speech) / 16_000 * FPS))


def guidance_weights(text_scale: float, speech_scale: float) -> tuple[float, float, float]:
    """Weights of three velocities: prompt and speech; negative prompt and speech; negative prompt
    and silence (zeros).

    silent + speech_scale (negative - silent) + text_scale (full - negative)

    Unlike the paper's order (flow.guidance_weights), text is judged while speech is heard.
    """
    return text_scale, speech_scale - text_scale, 1 - speech_scale


@torch.inference_mode()
def denoise(
    transformer: nn.Module,
    noise: Tensor,
    prompt: Prompt,
    negative: Prompt,
    speech_tokens: Tensor,
    sampling: DemoSampling,
    first_frame: Tensor | None = None,
    progress: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Noise (1, C, F, h, w) -> latents of a film that says `speech_tokens` (1, T, layers, width).

    `first_frame` (1, C, 1, h, w) is a clean latent that stays as it is (image mode). The model is
    told one noise level for all frames, the clean one included. `progress` is called after each
    step with its number, from 1, and the latents.
    """
    sigmas = flow.sigma_schedule(sampling.num_inference_steps, sampling.shift).to(noise.device)
    weights = guidance_weights(sampling.text_guidance_scale, sampling.speech_guidance_scale)
    silence = torch.zeros_like(speech_tokens)
    passes = [
        (weight, words, tokens)
        for weight, words, tokens in zip(
            weights, (prompt, negative, negative), (speech_tokens, speech_tokens, silence),
            strict=True,
        )
        if weight
    ]  # fmt: skip
    guidance = noise.new_full((1,), EMBEDDED_GUIDANCE)
    latents = held(noise, first_frame)
    for step in range(sampling.num_inference_steps):
        sigma, next_sigma = sigmas[step : step + 1], sigmas[step + 1 : step + 2]
        velocity = torch.zeros_like(latents)
        for weight, words, tokens in passes:
            velocity += weight * transformer(
                latents,
                MODEL_TIMESTEPS * sigma,
                words.states,
                words.mask,
                words.pooled,
                guidance,
                tokens,
            )
        latents = held(flow.euler_step(latents, velocity, sigma, next_sigma), first_frame)
        if progress is not None:
            progress(step + 1, latents)
    return latents


def held(latents: Tensor, first_frame: Tensor | None) -> Tensor:
    """The latents with their first frame (1, C, 1, h, w) put in its place, if there is one."""
    if first_frame is None:
        return latents
    return torch.cat([first_frame.to(latents), latents[:, :, 1:]], dim=2)


def image_pixels(image: np.ndarray, height: int, width: int) -> Tensor:
    """An image uint8 (H, W, 3) as one frame (1, 1, 3, height, width) in [-1, 1].

    Bicubic, and stretched: the aspect ratio is not kept. Raises ValueError for another shape.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"the image has shape {image.shape} and type {image.dtype}; expected uint8 "
            "(rows, columns, 3), RGB"
        )
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(image)), "H W c -> 1 c H W")
    scaled = nnf.interpolate(
        pixels / 127.5 - 1, size=(height, width), mode="bicubic", align_corners=False
    )
    return scaled[:, None]


def decoded_frames(vae: Any, latents: Tensor) -> Tensor:
    """Latents (1, C, F, h, w) -> frames (1, T, H, W, 3) in [0, 1], by an
    AutoencoderKLHunyuanVideo."""
    with torch.inference_mode():
        video: Tensor = vae.decode((latents / LATENT_SCALE).to(vae.dtype)).sample
    return rearrange((video.float() / 2 + 0.5).clamp(0, 1), "1 c T H W -> 1 T H W c")
