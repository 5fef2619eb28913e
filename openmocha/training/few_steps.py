"""Fewer steps: a student goes in one step, without guidance, where the model takes two with it.

    story -> noise -> the model's way, guided, from noise level 1 to where guidance ends
    -> student: from every second level of the way in one step to the next one

Salimans & Ho 2022 (two steps become one) and Meng et al. 2023 (guidance is folded in), on the
model's own ways instead of noised films, so that guidance pulls where it will have pulled. Below
those levels the model goes on by itself: there two steps and one are nearly the same.

    python -m openmocha.training.few_steps runs/few --model toon --minutes 60
"""

import argparse
import copy
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from openmocha.backbones.backbone import Conditions
from openmocha.backbones.paper import PaperBackbone, told_story
from openmocha.filming import denoising, draw_noise
from openmocha.precision import mixed_precision
from openmocha.sampling import Sampling
from openmocha.toon.captions import caption_of
from openmocha.toon.stories import make_story
from openmocha.toon.turns import spoken_turns
from openmocha.training.fit import FitConfig, fit
from openmocha.training.muon import Muon
from openmocha.training.parallel import local_device

# Of every eight stories.
SOURCES = (
    "close-up", "medium close-up", "medium", "medium close-up",
    "dialogue", "close-up", "medium close-up", "text",
)  # fmt: skip


@dataclass(frozen=True)
class FewStepsTraining:
    """How ways are made, and how often each is learnt from."""

    merged: int = 2  # steps of the model that become one
    goes_on_share: float = 0.3  # of ways that begin with known latents, an image's or eight
    shorter_share: float = 0.3  # of ways that are shorter than the model's longest film
    untold_share: float = 0.3  # of captions that leave something out, as prompts do
    kept_ways: int = 200  # from which stretches are drawn
    batches_per_way: int = 2
    stretches: int = 3  # in a batch
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Stretch:
    """One step of a student: from latents (1, C, F, h, w) at noise level `sigma`, straight along
    `velocity` to where the model goes."""

    latents: Tensor
    sigma: float
    velocity: Tensor
    conditions: Conditions

    def to(self, device: torch.device) -> "Stretch":
        """Latents and velocity on `device`; conditions are there."""
        latents, velocity = self.latents.to(device), self.velocity.to(device)
        return replace(self, latents=latents, velocity=velocity)


@dataclass(frozen=True)
class Stretches:
    """A batch; they differ in length, and are learnt from one after the other."""

    parts: Sequence[Stretch]

    def to(self, device: torch.device) -> "Stretches":
        """All of them on `device`."""
        return Stretches([part.to(device) for part in self.parts])


def train_few_steps(
    backbone: PaperBackbone,
    sampling: Sampling,
    folder: Path,
    *,
    time_budget_s: float = 3600.0,
    seed: int = 0,
    settings: FewStepsTraining = FewStepsTraining(),  # noqa: B008
    held_out: int = 8,
) -> nn.Module:
    """Train a student of `backbone`'s transformer, and leave it in `folder`/final.

    Raises ValueError where the model's steps cannot be merged.
    """
    torch.manual_seed(seed)
    make = partial(make_way, backbone, sampling, settings)
    tests = [stretch for number in range(held_out) for stretch in make(2**20 + number)]
    student = fit(
        copy.deepcopy(backbone.transformer).requires_grad_(True),
        endless_batches(make, settings, seed, backbone.device),
        partial(few_steps_loss, device=backbone.device),
        folder / "training",
        FitConfig(
            time_budget_s=time_budget_s,
            learning_rate=settings.learning_rate,
            log_every=20,
            evaluate_every_s=240,
        ),
        partial(evaluate, tests=tests, device=backbone.device),
        lambda parameters, config: Muon(parameters, lr=config.learning_rate),
    )
    student.save_pretrained(folder / "final")  # type: ignore[operator]
    return student


def with_few_steps(sampling: Sampling, merged: int = FewStepsTraining.merged) -> Sampling:
    """A model's settings once it has such a student."""
    return replace(sampling, few_steps=sampling.num_inference_steps // merged)


def guided_steps(sampling: Sampling, sigmas: Sequence[float], merged: int) -> int:
    """How many steps of the model become steps of the student: those with guidance.

    Raises ValueError where they cannot be merged, `merged` by `merged`.
    """
    guided = sum(sigma >= sampling.guided_to for sigma in sigmas[:-1])
    if guided % merged or (len(sigmas) - 1) % merged:
        raise ValueError(
            f"{guided} guided steps of {len(sigmas) - 1} cannot be merged {merged} by {merged}; "
            "choose another number of steps"
        )
    return guided


@torch.no_grad()
def make_way(
    backbone: PaperBackbone, sampling: Sampling, settings: FewStepsTraining, seed: int
) -> list[Stretch]:
    """A story's way from noise to where guidance ends, in stretches of `merged` steps each."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    frames = backbone.format.num_latents(sampling.num_frames)
    if rng.random() < settings.shorter_share:
        frames = int(rng.integers(frames // 2, frames))
    conditions = story_conditions(backbone, settings, seed, frames, rng)
    noise = draw_noise(backbone, frames, sampling, generator)
    if rng.random() < settings.goes_on_share:
        *_, made = denoising(backbone, noise, conditions, sampling)
        known = made[:, :, : int(rng.choice([1, frames // 4]))]
        conditions = replace(conditions, known=known)
        noise = draw_noise(backbone, frames, sampling, generator)
    sigmas = backbone.solver(sampling).sigmas.tolist()
    guided = guided_steps(sampling, sigmas, settings.merged)
    levels = islice(denoising(backbone, noise, conditions, sampling), guided + 1)
    ends = list(zip(sigmas, levels, strict=False))[:: settings.merged]
    return [
        Stretch(before, sigma, (after - before) / (following - sigma), conditions)
        for (sigma, before), (following, after) in pairwise(ends)
    ]


def story_conditions(
    backbone: PaperBackbone,
    settings: FewStepsTraining,
    seed: int,
    frames: int,
    rng: np.random.Generator,
) -> Conditions:
    """What the first latent frames of a training story are made from; it need not be drawn."""
    story = make_story(seed, SOURCES[seed % len(SOURCES)], "train")
    fps, ratio = backbone.format.fps, backbone.format.frames_per_latent
    turns = spoken_turns(story, ratio * frames, fps) if len(story.clips) == 1 else ()
    told = told_story(story)
    words = caption_of(story) if rng.random() < settings.untold_share else told.words
    calm = None if told.calm is None or words != told.words else backbone.encode_text(told.calm)
    conditions = Conditions(
        backbone.encode_text(words), backbone.encode_text(backbone.format.negative_prompt),
        calm=calm,
    )  # fmt: skip
    if len(story.clips) == 2:
        turns = spoken_turns(story, 128, fps)
    if story.source == "text":
        return conditions
    speech = np.sum([turn.speech for turn in turns], axis=0).astype(np.float32)
    tokens = backbone.encode_speech(speech, ratio * frames)
    assert tokens is not None
    heard, windows = backbone.heard(tokens, 0, frames)
    return replace(conditions, speech=heard, windows=windows)


def endless_batches(
    make: partial[list[Stretch]], settings: FewStepsTraining, seed: int, device: torch.device
) -> Iterator[Stretches]:
    """Stretches of the last ways, a new one every few batches."""
    rng = np.random.default_rng(seed)
    ways: deque[list[Stretch]] = deque(maxlen=settings.kept_ways)
    number = seed * 2**24
    while True:
        number += 1
        ways.append(make(number))
        for _ in range(settings.batches_per_way):
            drawn = [ways[int(rng.integers(len(ways)))] for _ in range(settings.stretches)]
            yield Stretches([way[int(rng.integers(len(way)))] for way in drawn]).to(device)


def few_steps_loss(
    student: nn.Module, batch: Stretches, device: torch.device
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the velocity, of latents that are not known."""
    errors = [error_of(student, part, device) for part in batch.parts]
    return torch.stack(errors).mean(), {}


def error_of(student: nn.Module, part: Stretch, device: torch.device) -> Tensor:
    """Mean squared error of one stretch's velocity."""
    conditions, known = part.conditions, part.conditions.num_known
    sigmas = torch.full((1, part.latents.shape[2]), part.sigma, device=device)
    sigmas[:, :known] = 0
    with mixed_precision(device):
        velocity = student(
            part.latents, sigmas, [conditions.words], conditions.speech, conditions.windows
        )
    return nnf.mse_loss(velocity[:, :, known:].float(), part.velocity[:, :, known:])


@torch.no_grad()
def evaluate(
    student: nn.Module, tests: Sequence[Stretch], device: torch.device
) -> dict[str, float]:
    """Mean squared error at each noise level of the student."""
    errors: dict[str, list[float]] = {}
    for part in tests:
        error = float(error_of(student, part.to(device), device))
        errors.setdefault(f"error_{part.sigma:.2f}", []).append(error)
    return {name: float(np.mean(values)) for name, values in errors.items()}


def main() -> None:
    """Command line; see the module docstring."""
    from openmocha.pipeline import MoChaPipeline

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="toon", help="name or folder of a toon model")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipeline = MoChaPipeline.from_pretrained(options.model, local_device())
    if not isinstance(pipeline.backbone, PaperBackbone):
        raise ValueError(f"{options.model} is not a toon model, and learns no few steps")
    train_few_steps(
        pipeline.backbone,
        pipeline.sampling,
        options.folder,
        time_budget_s=60 * options.minutes,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
