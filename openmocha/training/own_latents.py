"""Pairs of films and of latents that the model itself makes in their place.

    film -> latents + noise -> denoised by the model, told and heard as ever -> a pair with the film

From noise levels of about 0.8 faces keep their places, and mouths are made anew from the speech.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmocha.backbones.backbone import Conditions
from openmocha.backbones.paper import PaperBackbone, told_story
from openmocha.filming import denoise
from openmocha.sampling import Sampling
from openmocha.toon.camera import latent_views, story_views
from openmocha.toon.films import Truth
from openmocha.training.film_crops import mouth_mask, to_video

# Of every eight films; near mouths are what is learnt from pairs.
SOURCES = (
    "close-up", "medium close-up", "close-up", "medium",
    "medium close-up", "close-up", "dialogue", "medium close-up",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A film and its latents, float16 (C, F, h, w): what the encoder makes of it, and the model.

    frames: uint8 (T, H, W, 3); mouth: a mask (T, H, W) of its mouths; opening: (T,) in 0..1, how
    far the mouth is open, NaN where more than one character is seen.
    """

    frames: NDArray[np.uint8]
    mouth: NDArray[np.bool_]
    opening: NDArray[np.float32]
    encoded: NDArray[np.float16]
    own: NDArray[np.float16]

    @property
    def is_read(self) -> bool:
        """Whether it is known how far the one mouth is open."""
        return bool(np.isfinite(self.opening).all())

    def save(self, path: Path) -> None:
        """Written aside, then renamed: what is there is whole."""
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, **vars(self))
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as kept:
            return cls(**{name: kept[name] for name in kept.files})


@torch.inference_mode()
def make_pair(
    backbone: PaperBackbone, sampling: Sampling, levels: tuple[float, float], seed: int
) -> Pair:
    """A film of the training split, and its latents with noise of a level between `levels`,
    denoised by the model. ValueError where no step begins there."""
    from openmocha.toon.films import make_film

    source = SOURCES[seed % len(SOURCES)]
    film = make_film(seed, source, width=sampling.width, height=sampling.height)
    told, no_words = told_story(film.truth.story), backbone.format.negative_prompt
    encoded = backbone.encode_frames(to_video(film.frames[None]).to(backbone.device))
    speech = backbone.encode_speech(film.speech, len(film.frames))
    assert speech is not None  # in all SOURCES somebody speaks
    heard, windows = backbone.heard(speech, 0, encoded.shape[2])
    # Nobody is directed: an average act is not that of the film.
    words, calm = backbone.encode_told(told.words, told.calm, None)
    conditions = Conditions(
        words, backbone.encode_text(no_words), heard, windows,
        calm=calm, views=views_of(backbone, film.truth),
    )  # fmt: skip
    sigmas = backbone.solver(sampling).sigmas.tolist()
    step = draw_step(sigmas, levels, seed)
    noise = torch.randn(encoded.shape, generator=torch.Generator().manual_seed(seed))
    start = (1 - sigmas[step]) * encoded + sigmas[step] * noise.to(backbone.device)
    own = denoise(backbone, start, conditions, sampling, first_step=step)
    boxes, opening = film.truth.mouth_boxes, film.truth.mouth[:, 0].astype(np.float32)
    if boxes.shape[1] != 1:
        opening = np.full_like(opening, np.nan)
    mouth = mouth_mask(boxes, *film.frames.shape[1:3])
    return Pair(film.frames, mouth, opening, *(x[0].cpu().half().numpy() for x in (encoded, own)))


def views_of(backbone: PaperBackbone, truth: Truth) -> Tensor | None:
    """Where a film's camera is (1, F, 3), for a model that is told it."""
    if not backbone.format.told_views:
        return None
    views = story_views(truth.story, truth.cut_frame, len(truth.mouth))
    seen = torch.from_numpy(latent_views(views, backbone.format.frames_per_latent))
    return seen[None].to(backbone.device)


def draw_step(sigmas: Sequence[float], levels: tuple[float, float], seed: int) -> int:
    """One of the solver's steps that begin at a noise level between `levels`."""
    steps = [k for k, sigma in enumerate(sigmas[:-1]) if levels[0] <= sigma <= levels[1]]
    if not steps:
        raise ValueError(f"no step of noise levels {sigmas} begins between {levels}; widen them")
    return int(np.random.default_rng(seed).choice(steps))


def make_pairs(
    make: Callable[[int], Pair], folder: Path, time_budget_s: float, seed: int, at_least: int
) -> list[Pair]:
    """Make pairs of seed, seed + 1, ... until the time is spent, and return all that `folder` holds
    then; those that are there are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    for number in itertools.count():
        if number >= at_least and time.monotonic() - started >= time_budget_s:
            break
        path = folder / f"{seed + number:06d}.npz"
        if not path.exists():
            make(seed + number).save(path)
    return [Pair.load(path) for path in sorted(folder.glob("*.npz"))]
