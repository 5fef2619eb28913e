"""The small training loop shared by the component networks: VAE, speech encoder, judge.

batches -> loss -> AdamW step -> EMA -> JSONL log -> checkpoint. The diffusion transformer has a
loop of its own (train.py), because it adds stages, ranks and exact resume; these networks train for
minutes and resume from the last checkpoint with a new stream of batches.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LossFunction = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]
Evaluation = Callable[[nn.Module], dict[str, float]]
OptimizerFactory = Callable[[list[nn.Parameter], "FitConfig"], torch.optim.Optimizer]


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast a component network trains.

    Training ends at `steps` or when `time_budget_s` seconds are spent, whichever comes first; the
    learning rate warms up linearly, then falls as a cosine of that progress.
    """

    steps: int = 100_000
    time_budget_s: float = math.inf
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 100
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    log_every: int = 50
    evaluate_every_s: float = 240.0


def fit(
    model: nn.Module,
    batches: Iterable[Any],
    loss_function: LossFunction,
    folder: Path,
    config: FitConfig,
    evaluate: Evaluation | None = None,
    make_optimizer: OptimizerFactory | None = None,
) -> nn.Module:
    """Train `model` in place and return its exponential moving average, in eval mode.

    `folder` receives log.jsonl and a checkpoint (`last.safetensors`); when it holds one
    already, training goes on from its weights and progress, with fresh optimizer moments.
    Raises FloatingPointError before a step that a non-finite loss would have spoiled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    step, spent_s = _resume(model, ema, folder)
    optimizer = (make_optimizer or _adamw)(
        [p for p in model.parameters() if p.requires_grad], config
    )
    first_step = step
    started = evaluated = math.nan
    for batch in batches:
        if step == first_step:  # the time until the first batch is not the training's
            started, evaluated = time.monotonic() - spent_s, time.monotonic()
        elapsed_s = time.monotonic() - started
        progress = max(step / config.steps, elapsed_s / config.time_budget_s)
        if progress >= 1:
            break
        rate = _learning_rate(progress, step - first_step, config)
        loss, measures = loss_function(model.train(), batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss.item()} at step {step}; {folder} keeps the last checkpoint"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        step += 1
        update_ema(ema, model, min(config.ema_decay, (1 + step) / (10 + step)))
        if step % config.log_every == 0:
            _log(
                folder,
                {
                    "step": step,
                    "elapsed_s": elapsed_s,
                    "rate": rate,
                    "loss": loss.item(),
                    **measures,
                },
            )
        if time.monotonic() - evaluated > config.evaluate_every_s:
            _save(model, ema, folder, step, elapsed_s)
            if evaluate is not None:
                _log(folder, {"step": step, "elapsed_s": elapsed_s, **evaluate(ema)})
            evaluated = time.monotonic()
    _save(model, ema, folder, step, time.monotonic() - started)
    if evaluate is not None:
        _log(folder, {"step": step, "final": True, **evaluate(ema)})
    return ema


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * model for parameters; buffers are copied."""
    averaged: list[Tensor] = [p for p in ema.parameters() if p.is_floating_point()]
    current: list[Tensor] = [p.detach() for p in model.parameters() if p.is_floating_point()]
    torch._foreach_lerp_(averaged, current, 1 - decay)
    for kept, buffer in zip(ema.buffers(), model.buffers(), strict=True):
        kept.copy_(buffer)


def _adamw(parameters: list[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=config.weight_decay,
    )


def _learning_rate(progress: float, steps_since_start: int, config: FitConfig) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    rate = config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * cosine
    return rate * min(1.0, (steps_since_start + 1) / config.warmup_steps)


def _save(model: nn.Module, ema: nn.Module, folder: Path, step: int, elapsed_s: float) -> None:
    tensors = {f"model.{k}": v.contiguous().clone() for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v.contiguous().clone() for k, v in ema.state_dict().items()}
    # Progress travels inside the weights' own metadata, so that one rename makes both current.
    progress = {"step": str(step), "elapsed_s": str(elapsed_s)}
    temporary = folder / "last.safetensors.tmp"
    save_file(tensors, temporary, metadata=progress)
    temporary.replace(folder / "last.safetensors")


def _resume(model: nn.Module, ema: nn.Module, folder: Path) -> tuple[int, float]:
    path = folder / "last.safetensors"
    if not path.exists():
        return 0, 0.0
    tensors = load_file(path)
    for network, prefix in ((model, "model."), (ema, "ema.")):
        network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
    progress = _metadata(path)
    return int(progress["step"]), float(progress["elapsed_s"])


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
        return dict(file.metadata())


def _log(folder: Path, row: dict[str, Any]) -> None:
    with (folder / "log.jsonl").open("a") as file:
        file.write(
            json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
            + "\n"
        )
