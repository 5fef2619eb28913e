"""Can a small network tell the embedded model's films from true ones?

    python -m benchmarks.told_apart --train 56 --test 32 --minutes 2.5 --films runs/told_apart

Films of stories of the training split, the model's and the film set's own, teach two small
networks: one to tell the model's films from true ones, the other from true ones that went through
the VAE, which is as good as the model could get with it. Both are asked about unseen stories. 0.5
is chance.
results/told_apart.json.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from benchmarks.intervals import share
from benchmarks.machine import keep
from benchmarks.toon_stories import SOURCES, load_pipeline, reconstruct
from openmocha.toon.captions import caption_of
from openmocha.toon.films import make_film
from openmocha.toon.judge import convolution
from openmocha.training.fit import FitConfig, fit

FIRST_SEED = {"train": 94_000_000, "test": 20_000}
KINDS = ("true", "through the VAE", "generated")
LOOKS, STRIDE, LOOKS_A_FILM = 4, 3, 8  # frames that are seen at once, 1/8 s apart
BATCH = 24


class Teller(nn.Module):
    """Four frames (B, 12, 128, 128) in [-1, 1] -> logit that they are not of a true film (B,)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3 * LOOKS, 24, 48, 64, 96, 96)
        steps = zip(widths, widths[1:], strict=False)
        self.layers = nn.Sequential(*(convolution(a, b, stride=2) for a, b in steps))
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, looks: Tensor) -> Tensor:
        logit: Tensor = self.last(self.layers(looks).mean((2, 3)))[:, 0]
        return logit


def looks_of(frames: np.ndarray) -> np.ndarray:
    """Some moments of a film (T, 128, 128, 3): uint8 (looks, 12, 128, 128)."""
    starts = np.linspace(0, len(frames) - LOOKS * STRIDE, LOOKS_A_FILM).astype(int)
    shown = [frames[start : start + LOOKS * STRIDE : STRIDE] for start in starts]
    return rearrange(np.stack(shown), "n t H W C -> n (t C) H W")


def films(folder: Path, split: str, count: int) -> dict[str, np.ndarray]:
    """The looks of `count` stories by kind, (films, looks, 12, 128, 128); made once."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = None
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for number in range(count):
        path = folder / f"{split}-{number:04d}.npz"
        if not path.exists():
            pipeline = pipeline or load_pipeline("toon")
            seed = FIRST_SEED[split] + number
            film = make_film(seed, SOURCES[number % len(SOURCES)], split=split)
            caption = caption_of(film.truth.story, drop=0.0)
            made = pipeline(caption, film.speech, seed=seed).frames
            kinds = (film.frames, reconstruct(pipeline, film.frames), made)
            part = path.with_suffix(".part.npz")  # a run that is killed leaves no half a file
            np.savez(part, **dict(zip(KINDS, map(looks_of, kinds), strict=True)))
            part.rename(path)
        with np.load(path) as kept:
            for kind in KINDS:
                found[kind].append(kept[kind])
    return {kind: np.stack(looks) for kind, looks in found.items()}


def batches(true: np.ndarray, other: np.ndarray, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches, half of them true, mirrored at random, darker or lighter."""
    rng = np.random.default_rng(seed)
    kinds = [rearrange(films, "f n c H W -> (f n) c H W") for films in (true, other)]
    while True:
        labels = rng.integers(0, 2, BATCH)
        looks = np.stack([kinds[label][rng.integers(len(kinds[label]))] for label in labels])
        images = torch.from_numpy(looks).float() / 127.5 - 1
        if rng.random() < 0.5:
            images = images.flip(-1)
        images = images * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.1, 0.1))
        yield images, torch.from_numpy(labels).float()


def loss(teller: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy, and how many are right."""
    looks, labels = batch
    logits = teller(looks)
    right = ((logits > 0) == (labels > 0.5)).float().mean()
    return F.binary_cross_entropy_with_logits(logits, labels), {"right": float(right.detach())}


@torch.inference_mode()
def told_right(teller: nn.Module, true: np.ndarray, other: np.ndarray) -> list[bool]:
    """Whether each film is named for what it is, by the mean of its looks."""
    hits = []
    for kind, films in enumerate((true, other)):
        for film in films:
            logits = teller(torch.from_numpy(film).float() / 127.5 - 1)
            hits.append(bool((logits.mean() > 0) == bool(kind)))
    return hits


def main() -> None:
    """Make films, train, ask, print and write results/told_apart.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=56, help="stories to learn from")
    parser.add_argument("--test", type=int, default=32, help="unseen stories")
    parser.add_argument("--minutes", type=float, default=2.5, help="of training each network")
    parser.add_argument("--films", type=Path, default=Path("runs/told_apart"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = films(given.films, "train", given.train)
    unseen = films(given.films, "test", given.test)
    result: dict[str, Any] = {}
    for name, other, against in (
        ("generated from true", "generated", "true"),
        ("generated from true through the VAE", "generated", "through the VAE"),
    ):
        torch.manual_seed(0)
        config = FitConfig(time_budget_s=60 * given.minutes, ema_decay=0.99)
        with tempfile.TemporaryDirectory() as folder:
            source = batches(known[against], known[other], seed=0)
            teller = fit(Teller(), source, loss, Path(folder), config)
        result[name] = share(told_right(teller, unseen[against], unseen[other]))
        print(name, json.dumps(result[name]), flush=True)
    result |= {"stories": given.train, "minutes": given.minutes}
    keep("told_apart", result)


if __name__ == "__main__":
    main()
