"""The training loop of the transformer: stages of batches, one step after the other.

    fetch -> corrupt -> predict -> loss -> backward -> clip -> step -> EMA -> log -> checkpoint

Everything random in a step is seeded by (seed, stage, step), and a checkpoint holds all that
changes, so training stopped at any moment goes on to the same bits. `folder` receives checkpoints/,
log.jsonl, tensorboard/ and samples/; a file named `stop` in it interrupts training after the step
at hand, with a checkpoint.
"""

import copy
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from openmocha.flow import predicted_latents
from openmocha.models.config import MoChaConfig
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.precision import mixed_precision
from openmocha.training import checkpoint
from openmocha.training.fit import update_ema
from openmocha.training.latent_reader import Reading
from openmocha.training.log import open_log
from openmocha.training.objective import Objective, corrupt, weighted_loss
from openmocha.training.optimizers import make_optimizer
from openmocha.training.parallel import (
    Ranks,
    agree,
    average_gradients,
    mean_over_ranks,
    process_group,
    shard,
)
from openmocha.training.samples import Batch, Batches, Dropout, Records, prefetch
from openmocha.training.stages import Stage

Preview = Callable[[nn.Module, Path], None]


@dataclass(frozen=True)
class TrainConfig:
    """What holds for all stages."""

    seed: int = 0
    optimizer: Literal["adamw", "muon"] = "adamw"  # Muon only for models that are not sharded
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float = 1.0
    speech_rate: float = 1.0  # times the learning rate, for what carries speech to the video
    ema_decay: float = 0.999
    dropout: Dropout = field(default_factory=Dropout)
    objective: Objective = field(default_factory=Objective)
    log_every: int = 20
    checkpoint_every_s: float = 300.0
    preview_every_s: float = 900.0
    keep_checkpoints: int = 2
    autocast: bool = True  # bfloat16 where the hardware has it
    shard_from: int = 50_000_000  # parameters; smaller models are copied to every rank
    compile: bool = False  # fuse each block (torch.compile); needs a C++ compiler


@dataclass(frozen=True)
class Progress:
    """Where training stands: `step` finished steps, `stage_step` of them in stage `stage`."""

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    stage_elapsed_s: float = 0.0
    shards: tuple[str, ...] = ()  # what the stage draws from; empty before it starts


@dataclass
class Training:
    """All that a step changes, where it is kept, and what stays fixed meanwhile."""

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    progress: Progress
    config: TrainConfig
    stages: Sequence[Stage]
    folder: Path
    ranks: Ranks
    preview: Preview | None
    reading: Reading | None
    saved_at_s: float
    previewed_at_s: float

    @property
    def stage(self) -> Stage:
        return self.stages[self.progress.stage]

    @property
    def done(self) -> bool:
        return self.progress.stage >= len(self.stages)


def train(
    model: nn.Module,
    shards: Path,
    folder: Path,
    stages: Sequence[Stage],
    config: TrainConfig,
    preview: Preview | None = None,
    reading: Reading | None = None,
) -> nn.Module:
    """Train `model` (a MoChaTransformer3DModel, or a large one's WanInTraining) in place through
    all stages and return its moving average, in eval mode.

    Goes on from the newest checkpoint in `folder`. A stage draws from the shards that are finished
    when it starts. `preview(ema, path)` writes sample films to `path` plus a suffix of its choice.
    With a `reading`, what a reader of latents sees counts beside their error.
    Raises ValueError where another trainer owns the folder, or a checkpoint is damaged or belongs
    to another model or other stages; FloatingPointError before a step that a non-finite loss would
    have spoiled; KeyboardInterrupt, after a checkpoint, where a file `stop` asked for it.
    """
    device = next(model.parameters()).device
    with process_group(device) as ranks, owned(folder, ranks):
        training = start(model, folder, stages, config, ranks, preview, reading)
        with open_log(folder, training.progress.step, ranks) as log:
            while not training.done:
                records = Records(shards, training.progress.shards or None)
                training.progress = replace(training.progress, shards=records.shards)
                stage, number = training.stage, training.progress.stage
                layout: Any = model.config
                batches = Batches(
                    records, stage, number, config.seed, config.dropout, ranks, layout
                )
                run_stage(training, batches, log)
                if stage_over(training):
                    training.progress = Progress(training.progress.step, number + 1)
                save(training)
                if stop_asked(training):
                    (folder / "stop").unlink(missing_ok=True)
                    raise KeyboardInterrupt
        return training.ema.eval()


def run_stage(training: Training, batches: Batches, log: Callable[[dict[str, Any]], None]) -> None:
    """Train to the end of the stage, or until it is stopped."""
    model, ema, optimizer = training.model.train(), training.ema, training.optimizer
    config, device = training.config, next(training.model.parameters()).device
    counted_s = ready_s = time.monotonic()
    for batch in prefetch(batches, training.progress.stage_step):
        waited_s = time.monotonic() - ready_s
        batch = batch.to(device)
        corrupted = corrupt(batch, config.objective)
        with mixed_precision(device, None if config.autocast else torch.float32):
            velocity = model(
                corrupted.noisy,
                corrupted.sigma,
                batch.text,
                batch.speech,
                batch.speech_windows,
                **told_beside(model, batch),
            )
        loss = weighted_loss(velocity.float(), corrupted.target, corrupted.weights)
        losses = {"loss": loss}
        if training.reading is not None:
            expected = predicted_latents(corrupted.noisy, velocity.float(), corrupted.sigma)
            losses["misread"] = training.reading.loss(batch, expected, corrupted.sigma)
            loss = loss + losses["misread"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(model, training.ranks)
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        measures = finite(losses | {"gradient_norm": norm}, training)
        rate = training.stage.learning_rate_at(
            training.progress.stage_step, training.progress.stage_elapsed_s
        )
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        optimizer.step()
        elapsed_s, counted_s = time.monotonic() - counted_s, time.monotonic()
        training.progress = advanced(training.progress, elapsed_s)
        step = training.progress.step
        update_ema(ema, model, min(config.ema_decay, (1 + step) / (10 + step)))
        if step % config.log_every == 0:
            crop = {"latent_frames": batch.latents.shape[2], "learning_rate": rate}
            log(measures | crop | {"step_s": elapsed_s, "waited_s": waited_s} | where(training))
        keep_and_show(training)
        ready_s = time.monotonic()
        if stage_over(training) or stop_asked(training):
            return


def told_beside(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What a model is told beside words and speech, if it can be."""
    config = model.config
    if not isinstance(config, MoChaConfig):
        return {}
    told = {"views": batch.views} if config.told_views else {}
    return told | ({"figures": batch.figures} if config.told_figures else {})


def start(
    model: nn.Module,
    folder: Path,
    stages: Sequence[Stage],
    config: TrainConfig,
    ranks: Ranks,
    preview: Preview | None,
    reading: Reading | None = None,
) -> Training:
    """Model, EMA and optimizer on all ranks, filled from the newest checkpoint if there is one."""
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    if config.compile:
        for block in cast(nn.ModuleList, model.blocks):
            # One graph for all blocks and all lengths of captions and crops.
            block.compile(dynamic=True)
    shard(model, ranks, config.shard_from)
    shard(ema, ranks, config.shard_from)
    optimizer = make_optimizer(
        model, config.optimizer, config.speech_rate, config.betas, config.weight_decay
    )
    now_s = time.monotonic()
    training = Training(
        model, ema, optimizer, Progress(), config, stages, folder, ranks, preview, reading,
        saved_at_s=now_s, previewed_at_s=now_s,
    )  # fmt: skip
    saved = checkpoint.checkpoints(folder / "checkpoints")
    if saved:
        training.progress = resumed(training, saved[-1])
    return training


def resumed(training: Training, newest: Path) -> Progress:
    """Fill everything from a checkpoint. Raises ValueError where it is damaged or does not fit."""
    checkpoint.verify(newest)
    state = checkpoint.load_state(newest)
    if state["config"]["seed"] != training.config.seed:
        raise ValueError(
            f"{newest} was trained with seed {state['config']['seed']}, not "
            f"{training.config.seed}; use its seed, or another folder"
        )
    optimizer = state["config"].get("optimizer", "adamw")
    if optimizer != training.config.optimizer:
        raise ValueError(
            f"{newest} was trained by {optimizer}, not {training.config.optimizer}, and moments of "
            "one mean nothing to the other; start from its weights in another folder"
        )
    reached = state["progress"]["stage"] + 1
    before = [stage["name"] for stage in state["stages"]][:reached]
    names = [stage.name for stage in training.stages][: len(before)]
    if names != before:
        raise ValueError(
            f"{newest} was trained in the stages {', '.join(before)}, not {', '.join(names)}; "
            "use those, or start from its weights in another folder"
        )
    tensors = checkpoint.training_tensors(training.model, training.ema, training.optimizer)
    checkpoint.load_tensors(newest, tensors, training.ranks)
    progress = state["progress"]
    return Progress(**progress | {"shards": tuple(progress["shards"])})


def save(training: Training) -> None:
    """Write a checkpoint of this moment."""
    state = {
        "step": training.progress.step,
        "progress": asdict(training.progress),
        "config": asdict(training.config),
        "model": asdict(training.model.config),  # type: ignore[call-overload]
        "stages": [asdict(stage) for stage in training.stages],
        "ranks": training.ranks.world,
        "torch": torch.__version__,
    }
    tensors = checkpoint.training_tensors(training.model, training.ema, training.optimizer)
    folder = training.folder / "checkpoints"
    checkpoint.save(folder, tensors, state, training.ranks, training.config.keep_checkpoints)
    training.saved_at_s = time.monotonic()


def keep_and_show(training: Training) -> None:
    """A checkpoint and sample films, each when its time has come."""
    config, ranks = training.config, training.ranks
    if agree(time.monotonic() - training.saved_at_s >= config.checkpoint_every_s, ranks):
        save(training)
    due = time.monotonic() - training.previewed_at_s >= config.preview_every_s
    # A sharded model would need all ranks to sample together; of copies, the first samples.
    whole = not any(isinstance(p, DTensor) for p in training.ema.parameters())
    if training.preview is not None and ranks.first and whole and due:
        samples = training.folder / "samples"
        samples.mkdir(exist_ok=True)
        training.preview(training.ema, samples / f"step-{training.progress.step:08d}")
        training.previewed_at_s = time.monotonic()


def finite(measures: dict[str, Tensor], training: Training) -> dict[str, float]:
    """Means over all ranks. Raises FloatingPointError, on every rank, where one is not finite."""
    means = {name: mean_over_ranks(value, training.ranks) for name, value in measures.items()}
    if not all(torch.isfinite(torch.tensor(list(means.values())))):
        raise FloatingPointError(
            f"{means} at step {training.progress.step}; the weights are still those of the step "
            f"before, and {training.folder} keeps the last checkpoint"
        )
    return means


def advanced(progress: Progress, elapsed_s: float) -> Progress:
    """One step further."""
    return replace(
        progress,
        step=progress.step + 1,
        stage_step=progress.stage_step + 1,
        stage_elapsed_s=progress.stage_elapsed_s + elapsed_s,
    )


def stage_over(training: Training) -> bool:
    """Whether the stage has had its steps or its time; the first rank's clock decides for all."""
    stage, progress = training.stage, training.progress
    over = progress.stage_step >= stage.steps or progress.stage_elapsed_s >= stage.time_budget_s
    return agree(over, training.ranks)


def stop_asked(training: Training) -> bool:
    """Whether someone has put a file named `stop` into the folder."""
    return agree((training.folder / "stop").exists(), training.ranks)


def where(training: Training) -> dict[str, Any]:
    """The place in training, for the log."""
    progress = training.progress
    return {
        "step": progress.step,
        "stage": training.stage.name,
        "stage_step": progress.stage_step,
        "stage_elapsed_s": progress.stage_elapsed_s,
    }


@contextmanager
def owned(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Hold the folder's lock: one trainer at a time. It is free however the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        if ranks.first:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise ValueError(
                    f"{folder} is owned by another trainer (process {lock.read().strip()}); "
                    "wait for it, stop it, or use another folder"
                ) from error
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        yield


def newest_of(folder: Path) -> Path:
    """The newest checkpoint of a training. Raises ValueError where there is none."""
    saved = checkpoint.checkpoints(folder / "checkpoints")
    if not saved:
        raise ValueError(f"{folder} holds no checkpoint of a transformer yet; train one first")
    return saved[-1]


def export_model(
    newest: Path,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    weights: Literal["ema", "model"] = "ema",
) -> None:
    """Write the moving average of a checkpoint (or its raw weights) as a model folder's
    `transformer/`.

    Raises ValueError where the checkpoint is damaged.
    """
    checkpoint.verify(newest)
    config = dict(checkpoint.load_state(newest)["model"])
    model = MoChaTransformer3DModel(MoChaConfig.from_dict(config))
    tensors = {f"{weights}.{name}": tensor for name, tensor in model.state_dict().items()}
    checkpoint.load_tensors(newest, tensors, Ranks())
    model.save_pretrained(folder, dtype)
