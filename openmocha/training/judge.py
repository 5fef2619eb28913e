"""Train the judge (toon/judge.py) on frames of the procedural film set.

stories -> single frames with their truth, drawn into a pool of shards -> blurred, compressed and
tinted, as generated films are -> losses on mouths, boxes, poses and attributes -> final/

    python -m openmocha.training.judge runs/judge --minutes 20
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from openmocha.toon.judge import FRAME_SIZE, Judge, load_judge, longer_side
from openmocha.toon.labels import FRAME_ATTRIBUTES, NO_ANSWER, PERSON_ATTRIBUTES
from openmocha.training.fit import FitConfig, fit
from openmocha.training.judge_pool import draw_pool, pool_shards, read_shard

Batch = dict[str, Tensor]

BATCH_SIZE = 48
SHARDS_IN_MEMORY = 16
STEPS_PER_SHARD = 20  # a new shard joins those in memory after so many steps
BOX_JITTER = 0.1  # of the longer side, per coordinate
MOUTH_WEIGHTS = (4.0, 1.5, 1.5, 1.0)  # open counts most: it is what lip-sync is measured by
ATTRIBUTE_WEIGHT = 0.3


def train_judge(
    folder: str | Path,
    *,
    time_budget_s: float = 1500.0,
    seed: int = 0,
    workers: int = 1,
    start_from: str | Path | None = None,
) -> Judge:
    """Train the judge for `time_budget_s` seconds and save it in `folder`/final.

    Frames are drawn by `workers` processes into `folder`/pool while training goes on, and kept for
    the next run. `start_from` continues from a saved judge instead of random weights.
    """
    folder = Path(folder)
    torch.manual_seed(seed)
    judge = Judge() if start_from is None else load_judge(start_from)
    with draw_pool(folder / "pool", workers=workers, seed=seed):
        config = FitConfig(
            time_budget_s=time_budget_s,
            learning_rate=2e-3,
            weight_decay=2e-2,
            ema_decay=0.998,
            warmup_steps=40,
            evaluate_every_s=600,
        )
        network = judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trained = fit(
            network,
            batches(folder / "pool", seed),
            judge_loss,
            folder,
            config,
            evaluate=lambda model: evaluate(model, folder / "pool"),
        )
    assert isinstance(trained, Judge)
    trained.save_pretrained(folder / "final")
    return trained


def batches(pool: Path, seed: int, size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Endless batches of random frames of the shards there are, new ones first."""
    rng = np.random.default_rng(seed)
    memory: list[dict[str, np.ndarray]] = []
    used: set[Path] = set()
    step = 0
    while True:
        if step % STEPS_PER_SHARD == 0 or not memory:
            shards = pool_shards(pool, "train")
            while not shards:
                time.sleep(1.0)
                shards = pool_shards(pool, "train")
            fresh = [shard for shard in shards if shard not in used]
            path = fresh[0] if fresh else shards[int(rng.integers(len(shards)))]
            used.add(path)
            memory = memory[-(SHARDS_IN_MEMORY - 1) :] + [read_shard(path)]
        picks = rng.integers(len(memory), size=size)
        yield _collate(memory, picks, rng)
        step += 1


def _collate(
    memory: list[dict[str, np.ndarray]], picks: np.ndarray, rng: np.random.Generator
) -> Batch:
    rows = [rng.integers(len(memory[pick]["frames"])) for pick in picks]
    return {
        name: torch.from_numpy(
            np.stack([memory[p][name][r] for p, r in zip(picks, rows, strict=True)])
        )
        for name in memory[0]
    }


def judge_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the losses on mouths, boxes, poses, presence and every attribute."""
    frames = degrade(normalised(batch["frames"]))
    boxes = batch["boxes"].float()
    present = batch["mouth"].isfinite().all(-1)  # (B, P)
    # Crops come from true boxes, shifted and scaled by about the error of the boxes found.
    jitter = torch.randn_like(boxes) * BOX_JITTER * longer_side(boxes)[..., None]
    crop_boxes = torch.where(present[..., None], boxes + jitter, torch.tensor([0.4, 0.4, 0.6, 0.6]))
    with torch.autocast("cpu", torch.bfloat16):
        read = model(frames, crop_boxes)
    legible = legibility(boxes)[present]
    errors = (read["mouth"] - batch["mouth"].float())[present].square()
    mouth = (errors * torch.tensor(MOUTH_WEIGHTS) * legible[:, None]).sum(-1).mean()
    box = (read["found"] - boxes)[present].abs().mean()
    box = box + (read["boxes"] - boxes)[present].abs().mean()
    pose = (read["pose"] - batch["pose"].float())[present].square().mean()
    second = F.binary_cross_entropy_with_logits(read["second_person"], present[:, 1].float())
    attributes = torch.zeros(())
    for name in (*PERSON_ATTRIBUTES, *FRAME_ATTRIBUTES):
        logits, labels = read[name].flatten(0, -2), batch[name].long().flatten()
        if (labels != NO_ANSWER).any():
            attributes = attributes + F.cross_entropy(logits, labels, ignore_index=NO_ANSWER)
    loss = 8 * mouth + 10 * box + pose + 0.2 * second + ATTRIBUTE_WEIGHT * attributes
    measures = {
        "mouth": mouth,
        "box": box,
        "pose": pose,
        "second": second,
        "attributes": attributes,
    }
    return loss, {name: value.item() for name, value in measures.items()}


def legibility(boxes: Tensor) -> Tensor:
    """Weights (B, P) of mouths by the size of their boxes: one of 4 pixels cannot be read well."""
    width_px = (boxes[..., 2] - boxes[..., 0]).float().nan_to_num() * FRAME_SIZE
    return (width_px / 20).clamp(0.15, 1.0)


def normalised(frames: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in [-1, 1], channels last in memory."""
    return rearrange(frames, "B H W C -> B C H W").float() / 127.5 - 1


def degrade(frames: Tensor) -> Tensor:
    """Frames as a generator might give them: tinted, then blurred, compressed, shrunk or noisy.

    Colours move by 4% at most, less than the palette keeps apart. Half of a batch stays sharp;
    the other half is changed in place, in four parts.
    """
    batch = len(frames)
    gain = 1 + 0.04 * (torch.rand(batch, 1, 1, 1) * 2 - 1)
    tint = 0.03 * (torch.rand(batch, 3, 1, 1) * 2 - 1)
    frames.mul_(gain).add_(tint).clamp_(-1, 1)
    blurry, coded, shrunk, noisy = frames[batch // 2 :].tensor_split(4)
    blurry.copy_(blurred(blurry, sigma=_uniform(0.4, 1.1)))
    coded.copy_(compressed(coded, threshold=_uniform(0.05, 0.3)))
    small = F.interpolate(shrunk, scale_factor=_uniform(0.5, 0.9), mode="bilinear", antialias=True)
    shrunk.copy_(F.interpolate(small, size=frames.shape[-2:], mode="bilinear"))
    noisy.copy_(blurred(noisy, sigma=0.5)).add_(torch.randn_like(noisy), alpha=_uniform(0, 0.08))
    return frames


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of 7 taps, rows then columns."""
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, 7)
    padded = F.pad(frames, (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, taps, groups=3)
    return F.conv2d(rows, taps.transpose(2, 3), groups=3)


def compressed(frames: Tensor, threshold: float) -> Tensor:
    """Small 8x8 DCT coefficients set to zero: the blocks, ringing and lost detail of JPEG."""
    k = torch.arange(8)
    basis = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * math.sqrt(2 / 8)
    basis[0] = math.sqrt(1 / 8)
    blocks = rearrange(frames, "B C (h a) (w b) -> B C h w a b", a=8, b=8)
    spectrum = basis @ blocks @ basis.T
    kept = spectrum * (spectrum.abs() > threshold)
    kept[..., 0, 0] = spectrum[..., 0, 0]
    return rearrange(basis.T @ kept @ basis, "B C h w a b -> B C (h a) (w b)")


@torch.no_grad()
def evaluate(model: nn.Module, pool: Path) -> dict[str, float]:
    """R2 of mouth opening per shot size and accuracy per attribute, on single test frames."""
    shards = [read_shard(path) for path in pool_shards(pool, "test")]
    if not shards:
        return {}
    truth = {
        name: torch.from_numpy(np.concatenate([s[name] for s in shards])) for name in shards[0]
    }
    with torch.autocast("cpu", torch.bfloat16):
        parts = [model(normalised(part)) for part in torch.split(truth["frames"], 64)]
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
    """Command line: folder, minutes, workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train_judge(
        options.folder,
        time_budget_s=options.minutes * 60,
        seed=options.seed,
        workers=options.workers,
        start_from=options.start_from,
    )


if __name__ == "__main__":
    main()
