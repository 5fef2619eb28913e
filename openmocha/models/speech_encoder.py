"""Speech waveform -> one token per video frame: the hidden states of all Wav2Vec2 layers.

    speech (samples,) --Wav2Vec2--> (S, layers, width) at 50 Hz --interpolate--> (T, layers, width)

Any Wav2Vec2 checkpoint folder of transformers loads; `toon_config()` is the small one that this
project trains itself. Features are computed on the whole recording and cut afterwards.

Dimension letters:
    T video frames, S encoder frames
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import Wav2Vec2Config

SAMPLE_RATE_HZ = 16_000
CHUNK_FRAMES, CONTEXT_FRAMES = 3000, 200  # a minute at a time, with 4 s of context on either side


def toon_config() -> "Wav2Vec2Config":
    """The embedded encoder: 6 layers x 128, 1.6M parameters, 20 ms steps.

    LayerNorm in the convolutions keeps features independent of the recording's length; LayerNorm
    after each block (as in wav2vec2-base) keeps the hidden states of all layers at one scale.
    """
    from transformers import Wav2Vec2Config

    return Wav2Vec2Config(
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        # Three quarters of wav2vec2-base's time go into its 3.2 kHz and 1.6 kHz layers.
        conv_dim=(64, 128, 128, 128),
        conv_kernel=(20, 8, 8, 8),
        conv_stride=(10, 4, 4, 2),
        conv_bias=True,
        feat_extract_norm="layer",
        feat_extract_activation="relu",
        do_stable_layer_norm=False,
        num_conv_pos_embeddings=64,
        num_conv_pos_embedding_groups=16,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.0,
    )


class SpeechEncoder(nn.Module):
    """transformers' Wav2Vec2Model and the way MoCha reads it.

    Attributes:
        layers, width: of the tokens, as the checkpoint's config says (6 x 128 for toon).
        stride, receptive_field: of one encoder frame, in samples at 16 kHz.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.layers: int = model.config.num_hidden_layers
        self.width: int = model.config.hidden_size
        self.stride, self.receptive_field = 1, 1
        for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
            self.receptive_field += (kernel - 1) * self.stride
            self.stride *= stride

    @classmethod
    def from_config(cls, config: "Wav2Vec2Config", attention: str = "sdpa") -> Self:
        """Fresh weights. `attention` "eager" trains faster on a CPU, "sdpa" runs faster."""
        from transformers import Wav2Vec2Model

        return cls(Wav2Vec2Model._from_config(config, attn_implementation=attention))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a Wav2Vec2 checkpoint folder, in float32 and eval mode.

        Raises:
            ValueError: no such folder, or it holds no Wav2Vec2 config.
        """
        from transformers import Wav2Vec2Config, Wav2Vec2Model
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of transformers: a second's loading needs none
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"no speech encoder in {folder}: expected a Wav2Vec2 checkpoint folder with "
                "config.json and model.safetensors"
            )
        config = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
        if config.model_type != "wav2vec2":
            raise ValueError(f"{folder} holds a {config.model_type!r} model, expected 'wav2vec2'")
        model = Wav2Vec2Model.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        return cls(model.eval())

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors with weights in `dtype`."""
        import copy

        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        model = copy.deepcopy(self.model).to(dtype)
        model.save_pretrained(folder)

    def num_encoder_frames(self, num_samples: int) -> int:
        return max((num_samples - self.receptive_field) // self.stride + 1, 0)

    def forward(self, speech: Tensor) -> Tensor:
        """Normalised speech (B, samples) -> hidden states of all layers (B, S, layers, width)."""
        states = self.model(speech, output_hidden_states=True).hidden_states[1:]
        return torch.stack(states, dim=2)

    @torch.no_grad()
    def encode(self, speech: np.ndarray | Tensor, num_frames: int) -> Tensor:
        """Tokens of a whole recording, one per video frame.

        Args:
            speech: (samples,) mono at 16 kHz, any level.
            num_frames: T = round(seconds * fps) of the whole recording.

        Returns:
            (T, layers, width) float32: hidden states of layers 1 .. N of the normalised recording
            (zero mean, unit variance), linearly interpolated in time with align_corners=True.

        Raises:
            ValueError: not one channel, not finite, too short for one frame, or num_frames < 1.
        """
        device = next(self.parameters()).device
        wave = torch.as_tensor(speech, dtype=torch.float32, device=device)
        self._check(wave, num_frames)
        wave = (wave - wave.mean()) / torch.sqrt(wave.var(correction=0) + 1e-7)
        wave = self._aligned(wave, num_frames)
        states = torch.cat(list(self._chunks(wave)))  # (S, layers, width)
        columns = rearrange(states.float(), "s n d -> 1 (n d) s")
        columns = nnf.interpolate(columns, size=num_frames, mode="linear", align_corners=True)
        return rearrange(columns, "1 (n d) t -> t n d", n=self.layers)

    def _check(self, wave: Tensor, num_frames: int) -> None:
        if wave.ndim != 1 or len(wave) < self.receptive_field:
            raise ValueError(
                f"speech has shape {tuple(wave.shape)}; expected one channel of at least "
                f"{self.receptive_field} samples at 16 kHz"
            )
        if not torch.isfinite(wave).all():
            raise ValueError("speech holds NaN or infinite samples; repair or re-export the file")
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}; expected at least 1")

    def _aligned(self, wave: Tensor, num_frames: int) -> Tensor:
        """Padded so that the first and last encoder frame look at the first and last video frame.

        align_corners maps the outermost encoder frames to the outermost video frames. Their
        centres agree for wav2vec2-base (nothing is added); a wider receptive field needs silence.
        """
        side = round((self.receptive_field - len(wave) / num_frames) / 2)
        if side <= 0:
            return wave
        missing = -(len(wave) + 2 * side - self.receptive_field) % self.stride
        return nnf.pad(wave, (side, side + (missing if missing <= self.stride // 2 else 0)))

    def _chunks(self, wave: Tensor) -> Iterator[Tensor]:
        """(S, layers, width) in pieces of a minute, each computed with context on both sides."""
        num = self.num_encoder_frames(len(wave))
        if num <= CHUNK_FRAMES:
            # wav2vec2-base's group norm hears the samples after its last frame too: keep them.
            yield self(wave[None])[0]
            return
        for first in range(0, num, CHUNK_FRAMES):
            last = min(first + CHUNK_FRAMES, num)
            start, stop = max(first - CONTEXT_FRAMES, 0), min(last + CONTEXT_FRAMES, num)
            piece = wave[start * self.stride : (stop - 1) * self.stride + self.receptive_field]
            yield self(piece[None])[0, first - start : last - start]
