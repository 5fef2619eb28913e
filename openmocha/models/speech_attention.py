"""Speech to video: which speech tokens a latent frame sees, projector, cross-attention (eq. 4).

    speech_tokens (B, S, layers, width) -> SpeechProjector -> (B, S, D) -> SpeechAttention

One speech token stands for one video frame; a latent frame stands for r of them. In window mode
each token is projected to key and value once, and the W keys and values of each latent frame are
then gathered, so cost grows with F W and no mask or copy of size (video x speech tokens) exists.

Dimension letters: B batch, F latent frames, P tokens of one latent frame, S speech tokens (video
frames), W speech window, D width, N heads, K head width (D = N K), A stacked neighbours.
"""

from typing import Literal

import torch
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor, nn

from openmocha.models.attention import RMSNorm, attend, rotary_angles, rotary_turns, rotate

# The paper's attention, and the alternatives of its ablation ("global" = no positions at all).
SpeechMode = Literal[
    "window", "window+rope", "global", "global+rope", "global+sinusoidal", "global+learnable"
]


def uniform_windows(
    num_latent_frames: int, frames_per_latent: int = 4, left: int = 1, right: int = 1
) -> Tensor:
    """Speech tokens seen by each latent frame of a uniform VAE: (F, W) int64, W = r + left + right.

    Latent frame i (0-based) stands for frames i r .. (i + 1) r - 1 and sees `left` tokens before
    and `right` after them. At both ends the window is shifted inward (figure 3), so that every
    latent frame has exactly W tokens; a film shorter than W is seen whole. Eq. 4 as printed is
    left = 2.

    Raises ValueError on a negative padding or no frames.

    >>> uniform_windows(3).tolist()
    [[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 8], [6, 7, 8, 9, 10, 11]]
    """
    _check_window(num_latent_frames, frames_per_latent, left, right)
    num_tokens = num_latent_frames * frames_per_latent
    width = min(frames_per_latent + left + right, num_tokens)
    first = torch.arange(num_latent_frames) * frames_per_latent - left
    return first.clamp(0, num_tokens - width)[:, None] + torch.arange(width)


def causal_windows(
    num_latent_frames: int, frames_per_latent: int = 4, left: int = 1, right: int = 1
) -> tuple[Tensor, Tensor]:
    """Windows for a causal VAE (1 + 4k frames -> 1 + k latents): index and mask, both (F, W).

    Latent frame 0 stands for frame 0 alone, latent frame i >= 1 for frames r i - r + 1 .. r i. Span
    and padding are clipped at both ends of the film; the mask is False where no token is.
    Raises ValueError on a negative padding or no frames.
    """
    _check_window(num_latent_frames, frames_per_latent, left, right)
    num_tokens = 1 + (num_latent_frames - 1) * frames_per_latent
    last = torch.arange(num_latent_frames) * frames_per_latent
    first = (last - frames_per_latent + 1).clamp(min=0)
    index = (first - left)[:, None] + torch.arange(frames_per_latent + left + right)
    mask = (index >= 0) & (index <= (last + right)[:, None]) & (index < num_tokens)
    return index.clamp(0, num_tokens - 1), mask


def _check_window(num_latent_frames: int, frames_per_latent: int, left: int, right: int) -> None:
    if num_latent_frames < 1 or frames_per_latent < 1:
        raise ValueError(
            f"{num_latent_frames} latent frames of {frames_per_latent} frames; give at least 1"
        )
    if left < 0 or right < 0:
        raise ValueError(f"window padding is (left {left}, right {right}); neither may be negative")


def stack_neighbours(tokens: Tensor, reach: int) -> Tensor:
    """Concatenate each token with `reach` neighbours on either side: (B, S, D) -> (B, S, A D).

    A = 2 reach + 1, in order of time. The first and the last token stand in for what lies beyond.
    """
    batch, num_tokens, _ = tokens.shape
    offsets = torch.arange(-reach, reach + 1, device=tokens.device)
    rows = torch.arange(num_tokens, device=tokens.device)[:, None] + offsets
    start = num_tokens * torch.arange(batch, device=tokens.device)
    rows = rows.clamp(0, num_tokens - 1) + start[:, None, None]
    stacked = nnf.embedding(rows, rearrange(tokens, "B S D -> (B S) D"))
    return rearrange(stacked, "B S A D -> B S (A D)")


class SpeechProjector(nn.Module):
    """Two-layer MLP over all Wav2Vec2 layers of 2 `stack` + 1 neighbouring frames.

    With `norm`, a LayerNorm after it, as text streams have: without one, tokens of a small network
    stay ten times smaller than text tokens, and what follows learns nothing from them.
    """

    def __init__(
        self, layers: int, speech_width: int, stack: int, hidden: int, width: int, norm: bool
    ) -> None:
        super().__init__()
        self.stack = stack
        self.hidden = nn.Linear((2 * stack + 1) * layers * speech_width, hidden)
        self.output = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, speech_tokens: Tensor) -> Tensor:
        """(B, S, layers, speech_width) -> (B, S, D). No speech is zeros here."""
        tokens = rearrange(speech_tokens, "B S layers width -> B S (layers width)")
        if torch.is_autocast_enabled(tokens.device.type):
            # Before stacking, not by autocast after it: eleven times fewer numbers to convert.
            tokens = tokens.to(torch.get_autocast_dtype(tokens.device.type))
        hidden = nnf.gelu(self.hidden(stack_neighbours(tokens, self.stack)))
        out: Tensor = self.norm(self.output(hidden))
        return out


def whole_vectors(windows: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Pad windows to a multiple of 16 by masked tokens: torch is 15% faster so on a CPU."""
    width = windows.shape[-1]
    mask = torch.ones_like(windows, dtype=torch.bool) if mask is None else mask
    padding = (0, -width % 16)
    return nnf.pad(windows, padding), nnf.pad(mask.expand(windows.shape), padding)


def window_attention(
    query: Tensor, key_value: Tensor, windows: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The core of eq. 4: the tokens of each latent frame attend to its own W speech tokens.

    query (B, F, P, N, K); key_value (B, S, 2, N, K); windows (F, W) or (B, F, W), rows of S;
    mask as windows, True where a token is. Returns (B, F, P, N, K).
    """
    batch, frames, _, heads, head_width = query.shape
    if query.device.type == "cpu" and not query.requires_grad:
        windows, mask = whole_vectors(windows, mask)
    start = torch.arange(batch, device=windows.device) * key_value.shape[1]
    rows = rearrange(windows + start[:, None, None], "B F W -> (B F) W")
    # An embedding look-up is a gather of rows whose backward is as fast; that of indexing is not.
    gathered = nnf.embedding(rows, rearrange(key_value, "B S two N K -> (B S) (two N K)"))
    key, value = rearrange(gathered, "A W (two N K) -> two A N W K", two=2, N=heads, K=head_width)
    bias = None
    if mask is not None:
        bias = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device)
        bias = bias.masked_fill(~mask, float("-inf")).expand(batch, -1, -1)
        bias = rearrange(bias, "B F W -> (B F) 1 1 W")
    query = rearrange(query, "B F P N K -> (B F) N P K")
    attended = attend(query, key, value, bias)
    return rearrange(attended, "(B F) N P K -> B F P N K", F=frames)


def global_attention(query: Tensor, key_value: Tensor) -> Tensor:
    """Every video token attends to all S speech tokens; shapes as in window_attention."""
    frames = query.shape[1]
    key, value = rearrange(key_value, "B S two N K -> two B N S K")
    query = rearrange(query, "B F P N K -> B N (F P) K")
    attended = attend(query, key, value)
    return rearrange(attended, "B N (F P) K -> B F P N K", F=frames)


def window_times(windows: Tensor, mask: Tensor | None) -> Tensor:
    """Where latent frames stand among the speech tokens: means of windows, (F,) or (B, F)."""
    weight = torch.ones_like(windows) if mask is None else mask.expand(windows.shape)
    return (windows * weight).sum(-1) / weight.sum(-1)


def sinusoid(positions: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding (..., width) of positions (...), which need not be whole."""
    angles = rotary_angles(positions, width, theta=10000.0)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class SpeechAttention(nn.Module):
    """Cross-attention from video tokens to speech tokens; its output starts at exactly zero."""

    def __init__(
        self, width: int, heads: int, mode: SpeechMode, max_speech_tokens: int = 512
    ) -> None:
        super().__init__()
        self.heads, self.mode, self.head_width = heads, mode, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_norm = RMSNorm(self.head_width)
        self.key_norm = RMSNorm(self.head_width)
        self.output = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.output.weight)
        if mode == "global+learnable":
            self.positions = nn.Parameter(0.02 * torch.randn(max_speech_tokens, width))

    def forward(
        self, x: Tensor, speech: Tensor, windows: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """x (B, F, P, D), speech (B, S, D), windows and mask (F, W) or (B, F, W) -> (B, F, P, D).

        The global modes use windows only to know when a latent frame is.
        """
        frame_at = window_times(windows, mask).expand(x.shape[0], x.shape[1])
        token_at = torch.arange(speech.shape[1], device=x.device)
        x, speech = self._add_positions(x, frame_at), self._add_positions(speech, token_at)
        query = self.query_norm(rearrange(self.query(x), "B F P (N K) -> B F P N K", N=self.heads))
        key_value = rearrange(
            self.key_value(speech), "B S (two N K) -> B S two N K", two=2, N=self.heads
        )
        key, value = key_value.unbind(2)
        key = self.key_norm(key)
        if self.mode.endswith("rope"):
            frame_turns, token_turns = (
                rotary_turns(rotary_angles(at, self.head_width, theta=10000.0))
                for at in (frame_at, token_at)
            )
            query = rotate(query, frame_turns[:, :, :, None, None])
            key = rotate(key, token_turns[:, :, None])
        key_value = torch.stack((key, value), dim=2)
        if self.mode.startswith("window"):
            attended = window_attention(query, key_value, windows, mask)
        else:
            attended = global_attention(query, key_value)
        out: Tensor = self.output(rearrange(attended, "B F P N K -> B F P (N K)"))
        return out

    def _add_positions(self, x: Tensor, at: Tensor) -> Tensor:
        """x (B, F, P, D) or (B, S, D) plus the embedding of positions (B, F) or (S,), if any."""
        if self.mode == "global+sinusoidal":
            embedding = sinusoid(at, x.shape[-1])
        elif self.mode == "global+learnable":
            embedding = self.positions[at.round().long().clamp(0, len(self.positions) - 1)]
        else:
            return x
        if at.ndim == 2:
            embedding = embedding[:, :, None]
        return x + embedding.to(x.dtype)
