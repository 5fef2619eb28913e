"""A diffusers folder of Wan, tiny and random: films, images, and speech attention added to it."""

import shutil

import numpy as np
import pytest
import torch
from diffusers import WanPipeline

from openmocha.backbones.assemble import Pieces, init
from openmocha.backbones.backbone import Conditions
from openmocha.filming import draw_noise
from openmocha.models import store
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.pipeline import MoChaPipeline
from tests.tiny_folders import voice, wan_folder
from tests.tiny_model import tiny_speech_encoder

SIZE = dict(height=64, width=64, num_frames=9, num_inference_steps=2, seed=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Saved by diffusers alone."""
    return wan_folder(tmp_path_factory.mktemp("wan") / "base")


@pytest.fixture(scope="module")
def mocha(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mocha")
    torch.manual_seed(1)
    tiny_speech_encoder().save_pretrained(folder / "wav2vec2")
    init(Pieces(base, folder / "wav2vec2"), folder / "model")
    return folder / "model"


def test_a_base_folder_makes_the_film_that_diffusers_makes(base):
    ours = MoChaPipeline.from_pretrained(base, dtype=torch.float32)
    theirs = WanPipeline.from_pretrained(base, dtype=torch.float32)
    sampling = ours.sampling.with_given(height=64, width=64)
    noise = draw_noise(ours.backbone, 3, sampling, torch.Generator().manual_seed(3))
    expected = theirs(
        "a cat", ours.backbone.format.negative_prompt, height=64, width=64, num_frames=9,
        num_inference_steps=2, guidance_scale=5.0, latents=noise, output_type="np",
    ).frames[0]  # fmt: skip
    found = ours("a cat", **SIZE)
    assert found.fps == 16 and found.frames.shape == (9, 64, 64, 3)
    assert np.abs(found.frames / 255 - expected).max() < 0.01 and expected.std() > 0.01


def test_a_base_model_cannot_hear_and_says_so(base):
    with pytest.raises(ValueError, match="has not learnt to hear"):
        MoChaPipeline.from_pretrained(base)("a cat", voice(), height=64, width=64)


def test_speech_attention_is_silent_until_it_is_trained(base, mocha):
    ours = MoChaPipeline.from_pretrained(mocha, dtype=torch.float32)
    silent = MoChaPipeline.from_pretrained(base, dtype=torch.float32)("a cat", **SIZE)
    heard = ours("a cat", voice(0.4), **SIZE)
    # guidance adds three passes instead of two: the last bit of a sum
    assert np.abs(heard.frames.astype(int) - silent.frames).max() <= 1
    assert isinstance(ours.backbone.transformer, WanMoChaTransformer3DModel)
    for block in ours.backbone.transformer.blocks:
        torch.nn.init.normal_(block.speech_attn.output.weight)
    moved = ours("a cat", voice(0.4), **SIZE)
    assert moved.frames.shape == (9, 64, 64, 3) and not np.array_equal(moved.frames, silent.frames)


@pytest.mark.parametrize(("seconds", "frames"), [(0.2, 5), (0.4, 9), (0.6, 13)])
def test_the_speech_says_how_long_the_film_is(mocha, seconds, frames):
    """Cut to 1 + 4k frames at 24 a second, the paper's rate."""
    film = MoChaPipeline.from_pretrained(mocha)(
        "a cat", voice(seconds), height=64, width=64, num_inference_steps=1
    )
    assert len(film.frames) == frames


def test_what_it_cannot_do_is_said_before_work_starts(mocha):
    pipeline = MoChaPipeline.from_pretrained(mocha)
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="cannot start from an image"):
        pipeline("a cat", None, image)
    with pytest.raises(ValueError, match=r"600 tokens; this model reads 512"):
        pipeline("cat " * 600, **SIZE)
    with pytest.raises(ValueError, match="multiples of 16 from 64 to 1280"):
        pipeline("a cat", height=72, width=64)


def test_saved_and_opened_again_it_makes_the_same_film(mocha, tmp_path):
    ours = MoChaPipeline.from_pretrained(mocha, dtype=torch.float32)
    ours.sampling = ours.sampling.with_given(num_inference_steps=1)
    for block in ours.backbone.transformer.blocks:
        torch.nn.init.normal_(block.speech_attn.output.weight)
    ours.save_pretrained(tmp_path / "saved")
    again = MoChaPipeline.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert again.sampling == ours.sampling
    size = dict(height=64, width=64, seed=3)
    films = [pipeline("a cat", voice(), **size).frames for pipeline in (ours, again)]
    # The weights are the same to the bit; where they lie in memory changes the last bit of a sum.
    assert np.abs(films[0].astype(int) - films[1]).max() <= 1
    for name, network in ours.backbone.networks().items():
        found = again.backbone.networks()[name].state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    alone = WanPipeline.from_pretrained(tmp_path / "saved")  # diffusers finds our class by its name
    assert isinstance(alone.transformer, WanMoChaTransformer3DModel)


def test_damaged_folders_are_named(base, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    weights = tmp_path / "base" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"transformer/diffusion_pytorch_model.safetensors cannot"):
        MoChaPipeline.from_pretrained(tmp_path / "base")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="transformer holds no weights"):
        MoChaPipeline.from_pretrained(tmp_path / "base")
    index = tmp_path / "base" / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"lacks 2 of 2 .* \(one.safetensors"):
        MoChaPipeline.from_pretrained(tmp_path / "base")


def test_conditions_are_encoded_once_for_a_film(mocha, monkeypatch):
    pipeline = MoChaPipeline.from_pretrained(mocha)
    heard, read = [], []
    encode = pipeline.backbone.speech_encoder.encode
    monkeypatch.setattr(
        pipeline.backbone.speech_encoder, "encode", lambda *a: heard.append(1) or encode(*a)
    )
    pipeline.backbone.parts.text_encoder.register_forward_hook(lambda *_: read.append(1))
    pipeline("a cat", voice(0.2), height=64, width=64, num_inference_steps=3)
    assert (len(heard), len(read)) == (1, 2)  # the prompt and the negative prompt


def test_in_bfloat16_the_precise_layers_stay_precise(mocha):
    pipeline = MoChaPipeline.from_pretrained(mocha, dtype=torch.bfloat16)
    block = pipeline.backbone.transformer.blocks[0]
    assert block.attn1.to_q.weight.dtype == torch.bfloat16
    assert block.speech_norm.weight.dtype == block.norm2.weight.dtype == torch.float32
    film = pipeline("a cat", voice(0.2), height=64, width=64, num_inference_steps=2)
    whole = MoChaPipeline.from_pretrained(mocha, dtype=torch.float32)
    expected = whole("a cat", voice(0.2), height=64, width=64, num_inference_steps=2, seed=0)
    again = pipeline("a cat", voice(0.2), height=64, width=64, num_inference_steps=2, seed=0)
    assert film.frames.shape == expected.frames.shape
    assert np.abs(again.frames.astype(int) - expected.frames).mean() < 3


def test_two_experts_share_the_noise_levels(base, mocha, tmp_path):
    """As Wan 2.2's A14B: the first above the boundary, the second below it, guided less."""
    folder = tmp_path / "two"
    shutil.copytree(base, folder)
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    index = store.read_json(folder / "model_index.json")
    index["transformer_2"] = index["transformer"]
    store.write_json(folder / "model_index.json", index | {"boundary_ratio": 0.875})
    init(Pieces(folder, mocha.parent / "wav2vec2"), tmp_path / "mocha")
    pipeline = MoChaPipeline.from_pretrained(tmp_path / "mocha", dtype=torch.float32)
    backbone = pipeline.backbone
    torch.nn.init.constant_(backbone.transformer_2.proj_out.bias, 5.0)
    assert pipeline.sampling.shift == 12 and pipeline.sampling.text_guidance_scale == 4
    words, none = backbone.encode_text("a cat"), backbone.encode_text("a")
    latents = torch.randn(1, 16, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    given = Conditions(words, none)
    with torch.inference_mode():
        high, low = (backbone.velocity(latents, s, given, pipeline.sampling) for s in (0.88, 0.87))
        second = backbone.transformer_2
        asked = [second(latents, torch.tensor([870.0]), text) for text in (words, none)]
    assert abs(high.mean()) < 2 < low.mean()
    assert torch.allclose(low, asked[1] + 3 * (asked[0] - asked[1]), atol=1e-4)
