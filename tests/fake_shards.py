"""Shards of random films, and the smallest transformer, for the tests of the training engine."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

from openmocha.models.config import MoChaConfig
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.training.shards import Encoders, TrainingClip, write_empty_prompt, write_shard

TOTAL_FRAMES = 64
SOURCES = ("close-up", "medium close-up", "medium", "dialogue", "text")


class MeanPixels:
    """A VAE whose latents are the mean colour of each 8x8x4 block, and a zero.

    They lie in memory with their channels last, as those of convolutions do.
    """

    def encode(self, video: Tensor) -> Tensor:
        blocks = reduce(video, "B (F r) C (h i) (w j) -> B C F h w", "mean", r=4, i=8, j=8)
        latents = torch.cat([blocks, torch.zeros_like(blocks[:, :1])], dim=1)
        return latents.contiguous(memory_format=torch.channels_last_3d)


class FrameEnergy:
    """Speech tokens (T, 1, 2): the loudness of the frame and its number."""

    def encode(self, speech: np.ndarray, num_frames: int) -> Tensor:
        frames = np.array_split(speech, num_frames)
        rows = [(float(np.abs(frame).mean()), float(t)) for t, frame in enumerate(frames)]
        return rearrange(torch.tensor(rows).T.contiguous(), "width T -> T 1 width")


class Letters:
    """Text tokens (B, L, 3): the codes of the letters."""

    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        length = max(len(prompt) for prompt in prompts) + 1
        tokens, mask = (
            torch.zeros(len(prompts), length, 3),
            torch.zeros(len(prompts), length).bool(),
        )
        for i, prompt in enumerate(prompts):
            codes = torch.tensor([0.0, *(ord(letter) / 100 for letter in prompt)])
            tokens[i, : len(codes)] = codes[:, None]
            mask[i, : len(codes)] = True
        return tokens, mask


ENCODERS = Encoders(MeanPixels(), FrameEnergy(), Letters())


def fake_clip(seed: int, source: str, num_crops: int, latent_frames: int) -> TrainingClip:
    """A film of 32x32 pixels of noise."""
    rng = np.random.default_rng(seed)
    starts = sorted(rng.integers(0, TOTAL_FRAMES // 4 - latent_frames + 1, num_crops).tolist())
    shape = (num_crops, 4 * latent_frames, 32, 32, 3)
    return TrainingClip(
        source=source,
        seed=seed,
        caption=f"film {seed}",
        num_frames=TOTAL_FRAMES,
        crops=rng.integers(0, 256, shape, dtype=np.uint8),
        starts=starts,
        speech=None if source == "text" else rng.standard_normal(8000).astype(np.float32),
        mouth_cells=rng.integers(0, 2, (num_crops, latent_frames, 4, 4), dtype=np.uint8),
    )


def write_fake_shards(folder: Path, num_films: int = 7) -> Path:
    """For every source, one shard of single latents and one of whole films."""
    write_empty_prompt(folder, ENCODERS.text)
    for i, source in enumerate(SOURCES):
        seeds = range(100 * i, 100 * i + num_films)
        singles = [fake_clip(seed, source, 3, 1) for seed in seeds]
        write_shard(folder / f"{i}-singles", singles, ENCODERS, chunk=4)
        whole = [fake_clip(seed + 50, source, 1, TOTAL_FRAMES // 4) for seed in seeds]
        write_shard(folder / f"{i}-whole", whole, ENCODERS)
    return folder


def tiny_transformer(seed: int = 0) -> MoChaTransformer3DModel:
    """A transformer that fits the fake shards."""
    torch.manual_seed(seed)
    return MoChaTransformer3DModel(
        MoChaConfig(
            layers=2,
            width=16,
            ffn=32,
            heads=2,
            text_widths=(3,),
            speech_layers=1,
            speech_width=2,
            speech_hidden=8,
            latent_channels=4,
            sigma_width=16,
        )
    )
