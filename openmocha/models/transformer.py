"""The paper's diffusion transformer, from `toon` to 30B by configuration (models/config.py).

    noisy latents -> patches -> blocks of [self-, text, speech attention, FFN] -> velocity
    sigma (flow.py) -> one shared adaLN projection, plus a small table of each block's own

Dimension letters: B batch, C channels, F latent frames, h w latent rows and columns, P tokens of
one latent frame (h w / patch^2), L text tokens, S speech tokens, W speech window, D width, N heads,
K head width, R rows of modulation (shift, scale, gate, ...).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as nnf
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openmocha.flow import per_frame, preconditioning
from openmocha.models.attention import (
    RMSNorm,
    SelfAttention,
    TextAttention,
    rms_norm,
    rotary_turns,
    video_angles,
)
from openmocha.models.conditions import PlaceEmbedding, SigmaEmbedding, Text, TextProjector
from openmocha.models.config import MoChaConfig
from openmocha.models.eight_bits import restored
from openmocha.models.figures import FigureEmbedding
from openmocha.models.speech_attention import SpeechAttention, SpeechProjector, uniform_windows

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class FeedForward(nn.Module):
    """SwiGLU: output(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.output = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        fed: Tensor = self.output(nnf.silu(gate) * up)
        return fed


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMSNorm, then scale and shift: x (B, F, P, D), shift and scale (B, F, 1, D)."""
    return torch.addcmul(shift, rms_norm(x), 1 + scale)


class Block(nn.Module):
    """Self-attention, text cross-attention, speech cross-attention, FFN, each added to the tokens.

    Self-attention and FFN are modulated by the noise level (shift, scale, and a gate that starts
    at 1); both cross-attentions are added with weight 1.
    """

    def __init__(self, config: MoChaConfig) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.self_attention = SelfAttention(width, heads)
        self.text_norm = RMSNorm(width)
        self.text_attention = TextAttention(width, heads)
        self.speech_attention: SpeechAttention | None = None
        if config.speech_attention != "none":
            self.speech_norm = RMSNorm(width)
            self.speech_attention = SpeechAttention(
                width, heads, config.speech_attention, config.max_speech_tokens
            )
        self.ffn = FeedForward(width, config.ffn)
        # Rows: shift, scale, gate of self-attention, then of the FFN. Gates start at the paper's 1.
        rows = torch.zeros(config.modulation_rows, width)
        rows[[2, 5]] = 1
        self.modulation = nn.Parameter(rows)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        turns: Tensor,
        text: Tensor,
        text_mask: Tensor | None,
        speech: Tensor | None,
        windows: Tensor | None,
        window_mask: Tensor | None,
    ) -> Tensor:
        """x (B, F, P, D) -> the same; modulation (B, F, R, D), text (B, L, D), speech (B, S, D)."""
        rows = (modulation + self.modulation.to(x.dtype))[:, :, :, None].unbind(2)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate, *cross = rows
        attended = self.self_attention(modulated_norm(x, shift, scale), turns)
        x = torch.addcmul(x, gate, attended)
        x = x + self.text_attention(
            self._cross_input(self.text_norm(x), cross[:2]), text, text_mask
        )
        if self.speech_attention is not None:
            assert speech is not None and windows is not None
            heard = self._cross_input(self.speech_norm(x), cross[2:])
            x = x + self.speech_attention(heard, speech, windows, window_mask)
        fed = self.ffn(modulated_norm(x, ffn_shift, ffn_scale))
        return torch.addcmul(x, ffn_gate, fed)

    @staticmethod
    def _cross_input(x: Tensor, shift_scale: Sequence[Tensor]) -> Tensor:
        if not shift_scale:
            return x
        shift, scale = shift_scale
        return torch.addcmul(shift, x, 1 + scale)


class MoChaTransformer3DModel(nn.Module):
    """MoCha's DiT (paper, section 3).

    Set `gradient_checkpointing` to recompute each block in backward instead of keeping it.
    """

    def __init__(self, config: MoChaConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        patch_width = config.latent_channels * config.patch**2
        self.patch_input = nn.Linear(patch_width, config.width)
        self.place_embedding: PlaceEmbedding | None = None
        if config.embed_places:
            self.place_embedding = PlaceEmbedding(
                config.width, config.embed_times, config.told_views
            )
        self.figure_embedding = FigureEmbedding(config.width) if config.told_figures else None
        self.sigma_embedding = SigmaEmbedding(config)
        self.text_projector = TextProjector(config.text_widths, config.width)
        if config.speech_attention != "none":
            self.speech_projector = SpeechProjector(
                config.speech_layers,
                config.speech_width,
                config.speech_stack,
                config.speech_hidden,
                config.width,
                config.norm_speech,
            )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Linear(config.width, patch_width)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, SelfAttention | TextAttention | FeedForward):
                # Each block adds these three to the tokens: keep the sum's size over all blocks.
                module.output.weight.mul_((3 * self.config.layers) ** -0.5)
            elif isinstance(module, SpeechAttention):
                nn.init.zeros_(module.output.weight)
        zeroed = [self.sigma_embedding.modulation, self.output]
        if self.figure_embedding is not None:
            zeroed.append(self.figure_embedding.linear)
        for linear in zeroed:
            nn.init.zeros_(linear.weight)

    def forward(
        self,
        latents: Tensor,
        sigma: Tensor,
        text: Text,
        speech: Tensor | None = None,
        speech_windows: Tensor | None = None,
        speech_window_mask: Tensor | None = None,
        views: Tensor | None = None,
        figures: Tensor | None = None,
    ) -> Tensor:
        """Velocity (B, C, F, h, w) of noisy latents (B, C, F, h, w).

        sigma: (B,) or (B, F) in [0, 1], 1 = noise. text: for each stream (tokens (B, L, D_i), mask
        (B, L), True = valid). speech: (B, S, layers, width), None = zeros (no speech).
        speech_windows: (F, W) or (B, F, W) rows of S, None = uniform windows over S = F r tokens;
        speech_window_mask likewise, True where a token is. views: (B, F, 3) where the camera is
        (places.py), None = at rest. figures: (B, F, K) what is done where (figures.py), NaN or None
        = not told.

        Raises ValueError where shapes do not fit.
        """
        frames, rows, cols = self._check_latents(latents)
        sigma = per_frame(sigma, frames)
        scale, skip, out = self._preconditioning(sigma, latents.dtype)
        x = rearrange(
            scale * latents,
            "B C F (h i) (w j) -> B F (h w) (C i j)",
            i=self.config.patch,
            j=self.config.patch,
        )
        x = self.patch_input(x)
        if self.place_embedding is not None:
            x = x + self.place_embedding(frames, rows, cols, views).to(x.dtype)
        if self.figure_embedding is not None and figures is not None:
            x = x + self.figure_embedding(figures, rows, cols, views).to(x.dtype)
        modulation, final = self.sigma_embedding(sigma)
        text_tokens, text_mask = self.text_projector(text)
        speech_tokens, windows = self._speech(latents, speech, speech_windows)
        head_width = self.config.width // self.config.heads
        angles = video_angles(frames, rows, cols, head_width, self.config.rope_theta, views)
        turns = rotary_turns(angles).to(x.device)
        for block in self.blocks:
            inputs = (modulation, turns, text_tokens, text_mask, speech_tokens, windows)
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, *inputs, speech_window_mask, use_reentrant=False)
            else:
                x = block(x, *inputs, speech_window_mask)
        shift, gain = final[:, :, :, None].unbind(2)
        patches: Tensor = self.output(modulated_norm(x, shift, gain))
        predicted = rearrange(
            patches,
            "B F (h w) (C i j) -> B C F (h i) (w j)",
            h=rows,
            i=self.config.patch,
            j=self.config.patch,
        )
        return skip * latents + out * predicted

    def _preconditioning(self, sigma: Tensor, dtype: torch.dtype) -> tuple[Tensor | float, ...]:
        """Scales of input, skip and output for sigma (B, F), each (B, 1, F, 1, 1)."""
        if not self.config.precondition:
            return 1.0, 0.0, 1.0
        scales = preconditioning(sigma)
        return tuple(rearrange(scale, "B F -> B 1 F 1 1").to(dtype) for scale in scales)

    def _check_latents(self, latents: Tensor) -> tuple[int, int, int]:
        patch = self.config.patch
        _, channels, frames, height, width = latents.shape
        if channels != self.config.latent_channels or height % patch or width % patch:
            raise ValueError(
                f"latents of shape {tuple(latents.shape)}; expected {self.config.latent_channels} "
                f"channels, and rows and columns that are multiples of {patch}"
            )
        return frames, height // patch, width // patch

    def _speech(
        self, latents: Tensor, speech: Tensor | None, windows: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Projected tokens (B, S, D) and windows; no speech is zeros before the projector."""
        config, batch, frames = self.config, latents.shape[0], latents.shape[2]
        if config.speech_attention == "none":
            if speech is not None:
                raise ValueError('this model has speech_attention "none" and cannot take speech')
            return None, None
        uniform_tokens = frames * config.frames_per_latent
        if speech is None:
            num_tokens = uniform_tokens if windows is None else int(windows.max()) + 1
            shape = (batch, num_tokens, config.speech_layers, config.speech_width)
            speech = latents.new_zeros(shape)
        if windows is None:
            if speech.shape[1] != uniform_tokens:
                raise ValueError(
                    f"{speech.shape[1]} speech tokens for {frames} latent frames; expected "
                    f"{uniform_tokens}, or speech_windows that say which to use"
                )
            windows = uniform_windows(
                frames, config.frames_per_latent, config.window_left, config.window_right
            ).to(latents.device)
        elif windows.min() < 0 or windows.max() >= speech.shape[1]:
            raise ValueError(
                f"speech_windows reach from {int(windows.min())} to {int(windows.max())}; "
                f"there are {speech.shape[1]} speech tokens"
            )
        return self.speech_projector(speech), windows

    @classmethod
    def from_text_to_video(
        cls, base: "MoChaTransformer3DModel", config: MoChaConfig
    ) -> "MoChaTransformer3DModel":
        """Add speech to a text-to-video model; its output without speech stays the same.

        If the base has a way for speech already, that is left behind and learnt anew.
        Raises ValueError where config differs from the base in anything but speech.
        """
        model = cls(config)
        weights = {name: w for name, w in base.state_dict().items() if "speech" not in name}
        result = model.load_state_dict(weights, strict=False)
        new = [name for name in result.missing_keys if "speech" not in name]
        if new or result.unexpected_keys:
            raise ValueError(f"the base model does not fit: {new + result.unexpected_keys}")
        return model

    def to_be_told_figures(self) -> "MoChaTransformer3DModel":
        """The same model with a way for figures (figures.py), which adds nothing yet."""
        model = type(self)(replace(self.config, told_figures=True))
        weights = model.state_dict() | self.state_dict()
        model.load_state_dict(weights)
        return model

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors, in `dtype` if given."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        values = {"_class_name": type(self).__name__, **asdict(self.config)}
        (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n")
        weights = {
            name: value.to(dtype or value.dtype).contiguous()
            for name, value in self.state_dict().items()
        }
        save_file(weights, folder / WEIGHTS_FILE)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read what save_pretrained wrote.

        Raises ValueError on missing files, unknown settings, and weights that do not fit them.
        """
        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise ValueError(f"{folder} holds no {name}; expected a transformer's folder")
        values = json.loads((folder / CONFIG_FILE).read_text())
        values.pop("_class_name", None)
        model = cls(MoChaConfig.from_dict(values))
        try:
            weights = restored(load_file(folder / WEIGHTS_FILE))
        except SafetensorError as error:
            raise ValueError(f"{folder / WEIGHTS_FILE} is damaged: {error}") from error
        expected = {name: value.shape for name, value in model.state_dict().items()}
        given = {name: value.shape for name, value in weights.items()}
        if expected != given:
            names = expected.keys() | given.keys()
            differ = {name for name in names if expected.get(name) != given.get(name)}
            raise ValueError(
                f"{folder / WEIGHTS_FILE} does not fit its config: "
                f"missing {sorted(differ - given.keys())[:5]}, "
                f"unexpected {sorted(differ - expected.keys())[:5]}, "
                f"of another shape {sorted(differ & expected.keys() & given.keys())[:5]}"
            )
        model.load_state_dict(weights)
        return model.to(dtype)
