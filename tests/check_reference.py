"""Check MoCha-Demo's parts against a folder of reference tensors.

    python -m tests.check_reference ../shared/reference/mocha_demo

The folder says in cases.json what each case is and how far an answer may be off (`how_to_check`).
Prints case, largest error, tolerance, pass or fail; exit code 1 where any fails.

The forward and pipeline cases feed 6000 to a sinusoid in float32: the last bit of an exponential is
then 3e-4 of an angle, and not the same on every CPU. Where all of those fail by less than 1e-4 (the
forwards) and 5e-4 (the pipeline), and nothing else does, this is why.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from openmocha.backbones.backbone import Conditions, FilmFormat, image_pixels
from openmocha.backbones.hunyuan import SAMPLING, HunyuanBackbone, Words
from openmocha.filming import denoise
from openmocha.models.demo_checkpoint import model_settings, overlay
from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel, Speech, own_frame_windows
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.weights import assemble

# Where how_to_check names no tolerance: the answer is the same arithmetic.
TOLERANCES = {
    "forward": 2e-5,
    "loader": 2e-5,
    "audio_projection": 1e-5,
    "audio_cross_attn": 1e-5,
    "pipeline": 2e-4,
    "pipeline_sti2v": 2e-4,
    "video": 1e-4,
    "image": 1e-5,
    "audio_features": 5e-5,
    "trim": 0.0,
}


@dataclass(frozen=True)
class Row:
    """One checked answer."""

    case: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # NaN does not


@dataclass
class Reference:
    """A folder of cases."""

    folder: Path
    models: dict[str, HunyuanMoChaTransformer3DModel] = field(default_factory=dict)

    @cached_property
    def about(self) -> dict[str, Any]:
        return json.loads((self.folder / "cases.json").read_text())

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.folder / "cases.safetensors")

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors named `prefix`/name, by name."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}

    def tolerance(self, kind: str) -> float:
        """The last "<= x" of the kind's line in how_to_check."""
        stated = re.findall(r"<=\s*([0-9.e+-]*\d)", self.about["how_to_check"].get(kind, ""))
        return float(stated[-1]) if stated else TOLERANCES[kind]

    def weights(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"transformer_{name}.safetensors")

    def model(self, name: str) -> HunyuanMoChaTransformer3DModel:
        if name not in self.models:
            model = HunyuanMoChaTransformer3DModel(**model_settings(self.about["configs"][name]))
            model.load_state_dict(self.weights(name), strict=True)
            self.models[name] = model.eval()
        return self.models[name]


@torch.inference_mode()
def check(folder: Path) -> Iterator[Row]:
    """All cases of a folder."""
    reference = Reference(folder)
    for case, about in reference.about["cases"].items():
        if case.startswith("pipeline"):
            yield from check_pipeline(reference, case, about)
        elif case.startswith("audio_features"):
            yield from check_features(reference, about["model"])
        elif case == "audio_projection":
            yield from check_projection(reference, about["model"])
        elif case == "audio_cross_attn":
            yield from check_attention(reference, about["model"], about.get("what", ""))
        elif "inputs" in about:
            yield from check_forward(reference, case, about["model"])
        elif f"{case}/in/image_uint8_hwc" not in reference.tensors:
            yield Row(f"{case}: unknown kind of case", float("nan"), 0.0)
    yield from check_images(reference)
    for row in reference.about.get("audio_trim_table_num_frames_129", ()):
        frames = round(row["samples_16k"] / 16_000 * 24)
        error = abs(frames - row["t_audio"])
        error += abs(FilmFormat(causal=True).whole_length(min(frames, 129)) - row["t_chunked"])
        yield Row(f"trim of {row['samples_16k']} samples", error, reference.tolerance("trim"))
    if (folder / "full_13b_keys.json").exists():
        yield check_names(json.loads((folder / "full_13b_keys.json").read_text()))


def check_forward(reference: Reference, case: str, name: str) -> Iterator[Row]:
    """The whole network, loaded strictly, and through a prefixed checkpoint."""
    inputs, expected = reference.under(f"{case}/in"), reference.under(f"{case}/out")["sample"]
    inputs["speech_tokens"] = inputs.pop("audio_embeds", None)
    model = reference.model(name)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        block.register_forward_hook(lambda _, __, out, key=f"{kind}{i}": seen.update({key: out}))
        for kind, blocks in (
            ("dual", model.transformer_blocks),
            ("single", model.single_transformer_blocks),
        )
        for i, block in enumerate(blocks)
    ]
    yield Row(case, distance(model(**inputs), expected), reference.tolerance("forward"))
    for hook in hooks:
        hook.remove()
    for tap, value in reference.under(f"{case}/tap").items():
        block, stream = tap.split("/")
        found = seen[block][("video", "text").index(stream)]
        yield Row(f"{case} {tap}", distance(found, value), reference.tolerance("forward"))
    given = {f"transformer.{k}": v for k, v in reference.weights(name).items()}
    tensors, _ = overlay(dict(model.named_parameters()), {}, given)
    settings = model_settings(reference.about["configs"][name])
    prefixed = assemble(HunyuanMoChaTransformer3DModel, settings, tensors, torch.float32)
    error = distance(prefixed.eval()(**inputs), expected)
    yield Row(f"{case} loaded with prefix", error, reference.tolerance("forward"))


def check_projection(reference: Reference, name: str) -> Iterator[Row]:
    projector = reference.model(name).audio_projector
    tokens = reference.tensors["audio_projection/in/audio_embeds"]
    answers = {"tokens": projector(tokens), "tokens_of_zero": projector(torch.zeros_like(tokens))}
    for output, expected in reference.under("audio_projection/out").items():
        error = distance(answers[output][: len(expected), : expected.shape[1]], expected)
        yield Row(f"audio_projection {output}", error, reference.tolerance("audio_projection"))


def check_attention(reference: Reference, name: str, what: str) -> Iterator[Row]:
    """One attention alone; its tokens come with four to each latent frame."""
    inputs = reference.under("audio_cross_attn/in")
    block = re.search(r"(single_)?transformer_blocks\.(\d+)", what)
    path = block.group() if block else "transformer_blocks.2"
    attention = reference.model(name).get_submodule(f"{path}.audio_cross_attn")
    tokens = inputs["audio_tokens"]
    windows = torch.arange(tokens.shape[1]).reshape(-1, own_frame_windows(1).shape[1])
    video = inputs["hidden_states"]
    heard = video + attention(video, inputs["temb"], Speech(tokens, windows, None))
    error = distance(heard, reference.tensors["audio_cross_attn/out/hidden_states"])
    yield Row("audio_cross_attn", error, reference.tolerance("audio_cross_attn"))


class Recorded(HunyuanBackbone):
    """Remembers the latents that it was asked about, step by step."""

    def velocity(self, latents: Tensor, *others: Any) -> Tensor:
        self.asked.append(latents)
        return super().velocity(latents, *others)


def check_pipeline(reference: Reference, case: str, about: dict[str, Any]) -> Iterator[Row]:
    """Every step of the sampler, its latents, and where it is given, the film."""
    inputs = reference.under("pipeline/in") | reference.under(f"{case}/in")
    prompt, negative = (
        Words(inputs[f"{kind}_prompt_embeds"], inputs[f"{kind}_mask"], inputs[f"{kind}_pooled"])
        for kind in ("pos", "neg")
    )
    networks = {"transformer": reference.model(about["model"]), "vae": vae(reference)}
    parts = SimpleNamespace(**networks, components=networks)
    backbone = Recorded(parts)
    backbone.asked = []
    settings = replace(SAMPLING, num_inference_steps=about["steps"], shift=about["timestep_shift"])
    conditions = Conditions(
        prompt,
        negative,
        inputs["audio_embeds"][None],
        known=inputs.get("image_latent_scaled"),
    )
    latents = denoise(backbone, inputs["noise"], conditions, settings)
    found = {"latents": latents}
    for number, one in enumerate([*backbone.asked[1:], latents]):
        found |= {f"step{number}": one, f"step{number}_frames_1_on": one[:, :, 1:]}
    kind = "pipeline_sti2v" if "image_latent_scaled" in inputs else "pipeline"
    for output, expected in reference.under(f"{case}/out").items():
        if output == "video_np":
            film = rearrange(backbone.decode(latents), "1 T c H W -> 1 T H W c")
            error = distance((film / 2 + 0.5).clamp(0, 1), expected)
            yield Row(f"{case} film", error, reference.tolerance("video"))
        else:
            error = distance(found[output], expected)
            yield Row(f"{case} {output}", error, reference.tolerance(kind))


def check_features(reference: Reference, name: str) -> Iterator[Row]:
    encoder = SpeechEncoder.from_pretrained(reference.folder / name)
    recordings = {k.split("/")[0] for k in reference.under("audio_features")}
    for recording in sorted(recordings):
        given = reference.under(f"audio_features/{recording}")
        wave = given["in/waveform_16k"]
        found = encoder.encode(wave, round(len(wave) / 16_000 * 24))
        error = distance(found, given["out/features"])
        yield Row(f"audio_features {recording}", error, reference.tolerance("audio_features"))


def check_images(reference: Reference) -> Iterator[Row]:
    for name, image in reference.tensors.items():
        if name.endswith("/in/image_uint8_hwc"):
            case = name.removesuffix("/in/image_uint8_hwc")
            for output, expected in reference.under(f"{case}/out").items():
                if output == "pixels_after_resize":
                    found = image_pixels(image.numpy(), *expected.shape[-2:])
                    error = distance(found.reshape(expected.shape), expected)
                    yield Row(f"{case} pixels", error, reference.tolerance("image"))


def check_names(full: dict[str, Any]) -> Row:
    """Names and shapes of the full model that differ, counted on the meta device."""
    with torch.device("meta"):
        model = HunyuanMoChaTransformer3DModel(**model_settings(full["config"]))
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    theirs = next(v for v in full.values() if isinstance(v, dict) and len(v) == len(ours))
    differing = {k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)}
    return Row(f"{len(ours)} names and shapes of the full model", len(differing), 0.0)


def vae(reference: Reference) -> Any:
    from diffusers import AutoencoderKLHunyuanVideo

    network = AutoencoderKLHunyuanVideo(**reference.about["vae_config"])
    weights = reference.folder / "vae.safetensors"
    if weights.exists():  # films are compared
        network.load_state_dict(load_file(weights), strict=True)
    return network.eval()


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    failed = 0
    for row in check(parser.parse_args().folder):
        verdict = "pass" if row.passed else "FAIL"
        print(f"{row.case:45s} {row.error:9.2e}  <= {row.tolerance:7.1e}  {verdict}")
        failed += not row.passed
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
