"""Time of a training step (forward, loss, backward) and of a guided inference step, toon recipe.

    python -m benchmarks.training_step [--compile]

Shapes are samples x latent frames of 16 tokens, with 96 text tokens each; the guided inference step
is three samples of a whole clip. Rows: float32; bfloat16 by autocast with torch's fused attention
everywhere, which shows why `attend` avoids it where keys are few; bfloat16; compiled if asked.
Writes benchmarks/results/training_step.json (compiled: training_step_compiled.json).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import keep, machine
from openmocha.models import attention, speech_attention
from openmocha.models.config import toon
from openmocha.models.transformer import MoChaTransformer3DModel

TRAINING, GUIDED = ((256, 1), (32, 8), (8, 32)), (3, 32)
SIDE = 8  # rows and columns of latents: 128 pixels
TEXT_TOKENS = 96


def make_inputs(samples: int, frames: int) -> dict[str, Any]:
    """Random inputs of a crop in the middle of a film, with six speech tokens on either side."""
    windows = 4 * torch.arange(frames)[:, None] + 5 + torch.arange(6)
    text_mask = torch.arange(TEXT_TOKENS) < torch.randint(40, TEXT_TOKENS + 1, (samples, 1))
    return {
        "latents": torch.randn(samples, toon().latent_channels, frames, SIDE, SIDE),
        "sigma": torch.rand(samples, frames),
        "text": [(torch.randn(samples, TEXT_TOKENS, 384), text_mask)],
        "speech": torch.randn(samples, 4 * frames + 12, 6, 128),
        "speech_windows": windows.expand(samples, -1, -1),
    }


def flops(samples: int, frames: int) -> float:
    """Operations of the matrix products of one forward pass through the blocks."""
    config = toon()
    in_clip = frames * (SIDE // config.patch) ** 2
    tokens = samples * in_clip
    per_token = 4 * config.width**2 + 2 * 2 * config.width**2 + 3 * config.width * config.ffn
    keys = in_clip + TEXT_TOKENS + 6
    text = samples * TEXT_TOKENS * 2 * config.width**2
    return 2.0 * config.layers * (tokens * (per_token + 2 * keys * config.width) + text)


def step(model: MoChaTransformer3DModel, inputs: dict[str, Any], bfloat16: bool) -> None:
    """One step, with backward where the model is being trained."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        with torch.set_grad_enabled(model.training):
            velocity: Tensor = model(**inputs)
    if model.training:
        (velocity.float() - inputs["latents"]).square().mean().backward()
        model.zero_grad(set_to_none=True)


def timed(call: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Wall time of the first call, which may compile, and the median of those after the second."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[2:])


def measure(kind: str, compiled: bool, repeats: int) -> list[dict[str, Any]]:
    """A row for each shape."""
    torch.manual_seed(0)
    model = MoChaTransformer3DModel(toon())
    if compiled:
        for block in model.blocks:
            block.compile(dynamic=True)
    rows = []
    for (samples, frames), training in (*((shape, True) for shape in TRAINING), (GUIDED, False)):
        inputs = make_inputs(samples, frames)
        model.train(training)
        first_s, median_s = timed(lambda i=inputs: step(model, i, kind != "float32"), repeats)
        row = {
            "kind": kind + (", compiled" if compiled else ""),
            "step": f"{'train' if training else 'guided'} {samples} x {frames}",
            "first_s": first_s,
            "seconds": median_s,
            "gflops": flops(samples, frames) * (3 if training else 1) / median_s / 1e9,
        }
        print(
            "{kind:26} {step:14} {seconds:7.3f} s  {gflops:5.0f} GFLOPS".format(**row), flush=True
        )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    about = machine() | {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    rows = []
    if not arguments.compile:
        rows += measure("float32", False, arguments.repeats)
        plain = attention.attend
        fused = torch.nn.functional.scaled_dot_product_attention
        attention.attend = speech_attention.attend = fused
        rows += measure("bfloat16, fused attention", False, arguments.repeats)
        attention.attend = speech_attention.attend = plain
    rows += measure("bfloat16", arguments.compile, arguments.repeats)
    name = "training_step_compiled" if arguments.compile else "training_step"
    keep(name, {"machine": about, "rows": rows})


if __name__ == "__main__":
    main()
