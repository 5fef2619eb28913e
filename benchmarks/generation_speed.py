"""Wall time and memory of one film: 128 frames at 128x128, cold and warm, on two threads.

    python -m benchmarks.generation_speed --model toon --runs 5

Each run is a process of its own that loads the model and makes two films: the first is cold
(imports and loading included), the second warm. Medians go to benchmarks/results/.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

PROMPT = (
    "A close-up shot of a young woman with red hair in a green coat. She looks worried and speaks "
    "to the camera."
)
SECONDS = 128 / 24
SAMPLE_RATE_HZ = 16000


def main() -> None:
    """Run, print medians, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--quality", choices=("fast", "high"), help="the default if not given")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="generation_speed", help="of the file in results")
    parser.add_argument("--one-run", action="store_true", help="measure in this process (internal)")
    options = parser.parse_args()
    if options.one_run:
        print(json.dumps(one_run(options.model, options.steps, options.quality)))
        return
    runs = [child(options) for _ in range(options.runs)]
    from benchmarks.machine import keep

    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    content = {
        "model": options.model,
        "quality": options.quality or "the default",
        "threads": options.threads,
        "medians": medians,
        "runs": runs,
    }
    name = options.name if options.quality is None else f"{options.name}_{options.quality}"
    keep(name, content)
    print("| 128 frames at 128x128 | median of", len(runs), "|\n|---|---|")
    for name, value in medians.items():
        print(f"| {name.replace('_', ' ')} | {value:.2f} |")


def child(options: argparse.Namespace) -> dict[str, float]:
    """One measured process with its number of threads fixed from the start."""
    command = [sys.executable, "-m", "benchmarks.generation_speed", "--one-run"]
    command += ["--model", options.model]
    command += ["--quality", options.quality] if options.quality else []
    command += ["--steps", str(options.steps)] if options.steps else []
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(measured, flush=True)
    return measured


def one_run(model: str, steps: int | None, quality: str | None) -> dict[str, float]:
    """Seconds of a cold and of a warm film, this process's peak memory in GB, and how often a
    network is evaluated for a film: each pass of guidance counts."""
    started = time.monotonic()
    import numpy as np

    from openmocha.pipeline import MoChaPipeline

    pipeline: Any = MoChaPipeline.from_pretrained(model)
    # Any sound will do: the work depends on its length alone.
    speech = np.sin(np.arange(round(SECONDS * SAMPLE_RATE_HZ)) * 0.05).astype(np.float32) * 0.3
    asked = {"num_inference_steps": steps, "quality": quality}
    pipeline(PROMPT, speech, seed=0, **asked)
    cold = time.monotonic() - started
    evaluated: list[int] = []
    for network in (pipeline.backbone.transformer, pipeline.backbone.guided_transformer):
        if network is not None:
            network.register_forward_pre_hook(lambda _, given: evaluated.append(len(given[0])))
    started = time.monotonic()
    pipeline(PROMPT, speech, seed=1, **asked)
    warm = time.monotonic() - started
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "cold_s": cold,
        "warm_s": warm,
        "peak_memory_gb": peak_kb * 1024 / 1e9,
        "evaluations": sum(evaluated),
    }


if __name__ == "__main__":
    main()
