"""HunyuanVideo that hears speech, as in MoCha-Demo: diffusers' transformer and attention to the
speech of one's own moment at the end of every other block.

    speech tokens (B, T, layers, width), T = 1 + 4k
        -> SpeechMixProjector -> (B, T, D) -> video tokens of latent frame i see W of them

Parameter names are those of the public checkpoint (`audio_projector`, `audio_cross_attn`) and of
diffusers' HunyuanVideoTransformer3DModel, so both load by name. What differs from the base model
even without speech: padded text is attended to (the demo drops that mask).

Dimension letters: B batch, T video frames (speech tokens), F latent frames, P video tokens of one
latent frame, W speech window, D width, N heads, K head width, C latent channels, L text tokens.
"""

from typing import Any, Literal

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin as ModelMixin  # noqa: PLC0414 (loaders look for it here)
from diffusers.models.normalization import AdaLayerNormZero
from diffusers.models.transformers.transformer_hunyuan_video import (
    HunyuanVideoSingleTransformerBlock,
    HunyuanVideoTransformer3DModel,
    HunyuanVideoTransformerBlock,
)
from einops import rearrange
from torch import Tensor, nn

from openmocha.models.attention import RMSNorm
from openmocha.models.speech_attention import causal_windows
from openmocha.models.window_processor import Speech, attend_windows

FRAMES_PER_LATENT = 4
MODEL_TIMESTEPS = 999  # of sigma = 1; the base model's own pipeline says 1000

# "own": the frames that a latent frame stands for, four tokens, the first frame four times (the
# public checkpoint). "paper": one more on either side, masked at the clip's ends (eq. 4).
SpeechWindow = Literal["own", "paper"]


def own_frame_windows(num_latent_frames: int) -> Tensor:
    """(F, 4): frames 4i-3 .. 4i for latent frame i >= 1 of a causal VAE, frame 0 four times for
    the first.

    >>> own_frame_windows(3).tolist()
    [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    """
    last = torch.arange(num_latent_frames)[:, None] * FRAMES_PER_LATENT
    return (last + torch.arange(1 - FRAMES_PER_LATENT, 1)).clamp(min=0)


def speech_windows(
    window: SpeechWindow, num_latent_frames: int, num_tokens: int
) -> tuple[Tensor, Tensor | None]:
    """Index (F, W) and mask of a film. Raises ValueError where its speech has another length."""
    expected = 1 + FRAMES_PER_LATENT * (num_latent_frames - 1)
    if num_tokens != expected:
        raise ValueError(
            f"{num_latent_frames} latent frames stand for {expected} video frames, but there are "
            f"{num_tokens} speech tokens; cut the speech to 1 + 4k frames"
        )
    if window == "own":
        return own_frame_windows(num_latent_frames), None
    return causal_windows(num_latent_frames, FRAMES_PER_LATENT)


class SpeechMixProjector(nn.Module):
    """A learnt mix of all Wav2Vec2 layers, RMSNorm, two-layer MLP. Zeros do not come out as
    zeros."""

    def __init__(self, layers: int, speech_width: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(layers))
        self.norm = RMSNorm(speech_width)
        self.proj = nn.Sequential(
            nn.Linear(speech_width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, speech_tokens: Tensor) -> Tensor:
        """(B, T, layers, speech_width) -> (B, T, D)."""
        # Weights may be negative and need not sum to one before this: it is not a softmax.
        weights = nn.functional.silu(self.weights)
        weights = weights / (weights.sum() + 1e-8)
        mixed = torch.einsum("n,btnd->btd", weights.to(speech_tokens.dtype), speech_tokens)
        projected: Tensor = self.proj(self.norm(mixed))
        return projected


class WindowAttnProcessor:
    """diffusers' attention processor for windows: every latent frame attends to its own tokens."""

    # What diffusers sets to choose a kernel, and to spread a sequence over devices.
    _attention_backend: Any = None
    _parallel_config: Any = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        windows: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """hidden_states (B, F, P, D); encoder_hidden_states (B, T, D); windows, attention_mask (F,
        W). Returns (B, F, P, D)."""
        heads = "... (N K) -> ... N K"
        query = attn.norm_q(rearrange(attn.to_q(hidden_states), heads, N=attn.heads))
        # Tokens are projected once, then gathered: windows overlap.
        key = attn.norm_k(rearrange(attn.to_k(encoder_hidden_states), heads, N=attn.heads))
        value = rearrange(attn.to_v(encoder_hidden_states), heads, N=attn.heads)
        attended = attend_windows(
            query,
            key,
            value,
            windows,
            attention_mask,
            self._attention_backend,
            self._parallel_config,
        )
        attended = rearrange(attended, "B F P N K -> B F P (N K)")
        projected: Tensor = attn.to_out[0](attended.to(hidden_states.dtype))
        return projected


class SpeechCrossAttention(nn.Module):
    """Gated, modulated attention of video tokens to speech; text tokens never enter."""

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        # Its last three of six chunks are not used; they are in the checkpoint.
        self.norm = AdaLayerNormZero(heads * head_width)
        self.attn = Attention(
            query_dim=heads * head_width,
            heads=heads,
            dim_head=head_width,
            bias=True,
            qk_norm="rms_norm",
            eps=1e-6,
            processor=WindowAttnProcessor(),
        )

    def forward(self, video: Tensor, temb: Tensor, speech: Speech) -> Tensor:
        """video (B, F P, D) -> what to add to it."""
        normed, gate, *_ = self.norm(video, emb=temb)
        attended = self.attn(
            rearrange(normed, "B (F P) D -> B F P D", F=len(speech.windows)),
            speech.tokens,
            attention_mask=speech.mask,
            windows=speech.windows,
        )
        out: Tensor = gate[:, None] * rearrange(attended, "B F P D -> B (F P) D")
        return out

    def init_weights(self) -> None:
        """Exactly silent: shift, scale and gate are zero, the attention itself is random."""
        for linear in (self.attn.to_q, self.attn.to_k, self.attn.to_v, self.attn.to_out[0]):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.norm.linear.weight)
        nn.init.zeros_(self.norm.linear.bias)


class SpeechAtTheEnd(nn.Module):
    """What both kinds of block have in common: after everything else, where there is attention to
    speech and something to hear, the video hears it."""

    audio_cross_attn: SpeechCrossAttention | None

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary: Any,
        speech: Speech | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video (B, F P, D) and text (B, L, D) through the base block. Padded text is attended to:
        no mask."""
        block: Any = super()
        video, text = block.forward(hidden_states, encoder_hidden_states, temb, None, rotary)
        if self.audio_cross_attn is not None and speech is not None:
            video = video + self.audio_cross_attn(video, temb, speech)
        return video, text


class SpeechDualBlock(SpeechAtTheEnd, HunyuanVideoTransformerBlock):  # type: ignore[misc]
    """Separate weights for video and text, and where `hears`, speech after the FFN."""

    def __init__(self, heads: int, head_width: int, mlp_ratio: float, norm: str, hears: bool):
        super().__init__(heads, head_width, mlp_ratio=mlp_ratio, qk_norm=norm)
        self.audio_cross_attn = SpeechCrossAttention(heads, head_width) if hears else None


class SpeechSingleBlock(SpeechAtTheEnd, HunyuanVideoSingleTransformerBlock):  # type: ignore[misc]
    """Video and text in one sequence, and where `hears`, speech at the end."""

    def __init__(self, heads: int, head_width: int, mlp_ratio: float, norm: str, hears: bool):
        super().__init__(heads, head_width, mlp_ratio=mlp_ratio, qk_norm=norm)
        self.audio_cross_attn = SpeechCrossAttention(heads, head_width) if hears else None


# diffusers' caches (FirstBlockCache, ...) look a block up by its exact class.
for _block in (SpeechDualBlock, SpeechSingleBlock):
    TransformerBlockRegistry.register(
        _block,
        TransformerBlockMetadata(
            return_hidden_states_index=0, return_encoder_hidden_states_index=1
        ),
    )


class HunyuanMoChaTransformer3DModel(HunyuanVideoTransformer3DModel):  # type: ignore[misc]
    """MoCha-Demo's transformer; the defaults are the public 13B model's."""

    _no_split_modules = ["SpeechDualBlock", "SpeechSingleBlock", "HunyuanVideoPatchEmbed"]
    _repeated_blocks = ["SpeechDualBlock", "SpeechSingleBlock"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 16,
        out_channels: int = 16,
        num_attention_heads: int = 24,
        attention_head_dim: int = 128,
        num_layers: int = 20,
        num_single_layers: int = 40,
        num_refiner_layers: int = 2,
        mlp_ratio: float = 4.0,
        patch_size: int = 2,
        patch_size_t: int = 1,
        qk_norm: str = "rms_norm",
        guidance_embeds: bool = True,
        text_embed_dim: int = 4096,
        pooled_projection_dim: int = 768,
        rope_theta: float = 256.0,
        rope_axes_dim: tuple[int, ...] = (16, 56, 56),
        speech_layers: int = 12,
        speech_width: int = 768,
        speech_window: SpeechWindow = "own",
        hearing_dual_blocks: tuple[int, ...] = tuple(range(0, 20, 2)),
        hearing_single_blocks: tuple[int, ...] = tuple(range(0, 40, 2)),
        image_condition_type: None = None,  # in every config of the base model
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            num_layers=0,  # the blocks below take the place of the base model's
            num_single_layers=0,
            num_refiner_layers=num_refiner_layers,
            mlp_ratio=mlp_ratio,
            patch_size=patch_size,
            patch_size_t=patch_size_t,
            qk_norm=qk_norm,
            guidance_embeds=guidance_embeds,
            text_embed_dim=text_embed_dim,
            pooled_projection_dim=pooled_projection_dim,
            rope_theta=rope_theta,
            rope_axes_dim=rope_axes_dim,
        )
        self.register_to_config(num_layers=num_layers, num_single_layers=num_single_layers)
        width = num_attention_heads * attention_head_dim
        shape = (num_attention_heads, attention_head_dim, mlp_ratio, qk_norm)
        self.audio_projector = SpeechMixProjector(speech_layers, speech_width, width)
        self.transformer_blocks = nn.ModuleList(
            SpeechDualBlock(*shape, hears=i in hearing_dual_blocks) for i in range(num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList(
            SpeechSingleBlock(*shape, hears=i in hearing_single_blocks)
            for i in range(num_single_layers)
        )
        self.init_speech_weights()

    def init_speech_weights(self) -> None:
        """As the demo starts training: the model is exactly its base model, whatever it hears."""
        for module in self.audio_projector.proj:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            if block.audio_cross_attn is not None:
                block.audio_cross_attn.init_weights()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        pooled_projections: Tensor,
        guidance: Tensor | None = None,
        speech_tokens: Tensor | None = None,
    ) -> Tensor:
        """Velocity (noise - latents) of noisy latents.

        Args:
            hidden_states: (B, C, F, h, w).
            timestep: (B,), 999 sigma.
            encoder_hidden_states, encoder_attention_mask: (B, L, text_embed_dim) and (B, L). The
                mask acts in the token refiner only.
            pooled_projections: (B, pooled_projection_dim), CLIP's.
            guidance: (B,), 1000 times the scale that the base model was distilled with.
            speech_tokens: (B, 1 + 4 (F - 1), layers, width). None leaves speech out; zeros do not.
        """
        frames, height, width = hidden_states.shape[2:]
        rotary = self.rope(hidden_states)
        temb, _ = self.time_text_embed(timestep, pooled_projections, guidance)
        video = self.x_embedder(hidden_states)
        text = self.context_embedder(encoder_hidden_states, timestep, encoder_attention_mask)
        speech = self.hear(speech_tokens, frames // self.config.patch_size_t)
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                video, text = self._gradient_checkpointing_func(
                    block, video, text, temb, rotary, speech
                )
            else:
                video, text = block(video, text, temb, rotary, speech)
        patches = self.proj_out(self.norm_out(video, temb))
        p, pt = self.config.patch_size, self.config.patch_size_t
        velocity: Tensor = rearrange(
            patches,
            "B (F h w) (C pt ph pw) -> B C (F pt) (h ph) (w pw)",
            h=height // p,
            w=width // p,
            pt=pt,
            ph=p,
            pw=p,
        )
        return velocity

    def hear(self, speech_tokens: Tensor | None, num_latent_frames: int) -> Speech | None:
        """Project speech and say who sees what of it."""
        if speech_tokens is None:
            return None
        windows, mask = speech_windows(
            self.config.speech_window, num_latent_frames, speech_tokens.shape[1]
        )
        device = speech_tokens.device
        projected = self.audio_projector(speech_tokens)
        return Speech(projected, windows.to(device), None if mask is None else mask.to(device))
