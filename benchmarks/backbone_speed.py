"""What hearing costs a public model, and what our arrangement of it costs.

    python -m benchmarks.backbone_speed --runs 15

Wan with speech against diffusers' Wan without; MoCha-Demo's transformer against a plain composition
of diffusers' blocks and diffusers' attention, frame by frame in one batch. Random weights, the same
shapes, runs in turn, the order of a pair alternating; the figure is the median of the ratios of
pairs. As many video tokens for each unit of width as in real use: tokens of all frames over width
is 21. Speech features are narrower than real ones as the model is: a twentieth.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import WanTransformer3DModel

from benchmarks.machine import keep
from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel
from openmocha.models.wan import WanMoChaTransformer3DModel
from tests.plain_hunyuan import compose, plain_attentions

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FRAMES, ROWS, COLS = 9, 40, 60  # latents; 2x2 make a token: 5,400 tokens of width 256
WAN = dict(num_attention_heads=2, ffn_dim=1492, text_dim=512, num_layers=4)
HUNYUAN = dict(
    num_attention_heads=2, num_layers=2, num_single_layers=4, text_embed_dim=512,
    pooled_projection_dim=64,
)  # fmt: skip
SPEECH_KINDS = {
    "wan + the paper's speech": dict(speech_width=40, speech_hidden=26),
    "wan + HuMo's speech": dict(
        speech_kind="humo", speech_layers=5, speech_width=64, speech_hidden=26,
        speech_token_width=80,
    ),
}  # fmt: skip
Forward = Callable[[], torch.Tensor]


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description="Time of a forward over that of a plainer one.")
    parser.add_argument("--runs", type=int, default=7, help="pairs of each kind")
    runs = parser.parse_args().runs
    with torch.inference_mode():
        pairs = {name: wan_pair(settings) for name, settings in SPEECH_KINDS.items()}
        pairs["MoCha-Demo / diffusers' parts"] = hunyuan_pair()
        ratios = {name: measure(runs, *pair) for name, pair in pairs.items()}
    for name, found in ratios.items():
        print(f"{name}: {statistics.median(found):.3f} x (pairs {min(found)} to {max(found)})")
    tokens = FRAMES * ROWS * COLS // 4
    content = {"video_tokens": tokens, "width": 256, "ratios": ratios}
    keep("backbone_speed", content)


def wan_pair(settings: dict) -> tuple[Forward, Forward]:
    """Wan with speech, and diffusers' without."""
    torch.manual_seed(0)
    base = WanTransformer3DModel(**WAN).eval().to(DEVICE)
    model = WanMoChaTransformer3DModel.from_base(base, **settings).eval().to(DEVICE)
    given = {
        "hidden_states": torch.randn(1, 16, FRAMES, ROWS, COLS, device=DEVICE),
        "timestep": torch.full((1,), 500.0, device=DEVICE),
        "encoder_hidden_states": torch.randn(1, 512, 512, device=DEVICE),
    }
    config = model.config
    shape = (1, 4 * FRAMES - 3, config.speech_layers, config.speech_width)
    speech = torch.randn(shape, device=DEVICE)
    return lambda: model(**given, speech_tokens=speech), lambda: base(**given).sample


def hunyuan_pair() -> tuple[Forward, Forward]:
    """MoCha-Demo's transformer, and the same weights in diffusers' blocks and attention."""
    torch.manual_seed(0)
    model = HunyuanMoChaTransformer3DModel(**HUNYUAN).eval().to(DEVICE)
    for module in model.modules():
        if type(module).__name__ == "SpeechCrossAttention":
            torch.nn.init.normal_(module.norm.linear.weight, std=0.1)
    given = {
        "hidden_states": torch.randn(1, 16, FRAMES, ROWS, COLS, device=DEVICE),
        "timestep": torch.full((1,), 500.0, device=DEVICE),
        "encoder_hidden_states": torch.randn(1, 256, 512, device=DEVICE),
        "encoder_attention_mask": torch.ones(1, 256, device=DEVICE),
        "pooled_projections": torch.randn(1, 64, device=DEVICE),
        "guidance": torch.full((1,), 6000.0, device=DEVICE),
    }
    speech = torch.randn(1, 4 * FRAMES - 3, 12, 768, device=DEVICE)
    plain = plain_attentions(model)

    def composed() -> torch.Tensor:
        return compose(model, plain, given, speech)

    def ours() -> torch.Tensor:
        return model(**given, speech_tokens=speech)

    assert torch.allclose(ours(), composed(), atol=1e-4)
    return ours, composed


def measure(runs: int, ours: Forward, plainer: Forward) -> list[float]:
    """Ratios of `runs` pairs, after one that warms up; which comes first alternates."""
    ratios = []
    for number in range(runs + 1):
        if number % 2:
            theirs = seconds(plainer)
            mine = seconds(ours)
        else:
            mine = seconds(ours)
            theirs = seconds(plainer)
        ratios.append(round(mine / theirs, 4))
    return ratios[1:]


def seconds(work: Forward) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
