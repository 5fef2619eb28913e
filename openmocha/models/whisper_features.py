"""Speech waveform -> what HuMo hears: five means of Whisper's hidden states, 25 a second.

    speech (samples,) -> 30 s at a time: log-mel -> encoder -> (S, 33, width) at 50 Hz
        -> means of states 0-7, 8-15, 16-23, 24-31, and the last -> (T, 5, width) at 25 Hz

Dimension letters: T video frames, S encoder frames.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import rearrange, reduce
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import WhisperConfig

SAMPLE_RATE_HZ, FPS = 16_000, 25
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FPS
GROUPS = 4  # of the hidden states before the last


class WhisperFeatures(nn.Module):
    """transformers' Whisper encoder and the way HuMo reads it.

    Attributes:
        layers, width: of the features (5 x 1280 for whisper-large-v3).
    """

    layers = GROUPS + 1

    def __init__(self, encoder: Any, extractor: Any) -> None:
        super().__init__()
        self.encoder = encoder.eval()
        self.extractor = extractor
        self.width: int = encoder.config.d_model
        if encoder.config.encoder_layers % GROUPS:
            raise ValueError(
                f"this Whisper has {encoder.config.encoder_layers} encoder layers; expected a "
                f"multiple of {GROUPS}, such as large-v3's 32"
            )

    @classmethod
    def from_config(cls, config: "WhisperConfig") -> Self:
        """Fresh weights."""
        from transformers import WhisperFeatureExtractor
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return cls(WhisperEncoder(config), WhisperFeatureExtractor(config.num_mel_bins))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a Whisper folder of transformers; its decoder is left out."""
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ValueError(f"no speech encoder in {folder}: expected a Whisper folder")
        config = WhisperConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "whisper":
            raise ValueError(f"{folder} holds a {config.model_type!r} model, expected 'whisper'")
        model = WhisperModel.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
        return cls(model.encoder, extractor)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a Whisper folder; its decoder has one layer of zeros' worth of room, unused."""
        from transformers import WhisperConfig, WhisperModel

        settings = self.encoder.config.to_dict() | {"decoder_layers": 0}
        model = WhisperModel(WhisperConfig.from_dict(settings))
        model.encoder.load_state_dict(self.encoder.state_dict())
        model.to(dtype).save_pretrained(folder)
        self.extractor.save_pretrained(folder)

    @torch.no_grad()
    def encode(self, speech: np.ndarray | Tensor) -> Tensor:
        """Features (T, 5, width) float32 of a whole recording (samples,) at 16 kHz, T = samples //
        640: HuMo's own count.

        Raises ValueError for less than one frame of speech, or more than one channel.
        """
        wave = np.asarray(speech, np.float32)
        if wave.ndim != 1 or len(wave) < SAMPLES_PER_FRAME:
            raise ValueError(
                f"speech has shape {wave.shape}; expected one channel of at least "
                f"{SAMPLES_PER_FRAME} samples at 16 kHz"
            )
        piece = self.extractor.n_samples  # 30 s, Whisper's window
        states = [self._hear(wave[first : first + piece]) for first in range(0, len(wave), piece)]
        num_frames = len(wave) // SAMPLES_PER_FRAME
        whole = torch.cat(states)[: 2 * num_frames]
        columns = rearrange(whole, "S n D -> 1 (n D) S")
        columns = nnf.interpolate(columns, size=num_frames, mode="linear", align_corners=True)
        return rearrange(columns, "1 (n D) T -> T n D", n=self.layers)

    def _hear(self, wave: np.ndarray) -> Tensor:
        """(S, 5, width) of up to 30 seconds, padded with silence to 30."""
        device = next(self.parameters()).device
        mel = self.extractor(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
        *before, last = self.encoder(mel.to(device), output_hidden_states=True).hidden_states
        means = reduce(torch.stack(before), "(n each) 1 S D -> S n D", "mean", n=GROUPS)
        return torch.cat([means, last[0, :, None]], dim=1)
