"""Sharpen the judge's reading of mouths, on mouth crops alone: ten times cheaper than on frames.

frames and true boxes of the pool -> crops a little off the box -> MouthReader -> weighted squares.
Run after training/judge.py, on the judge and the pool it left:

    python -m openmocha.training.judge_mouths runs/judge --minutes 6
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from openmocha.toon.judge import Judge, MouthReader, load_judge, longer_side
from openmocha.training.fit import FitConfig, fit
from openmocha.training.judge import (
    MOUTH_WEIGHTS,
    Batch,
    batches,
    degrade,
    legibility,
    normalised,
    r_squared,
)
from openmocha.training.judge_pool import pool_shards, read_shard


def train_mouths(folder: Path, *, time_budget_s: float = 360.0, seed: int = 0) -> Judge:
    """Train the mouth reader of the judge in `folder`/final and save it there."""
    torch.manual_seed(seed)
    judge = load_judge(folder / "final")
    config = FitConfig(
        time_budget_s=time_budget_s,
        learning_rate=2e-3,
        weight_decay=2e-2,
        ema_decay=0.998,
        evaluate_every_s=120,
    )
    reader = fit(
        judge.mouth,
        speakers(folder / "pool", seed),
        mouth_loss,
        folder / "mouths",
        config,
        evaluate=lambda model: evaluate(model, folder / "pool"),
    )
    judge.mouth.load_state_dict(reader.state_dict())
    judge.save_pretrained(folder / "final")
    return judge


def speakers(pool: Path, seed: int) -> Iterator[Batch]:
    """Batches of frames with the mouth and box of the first person in each."""
    for batch in batches(pool, seed, size=128):
        first = {name: batch[name][:, :1] for name in ("mouth", "boxes")}
        yield {"frames": batch["frames"], **first}


def mouth_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Weighted squared errors; boxes are off by as much as the judge's own."""
    boxes = batch["boxes"].float()
    size = torch.where(torch.rand(len(boxes), 1, 1) < 0.6, 0.04, 0.1)
    boxes = boxes + torch.randn_like(boxes) * size * longer_side(boxes)[..., None]
    frames = degrade(normalised(batch["frames"]))
    with torch.autocast("cpu", torch.bfloat16):
        shapes = model(frames, boxes)
    errors = (shapes.float() - batch["mouth"].float()).square() * torch.tensor(MOUTH_WEIGHTS)
    loss = (errors.sum(-1) * legibility(batch["boxes"])).mean()
    return loss, {"opening": errors[..., 0].mean().item() / MOUTH_WEIGHTS[0]}


@torch.no_grad()
def evaluate(model: nn.Module, pool: Path) -> dict[str, float]:
    """R2 of opening in close-ups and medium close-ups of the test shard, at the true boxes."""
    assert isinstance(model, MouthReader)
    shard = read_shard(pool_shards(pool, "test")[0])
    truth = {name: torch.from_numpy(shard[name]) for name in ("frames", "mouth", "boxes", "shot")}
    measures = {}
    for shot, word in enumerate(("close-up", "medium close-up")):
        chosen = truth["shot"] == shot
        boxes = truth["boxes"][chosen, :1].float()
        shapes = model(normalised(truth["frames"][chosen]), boxes)
        guess, opening = shapes[:, 0, 0], truth["mouth"][chosen, 0, 0].float()
        measures[f"open R2 {word}"] = r_squared(guess, opening)
    return measures


def main() -> None:
    """Command line: the folder that training/judge.py filled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train_mouths(options.folder, time_budget_s=options.minutes * 60, seed=options.seed)


if __name__ == "__main__":
    main()
