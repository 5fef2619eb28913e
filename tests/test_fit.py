"""The component networks' loop: it converges, resumes, and stops before a bad step."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from openmocha.training.fit import FitConfig, fit, update_ema


def squared_error(
    model: nn.Module, batch: tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    x, y = batch
    return (model(x) - y).square().mean(), {}


def line(slope: float):
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(64, 1, generator=generator)
        yield x, slope * x


def test_finds_the_slope_of_a_line(tmp_path: Path):
    config = FitConfig(
        steps=400, learning_rate=0.05, warmup_steps=5, weight_decay=0.0, ema_decay=0.9
    )
    ema = fit(nn.Linear(1, 1), line(3.0), squared_error, tmp_path, config)
    assert ema.weight.item() == pytest.approx(3.0, abs=1e-2)


def test_goes_on_from_the_checkpoint(tmp_path: Path):
    first = fit(nn.Linear(1, 1), line(3.0), squared_error, tmp_path, FitConfig(steps=50))
    again = fit(nn.Linear(1, 1), line(3.0), squared_error, tmp_path, FitConfig(steps=50))
    assert torch.equal(first.weight, again.weight), "50 steps were done: nothing is left to do"


def test_stops_before_a_non_finite_step(tmp_path: Path):
    model = nn.Linear(1, 1)
    before = model.weight.detach().clone()
    bad = itertools.repeat((torch.full((2, 1), torch.nan), torch.zeros(2, 1)))
    with pytest.raises(FloatingPointError, match="step 0"):
        fit(model, bad, squared_error, tmp_path, FitConfig(steps=5))
    assert torch.equal(model.weight, before)


def test_ema_moves_by_one_minus_decay():
    ema, model = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.75 * ema.weight.detach() + 0.25 * model.weight.detach()
    update_ema(ema, model, 0.75)
    assert torch.allclose(ema.weight, expected, atol=1e-7)
