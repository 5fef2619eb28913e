"""The benchmarks' measures of motion, on films whose motion is known."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks are not part of the package

from benchmarks.toon_stories import evenness  # noqa: E402
from openmocha.training.video_vae import motion_missed  # noqa: E402


def film(levels: np.ndarray) -> np.ndarray:
    """A film (T, 4, 4, 3) of grey frames."""
    return np.broadcast_to(levels[:, None, None, None], (len(levels), 4, 4, 3)).astype(np.uint8)


def test_motion_of_a_ramp_is_even_and_of_stills_is_not() -> None:
    ramp = np.arange(32) * 3
    assert evenness(film(ramp)) == 1
    assert evenness(film(ramp // 12 * 12)) == 0  # a still for each latent
    cut = ramp + 100 * (np.arange(32) >= 16)
    assert evenness(film(cut)) == 1


def test_motion_missed_is_one_for_stills_and_more_for_motion_backwards() -> None:
    video = torch.from_numpy(film(np.arange(8) * 10)).permute(0, 3, 1, 2)[None].float()
    mask = torch.ones(1, 8, 4, 4, dtype=torch.bool)
    groups = video.view(1, 2, 4, 3, 4, 4)
    still = groups.mean(2, keepdim=True).expand_as(groups).reshape(video.shape)
    assert motion_missed(video, video, mask) == 0
    assert motion_missed(still, video, mask) == pytest.approx(1)
    assert motion_missed(groups.flip(2).reshape(video.shape), video, mask) == pytest.approx(4)
    assert math.isnan(motion_missed(video, still, mask))  # nothing moves
