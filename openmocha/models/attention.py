"""RMSNorm, rotary positions, and the DiT's attention of video tokens among themselves and to text.

Dimension letters: B batch, F latent frames, P tokens of one latent frame (h w / patch^2), L text
tokens, D width, N heads, K head width (D = N K), T any number of tokens.
"""

import torch
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor, nn

from openmocha.models.places import places

EPS = 1e-6


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2)) over the last axis; the mean in float32, the rest in x's dtype."""
    # The norm writes nothing of x's size: on a CPU half the time of x.square().mean().
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x * torch.rsqrt(norm.square() / x.shape[-1] + EPS).to(x.dtype)


class RMSNorm(nn.Module):
    """RMSNorm with one learned weight for each channel."""

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x) * self.weight.to(x.dtype)


def rotary_angles(positions: Tensor, head_width: int, theta: float) -> Tensor:
    """Angles (T..., K/2) of the rotary embedding for positions (T...), K = head_width."""
    exponent = torch.arange(0, head_width, 2, device=positions.device) / head_width
    return positions.float()[..., None] * theta**-exponent


def rotary_turns(angles: Tensor) -> Tensor:
    """Cosines and sines (2, ..., K/2) of angles (..., K/2), for rotate."""
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the pairs (x[k], x[k + K/2]) of the last axis by turns (2, ..., K/2)."""
    cos, sin = turns.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def video_angles(
    frames: int, rows: int, cols: int, head_width: int, theta: float, views: Tensor | None = None
) -> Tensor:
    """3-D rotary angles (B, F h w, K/2): each pair of channels belongs to time, row or column.

    Rows and columns take a third of the pairs each (rounded down), time the rest, as in Wan. B is 1
    without `views` (places.py), by which rows and columns are counted where they are seen.
    """
    spatial = 2 * (head_width // 6)
    device = None if views is None else views.device
    times, down, across = (torch.arange(n, device=device) for n in (frames, rows, cols))
    down, across = down[None, None], across[None, None]
    if views is not None:
        down, across = ((at + 1) * at.shape[-1] / 2 - 0.5 for at in places(rows, cols, views))
    axes = (
        (times[None], head_width - 2 * spatial, "B F K -> B F 1 1 K"),
        (down, spatial, "B F h K -> B F h 1 K"),
        (across, spatial, "B F w K -> B F 1 w K"),
    )
    angles = [rearrange(rotary_angles(at, width, theta), shape) for at, width, shape in axes]
    grid = [angle.expand(len(down), frames, rows, cols, -1) for angle in angles]
    return rearrange(torch.cat(grid, dim=-1), "B F h w K -> B (F h w) K")


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(query key^T / sqrt(K) + bias) value: torch's attention, (B, N, T, K) each.

    Training in bfloat16 on a CPU takes the plain formula where keys are few: there, the backward
    of torch's fused kernel is 3 to 10 times slower (benchmarks/training_step.py).
    """
    few = key.shape[-2] <= 1024 and query.requires_grad and query.device.type == "cpu"
    if not (few and query.dtype == torch.bfloat16):
        return nnf.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    return torch.softmax(logits if bias is None else logits + bias, dim=-1) @ value


class SelfAttention(nn.Module):
    """Attention among all video tokens: RMSNorm of each head's queries and keys, then 3-D RoPE."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.query_key_norm = RMSNorm((2, 1, width // heads))
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        """x (B, F, P, D), turns (2, B, F P, K/2) -> (B, F, P, D)."""
        frames = x.shape[1]
        qkv = rearrange(
            self.query_key_value(x), "B F P (three N K) -> B (F P) three N K", three=3, N=self.heads
        )
        query_key, value = qkv.split((2, 1), dim=2)
        query_key = rotate(self.query_key_norm(query_key), turns[..., None, None, :])
        query, key = rearrange(query_key, "B T two N K -> two B N T K")
        value = rearrange(value, "B T 1 N K -> B N T K")
        attended = attend(query, key, value)
        out: Tensor = self.output(rearrange(attended, "B N (F P) K -> B F P (N K)", F=frames))
        return out


class TextAttention(nn.Module):
    """Cross-attention from video tokens to the text tokens of all streams."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, F, P, D), text (B, L, D), mask (B, 1, 1, L) added to the logits -> (B, F, P, D)."""
        frames = x.shape[1]
        query = rearrange(self.query(x), "B F P (N K) -> B N (F P) K", N=self.heads)
        key, value = rearrange(
            self.key_value(text), "B L (two N K) -> two B N L K", two=2, N=self.heads
        )
        attended = attend(self.query_norm(query), self.key_norm(key), value, mask)
        out: Tensor = self.output(rearrange(attended, "B N (F P) K -> B F P (N K)", F=frames))
        return out
