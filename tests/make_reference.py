"""Make tests/reference: small cases in the format of check_reference.py, from the plain composition
of diffusers' parts (plain_hunyuan.py) and plain arithmetic, not from the code that they check.

    python -m tests.make_reference
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from openmocha.models.demo_checkpoint import model_settings
from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel
from tests.plain_hunyuan import compose, plain_attentions

FOLDER = Path(__file__).parent / "reference"
CONFIG = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8,
    "num_layers": 1, "num_single_layers": 2, "num_refiner_layers": 1, "mlp_ratio": 2.0,
    "patch_size": 2, "patch_size_t": 1, "qk_norm": "rms_norm", "guidance_embeds": True,
    "text_embed_dim": 8, "pooled_projection_dim": 6, "rope_theta": 256.0,
    "rope_axes_dim": [4, 2, 2], "image_condition_type": None, "audio_dim": 768,
    "audio_out_dim": 16, "audio_inject_layers_dual": None, "audio_inject_layers_single": None,
}  # fmt: skip
VAE = {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1}
HOW_TO_CHECK = {
    "forward": "max abs error <= 2e-5",
    "audio_projection": "max abs error <= 1e-5",
    # 6000 goes through a sinusoid, whose last bits differ between CPUs.
    "pipeline": "max abs error <= 1e-3",
    "pipeline_sti2v": "max abs error <= 1e-3",
}
NUM_LAYERS, WIDTH = 12, 768
FRAMES = 5


@torch.inference_mode()
def main() -> None:
    """Write the folder anew."""
    torch.manual_seed(0)
    model = HunyuanMoChaTransformer3DModel(**model_settings(CONFIG)).eval()
    for name, parameter in model.named_parameters():
        if "audio_cross_attn.norm" in name or name.endswith("audio_projector.weights"):
            parameter.copy_(0.3 * torch.randn_like(parameter) + 0.2)
    plain = plain_attentions(model)
    tensors = forward_cases(model, plain) | projection_case(model) | pipeline_cases(model, plain)
    about = {
        "configs": {"A": CONFIG},
        "cases": {
            "A_audio": {"model": "A", "inputs": {}},
            "A_noaudio": {"model": "A", "inputs": {}},
            "audio_projection": {"model": "A"},
            "pipeline_st2v": {"model": "A", "steps": 2, "timestep_shift": 7.0},
            "pipeline_sti2v": {"model": "A", "steps": 2, "timestep_shift": 7.0},
        },
        "vae_config": VAE,
        "how_to_check": HOW_TO_CHECK,
        # 24 frames a second, half frames to the even number, cut to 1 + 4k of at most 129.
        "audio_trim_table_num_frames_129": [
            {"samples_16k": samples, "t_audio": frames, "t_chunked": cut}
            for samples, frames, cut in ((16_000, 24, 21), (1_000, 2, 1), (160_000, 240, 129))
        ],
    }
    FOLDER.mkdir(exist_ok=True)
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, FOLDER / "cases.safetensors")
    save_file(dict(model.state_dict()), FOLDER / "transformer_A.safetensors")
    (FOLDER / "cases.json").write_text(json.dumps(about, indent=1) + "\n")


def conditions() -> dict[str, Tensor]:
    """Text of which the end is padding."""
    return {
        "encoder_hidden_states": torch.randn(1, 5, 8),
        "encoder_attention_mask": torch.tensor([[1, 1, 1, 0, 0]]),
        "pooled_projections": torch.randn(1, 6),
    }


def forward_cases(model: HunyuanMoChaTransformer3DModel, plain: list) -> dict[str, Tensor]:
    """With and without speech; small numbers for the sinusoids, the same on every CPU."""
    given = conditions() | {
        "hidden_states": torch.randn(1, 4, 2, 4, 6),
        "timestep": torch.tensor([5.0]),
        "guidance": torch.tensor([6.0]),
    }
    speech = torch.randn(1, FRAMES, NUM_LAYERS, WIDTH)
    tensors = {f"A_{case}/in/{k}": v for case in ("audio", "noaudio") for k, v in given.items()}
    return tensors | {
        "A_audio/in/audio_embeds": speech,
        "A_audio/out/sample": compose(model, plain, given, speech),
        "A_noaudio/out/sample": compose(model, plain, given, None),
    }


def projection_case(model: HunyuanMoChaTransformer3DModel) -> dict[str, Tensor]:
    """The layers' mix, RMS norm and MLP, written out."""
    tokens, projector = torch.randn(1, 2, NUM_LAYERS, WIDTH), model.audio_projector
    weights = projector.weights * torch.sigmoid(projector.weights)
    mixed = (tokens * (weights / weights.sum())[:, None]).sum(dim=2)
    normed = mixed / (mixed.square().mean(-1, keepdim=True) + 1e-6).sqrt() * projector.norm.weight
    first, _, last = projector.proj
    hidden = normed @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return {
        "audio_projection/in/audio_embeds": tokens,
        "audio_projection/out/tokens": hidden @ last.weight.T + last.bias,
    }


def pipeline_cases(model: HunyuanMoChaTransformer3DModel, plain: list) -> dict[str, Tensor]:
    """Two steps of 7 a - 3 b - 3 c, from noise and from an image's latent."""
    positive, negative = conditions(), conditions()
    speech = torch.randn(FRAMES, NUM_LAYERS, WIDTH)
    noise, image = torch.randn(1, 4, 2, 4, 6), torch.randn(1, 4, 1, 4, 6)
    tensors = {"pipeline/in/noise": noise, "pipeline/in/audio_embeds": speech}
    names = {"prompt_embeds": "encoder_hidden_states", "mask": "encoder_attention_mask",
             "pooled": "pooled_projections"}  # fmt: skip
    for kind, words in (("pos", positive), ("neg", negative)):
        tensors |= {f"pipeline/in/{kind}_{a}": words[b] for a, b in names.items()}
    levels = [1 - i / 2 for i in range(3)]
    sigmas = [7 * s / (1 - s + 7 * s) for s in levels]

    def velocity(latents: Tensor, sigma: float, words: dict, heard: Tensor) -> Tensor:
        rest = {"timestep": torch.tensor([999 * sigma]), "guidance": torch.tensor([6000.0])}
        return compose(model, plain, words | rest | {"hidden_states": latents}, heard[None])

    for case, first in (("pipeline_st2v", None), ("pipeline_sti2v", image)):
        latents = noise.clone()
        if first is not None:
            latents[:, :, :1] = first
            tensors[f"{case}/in/image_latent_scaled"] = first
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            heard = velocity(latents, sigma, positive, speech)
            unasked = velocity(latents, sigma, negative, speech)
            silent = velocity(latents, sigma, negative, 0 * speech)
            moved = latents - (sigma - following) * (7 * heard - 3 * unasked - 3 * silent)
            start = 0 if first is None else 1
            latents = torch.cat([latents[:, :, :start], moved[:, :, start:]], dim=2)
        tensors[f"{case}/out/latents"] = latents
    return tensors


if __name__ == "__main__":
    main()
