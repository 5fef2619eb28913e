"""What hearing costs a public model: Wan with speech against diffusers' Wan without.

    python -m benchmarks.backbone_speed --runs 7

Random weights, the same shapes, runs in turn; the figure is the median of the ratios of pairs. As
many video tokens for each unit of width as in real use: tokens of all frames over width is 21.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel

from benchmarks.machine import machine
from openmocha.models.wan import WanMoChaTransformer3DModel

RESULT = Path(__file__).parent / "results" / "backbone_speed.json"
BASE = dict(num_attention_heads=2, ffn_dim=1492, text_dim=512, num_layers=4)
FRAMES, ROWS, COLS = 9, 40, 60  # latents; 2x2 make a token: 5,400 tokens of width 256
SPEECH_KINDS = {
    "mocha": {},
    "humo": dict(speech_kind="humo", speech_layers=5, speech_width=1280, speech_token_width=1536),
}


def main() -> None:
    """Measure both kinds of speech, print, save."""
    parser = argparse.ArgumentParser(description="Time of a forward with speech over one without.")
    parser.add_argument("--runs", type=int, default=7, help="pairs of each kind")
    runs = parser.parse_args().runs
    ratios = {kind: measure(runs, settings) for kind, settings in SPEECH_KINDS.items()}
    for kind, found in ratios.items():
        print(f"wan + {kind} speech: {statistics.median(found):.3f} x (pairs {found})")
    tokens = FRAMES * ROWS * COLS // 4
    content = {"machine": machine(), "video_tokens": tokens, "width": 256, "ratios": ratios}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")


@torch.inference_mode()
def measure(runs: int, settings: dict) -> list[float]:
    """Ratios of `runs` pairs, after one that warms up."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    base = WanTransformer3DModel(**BASE).eval().to(device)
    model = WanMoChaTransformer3DModel.from_base(base, **settings).eval().to(device)
    given = {
        "hidden_states": torch.randn(1, 16, FRAMES, ROWS, COLS, device=device),
        "timestep": torch.full((1,), 500.0, device=device),
        "encoder_hidden_states": torch.randn(1, 512, 512, device=device),
    }
    config = model.config
    shape = (1, 4 * FRAMES - 3, config.speech_layers, config.speech_width)
    speech = torch.randn(shape, device=device)
    ratios = []
    for _ in range(runs + 1):
        without = seconds(lambda: base(**given))
        ratios.append(round(seconds(lambda: model(**given, speech_tokens=speech)) / without, 4))
    return ratios[1:]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
