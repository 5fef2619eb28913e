"""Windowed speech attention against torch's attention with a dense mask, at the same shapes.

    python -m benchmarks.speech_attention

Both start from projected queries, keys and values (projections excluded): width 512, 8 heads,
float32. 64,800 video tokens are 32 latent frames of 2,025 (a 720 x 720 film of 128 frames); where
there are four times as many latent frames, each has a quarter of the tokens. Linearity: the
windowed core alone, on films of more and more latent frames of 2,025 tokens.
Writes benchmarks/results/speech_attention.json.
"""

import argparse
import ctypes
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import keep, machine
from openmocha.models.speech_attention import uniform_windows, window_attention

HEADS, HEAD_WIDTH, VIDEO_TOKENS, TOKENS_PER_FRAME = 8, 64, 64_800, 2_025


def seconds(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Median wall time of each call. They take turns, so that a busy moment strikes them alike."""
    times = []
    for _ in range(repeats + 1):
        round_s = []
        for call in calls:
            start = time.perf_counter()
            call()
            round_s.append(time.perf_counter() - start)
        times.append(round_s)
    return [statistics.median(column) for column in zip(*times[1:], strict=True)]


def keep_memory() -> None:
    """Let glibc keep freed memory: else both cores spend much of their time on page faults."""
    libc = ctypes.CDLL(None)
    m_trim_threshold, m_mmap_max = -1, -4
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)


def dense_mask(windows: Tensor, tokens_per_frame: int, num_speech_tokens: int) -> Tensor:
    """(video tokens, speech tokens) bool, True where the window lets a video token look."""
    mask = torch.zeros(len(windows), num_speech_tokens, dtype=torch.bool)
    mask.scatter_(1, windows, True)
    return mask.repeat_interleave(tokens_per_frame, dim=0)


def dense_attention(query: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
    """The same attention by torch alone: all speech tokens, a mask of video x speech tokens."""
    key, value = rearrange(key_value, "B S two N K -> two B N S K")
    attended = scaled_dot_product_attention(
        rearrange(query, "B F P N K -> B N (F P) K"), key, value, attn_mask=mask
    )
    return rearrange(attended, "B N (F P) K -> B F P N K", F=query.shape[1])


def tensors(frames: int, tokens_per_frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys with values, and windows of one sample."""
    query = torch.randn(1, frames, tokens_per_frame, HEADS, HEAD_WIDTH)
    key_value = torch.randn(1, 4 * frames, 2, HEADS, HEAD_WIDTH)
    return query, key_value, uniform_windows(frames)


def against_dense(num_speech_tokens: int, repeats: int) -> dict[str, float]:
    """Both cores on 64,800 video tokens."""
    frames = num_speech_tokens // 4
    query, key_value, windows = tensors(frames, VIDEO_TOKENS // frames)
    mask = dense_mask(windows, query.shape[2], num_speech_tokens)
    windowed = window_attention(query, key_value, windows)
    error = (windowed - dense_attention(query, key_value, mask)).abs().max().item()
    calls = (
        lambda: window_attention(query, key_value, windows),
        lambda: dense_attention(query, key_value, mask),
    )
    windowed_s, dense_s = seconds(calls, repeats)
    return {
        "speech_tokens": num_speech_tokens,
        "video_tokens": frames * query.shape[2],
        "max_abs_error": error,
        "windowed_s": windowed_s,
        "dense_s": dense_s,
        "speedup": dense_s / windowed_s,
    }


def linearity(repeats: int) -> list[dict[str, float]]:
    """Time of the windowed core for films of 16 to 128 latent frames."""
    films = [tensors(frames, TOKENS_PER_FRAME) for frames in (16, 32, 64, 128)]
    times = seconds([partial(window_attention, *film) for film in films], repeats)
    return [
        {"latent_frames": len(film[2]), "seconds": time_s, "per_frame_s": time_s / len(film[2])}
        for film, time_s in zip(films, times, strict=True)
    ]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    keep_memory()
    about = machine() | {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    compared = [against_dense(tokens, repeats) for tokens in (128, 512)]
    grown = linearity(repeats)
    print(f"{'speech tokens':>13} {'windowed':>10} {'dense':>10} {'speedup':>8} {'max error':>10}")
    for row in compared:
        print(
            f"{row['speech_tokens']:13} {row['windowed_s'] * 1e3:7.1f} ms "
            f"{row['dense_s'] * 1e3:7.1f} ms {row['speedup']:7.1f}x {row['max_abs_error']:10.1e}"
        )
    for row in grown:
        print(f"{row['latent_frames']:4} latent frames: {row['per_frame_s'] * 1e3:.3f} ms each")
    result = {"machine": about, "against_dense": compared, "linearity": grown}
    keep("speech_attention", result)


if __name__ == "__main__":
    main()
