"""The paper's diffusion transformer, from `toon` to 30B by configuration: noisy latents, text and speech -> velocity.

    latents -> patches -> blocks of [self-attention, text cross-attention, speech cross-attention, FFN] -> velocity
    sigma (openmocha/flow.py) -> one shared adaLN projection, plus a small table of each block's own

Dimension letters: B batch, C channels, F latent frames, h w latent rows and columns, P tokens of one latent
frame (h w / patch^2), L text tokens, S speech tokens, W speech window, D width, N heads, K head width,
R rows of modulation (shift, scale, gate, ...).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as nnf
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openmocha.flow import per_frame
from openmocha.models.attention import (
    RMSNorm,
    SelfAttention,
    TextAttention,
    rms_norm,
    rotary_angles,
    video_angles,
)
from openmocha.models.config import MoChaConfig
from openmocha.models.speech_attention import SpeechAttention, SpeechProjector, uniform_windows

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
SIGMA_FEATURES = 256  # sinusoidal features of the noise level
TEXT_MULTIPLE = 32  # text is padded to a multiple of this: few shapes, so few compilations

Text = Sequence[tuple[Tensor, Tensor]]


class FeedForward(nn.Module):
    """SwiGLU: output(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.output = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.output(nnf.silu(gate) * up)


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMSNorm, then scale and shift: x (B, F, P, D), shift and scale (B, F, 1, D)."""
    return torch.addcmul(shift, rms_norm(x), 1 + scale)


class Block(nn.Module):
    """Self-attention, text cross-attention, speech cross-attention, FFN, each added to the tokens.

    Self-attention and FFN are modulated by the noise level (shift, scale, and a gate that starts at 1);
    both cross-attentions are added with weight 1.
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
        # Rows: shift, scale, gate of self-attention, then of the FFN; gates start at 1 (weight 1, PAPER.md).
        rows = torch.zeros(config.modulation_rows, width)
        rows[[2, 5]] = 1
        self.modulation = nn.Parameter(rows)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        angles: Tensor,
        text: Tensor,
        text_mask: Tensor | None,
        speech: Tensor | None,
        windows: Tensor | None,
        window_mask: Tensor | None,
    ) -> Tensor:
        """x (B, F, P, D), modulation (B, F, R, D), text (B, L, D), speech (B, S, D) -> (B, F, P, D)."""
        rows = (modulation + self.modulation.to(x.dtype))[:, :, :, None].unbind(2)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate, *cross = rows
        attended = self.self_attention(modulated_norm(x, shift, scale), angles)
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


class SigmaEmbedding(nn.Module):
    """Noise level -> rows of modulation shared by all blocks (six or ten) and by the final layer (two)."""

    def __init__(self, config: MoChaConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(SIGMA_FEATURES, config.sigma_width)
        self.output = nn.Linear(config.sigma_width, config.sigma_width)
        self.rows = config.modulation_rows + 2
        self.modulation = nn.Linear(config.sigma_width, self.rows * config.width)

    def forward(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """sigma (B, F) -> modulation of the blocks (B, F, R, D) and of the final layer (B, F, 2, D)."""
        angles = rotary_angles(1000 * sigma, SIGMA_FEATURES, theta=10000.0)
        features = torch.cat((angles.cos(), angles.sin()), dim=-1).to(self.hidden.weight.dtype)
        embedding = nnf.silu(self.output(nnf.silu(self.hidden(features))))
        rows = rearrange(self.modulation(embedding), "B F (R D) -> B F R D", R=self.rows)
        return rows[:, :, :-2], rows[:, :, -2:]


class TextProjector(nn.Module):
    """One linear + LayerNorm for each text encoder's stream; the streams are concatenated."""

    def __init__(self, text_widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(text_width, width) for text_width in text_widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in text_widths)

    def forward(self, text: Text) -> tuple[Tensor, Tensor]:
        """[(tokens (B, L_i, D_i), mask (B, L_i) bool), ...] -> (B, L, D) and what to add to the logits.

        A sample without any valid token attends to all of its tokens: null text is tokens of zeros.
        """
        if len(text) != len(self.linears):
            raise ValueError(
                f"{len(text)} text streams given; this model takes {len(self.linears)}"
            )
        streams = [
            norm(linear(tokens))
            for (tokens, _), linear, norm in zip(text, self.linears, self.norms, strict=True)
        ]
        tokens, mask = torch.cat(streams, dim=1), torch.cat([mask for _, mask in text], dim=1)
        padding = -mask.shape[1] % TEXT_MULTIPLE
        tokens, mask = nnf.pad(tokens, (0, 0, 0, padding)), nnf.pad(mask, (0, padding))
        mask = mask | ~mask.any(1, keepdim=True)
        bias = torch.zeros(mask.shape, dtype=tokens.dtype, device=mask.device)
        return tokens, rearrange(bias.masked_fill(~mask, float("-inf")), "B L -> B 1 1 L")


class MoChaTransformer3DModel(nn.Module):
    """MoCha's DiT (paper, section 3). `gradient_checkpointing = True` recomputes each block in backward."""

    def __init__(self, config: MoChaConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        patch_width = config.latent_channels * config.patch**2
        self.patch_input = nn.Linear(patch_width, config.width)
        self.sigma_embedding = SigmaEmbedding(config)
        self.text_projector = TextProjector(config.text_widths, config.width)
        if config.speech_attention != "none":
            self.speech_projector = SpeechProjector(
                config.speech_layers,
                config.speech_width,
                config.speech_stack,
                config.speech_hidden,
                config.width,
            )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Linear(config.width, patch_width)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            # Every block adds to the tokens three times (self-attention, text, FFN).
            for part in (block.self_attention, block.text_attention, block.ffn):
                with torch.no_grad():
                    part.output.weight.mul_((3 * self.config.layers) ** -0.5)
            if block.speech_attention is not None:
                nn.init.zeros_(block.speech_attention.output.weight)
        for zeroed in (self.sigma_embedding.modulation, self.output):
            nn.init.zeros_(zeroed.weight)

    def forward(
        self,
        latents: Tensor,
        sigma: Tensor,
        text: Text,
        speech: Tensor | None = None,
        speech_windows: Tensor | None = None,
        speech_window_mask: Tensor | None = None,
    ) -> Tensor:
        """Velocity (B, C, F, h, w) of noisy latents (B, C, F, h, w).

        sigma: (B,) or (B, F) in [0, 1], 1 = noise. text: one (tokens (B, L, D_i), mask (B, L) bool, True =
        valid) for each stream. speech: (B, S, layers, width), None = zeros (no speech). speech_windows:
        (F, W) or (B, F, W) rows of S, None = uniform windows over S = F r tokens.
        Raises ValueError where shapes do not fit.
        """
        frames, rows, cols = self._check_latents(latents)
        x = rearrange(
            latents,
            "B C F (h i) (w j) -> B F (h w) (C i j)",
            i=self.config.patch,
            j=self.config.patch,
        )
        x = self.patch_input(x)
        modulation, final = self.sigma_embedding(per_frame(sigma, frames))
        text_tokens, text_mask = self.text_projector(text)
        speech_tokens, windows = self._speech(latents, speech, speech_windows)
        head_width = self.config.width // self.config.heads
        angles = video_angles(frames, rows, cols, head_width, self.config.rope_theta).to(x.device)
        for block in self.blocks:
            inputs = (modulation, angles, text_tokens, text_mask, speech_tokens, windows)
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, *inputs, speech_window_mask, use_reentrant=False)
            elif self.training:
                x = block(x, *inputs, speech_window_mask)
            else:
                x = block.forward(x, *inputs, speech_window_mask)  # never compiled, any shape
        shift, scale = final[:, :, :, None].unbind(2)
        x = self.output(modulated_norm(x, shift, scale))
        return rearrange(
            x,
            "B F (h w) (C i j) -> B C F (h i) (w j)",
            h=rows,
            i=self.config.patch,
            j=self.config.patch,
        )

    def compile_blocks(self) -> None:
        """Compile the blocks for training (needs a C++ compiler on a CPU); evaluation stays as it is.

        Blocks share their code, which is compiled once for each shape of latents, text and speech.
        """
        torch._dynamo.config.recompile_limit = 64
        for block in self.blocks:
            block.compile(dynamic=False)

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
        """Projected speech tokens (B, S, D) and windows; no speech is zeros before the projector."""
        config, batch, frames = self.config, latents.shape[0], latents.shape[2]
        if config.speech_attention == "none":
            if speech is not None:
                raise ValueError('this model has speech_attention "none" and cannot take speech')
            return None, None
        if speech is None:
            num_tokens = (
                frames * config.frames_per_latent if windows is None else int(windows.max()) + 1
            )
            speech = latents.new_zeros(batch, num_tokens, config.speech_layers, config.speech_width)
        if windows is None:
            windows = uniform_windows(
                frames, config.frames_per_latent, config.window_left, config.window_right
            ).to(latents.device)
            if speech.shape[1] != frames * config.frames_per_latent:
                raise ValueError(
                    f"{speech.shape[1]} speech tokens for {frames} latent frames; expected "
                    f"{frames * config.frames_per_latent}, or speech_windows that say which to use"
                )
        return self.speech_projector(speech), windows

    @classmethod
    def from_text_to_video(
        cls, base: "MoChaTransformer3DModel", config: MoChaConfig
    ) -> "MoChaTransformer3DModel":
        """Add speech to a text-to-video model (speech_attention "none"): same output to the bit at the start.

        Raises ValueError where config differs from the base in anything but speech.
        """
        model = cls(config)
        result = model.load_state_dict(base.state_dict(), strict=False)
        new = [name for name in result.missing_keys if "speech" not in name]
        if new or result.unexpected_keys:
            raise ValueError(f"the base model does not fit: {new + result.unexpected_keys}")
        return model

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors, in `dtype` if given."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        values = {"_class_name": type(self).__name__, **asdict(self.config)}
        (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n")
        weights = {
            name: value.to(dtype or value.dtype) for name, value in self.state_dict().items()
        }
        save_file(
            {name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS_FILE
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read what save_pretrained wrote. Raises ValueError on unknown settings, missing or unexpected weights."""
        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise ValueError(f"{folder} holds no {name}; expected a transformer's folder")
        values = json.loads((folder / CONFIG_FILE).read_text())
        values.pop("_class_name", None)
        model = cls(MoChaConfig.from_dict(values))
        weights = load_file(folder / WEIGHTS_FILE)
        expected = {name: value.shape for name, value in model.state_dict().items()}
        given = {name: value.shape for name, value in weights.items()}
        if expected != given:
            missing, extra = (
                sorted(expected.keys() - given.keys()),
                sorted(given.keys() - expected.keys()),
            )
            shapes = sorted(
                name for name in expected.keys() & given.keys() if expected[name] != given[name]
            )
            raise ValueError(
                f"{folder / WEIGHTS_FILE} does not fit its config: missing {missing[:5]}, "
                f"unexpected {extra[:5]}, other shape {shapes[:5]}"
            )
        model.load_state_dict(weights)
        return model.to(dtype)
