"""Train the judge (toon/judge.py) on frames of the procedural film set, in stages.

stories -> a pool of single frames with their truth -> blurred, compressed and tinted, as generated
films are -> the scene from whole frames -> people, then mouths, from crops (ten times cheaper, so
that most is learnt there) -> actions from what it then reads of films -> final/

    python -m openmocha.training.judge runs/judge --minutes 30
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from openmocha.toon.judge import Judge, load_judge
from openmocha.toon.labels import FRAME_ATTRIBUTES, NO_ANSWER, PERSON_ATTRIBUTES
from openmocha.training.fit import FitConfig, LossFunction, fit
from openmocha.training.judge_actions import train_actions
from openmocha.training.judge_losses import (
    finder_loss,
    mouth_loss,
    normalised,
    person_loss,
    scene_loss,
)
from openmocha.training.judge_pool import batches, draw_pool, pool_shards, read_shard

ACTION_FILMS, SECONDS_FOR_ACTION_FILM = 600, 2.5  # most, and of the budget for each
STAGES = ("scene", "finder", "people", "mouths", "actions")


def train_judge(
    folder: str | Path,
    *,
    time_budget_s: float = 1800.0,
    steps: int = 100_000,
    seed: int = 0,
    workers: int = 1,
    start_from: str | Path | None = None,
    stages: tuple[str, ...] = STAGES,
) -> Judge:
    """Train the judge for about `time_budget_s` seconds, or `steps` a stage, and for actions about
    half as long again; save `folder`/final.

    Frames are drawn by `workers` processes into `folder`/pool while training goes on, and kept for
    the next run. `start_from` continues from a saved judge instead of random weights; `stages`
    trains these parts of it only. Accuracy on test frames goes to `folder`/<stage>/log.jsonl.
    """
    folder = Path(folder)
    torch.manual_seed(seed)
    judge = Judge() if start_from is None else load_judge(start_from)
    parts: dict[str, tuple[nn.Module, LossFunction, int, float]] = {
        "scene": (judge, scene_loss, 48, 0.4),
        "finder": (judge.finder, finder_loss, 128, 0.1),
        "people": (judge.near, person_loss, 128, 0.3),
        "mouths": (judge.mouth, mouth_loss, 128, 0.2),
    }
    chosen = {name: part for name, part in parts.items() if name in stages}
    whole = sum(part[-1] for part in chosen.values())
    with draw_pool(folder / "pool", workers=workers, seed=seed):
        for name, (network, loss, size, share) in chosen.items():
            config = FitConfig(
                steps=steps,
                time_budget_s=time_budget_s * share / whole,
                learning_rate=2e-3,
                weight_decay=2e-2,
                ema_decay=0.998,
                warmup_steps=40,
                evaluate_every_s=60,
            )
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            frames = batches(folder / "pool", seed, size)
            trained = fit(network, frames, loss, folder / name, config)
            network.load_state_dict(trained.state_dict())
    if "actions" in stages:
        films = max(10, min(ACTION_FILMS, round(time_budget_s / SECONDS_FOR_ACTION_FILM)))
        right = train_actions(
            judge, num_stories=films, steps=min(steps, 2500), seed=seed, workers=workers
        )
        print(f"actions right: {right:.3f}")
    judge.save_pretrained(folder / "final")
    return load_judge(folder / "final")


@torch.no_grad()
def evaluate(judge: Judge, pool: Path) -> dict[str, float]:
    """R2 of mouth opening per shot size and accuracy per attribute, on single test frames."""
    shards = [read_shard(path) for path in pool_shards(pool, "test")]
    if not shards:
        return {}
    truth = {
        name: torch.from_numpy(np.concatenate([s[name] for s in shards])) for name in shards[0]
    }
    judge.eval()
    parts = [judge(normalised(part)) for part in torch.split(truth["frames"], 64)]
    read = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    present = truth["mouth"].isfinite().all(-1)
    measures = {
        "second_person": _accuracy((read["second_person"] > 0).long(), present[:, 1].long())
    }
    for shot in range(3):
        chosen = present & (truth["shot"] == shot)[:, None]
        word = FRAME_ATTRIBUTES["shot"][shot]
        measures[f"open R2 {word}"] = r_squared(
            read["mouth"][chosen][:, 0], truth["mouth"][chosen][:, 0].float()
        )
    for name in (*PERSON_ATTRIBUTES, *FRAME_ATTRIBUTES):
        measures[name] = _accuracy(read[name].argmax(-1), truth[name].long())
    return measures


def r_squared(guess: Tensor, truth: Tensor) -> float:
    """Share of the variance of `truth` that `guess` explains: 1 - SSE / SST."""
    return float(1 - (guess - truth).square().sum() / (truth - truth.mean()).square().sum())


def _accuracy(guess: Tensor, truth: Tensor) -> float:
    answered = truth != NO_ANSWER
    return float((guess == truth)[answered].float().mean())


def main() -> None:
    """Command line: folder, minutes, workers, stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=100_000, help="of each stage, at most")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", type=Path)
    parser.add_argument(
        "--stages", nargs="+", default=["scene", "finder", "people", "mouths", "actions"]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = train_judge(
        options.folder,
        time_budget_s=options.minutes * 60,
        steps=options.steps,
        seed=options.seed,
        workers=options.workers,
        start_from=options.start_from,
        stages=tuple(options.stages),
    )
    for name, value in evaluate(judge, options.folder / "pool").items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
