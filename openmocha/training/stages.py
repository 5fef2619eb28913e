"""The curriculum as data: which sources a stage draws from, how long its samples are, how fast it
learns.

A Stage says everything the loop of train.py needs; the loop never asks which stage it is in.
Sources are the shot types of the paper's table plus "text": films without speech.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

TEXT_SHARE = 20


@dataclass(frozen=True)
class Crop:
    """One kind of batch: `share` of a stage's batches hold `batch_size` samples of `latent_frames`.

    Every sample of a batch has the same length and size (height and width in pixels).
    """

    latent_frames: int
    batch_size: int
    share: float = 1.0
    height: int = 128
    width: int = 128

    def __post_init__(self) -> None:
        if min(self.latent_frames, self.batch_size, self.height, self.width) < 1 or self.share <= 0:
            raise ValueError(f"{self}: lengths, sizes and shares must be above 0")


@dataclass(frozen=True)
class Stage:
    """One stage: it ends after `steps` optimizer steps or `time_budget_s` seconds, whichever comes
    first.

    `shares` gives each source's share of every batch (any unit; 80 and 20 are the paper's per
    cent). The learning rate warms up linearly over `warmup_steps`, then moves linearly to
    `final_learning_rate` where one is given. Only stages ended by steps are deterministic.
    """

    name: str
    steps: int
    shares: Mapping[str, float]
    crops: tuple[Crop, ...]
    learning_rate: float
    warmup_steps: int = 0
    final_learning_rate: float | None = None
    time_budget_s: float = math.inf

    def __post_init__(self) -> None:
        if not self.shares or min(self.shares.values()) <= 0:
            raise ValueError(
                f"stage {self.name!r} has shares {dict(self.shares)}; each must be above 0"
            )
        if not self.crops or self.steps < 1:
            raise ValueError(f"stage {self.name!r} needs at least one crop and one step")

    def learning_rate_at(self, step: int, elapsed_s: float) -> float:
        """Learning rate after `step` finished steps, `elapsed_s` into the stage."""
        final = self.learning_rate if self.final_learning_rate is None else self.final_learning_rate
        progress = min(1.0, max(step / self.steps, elapsed_s / self.time_budget_s))
        rate = self.learning_rate + (final - self.learning_rate) * progress
        return rate * min(1.0, (step + 1) / max(1, self.warmup_steps))


def halved(shares: Mapping[str, float], new: str) -> dict[str, float]:
    """The paper's rule: halve the share of all earlier shot types, give what is freed to the new
    one.

    Text-only films keep their share.

    >>> halved({"close-up": 80, "text": 20}, "medium close-up")
    {'close-up': 40.0, 'medium close-up': 40.0, 'text': 20}
    """
    speech = {source: share / 2 for source, share in shares.items() if source != "text"}
    return speech | {new: sum(speech.values()), "text": shares["text"]}


def curriculum() -> list[dict[str, float]]:
    """Shares of the paper's stages 0 to 4, in per cent."""
    shares: list[dict[str, float]] = [
        {"text": 100},
        {"close-up": 100 - TEXT_SHARE, "text": TEXT_SHARE},
    ]
    for new in ("medium close-up", "medium", "dialogue"):
        shares.append(halved(shares[-1], new))
    return shares


def paper_stages() -> tuple[Stage, ...]:
    """The paper's table: batches of 512 clips of 128 frames, 1e-5 after 2000 steps of warm-up."""
    steps = (200_000, 200_000, 200_000, 100_000, 100_000)
    crop = Crop(latent_frames=32, batch_size=512, height=720, width=720)
    return tuple(
        Stage(f"stage {i}", num_steps, shares, (crop,), learning_rate=1e-5, warmup_steps=2000)
        for i, (num_steps, shares) in enumerate(zip(steps, curriculum(), strict=True))
    )


# About the same number of latent tokens in every batch.
TOON_SINGLES = Crop(latent_frames=1, batch_size=128)
TOON_MOTION = Crop(latent_frames=8, batch_size=16)
TOON_CLIPS = Crop(latent_frames=32, batch_size=4)
TOON_WIDE = Crop(latent_frames=1, batch_size=128, height=96, width=160)
TOON_TALL = Crop(latent_frames=1, batch_size=128, height=160, width=96)
# Close-ups teach lips, which are learnt last; the paper's stage of medium shots has 20% of them.
TOON_FACES: dict[str, float] = {
    "close-up": 28,
    "medium close-up": 24,
    "medium": 14,
    "dialogue": 14,
    "text": TEXT_SHARE,
}
TOON_DIALOGUES: dict[str, float] = {
    "close-up": 20,
    "medium close-up": 16,
    "medium": 8,
    "dialogue": 36,
    "text": TEXT_SHARE,
}


def toon_stages(
    *,
    steps: int = 10_000,
    time_budget_s: float = math.inf,
    learning_rate: float = 3e-3,
    batch_scale: int = 1,
) -> tuple[Stage, ...]:
    """The paper's first three stages in single latents, then faces in motion, then dialogues.

    `steps` and `time_budget_s` are those of all stages together. Who and where is learnt from
    single latents, of which a step sees many; lips and movement from crops and whole films. The
    first stages take half batches: early on, more steps teach more than better gradients.
    `batch_scale` multiplies all batches; a GPU needs 16 or more to be busy.
    """
    singles, motion, clips = TOON_SINGLES, TOON_MOTION, TOON_CLIPS
    half = replace(singles, batch_size=singles.batch_size // 2)
    moving = (replace(singles, share=0.6), replace(motion, share=0.25), replace(clips, share=0.15))
    all_sizes = (
        replace(singles, share=0.3),
        replace(motion, share=0.25),
        replace(clips, share=0.35),
        replace(TOON_WIDE, share=0.05),
        replace(TOON_TALL, share=0.05),
    )
    text, close_ups, medium_close_ups = curriculum()[:3]
    plan = (
        ("text", 0.05, text, (half,)),
        ("close-ups", 0.05, close_ups, (half,)),
        ("medium close-ups", 0.15, medium_close_ups, (singles,)),
        ("faces", 0.35, TOON_FACES, moving),
        ("dialogues", 0.4, TOON_DIALOGUES, all_sizes),
    )
    last = plan[-1][0]
    return tuple(
        Stage(
            name,
            max(1, round(steps * part)),
            shares,
            tuple(replace(crop, batch_size=batch_scale * crop.batch_size) for crop in crops),
            learning_rate,
            warmup_steps=100 if name == "text" else 0,
            final_learning_rate=learning_rate / 20 if name == last else None,
            time_budget_s=time_budget_s * part,
        )
        for name, part, shares, crops in plan
    )


def with_sources(stages: tuple[Stage, ...], sources: Collection[str]) -> tuple[Stage, ...]:
    """The stages without the shares of sources that the data lacks (a corpus without
    conversations, say); a stage that is left with none, or with text alone, is left out.

    Raises ValueError where no stage is left.
    """
    kept = []
    for stage in stages:
        shares = {source: share for source, share in stage.shares.items() if source in sources}
        if shares.keys() - {"text"} or (shares and set(stage.shares) == {"text"}):
            kept.append(replace(stage, shares=shares))
    if not kept:
        raise ValueError(
            f"the data holds {sorted(sources)}; the stages draw from "
            f"{sorted({s for stage in stages for s in stage.shares})}"
        )
    return tuple(kept)


def crop_order(crops: tuple[Crop, ...], cycle: int = 20) -> list[int]:
    """Which crop each of `cycle` consecutive batches uses, shares rounded to the cycle and spread
    evenly.

    >>> crop_order((Crop(1, 160, 0.75), Crop(8, 20, 0.25)), cycle=8)
    [0, 0, 1, 0, 0, 0, 1, 0]
    """
    total = sum(crop.share for crop in crops)
    exact = [crop.share / total * cycle for crop in crops]
    counts = [max(1, int(count)) for count in exact]
    while sum(counts) < cycle:
        largest = max(range(len(crops)), key=lambda i: exact[i] - counts[i])
        counts[largest] += 1
    places = [((j + 0.5) / count, i) for i, count in enumerate(counts) for j in range(count)]
    return [i for _, i in sorted(places)]
