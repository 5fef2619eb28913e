"""The paper's ablations in the toon domain: variants of one small model under equal budgets.

    stories -> small films -> shards -> a base that knows films without speech (stage 0), once
    -> for each variant and seed: the base learns to hear, in the paper's order of stages -> weights

As in the paper every variant starts from the same text-to-video model, and sees the same films the
same number of times; what differs is one thing each.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from openmocha.models.config import MoChaConfig, toon, with_settings
from openmocha.models.speech_attention import SpeechMode
from openmocha.models.text_encoder import TextEncoder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.training.ablation_data import NUM_FRAMES, SIDE, UNTAGGED, small_plan
from openmocha.training.encoders import encoder_checksums, load_encoders
from openmocha.training.objective import Objective
from openmocha.training.samples import Dropout
from openmocha.training.shards import Encoders, bind_to_networks, write_empty_prompt
from openmocha.training.stages import Crop, Stage, halved
from openmocha.training.toon_clips import write_plan
from openmocha.training.train import TrainConfig, train

Say = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """One row of a table: how speech is attended to, and what is trained on."""

    attention: SpeechMode = "window"
    curriculum: bool = True
    text_films: bool = True
    tags: bool = True


# Names as in the paper's tables 3 to 6; `window` is its full model in all of them.
VARIANTS: dict[str, Variant] = {
    "window": Variant(),
    "global, none": Variant("global"),
    "global + RoPE": Variant("global+rope"),
    "no tags": Variant(tags=False),
    "speech data only": Variant(text_films=False),
    "no curriculum": Variant(curriculum=False),
    "window + RoPE": Variant("window+rope"),
    "global + learnable": Variant("global+learnable"),
    "global + sinusoidal": Variant("global+sinusoidal"),
}


@dataclass(frozen=True)
class AblationBudget:
    """Stories drawn (of close-ups; other sources follow), steps of the base and of each variant,
    clips in a step (stills: four times as many)."""

    stories: int = 700
    base_steps: int = 5000
    steps: int = 1600
    batch_size: int = 16
    learning_rate: float = 1e-3


def small_config(attention: SpeechMode | Literal["none"]) -> MoChaConfig:
    """About 3 million parameters; as in the embedded model but for the attention, and the camera,
    of which it is told by words alone."""
    return with_settings(
        toon(),
        layers=6,
        width=128,
        ffn=352,
        heads=2,
        speech_hidden=96,
        speech_attention=attention,
        max_speech_tokens=NUM_FRAMES,
        continues=False,
        told_views=False,
        told_figures=False,
    )


def prepare(folder: Path, budget: AblationBudget, workers: int, say: Say) -> None:
    """Write the shards, and train the base that all variants start from; both once."""
    shards = folder / "shards"
    checksums = encoder_checksums("toon")
    plain = {name: sha for name, sha in checksums.items() if not name.startswith("caption_reader/")}
    bind_to_networks(shards, plain)
    load = partial(plain_encoders, "toon")
    write_empty_prompt(shards, load().text)
    for done in write_plan(shards, small_plan(budget.stories), load, workers):
        say(f"{done.name}: {done.num_stories} stories")
    base = folder / "base"
    if not (base / "model").exists():
        say(f"the base: {budget.base_steps} steps on films without their speech")
        torch.manual_seed(0)
        model = MoChaTransformer3DModel(small_config("none"))
        stages = base_stages(budget)
        deaf = replace(train_config(0), dropout=Dropout(text=0.0, speech=0.9, both=0.1))
        finish(train(model, shards, base, stages, deaf), base)


def plain_encoders(model: str) -> Encoders:
    """The encoders of a model without its caption reader, which would read tags for a network
    that is to do without them."""
    encoders = load_encoders(model)
    assert isinstance(encoders.text, TextEncoder)
    return replace(encoders, text=encoders.text.without_reader())


def train_variant(folder: Path, name: str, seed: int, budget: AblationBudget) -> Path:
    """Train one variant from the base; returns its weights' folder. Done before: nothing to do."""
    run = run_folder(folder, name, seed)
    if not (run / "model").exists():
        variant = VARIANTS[name]
        torch.manual_seed(seed)
        model = MoChaTransformer3DModel(small_config(variant.attention))
        start_from(model, folder / "base" / "model")
        stages = variant_stages(variant, budget)
        finish(train(model, folder / "shards", run, stages, train_config(seed)), run)
    return run / "model"


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where a variant's run of one seed lies."""
    plain = name.replace(", ", "-").replace(" + ", "-").replace(" ", "-").lower()
    return folder / "runs" / f"{plain}-{seed}"


def start_from(model: MoChaTransformer3DModel, base: Path) -> None:
    """Fill all but the speech path, which the base lacks and which starts with an output of 0."""
    weights = MoChaTransformer3DModel.from_pretrained(base).state_dict()
    fit = model.load_state_dict(weights, strict=False)
    assert not fit.unexpected_keys and all("speech" in key for key in fit.missing_keys)


def base_stages(budget: AblationBudget) -> tuple[Stage, ...]:
    """Stills first, as text-to-video models begin with images: at the cost of a step of films, four
    times as many stories are seen."""
    shares = {"text": 20, "close-up": 45, "medium": 35}
    num_stills, num_films = round(0.9 * budget.base_steps), round(0.1 * budget.base_steps)
    still = Crop(1, 4 * budget.batch_size, height=SIDE, width=SIDE)
    stills = Stage("stills", max(1, num_stills), shares, (still,), budget.learning_rate, 50)
    return stills, stage("films", max(1, num_films), shares, budget)


def variant_stages(variant: Variant, budget: AblationBudget) -> tuple[Stage, ...]:
    """The paper's stages 1, 3 and 4 (close-ups; medium shots; dialogues), or all films from the
    start in the shares that the stages have on average."""
    dialogue = "dialogue" if variant.tags else UNTAGGED
    close_ups: dict[str, float] = {"close-up": 80, "text": 20}
    medium = halved(close_ups, "medium")
    parts = {"close-ups": (0.4, close_ups), "medium": (0.3, medium)}
    parts["dialogues"] = (0.3, halved(medium, dialogue))
    if not variant.curriculum:
        sources = parts["dialogues"][1]
        mean = {s: sum(p * shares.get(s, 0) for p, shares in parts.values()) for s in sources}
        parts = {"all at once": (1.0, mean)}
    stages = []
    for name, (part, shares) in parts.items():
        kept = {s: v for s, v in shares.items() if variant.text_films or s != "text"}
        stages.append(stage(name, round(part * budget.steps), kept, budget))
    return tuple(stages)


def stage(name: str, steps: int, shares: Mapping[str, float], budget: AblationBudget) -> Stage:
    """One stage of whole small films, at a constant rate."""
    crop = Crop(NUM_FRAMES // 4, budget.batch_size, height=SIDE, width=SIDE)
    return Stage(name, steps, shares, (crop,), budget.learning_rate, warmup_steps=20)


def train_config(seed: int) -> TrainConfig:
    """Mouths count more, no clean prefixes (no variant continues films). Half of the clips
    have a noise level for each frame: what neighbours show then leaves only the mouth to learn."""
    objective = Objective(
        independent_share=0.5, prefix_share=0.0, mouth_weight=16.0, sigma_mean=0.5
    )
    return TrainConfig(seed=seed, objective=objective, speech_rate=3.0, keep_checkpoints=1)


def finish(trained: torch.nn.Module, run: Path) -> None:
    """Save the moving average as `run`/model; its appearance says that the run is finished."""
    assert isinstance(trained, MoChaTransformer3DModel)
    part = run / "model.part"
    trained.save_pretrained(part)
    os.replace(part, run / "model")
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
