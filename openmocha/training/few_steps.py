"""Fewer steps: a student goes first, without guidance in one step where the model takes some with.

    story -> noise -> where the model comes in its first guided steps -> the straight way there

Salimans & Ho 2022 (two steps become one) and Meng et al. 2023 (guidance is folded in), for the
first step of quality "fast" alone: it is where two steps and one differ most, and where guidance
on words and speech apart, three evaluations a step, cannot be had for less.

    python -m openmocha.training.few_steps runs/few --model toon --minutes 60
"""

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from openmocha.backbones.backbone import Conditions, held
from openmocha.backbones.paper import PaperBackbone, told_story
from openmocha.filming import denoise, denoising, draw_noise, told_way
from openmocha.models.places import on_the_way
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.precision import mixed_precision
from openmocha.sampling import FastStep, Sampling
from openmocha.toon.captions import caption_of
from openmocha.toon.films import NUM_FRAMES
from openmocha.toon.stories import make_story
from openmocha.toon.turns import spoken_turns
from openmocha.training.fit import FitConfig, fit
from openmocha.training.model_step import model_of, step_parser
from openmocha.training.muon import Muon

# Of every eight stories.
SOURCES = (
    "close-up", "medium close-up", "medium", "medium close-up",
    "dialogue", "close-up", "medium close-up", "text",
)  # fmt: skip


# Six evaluations. In the first step words and speech are guided apart, which the student folds in;
# one scale for both is enough below (tried on films of the training split: docs/training-log.md).
TOON_FAST_STEPS = (
    FastStep(1.0, None), FastStep(5 / 6, 4.5), FastStep(2 / 3, 3.0), FastStep(0.4, 1.0),
)  # fmt: skip


@dataclass(frozen=True)
class FewStepsTraining:
    """How stretches are made, and how often each is learnt from."""

    parts: tuple[int, ...] = (1, 2, 4, 8)  # a stretch is one of these of the longest film
    part_shares: tuple[float, ...] = (0.3, 0.25, 0.25, 0.2)
    goes_on_share: float = 0.25  # of long ones that begin with known latents, an image's or eight
    untold_share: float = 0.3  # of captions that leave something out, as prompts do
    kept: int = 500  # the last so many are learnt from
    batch_films: float = 2.0  # stretches of a batch are as long together as so many films
    new_share: float = 0.5  # as much of a batch's length is made anew: of less it learns by heart
    learning_rate: float = 1e-3
    steps: int = 100_000  # if time suffices


@dataclass(frozen=True)
class Stretch:
    """A student's step: from noise (1, C, F, h, w), straight along `velocity` to where the model
    goes."""

    noise: Tensor
    velocity: Tensor
    conditions: Conditions
    beside: dict[str, Tensor]  # what the transformer is told beside words (PaperBackbone)

    @property
    def length(self) -> int:
        """F, latent frames."""
        return self.noise.shape[2]

    def to(self, device: torch.device) -> "Stretch":
        """Noise and velocity on `device`; conditions are there."""
        return replace(self, noise=self.noise.to(device), velocity=self.velocity.to(device))


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
    start: MoChaTransformer3DModel | None = None,
) -> nn.Module:
    """Train a student of `backbone`'s transformer, from that on or from `start`, and leave it in
    `folder`/final. `sampling` has the steps of both qualities.

    Raises ValueError where the second step of quality "fast" begins between steps of the model.
    """
    torch.manual_seed(seed)
    learning = copy.deepcopy(start or backbone.transformer).to(backbone.device)
    backbone = copy.copy(backbone)
    backbone.guided_transformer = learning
    make = partial(make_stretch, backbone, sampling, settings)
    longest = backbone.format.num_latents(sampling.num_frames)
    whole = replace(settings, parts=(1,), part_shares=(1,))
    numbers = range(2**20, 2**20 + held_out)
    tests = [make_stretch(backbone, sampling, whole, number) for number in numbers]
    student = fit(
        learning.requires_grad_(True),
        endless_batches(make, settings, longest, seed, backbone.device),
        partial(few_steps_loss, device=backbone.device),
        folder / "training",
        FitConfig(
            steps=settings.steps,
            time_budget_s=time_budget_s,
            learning_rate=settings.learning_rate,
            warmup_steps=30,
            log_every=20,
            evaluate_every_s=240,
        ),
        partial(evaluate, tests=tests, device=backbone.device),
        lambda parameters, config: Muon(parameters, lr=config.learning_rate),
    )
    student.save_pretrained(folder / "final")  # type: ignore[operator]
    return student


def first_steps(sampling: Sampling, sigmas: Sequence[float]) -> int:
    """How many steps of the model, which begin at `sigmas`, are the first one of quality "fast".

    Raises ValueError where that is not a student's, or ends between two of them.
    """
    if len(sampling.fast_steps) < 2 or sampling.fast_steps[0].scale is not None:
        raise ValueError(
            f"fast_steps is {sampling.fast_steps}; expected two or more, the first without a "
            "scale: a student takes it"
        )
    end = sampling.fast_steps[1].sigma
    for step, sigma in enumerate(sigmas):
        if abs(sigma - end) < 1e-4:
            return step
    raise ValueError(
        f"no step of the model begins at noise level {end}, where the first of quality "
        f'"fast" ends; choose one of {", ".join(f"{sigma:.4f}" for sigma in sigmas[1:-1])}'
    )


@torch.no_grad()
def make_stretch(
    backbone: PaperBackbone, sampling: Sampling, settings: FewStepsTraining, seed: int
) -> Stretch:
    """Of a story: noise, and where the model goes from it."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    longest = backbone.format.num_latents(sampling.num_frames)
    part = int(rng.choice(settings.parts, p=settings.part_shares))
    frames = max(1, longest // part)
    start = int(rng.integers(longest - frames + 1))
    shown, zoom = range(start, start + frames), sampling.told_zoom
    conditions = story_conditions(backbone, settings, seed, shown, rng, zoom)
    noise = draw_noise(backbone, frames, sampling, generator)
    if part <= 2 and rng.random() < settings.goes_on_share:
        made = denoise(backbone, noise, conditions, sampling.of_quality("fast"))
        known = made[:, :, : int(rng.choice([1, max(1, frames // 4)]))]
        conditions = replace(conditions, known=known)
        noise = draw_noise(backbone, frames, sampling, generator)
    noise = held(noise, conditions.known)
    sigmas = backbone.solver(sampling).sigmas.tolist()
    steps = first_steps(sampling, sigmas)
    after = next(islice(denoising(backbone, noise, conditions, sampling), steps, None))
    beside = backbone.told_beside([conditions.words], conditions, noise)
    return Stretch(noise, (after - noise) / (sigmas[steps] - 1), conditions, beside)


def story_conditions(
    backbone: PaperBackbone,
    settings: FewStepsTraining,
    seed: int,
    latents: range,
    rng: np.random.Generator,
    told_zoom: float = 1.0,
) -> Conditions:
    """What some latent frames of a training story are made from; the story need not be drawn. A
    conversation is heard from its beginning, for its caption tells of both clips."""
    story = make_story(seed, SOURCES[seed % len(SOURCES)], "train")
    told = told_story(story)
    words = caption_of(story) if rng.random() < settings.untold_share else told.words
    calm, one = (told.calm, told.story) if words == told.words else (None, None)
    told_words, told_calm = backbone.encode_told(words, calm, one)
    views = None
    if told.camera is not None and backbone.format.told_views:
        whole = backbone.format.num_latents(NUM_FRAMES)
        way = told_way(told.camera, told_zoom)
        views = on_the_way(*way, whole, whole)[:, latents.start : latents.stop]
        views = views.to(backbone.device)
    no_words = backbone.encode_text(backbone.format.negative_prompt)
    conditions = Conditions(told_words, no_words, calm=told_calm, views=views, start=latents.start)
    if story.source == "text":
        return conditions
    turns = spoken_turns(story, NUM_FRAMES, backbone.format.fps)
    speech = np.sum([turn.speech for turn in turns], axis=0).astype(np.float32)
    tokens = backbone.encode_speech(speech, NUM_FRAMES)
    assert tokens is not None
    start = 0 if len(story.clips) == 2 else latents.start
    heard, windows = backbone.heard(tokens, start, start + len(latents))
    return replace(conditions, speech=heard, windows=windows)


def endless_batches(
    make: Callable[[int], Stretch],
    settings: FewStepsTraining,
    longest: int,
    seed: int,
    device: torch.device,
) -> Iterator[Stretches]:
    """The last stretches; some new ones for each batch. `longest`: a film's latents."""
    rng = np.random.default_rng(seed)
    kept: deque[Stretch] = deque(maxlen=settings.kept)
    numbers = itertools.count(seed * 2**24)
    length, new = settings.batch_films * longest, 0
    while True:
        while new < settings.new_share * length:
            kept.append(make(next(numbers)))
            new += kept[-1].length
        new -= round(settings.new_share * length)
        batch: list[Stretch] = []
        while sum(stretch.length for stretch in batch) < length:
            batch.append(kept[int(rng.integers(len(kept)))])
        yield Stretches(batch).to(device)


def few_steps_loss(
    student: nn.Module, batch: Stretches, device: torch.device
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the velocity, of latents that are not known; a stretch counts by its
    length."""
    total = sum(part.length for part in batch.parts)
    shares = [part.length / total * error_of(student, part, device) for part in batch.parts]
    return torch.stack(shares).sum(), {}


def error_of(student: nn.Module, part: Stretch, device: torch.device) -> Tensor:
    """Mean squared error of one stretch's velocity."""
    conditions, known = part.conditions, part.conditions.num_known
    sigmas = torch.ones(1, part.length, device=device)
    sigmas[:, :known] = 0
    with mixed_precision(device):
        velocity = student(
            part.noise,
            sigmas,
            [conditions.words.text],
            conditions.speech,
            conditions.windows,
            **part.beside,
        )
    return nnf.mse_loss(velocity[:, :, known:].float(), part.velocity[:, :, known:])


@torch.no_grad()
def evaluate(
    student: nn.Module, tests: Sequence[Stretch], device: torch.device
) -> dict[str, float]:
    """Mean squared error of whole films."""
    return {"error": float(np.mean([error_of(student, part.to(device), device) for part in tests]))}


def main() -> None:
    """Command line; see the module docstring."""
    parser = step_parser(__doc__ or "")
    parser.add_argument("--start", type=Path, help="a student's folder, to train on from")
    options = parser.parse_args()
    backbone, sampling = model_of(options)
    train_few_steps(
        backbone,
        sampling if sampling.fast_steps else replace(sampling, fast_steps=TOON_FAST_STEPS),
        options.folder,
        time_budget_s=60 * options.minutes,
        seed=options.seed,
        start=options.start and MoChaTransformer3DModel.from_pretrained(options.start),
    )


if __name__ == "__main__":
    main()
