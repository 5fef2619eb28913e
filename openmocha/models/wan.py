"""Wan text-to-video that hears speech: diffusers' transformer, and in every block, between text
attention and FFN, attention of each latent frame to the speech of its own moment.

    speech tokens (B, T, layers, width), T = 1 + 4 (F - 1)
        -> projector -> (B, S, K) -> video tokens of latent frame i see W of the S

Two kinds of speech: "mocha" (the paper's projector, W = r + 2 = 6, masked at the clip's ends) and
"humo" (that of HuMo's public weights: 16 tokens of each latent frame's own 8 features). What is
new starts at zero: the output is the base model's to the bit.

Dimension letters: B batch, T video frames (speech features), F latent frames, P video tokens of one
latent frame, S projected speech tokens, W speech window, D width, K width of projected speech,
N heads, C latent channels, L text tokens.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.modeling_utils import ModelMixin as ModelMixin  # noqa: PLC0414 (loaders look for it here)
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import (
    WanTransformer3DModel,
    WanTransformerBlock,
)
from einops import rearrange, repeat
from torch import Tensor, nn

from openmocha.models.speech_attention import SpeechProjector, causal_windows
from openmocha.models.window_processor import Speech, attend_windows

FRAMES_PER_LATENT = 4
HUMO_WINDOW, HUMO_LEAD = 8, 5  # features of one latent frame i: 4 i - 5 .. 4 i + 2
HUMO_TOKENS = 16

SpeechKind = Literal["mocha", "humo"]


def humo_windows(features: Tensor, num_latent_frames: int) -> Tensor:
    """Features (B, T, ...) -> (B, F, 8, ...): those of frames 4i-5 .. 4i+2, zeros beyond them.

    Source: HuMo's code (MODELS.md c.1).
    """
    first = FRAMES_PER_LATENT * torch.arange(num_latent_frames) - HUMO_LEAD
    rows = (first[:, None] + torch.arange(HUMO_WINDOW)).to(features.device)
    inside = (rows >= 0) & (rows < features.shape[1])
    windows = features[:, rows.clamp(0, features.shape[1] - 1)]
    shape = inside.shape + (1,) * (features.ndim - 2)
    return windows * inside.reshape(shape).to(features.dtype)


class HuMoProjector(nn.Module):
    """Three layers from the features of a latent frame to its 16 tokens, LayerNorm."""

    def __init__(self, layers: int, speech_width: int, hidden: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(HUMO_WINDOW * layers * speech_width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)
        self.linear_3 = nn.Linear(hidden, HUMO_TOKENS * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, num_latent_frames: int, num_silent: int = 0) -> Tensor:
        """(B, T, layers, speech_width) -> (B, 16 F, K); the last `num_silent` frames hear zeros."""
        windows = humo_windows(features, num_latent_frames - num_silent)
        windows = nn.functional.pad(windows, (0, 0) * 3 + (0, num_silent))
        hidden = self.linear_1(rearrange(windows, "B F frames n width -> B F (frames n width)"))
        hidden = self.linear_3(torch.relu(self.linear_2(torch.relu(hidden))))
        tokens: Tensor = self.norm(rearrange(hidden, "B F (W K) -> B (F W) K", W=HUMO_TOKENS))
        return tokens


class SpeechWindowProcessor:
    """diffusers' attention processor for SpeechWindowAttention."""

    # What diffusers sets to choose a kernel, and to spread a sequence over devices.
    _attention_backend: Any = None
    _parallel_config: Any = None

    def __call__(
        self, attn: "SpeechWindowAttention", hidden_states: Tensor, speech: Speech
    ) -> Tensor:
        """hidden_states (B, F P, D) -> (B, F P, D)."""
        frames, heads = len(speech.windows), attn.heads
        query = attn.norm_q(attn.to_q(hidden_states))
        # Tokens are projected once, then gathered: windows overlap.
        key, value = attn.norm_k(attn.to_k(speech.tokens)), attn.to_v(speech.tokens)
        split = "B S (N head) -> B S N head"
        attended = attend_windows(
            rearrange(query, "B (F P) (N head) -> B F P N head", F=frames, N=heads),
            rearrange(key, split, N=heads),
            rearrange(value, split, N=heads),
            speech.windows,
            speech.mask,
            self._attention_backend,
            self._parallel_config,
        )
        attended = rearrange(attended, "B F P N head -> B (F P) (N head)")
        projected: Tensor = attn.output(attended.to(hidden_states.dtype))
        return projected


class SpeechWindowAttention(nn.Module, AttentionModuleMixin):  # type: ignore[misc]
    """Attention of video tokens to speech, norms over the whole width as in Wan's own attention.

    Its output starts at exactly zero.
    """

    def __init__(self, width: int, heads: int, speech_width: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(speech_width, width)
        self.to_v = nn.Linear(speech_width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q = nn.RMSNorm(width, eps=eps)
        self.norm_k = nn.RMSNorm(width, eps=eps)
        self.processor: Any = SpeechWindowProcessor()

    @property
    def output(self) -> nn.Linear:
        linear = self.to_out[0]
        assert isinstance(linear, nn.Linear)
        return linear

    def forward(self, hidden_states: Tensor, speech: Speech) -> Tensor:
        """hidden_states (B, F P, D) -> what to add to them."""
        added: Tensor = self.processor(self, hidden_states, speech)
        return added


class WanSpeechBlock(WanTransformerBlock):  # type: ignore[misc]
    """Wan's block with speech between attention to text and FFN (paper, figure 2)."""

    def __init__(
        self,
        width: int,
        ffn_width: int,
        heads: int,
        speech_width: int,
        qk_norm: str,
        cross_attn_norm: bool,
        eps: float,
    ) -> None:
        super().__init__(width, ffn_width, heads, qk_norm, cross_attn_norm, eps)
        self.speech_norm = FP32LayerNorm(width, eps, elementwise_affine=True)
        self.speech_attn = SpeechWindowAttention(width, heads, speech_width, eps)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: Any,
        speech: Speech | None = None,
    ) -> Tensor:
        """hidden_states (B, F P, D), encoder_hidden_states (B, L, D), temb (B, 6, D), or
        (B, F P, 6, D) with a noise level for each token. The base model's arithmetic, in its order
        and precision."""
        dtype = hidden_states.dtype
        modulation = (self.scale_shift_table + temb.float()).unbind(dim=-2)
        if temb.ndim == 3:  # one for all tokens
            modulation = tuple(part[:, None] for part in modulation)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation

        normed = (self.norm1(hidden_states.float()) * (1 + scale) + shift).to(dtype)
        attended = self.attn1(normed, None, None, rotary_emb)
        hidden_states = (hidden_states.float() + attended * gate).to(dtype)

        normed = self.norm2(hidden_states.float()).to(dtype)
        hidden_states = hidden_states + self.attn2(normed, encoder_hidden_states, None, None)

        if speech is not None:
            normed = self.speech_norm(hidden_states.float()).to(dtype)
            hidden_states = hidden_states + self.speech_attn(normed, speech)

        normed = (self.norm3(hidden_states.float()) * (1 + ffn_scale) + ffn_shift).to(dtype)
        fed = self.ffn(normed).float()
        out: Tensor = (hidden_states.float() + fed * ffn_gate).to(dtype)
        return out


# diffusers' caches (FirstBlockCache, ...) look a block up by its exact class.
TransformerBlockRegistry.register(
    WanSpeechBlock,
    TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=None),
)


def text_only(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A base model's settings, without those of an image encoder. Raises ValueError if it has
    one."""
    unwanted = ("image_dim", "added_kv_proj_dim", "pos_embed_seq_len")
    image = [name for name in unwanted if settings.get(name)]
    if image:
        raise ValueError(
            f"the base model has {', '.join(image)}: it wants an image's CLIP states; give a "
            "text-to-video base"
        )
    kept = {name: value for name, value in settings.items() if name not in unwanted}
    return kept | {"patch_size": tuple(settings["patch_size"])}


class WanMoChaTransformer3DModel(WanTransformer3DModel):  # type: ignore[misc]
    """Wan 2.1 or 2.2 with speech; the defaults are Wan 2.1's 14B with the paper's speech.

    HuMo: speech_kind "humo", speech_layers 5, speech_width 1280, speech_token_width 1536.
    """

    _no_split_modules = ["WanSpeechBlock"]
    _repeated_blocks = ["WanSpeechBlock"]
    _keep_in_fp32_modules = [*WanTransformer3DModel._keep_in_fp32_modules, "speech_norm"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str = "rms_norm_across_heads",
        eps: float = 1e-6,
        rope_max_seq_len: int = 1024,
        speech_kind: SpeechKind = "mocha",
        speech_layers: int = 12,
        speech_width: int = 768,
        speech_stack: int = 5,
        speech_hidden: int = 512,
        speech_token_width: int | None = None,
        image_dim: None = None,  # these three are in every config of the base models
        added_kv_proj_dim: None = None,
        pos_embed_seq_len: None = None,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=0,  # the blocks below take the place of the base model's
            cross_attn_norm=cross_attn_norm,
            qk_norm=qk_norm,
            eps=eps,
            rope_max_seq_len=rope_max_seq_len,
        )
        self.register_to_config(num_layers=num_layers)
        width = num_attention_heads * attention_head_dim
        token_width = speech_token_width or width
        if speech_kind == "humo":
            self.speech_projector: nn.Module = HuMoProjector(
                speech_layers, speech_width, speech_hidden, token_width
            )
        else:
            self.speech_projector = SpeechProjector(
                speech_layers, speech_width, speech_stack, speech_hidden, token_width, norm=False
            )
        shape = (width, ffn_dim, num_attention_heads, token_width, qk_norm, cross_attn_norm, eps)
        self.blocks = nn.ModuleList(WanSpeechBlock(*shape) for _ in range(num_layers))
        self.init_speech_weights()

    def init_speech_weights(self) -> None:
        """Exactly silent: what speech adds is multiplied with zero."""
        for module in self.modules():
            if isinstance(module, SpeechWindowAttention):
                nn.init.zeros_(module.output.weight)
                nn.init.zeros_(module.output.bias)

    @classmethod
    def from_base(cls, base: WanTransformer3DModel, **speech: Any) -> Self:
        """A base model's weights with new, silent speech attention; `speech` are the settings that
        begin with "speech_".

        Raises ValueError where the base has parts that this model has no place for (an image
        encoder's).
        """
        settings = {k: v for k, v in base.config.items() if not k.startswith("_")}
        model = cls(**text_only(settings), **speech)
        model.load_state_dict(base.state_dict(), strict=False)
        dtypes = {name: value.dtype for name, value in base.state_dict().items()}
        for name, parameter in model.named_parameters():
            own = torch.float32 if "speech_norm" in name else base.dtype
            parameter.data = parameter.data.to(dtypes.get(name, own))
        built: Self = model
        return built

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        speech_tokens: Tensor | None = None,
        num_reference_frames: int = 0,
    ) -> Tensor:
        """Velocity (noise - latents) of noisy latents.

        Args:
            hidden_states: (B, C, F, h, w).
            timestep: (B,) or, for each latent frame, (B, F); 1000 sigma.
            encoder_hidden_states: (B, L, text_dim), zeros beyond a prompt's length.
            speech_tokens: (B, 1 + 4 (F - 1), layers, width), HuMo's also longer: it hears a little
                beyond the film. None leaves speech out.
            num_reference_frames: of HuMo's latent frames, at the end, that are no part of the film
                and hear nothing; F does not count them.
        """
        frames, height, width = hidden_states.shape[2:]
        pt, ph, pw = self.config.patch_size
        rotary = self.rope(hidden_states)
        video = rearrange(self.patch_embedding(hidden_states), "B D F h w -> B (F h w) D")
        video = video.contiguous()
        temb, modulation, text = self._embed_conditions(timestep, encoder_hidden_states, video)
        speech = self.hear(speech_tokens, frames // pt, num_reference_frames)
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                video = self._gradient_checkpointing_func(
                    block, video, text, modulation, rotary, speech
                )
            else:
                video = block(video, text, modulation, rotary, speech)
        shift, scale = (self.scale_shift_table + temb[..., None, :]).unbind(dim=-2)
        if temb.ndim == 2:  # one for all tokens
            shift, scale = shift[:, None], scale[:, None]
        video = (self.norm_out(video.float()) * (1 + scale) + shift).type_as(video)
        velocity: Tensor = rearrange(
            self.proj_out(video),
            "B (F h w) (pt ph pw C) -> B C (F pt) (h ph) (w pw)",
            h=height // ph,
            w=width // pw,
            pt=pt,
            ph=ph,
            pw=pw,
        )
        return velocity

    def _embed_conditions(
        self, timestep: Tensor, text: Tensor, video: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Time embedding (B, D) or (B, F P, D), its six modulations, projected text (B, L, D)."""
        num_tokens = None
        if timestep.ndim == 2:
            num_tokens = video.shape[1]
            each = num_tokens // timestep.shape[1]
            timestep = repeat(timestep, "B F -> (B F each)", each=each)
        temb, modulation, text, _ = self.condition_embedder(
            timestep, text, None, timestep_seq_len=num_tokens
        )
        return temb, rearrange(modulation, "... (six D) -> ... six D", six=6), text

    def hear(
        self, speech_tokens: Tensor | None, num_latent_frames: int, num_reference_frames: int = 0
    ) -> Speech | None:
        """Project speech and say who sees what of it. Raises ValueError for another length."""
        if speech_tokens is None:
            return None
        humo = self.config.speech_kind == "humo"
        film_frames = num_latent_frames - num_reference_frames
        expected = 1 + FRAMES_PER_LATENT * (film_frames - 1)
        extra = speech_tokens.shape[1] - expected
        if extra < 0 or (extra and not humo):
            raise ValueError(
                f"{film_frames} latent frames stand for {expected} video frames, but there "
                f"are {speech_tokens.shape[1]} speech tokens; cut the speech to 1 + 4k frames"
            )
        device = speech_tokens.device
        if humo:
            tokens = self.speech_projector(speech_tokens, num_latent_frames, num_reference_frames)
            windows = torch.arange(tokens.shape[1], device=device)
            return Speech(tokens, rearrange(windows, "(F W) -> F W", W=HUMO_TOKENS), None)
        windows, mask = causal_windows(num_latent_frames, FRAMES_PER_LATENT)
        return Speech(self.speech_projector(speech_tokens), windows.to(device), mask.to(device))
