"""What the models that come as diffusers folders share: a diffusers pipeline holds their networks.

    encode_text (text encoders) -> velocity (transformer) -> decode (VAE)

The pipeline object is never called. It holds the networks, encodes prompts, and moves them between
devices where memory is short (memory.py). Dimension letters as in backbone.py.
"""

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from openmocha.backbones.backbone import Backbone

TRANSFORMERS = ("transformer", "transformer_2")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
NEGATIVE_PROMPT = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, weak dynamics, erratic motions, "
    "JPEG compression residue, ugly, incomplete, extra fingers, poorly drawn hands, poorly drawn "
    "faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy "
    "background, three legs, many people in the background, walking backwards."
)


class DiffusersBackbone(Backbone):
    """Transformer, VAE and text encoders of a diffusers pipeline, and a speech encoder beside it.

    The VAE is causal: its first latent frame is one video frame, the others four each.
    """

    transformer: Any
    vae: Any
    pixels_per_latent: int
    latent_channels: int
    placed_by_plan = False  # a memory plan moves the networks itself (memory.py)

    def __init__(self, parts: Any, speech_encoder: Any, dtype: torch.dtype) -> None:
        self.parts = parts
        self.transformer = parts.transformer
        self.vae = parts.vae
        self.speech_encoder = speech_encoder
        self.device, self.dtype = torch.device("cpu"), dtype
        for network in self.networks().values():
            network.eval()

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """All but the speech encoder. Raises ValueError for another dtype than they were loaded in:
        parts of a transformer stay in float32, which casting would undo."""
        if dtype != self.dtype:
            raise ValueError(f"the model was loaded in {self.dtype}; load it in {dtype} instead")
        self.device = device
        if not self.placed_by_plan:
            for part in self.networks().values():
                part.to(device)

    def load_lora(self, file: Path) -> None:
        """Add a LoRA, a safetensors file or a folder of one. Raises FileNotFoundError where there
        is none, ValueError for one of another model."""
        if not file.exists():
            raise FileNotFoundError(f"LoRA {file} does not exist; check the path")
        where = {"weight_name": file.name} if file.is_file() else {}
        folder = file.parent if file.is_file() else file
        try:
            self.parts.load_lora_weights(folder, use_safetensors=True, **where)
        except Exception as error:  # diffusers and peft raise many kinds for a file that is wrong
            reason = str(error).splitlines()[0]
            raise ValueError(f"LoRA {file} does not fit this model ({reason})") from error
        if not self.parts.get_active_adapters():
            raise ValueError(f"LoRA {file} holds no layers of this model; give another")

    def networks(self) -> dict[str, nn.Module]:
        """Every network of the pipeline by its name in the folder."""
        parts = self.parts.components.items()
        return {name: part for name, part in parts if isinstance(part, nn.Module)}

    def wake_text_encoders(self) -> None:
        """Text encoders go where the transformer is; they may have been sent away."""
        self._move_text_encoders(self.device)

    def before_denoising(self) -> None:
        """The prompts are encoded: the memory of a GPU now belongs to the transformer, and its
        caches know nothing of the film before."""
        self._move_text_encoders(torch.device("cpu"))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        for name, part in self.networks().items():
            if name in TRANSFORMERS and getattr(part, "is_cache_enabled", False):
                part._reset_stateful_cache()  # type: ignore[operator]

    def _move_text_encoders(self, device: torch.device) -> None:
        if not self.placed_by_plan:
            for name, part in self.networks().items():
                if name in TEXT_ENCODERS:
                    part.to(device)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, h, w)."""
        pixels, frames = self.pixels_per_latent, self.format.num_latents(num_frames)
        return self.latent_channels, frames, height // pixels, width // pixels

    def latent_scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of what the VAE encodes to; both broadcast over (1, C, F, h, w)."""
        raise NotImplementedError

    def decode_sparingly(self, latents: Tensor) -> Tensor:
        """As decode, in tiles, and if that is still too much for the GPU, on the CPU."""
        self.vae.enable_tiling()
        try:
            return self.decode(latents)
        except torch.OutOfMemoryError:
            if self.placed_by_plan:
                raise
        device, self.device = self.device, torch.device("cpu")
        try:
            self.vae.to("cpu")
            return self.decode(latents.cpu())
        finally:
            self.device = device
            self.vae.to(device)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (1, T, 3, H, W)."""
        mean, deviation = self.latent_scale()
        video = self.vae.decode((latents * deviation + mean).to(self.vae.dtype)).sample
        pixels: Tensor = rearrange(video, "1 c T H W -> 1 T c H W")
        return pixels

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Latents (1, C, F, h, w), the mean of what the VAE gives."""
        mean, deviation = self.latent_scale()
        video = rearrange(pixels, "1 T c H W -> 1 c T H W").to(self.vae.dtype)
        latents: Tensor = self.vae.encode(video).latent_dist.mode().float()
        return (latents - mean) / deviation
