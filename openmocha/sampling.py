"""The settings of one generation: what a model is asked for, checked before any work is done."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from openmocha.models import store

SETTINGS_FILE = "scheduler_config.json"
OF_A_FILM = ("quality", "folded")  # settings of one film or step, not of a model
OF_HIGH = (  # what quality "fast" has its own steps for
    "text_guidance_scale", "speech_guidance_scale", "feeling_guidance_scale",
    "shift", "guided_to", "feelings_to",
)  # fmt: skip
# Noise level below which feelings are guided: above it is settled who is seen where.
FEELINGS_BELOW = 0.8
Quality = Literal["fast", "high"]
QUALITIES: tuple[Quality, ...] = ("fast", "high")
MAX_SIDE = 512  # pixels; beyond it a CPU runs out of memory long before the film is done


@dataclass(frozen=True)
class FastStep:
    """A step of quality "fast": the noise level it begins at, and the scale of its guidance on
    words and speech at once (1 = none); None: the network that folds guidance in takes it."""

    sigma: float
    scale: float | None


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
    fast_steps: tuple[FastStep, ...] = ()  # of quality "fast"; () where there is none
    told_zoom: float = 1.0  # a model that zooms less than it is told is told so many times as much
    quality: Quality = "high"  # of a film; "fast" goes by fast_steps, not by the scales above
    folded: bool = False  # of a step: the network that folds guidance in takes it

    def __post_init__(self) -> None:
        if not 1 <= self.num_inference_steps <= 1000:
            raise ValueError(f"steps is {self.num_inference_steps}; expected 1 to 1000")
        for name in ("text_guidance_scale", "speech_guidance_scale", "feeling_guidance_scale"):
            scale = getattr(self, name)
            if not 0 <= scale <= 100:  # refuses NaN too
                raise ValueError(f"{name} is {scale}; expected 0 to 100 (1 = no guidance)")

        if not 0 < self.told_zoom <= 4:
            raise ValueError(f"told_zoom is {self.told_zoom}; expected above 0, at most 4")
        for name in ("guided_to", "feelings_to"):
            level = getattr(self, name)
            if not 0 <= level <= 1:
                raise ValueError(f"{name} is {level}; expected a noise level, 0 to 1")
        levels = [step.sigma for step in self.fast_steps] or [1.0]
        if levels[0] != 1 or levels[-1] <= 0 or sorted(set(levels), reverse=True) != levels:
            raise ValueError(f"fast steps begin at {levels}; expected 1, then lower levels above 0")
        for step in self.fast_steps:
            if step.scale is not None and not 0 <= step.scale <= 100:
                raise ValueError(f"a fast step's scale is {step.scale}; expected 0 to 100, or None")

    def at(self, step: int, sigma: float) -> Self:
        """The settings of a step, which begins at noise level sigma: below `guided_to` without
        guidance, which is then one evaluation instead of three (Kynkaanniemi et al. 2024); feelings
        are guided in the middle only."""
        if self.quality == "fast":
            return self._scaled(self.fast_steps[step].scale)
        feel = sigma < FEELINGS_BELOW and sigma >= min(self.guided_to, self.feelings_to)
        settings = self if feel else replace(self, feeling_guidance_scale=1.0)
        if sigma >= self.guided_to:
            return settings
        return replace(settings, text_guidance_scale=1.0, speech_guidance_scale=1.0)

    def _scaled(self, scale: float | None) -> Self:
        """One scale for words and speech, none for feelings; None: folded in."""
        both = 1.0 if scale is None else scale
        return replace(
            self,
            text_guidance_scale=both,
            speech_guidance_scale=both,
            feeling_guidance_scale=1.0,
            folded=scale is None,
        )

    def of_quality(self, quality: Quality | None, set_by_hand: Sequence[str] = ()) -> Self:
        """The settings of a quality. "high": these. "fast": few steps with guidance of their own;
        nothing of either can be `set_by_hand`. None: "fast" where it can be had, else "high".

        Raises ValueError where "fast" is asked for and not to be had, and where these are of "fast"
        already: the model's own number of steps is lost there.
        """
        if self.quality == "fast":
            raise ValueError('these settings are of quality "fast"; ask those of the model')
        if quality is None:
            quality = "fast" if self.fast_steps and not set_by_hand else "high"
        if checked_quality(quality) == "high":
            return self
        if not self.fast_steps:
            raise ValueError('this model has no quality "fast"; leave it out')
        if set_by_hand:
            raise ValueError(
                f'{" and ".join(set_by_hand)} cannot be chosen with quality "fast", whose steps '
                'have their own; ask for "high"'
            )
        return replace(self, num_inference_steps=len(self.fast_steps), quality="fast")

    def with_given(self, **given: Any) -> Self:
        """These settings, changed where a value is given (not None)."""
        return replace(self, **{name: v for name, v in given.items() if v is not None})

    def in_force(self) -> dict[str, Any]:
        """What a film of these settings was made with, without what its quality does not use."""
        unused = ("folded", *(OF_HIGH if self.quality == "fast" else ("fast_steps",)))
        return {name: value for name, value in asdict(self).items() if name not in unused}

    @classmethod
    def from_file(cls, file: str | os.PathLike[str]) -> Self:
        """Read a file of settings. Raises ValueError where one is missing."""
        names = [field.name for field in fields(cls)]
        values = store.read_json(Path(file), names[:-9])  # the last nine: newer than some folders
        for name in OF_A_FILM:
            values.pop(name, None)
        values["fast_steps"] = tuple(FastStep(**step) for step in values.get("fast_steps", ()))
        return cls(**{name: values[name] for name in names if name in values})

    def to_file(self, file: str | os.PathLike[str]) -> None:
        """Write a file of settings, less those of one film."""
        values = {name: v for name, v in asdict(self).items() if name not in OF_A_FILM}
        store.write_json(Path(file), values)


def checked_quality(name: str | None) -> Quality | None:
    """A quality by name, or None. Raises ValueError for another."""
    if name is None:
        return None
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
