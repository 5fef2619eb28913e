"""Whole trainings from nothing but the package, step by step, each with what it cost.

    voices and films -> VAE -> speech encoder -> judge -> caption reader -> shards -> reader of
    latents -> transformer in stages -> VAE's decoder, on what the transformer makes -> few steps
    -> model folder

    python -m openmocha.training.recipes toon runs/toon     # all of it; goes on where it stopped
    python -m openmocha.training.recipes shards runs/toon   # or one step at a time
    python -m openmocha.training.recipes transformer runs/toon --minutes 75
    torchrun --nproc-per-node 2 -m openmocha.training.recipes transformer runs/toon --threads 1

Cores are best used by one process each with --threads 1: threads of one process wait for each other
by spinning, and where other work shares the cores that costs several times the training.

A run's folder holds one folder per step and costs.json, which names the finished steps. Shards may
still be written while the transformer trains: each stage draws from those that are there when it
starts.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from openmocha.models.config import MoChaConfig, toon
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.training.latent_reader import WEIGHTS_FILE, Reading, load_latent_reader
from openmocha.training.objective import TOON_OBJECTIVE, Objective
from openmocha.training.parallel import local_device
from openmocha.training.run_encoders import (
    check_shards,
    fingerprints,
    load_encoders,
    load_networks,
    text_encoder,
)
from openmocha.training.samples import Dropout
from openmocha.training.shards import bind_to_networks, write_empty_prompt
from openmocha.training.stages import Stage, paper_stages, toon_stages
from openmocha.training.train import TrainConfig, train
from openmocha.training.trained_model import (
    export_toon,
    preview_films,
    train_decoder,
    train_guided,
    write_weights,
)
from openmocha.whole_file import write_text

LATENT_READER = "latent_reader"  # its folder in a run's


@dataclass(frozen=True)
class ToonBudget:
    """Minutes of training of each part; `films` multiplies the counts of toon_clips.TOON_FILMS, and
    of stories for the reader of latents."""

    video_vae: float = 35.0
    speech_encoder: float = 30.0
    judge: float = 25.0
    caption_reader: float = 20.0
    latent_reader: float = 5.0
    transformer: float = 150.0
    decoder: float = 60.0
    few_steps: float = 45.0
    films: float = 1.0

    def scaled(self, scale: float) -> "ToonBudget":
        """All of it, `scale` times."""
        return ToonBudget(**{name: scale * part for name, part in asdict(self).items()})


def train_toon(
    folder: Path,
    *,
    scale: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
    batch_scale: int = 1,
) -> Path:
    """Train a toon model from nothing and return its model folder, `folder`/model.

    `scale` makes everything shorter (0.001 is a smoke run), `batch_scale` multiplies the
    transformer's batches (16 on a GPU), `workers` is how many processes draw films. Steps that
    costs.json names are not repeated; one that was interrupted goes on. Raises ValueError where
    another trainer is at work.
    """
    budget = ToonBudget().scaled(scale)
    cores = os.cpu_count() or 1
    # One process trains while the others draw; shards are drawn by all.
    beside, all_of_them = workers or max(1, cores - 1), workers or cores
    steps: dict[str, Callable[[], object]] = {
        "video_vae": partial(train_vae, folder, budget, seed, beside),
        "speech_encoder": partial(train_speech, folder, budget, seed, beside),
        "judge": partial(train_toon_judge, folder, budget, seed, beside),
        "caption_reader": partial(train_reader, folder, budget, seed),
        "shards": partial(write_toon_shards, folder, scale=budget.films, workers=all_of_them),
        "latent_reader": partial(train_reading, folder, budget, seed, all_of_them),
        "transformer": partial(
            train_toon_transformer, folder, budget.transformer, seed=seed, batch_scale=batch_scale
        ),
        "decoder": partial(train_decoder, folder, budget.decoder, seed),
        "few_steps": partial(train_guided, folder, budget.few_steps, seed),
        "export": partial(export_toon, folder, folder / "model"),
    }
    for name, run in steps.items():
        run_step(folder, name, run)
    return folder / "model"


def run_step(folder: Path, name: str, run: Callable[[], object]) -> None:
    """Run a step unless costs.json says that it is finished, and note what it cost, what an
    interrupted attempt at it cost included."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "costs.json"
    costs = json.loads(path.read_text()) if path.exists() else {}
    cost = costs.get(name, {"minutes": 0.0, "cpu_minutes": 0.0, "finished": False})
    if cost["finished"]:
        say(f"{name}: finished before, in {cost['minutes']:.1f} minutes")
        return
    say(f"{name}: started")
    started_s, cpu_s = time.monotonic(), sum(os.times()[:4])
    finished = False
    try:
        run()
        finished = True
    finally:
        costs[name] = {
            "minutes": cost["minutes"] + (time.monotonic() - started_s) / 60,
            "cpu_minutes": cost["cpu_minutes"] + (sum(os.times()[:4]) - cpu_s) / 60,
            "cores": os.cpu_count(),
            "finished": finished,
        }
        write_text(path, json.dumps(costs, indent=1))
    say(f"{name}: {costs[name]['minutes']:.1f} minutes")


def say(words: str) -> None:
    """Progress goes where it does not mix with a command's result."""
    print(words, file=sys.stderr, flush=True)


def train_vae(folder: Path, budget: ToonBudget, seed: int, workers: int) -> None:
    """Step 1, the video VAE, on films drawn meanwhile."""
    from openmocha.training.video_vae import train_video_vae

    train_video_vae(
        folder / "video_vae",
        time_budget_s=60 * budget.video_vae,
        seed=seed,
        workers=workers,
        device=local_device(),
    )


def train_speech(folder: Path, budget: ToonBudget, seed: int, workers: int) -> None:
    """Step 2, the speech encoder, on synthetic voices."""
    from openmocha.training.speech_encoder import train_speech_encoder

    train_speech_encoder(
        folder / "speech_encoder",
        time_budget_s=60 * budget.speech_encoder,
        seed=seed,
        workers=workers,
    )


def train_toon_judge(folder: Path, budget: ToonBudget, seed: int, workers: int) -> None:
    """Step 3, the judge that measures films; nothing after it needs it."""
    from openmocha.training.judge import train_judge

    train_judge(folder / "judge", time_budget_s=60 * budget.judge, seed=seed, workers=workers)


def train_reader(folder: Path, budget: ToonBudget, seed: int) -> None:
    """Step 4, the caption reader, on captions alone."""
    from openmocha.training.caption_reader import train_caption_reader

    train_caption_reader(
        folder / "caption_reader",
        time_budget_s=60 * budget.caption_reader,
        seed=seed,
        encoder=text_encoder(folder),
    )


def write_toon_shards(folder: Path, *, scale: float = 1.0, workers: int = 2) -> None:
    """Step 5: draw films and compute their latents, speech tokens and text tokens, once."""
    from openmocha.training.toon_clips import toon_plan, write_plan

    shards = folder / "shards"
    bind_to_networks(shards, fingerprints(folder))
    vae, _, text = load_networks(folder)
    write_empty_prompt(shards, text)
    plan = toon_plan(scale, vae.config.pixels_per_latent)
    started_s, num_films = time.monotonic(), 0
    for done in write_plan(shards, plan, partial(load_encoders, folder), workers):
        num_films += done.num_films
        rate = num_films / (time.monotonic() - started_s)
        say(f"{done.name}: {num_films} films, {rate:.1f} a second")


def train_reading(folder: Path, budget: ToonBudget, seed: int, workers: int) -> None:
    """Step 6, the reader of latents, on stories that are drawn for it."""
    from openmocha.training.latent_reader import train_latent_reader

    train_latent_reader(
        folder / "video_vae" / "final",
        folder / LATENT_READER,
        files=max(2, round(60 * budget.films)),
        workers=workers,
        time_budget_s=60 * budget.latent_reader,
        seed=seed,
    )


def toon_config(seed: int = 0, fuse: bool = True) -> TrainConfig:
    """The toon recipe's settings. Other than in the paper mouths count more, speech learns faster,
    and matrices learn by Muon.

    `fuse`: compile the blocks where a C++ compiler is installed.
    """
    return TrainConfig(
        seed=seed,
        objective=TOON_OBJECTIVE,
        optimizer="muon",
        speech_rate=2.0,
        dropout=Dropout(words=0.5),  # what is drawn shall not hang on a wording
        compile=fuse and shutil.which("g++") is not None,
    )


def paper_recipe() -> tuple[tuple[Stage, ...], TrainConfig]:
    """The paper's stages and settings: no weights on mouths, one noise level for a whole clip."""
    objective = Objective(independent_share=0.0, prefix_share=0.0, mouth_weight=1.0)
    return paper_stages(), TrainConfig(objective=objective)


def train_toon_transformer(
    folder: Path,
    minutes: float,
    *,
    steps: int = 1_000_000,
    learning_rate: float = 3e-3,
    batch_scale: int = 1,
    seed: int = 0,
    config: MoChaConfig | None = None,
    fuse: bool = True,
    start: Path | None = None,
) -> nn.Module:
    """Step 7: the transformer through all stages, in `minutes` or `steps`, beside the reader of
    latents where the run has one. Returns its EMA.

    `start` is the folder of a transformer whose weights to begin with. Raises ValueError where the
    shards were written with other encoders than the run has now.
    """
    check_shards(folder)
    torch.manual_seed(seed)
    if start is None:
        model = MoChaTransformer3DModel(config or toon())
    else:
        model = MoChaTransformer3DModel.from_pretrained(start)
        if not model.config.told_figures:
            model = model.to_be_told_figures()
    stages = toon_stages(
        steps=steps,
        time_budget_s=60 * minutes if math.isfinite(minutes) else math.inf,
        learning_rate=learning_rate,
        batch_scale=batch_scale,
    )
    reading = None
    if (folder / LATENT_READER / WEIGHTS_FILE).exists():
        reading = Reading(load_latent_reader(folder / LATENT_READER).to(local_device()))
    return train(
        model.to(local_device()),
        folder / "shards",
        folder / "transformer",
        stages,
        toon_config(seed, fuse),
        partial(preview_films, folder),
        reading,
    )


STEPS = (
    "toon", "caption_reader", "shards", "latent_reader", "transformer", "decoder", "few_steps",
    "weights", "export",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description="Train a toon model, or one step of it.")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="of all budgets and film counts")
    parser.add_argument("--workers", type=int, help="processes that write shards")
    parser.add_argument("--minutes", type=float, help="of transformer, decoder or few_steps")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--batch-scale", type=int, default=1, help="of all batches; 16 on a GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="transformer/ folder to train on from")
    parser.add_argument("--output", type=Path, help="model folder to export to")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    budget = ToonBudget().scaled(given.scale)
    match given.step:
        case "toon":
            train_toon(
                given.folder,
                scale=given.scale,
                seed=given.seed,
                workers=given.workers,
                batch_scale=given.batch_scale,
            )
        case "caption_reader":
            train_reader(given.folder, budget, given.seed)
        case "shards":
            workers = given.workers or os.cpu_count() or 1
            write_toon_shards(given.folder, scale=given.scale, workers=workers)
        case "latent_reader":
            train_reading(given.folder, budget, given.seed, given.workers or os.cpu_count() or 1)
        case "transformer":
            train_toon_transformer(
                given.folder,
                budget.transformer if given.minutes is None else given.minutes,
                steps=given.steps,
                learning_rate=given.learning_rate,
                batch_scale=given.batch_scale,
                seed=given.seed,
                start=given.start,
            )
        case "decoder":
            minutes = budget.decoder if given.minutes is None else given.minutes
            train_decoder(given.folder, minutes, given.seed)
        case "few_steps":
            minutes = budget.few_steps if given.minutes is None else given.minutes
            train_guided(given.folder, minutes, given.seed)
        case "weights":
            write_weights(given.folder, given.output or given.folder / "weights")
        case "export":
            export_toon(given.folder, given.output or given.folder / "model")


if __name__ == "__main__":
    main()
