"""Attention of latent frames to their own windows, through diffusers' choice of kernels."""

from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class Speech:
    """Projected speech (B, S, K), which rows of it each latent frame sees (F, W), and a mask or
    None."""

    tokens: Tensor
    windows: Tensor
    mask: Tensor | None


def attend_windows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    windows: Tensor,
    mask: Tensor | None = None,
    backend: Any = None,
    parallel_config: Any = None,
) -> Tensor:
    """query (B, F, P, N, K); key, value (B, S, N, K); windows, mask (F, W), rows of S and which of
    them are tokens. Returns (B, F, P, N, K)."""
    batch, frames = query.shape[:2]
    key, value = (
        rearrange(x[:, windows.flatten()], "B (F W) N K -> (B F) W N K", F=frames)
        for x in (key, value)
    )
    if mask is not None:
        mask = rearrange(mask.expand(batch, -1, -1), "B F W -> (B F) 1 1 W")
    attended: Tensor = dispatch_attention_fn(
        rearrange(query, "B F P N K -> (B F) P N K"),
        key,
        value,
        attn_mask=mask,
        backend=backend,
        parallel_config=parallel_config,
    )
    return rearrange(attended, "(B F) P N K -> B F P N K", F=frames)
