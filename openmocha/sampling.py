"""The settings of one generation: what a model is asked for, checked before any work is done."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from openmocha.models import store

SETTINGS_FILE = "scheduler_config.json"
# Noise level below which feelings are guided: above it is settled who is seen where.
FEELINGS_BELOW = 0.8
Quality = Literal["fast", "high"]
QUALITIES: tuple[Quality, ...] = ("fast", "high")
MAX_SIDE = 512  # pixels; beyond it a CPU runs out of memory long before the film is done


@dataclass(frozen=True)
class Sampling:
    """Size, length, steps and guidance. A model folder carries its own defaults in scheduler/.

    Raises ValueError for values that no model can be sampled with.
    """

    num_frames: int = 128  # as a model's default: the longest film in one pass
    height: int = 128
    width: int = 128
    num_inference_steps: int = 30
    text_guidance_scale: float = 4.0  # 1 = no guidance
    speech_guidance_scale: float = 2.5
    shift: float = 1.0  # see flow.shift_sigma
    default_shot: str = ""  # for prompts that name none; "" leaves prompts as they are
    guided_to: float = 0.0  # noise level at which guidance ends; what is left are details
    retell: bool = False  # prompts in the model's own words, if it has any (toon/retelling.py)
    feeling_guidance_scale: float = 1.0  # away from the retold words without feelings; 1 = none
    feelings_to: float = 1.0  # feelings are guided to here at least, or to where guidance ends
    fast_levels: tuple[float, ...] = ()  # noise levels of quality "fast"; () where there is none
    folded: bool = False  # guidance is that of a network that folds it in, not these scales'

    def __post_init__(self) -> None:
        if not 1 <= self.num_inference_steps <= 1000:
            raise ValueError(f"steps is {self.num_inference_steps}; expected 1 to 1000")
        for name in ("text_guidance_scale", "speech_guidance_scale", "feeling_guidance_scale"):
            scale = getattr(self, name)
            if not 0 <= scale <= 100:  # refuses NaN too
                raise ValueError(f"{name} is {scale}; expected 0 to 100 (1 = no guidance)")

        for name in ("guided_to", "feelings_to"):
            level = getattr(self, name)
            if not 0 <= level <= 1:
                raise ValueError(f"{name} is {level}; expected a noise level, 0 to 1")

    def at(self, sigma: float) -> Self:
        """The settings of a step at noise level sigma: below `guided_to` without guidance, which
        is then one evaluation instead of three (Kynkaanniemi et al. 2024); feelings are guided in
        the middle only."""
        guided = sigma >= self.guided_to
        settings = replace(self, folded=self.folded and guided)
        if not guided or self.folded:
            settings = replace(settings, text_guidance_scale=1.0, speech_guidance_scale=1.0)
        feel = sigma < FEELINGS_BELOW and sigma >= min(self.guided_to, self.feelings_to)
        if not feel or settings.folded:
            settings = replace(settings, feeling_guidance_scale=1.0)
        return settings

    def of_quality(self, quality: Quality, set_by_hand: Sequence[str] = ()) -> Self:
        """The settings of a quality. "high": these. "fast": few steps, guidance folded in, so that
        nothing of either can be `set_by_hand`. Raises ValueError where "fast" is not to be had."""
        if checked_quality(quality) == "high":
            return self
        if not self.fast_levels:
            raise ValueError('this model has no quality "fast"; leave it out')
        if set_by_hand:
            raise ValueError(
                f'{" and ".join(set_by_hand)} cannot be chosen with quality "fast", in whose steps '
                'they are folded; ask for "high"'
            )
        return replace(self, num_inference_steps=len(self.fast_levels), folded=True)

    def with_given(self, **given: Any) -> Self:
        """These settings, changed where a value is given (not None)."""
        return replace(self, **{name: v for name, v in given.items() if v is not None})

    @classmethod
    def from_file(cls, file: str | os.PathLike[str]) -> Self:
        """Read a file of settings. Raises ValueError where one is missing."""
        names = [field.name for field in fields(cls)]
        values = store.read_json(Path(file), names[:-7])  # the last seven: newer than some folders
        values["fast_levels"] = tuple(values.get("fast_levels", ()))
        return cls(**{name: values[name] for name in names if name in values})


def checked_quality(name: str) -> Quality:
    """A quality by name. Raises ValueError for another."""
    for known in QUALITIES:
        if name == known:
            return known
    raise ValueError(f"quality is {name!r}; expected {' or '.join(QUALITIES)}")


def check_size(
    width: int, height: int, multiple: int = 16, smallest: int = 64, largest: int = MAX_SIDE
) -> None:
    """Raise ValueError unless both sides are multiples of `multiple` between two limits, pixels."""
    for side in (width, height):
        if side % multiple or not smallest <= side <= largest:
            raise ValueError(
                f"size {width}x{height} is not possible: width and height must be multiples of "
                f"{multiple} from {smallest} to {largest}"
            )
