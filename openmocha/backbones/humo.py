"""HuMo from prompt and speech: Wan 2.1 with speech attention trained on Whisper's features.

HuMo keeps one latent frame more than the film has, at its end, for a picture of the person. Here
there is none: the slot holds zeros and hears nothing, as in its authors' text-and-audio mode.
Dimension letters as in backbone.py.
"""

from pathlib import Path

import torch
import torch.nn.functional as nnf
from diffusers import WanPipeline
from torch import Tensor

from openmocha import media
from openmocha.backbones.backbone import Conditions, FilmFormat, mocha_passes
from openmocha.backbones.diffusers_backbone import NEGATIVE_PROMPT
from openmocha.backbones.wan import WanBackbone, wan_parts
from openmocha.models.whisper_features import FPS, WhisperFeatures
from openmocha.sampling import Sampling

# HuMo's own: the smaller model needs stronger guidance.
SAMPLING_1_7B = Sampling(97, 480, 832, 50, 7.5, 7.5, shift=5.0)
SAMPLING_17B = Sampling(97, 480, 832, 50, 5.0, 5.5, shift=5.0)
MASK_CHANNELS = 4  # of the 17B's further input: where there is a picture


class HuMoBackbone(WanBackbone):
    """The 1.7B hears and reads; the 17B also takes the latents of a picture, here an empty one."""

    speech_encoder: WhisperFeatures

    def __init__(
        self, parts: WanPipeline, speech_encoder: WhisperFeatures, dtype: torch.dtype
    ) -> None:
        super().__init__(parts, speech_encoder, dtype)
        self.takes_picture = self.transformer.config.in_channels > self.latent_channels
        self.format = FilmFormat(
            fps=FPS,
            causal=True,
            side_multiple=2 * self.pixels_per_latent,
            largest_side=1280,
            negative_prompt=NEGATIVE_PROMPT,
            needs_speech=True,
        )
        self._empty: Tensor | None = None

    def encode_speech(self, speech: media.Speech | None, num_frames: int) -> Tensor | None:
        """Features (1, T, 5, width) of the whole recording: the last window hears a little beyond
        the film. Where the recording is shorter, zeros."""
        if speech is None:
            return None
        features = self.speech_encoder.encode(speech)
        if media.is_silent(speech):
            features = torch.zeros_like(features)
        missing = max(0, num_frames - len(features))
        padded = nnf.pad(features, (0, 0, 0, 0, 0, missing))
        return padded[None].to(self.device)

    def velocity(
        self, latents: Tensor, sigma: float, conditions: Conditions, sampling: Sampling
    ) -> Tensor:
        """The paper's guidance, which is HuMo's, of a film with one latent frame more."""
        timestep = latents.new_tensor([1000 * sigma])
        noisy = self.with_picture_slot(latents).to(self.dtype)
        velocity = torch.zeros_like(latents)
        for number, (weight, words, speech) in enumerate(mocha_passes(conditions, sampling)):
            assert speech is not None
            with self.transformer.cache_context(str(number)):
                predicted = self.transformer(
                    noisy, timestep, words, speech.to(self.dtype), num_reference_frames=1
                )
            velocity += weight * predicted[:, :, :-1].float()
        return velocity

    def with_picture_slot(self, latents: Tensor) -> Tensor:
        """(1, C, F, h, w) -> (1, C', F + 1, h, w): zeros at the end, and for the 17B a mask that is
        1 there and the latents of a grey film."""
        slot = nnf.pad(latents, (0, 0, 0, 0, 0, 1))
        if not self.takes_picture:
            return slot
        if self._empty is None or self._empty.shape[2:] != slot.shape[2:]:
            self._empty = self._grey_film(slot)
        mask = torch.zeros_like(slot[:, :MASK_CHANNELS])
        mask[:, :, -1] = 1
        return torch.cat([slot, mask, self._empty], dim=1)

    def _grey_film(self, slot: Tensor) -> Tensor:
        """What the VAE makes of a film of zeros, as long as the latents and one more."""
        _, _, frames, height, width = slot.shape
        video = torch.zeros(
            (1, 1 + self.format.frames_per_latent * (frames - 1), 3)
            + (height * self.pixels_per_latent, width * self.pixels_per_latent),
            device=self.device,
        )
        return self.encode_frames(video)


def load_humo(folder: Path, dtype: torch.dtype) -> HuMoBackbone:
    """A folder that `init` wrote from Wan's, HuMo's and Whisper's."""
    encoder = WhisperFeatures.from_pretrained(folder / "speech_encoder")
    return HuMoBackbone(wan_parts(folder, dtype), encoder, dtype)
