"""MoCha-Demo from its public pieces, tiny and random: base folder, checkpoint, speech encoder."""

import numpy as np
import pytest
import torch
from diffusers import HunyuanVideoPipeline

from openmocha.backbones.assemble import Pieces, init
from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel
from openmocha.models.weights import read_weights
from openmocha.pipeline import MoChaPipeline
from tests.tiny_folders import hunyuan_folder, voice
from tests.tiny_model import tiny_speech_encoder

SIZE = dict(height=64, width=64, num_inference_steps=2, seed=3)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The checkpoint has every tensor of the model, its gates are open."""
    folder = tmp_path_factory.mktemp("hunyuan")
    base = hunyuan_folder(folder / "base")
    tiny_speech_encoder().save_pretrained(folder / "wav2vec2")
    init(Pieces(base, folder / "wav2vec2"), folder / "silent", dtype=torch.float32)
    tensors = read_weights(folder / "silent" / "transformer")
    torch.manual_seed(5)
    trained = {
        name: torch.randn_like(t) / 4 if "audio_cross_attn.norm.linear" in name else t.clone()
        for name, t in tensors.items()
    }
    torch.save({f"transformer.{n}": t for n, t in trained.items()}, folder / "model.ckpt")
    return Pieces(base, folder / "wav2vec2", folder / "model.ckpt")


@pytest.fixture(scope="module")
def demo(pieces):
    output = pieces.base.parent / "demo"
    init(pieces, output, dtype=torch.float32)
    return output


def test_the_film_is_as_long_as_the_speech_and_hears_it(demo):
    pipeline = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)
    film = pipeline("a cat", voice(0.6), **SIZE)  # 14.4 frames, cut to 1 + 4k
    assert film.fps == 24 and film.frames.shape == (13, 64, 64, 3)
    other = pipeline("a cat", voice(0.6)[::-1].copy(), **SIZE)
    assert not np.array_equal(film.frames, other.frames)
    assert pipeline.sampling.shift == 7 and pipeline.sampling.text_guidance_scale == 7


def test_the_prompt_may_be_left_out_and_the_speech_may_not(demo):
    pipeline = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)
    assert pipeline("", voice(0.2), **SIZE).frames.shape[0] == 5
    with pytest.raises(ValueError, match="give a speech recording"):
        pipeline("a cat", **SIZE)


def test_in_bfloat16_the_film_is_nearly_the_same(demo):
    films = [
        MoChaPipeline.from_pretrained(demo, dtype=dtype)("a cat", voice(0.2), **SIZE).frames
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert np.abs(films[0].astype(int) - films[1]).mean() < 5


def test_an_image_is_the_first_latent_frame_and_stays(demo):
    pipeline = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)
    backbone, decoded = pipeline.backbone, []
    whole = backbone.decode
    backbone.decode = lambda latents: decoded.append(latents) or whole(latents)
    image = np.full((32, 48, 3), 200, np.uint8)
    pipeline("a cat", voice(0.4), image, **SIZE)
    expected = backbone.encode_image(image, 64, 64)
    assert torch.equal(decoded[0][:, :, :1], expected) and decoded[0].shape[2] == 3


def test_a_prompt_is_encoded_as_the_base_model_does(demo):
    pipeline = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)
    words = pipeline.backbone.encode_text("a cat")
    base = pipeline.backbone.parts
    states, pooled, mask = HunyuanVideoPipeline.encode_prompt(base, "a cat")
    assert torch.equal(words.states, states) and torch.equal(words.mask, mask)
    assert torch.equal(words.pooled, pooled) and words.states.shape[1] == 256
    with pytest.raises(ValueError, match="this model reads 256"):
        pipeline.backbone.encode_text("cat " * 300)


def test_a_partial_checkpoint_needs_to_be_allowed(pieces, tmp_path):
    tensors = torch.load(pieces.checkpoint, weights_only=True)
    name = "proj_out.bias"
    del tensors[f"transformer.{name}"]
    torch.save(tensors, tmp_path / "model.ckpt")
    partial = Pieces(pieces.base, pieces.speech_encoder, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match=r"1 missing \(proj_out.bias\)"):
        init(partial, tmp_path / "demo")
    assert not list(tmp_path.glob("*demo*"))  # nothing half-written is left
    reports = []
    init(partial, tmp_path / "demo", True, torch.float32, reports.append)
    assert reports[0].missing == (name,)
    base = read_weights(pieces.base / "transformer")[name]
    assert torch.equal(read_weights(tmp_path / "demo" / "transformer")[name], base)


def test_without_a_checkpoint_it_is_the_base_model_with_the_papers_window(pieces):
    folder = pieces.base.parent / "silent" / "transformer"
    model = HunyuanMoChaTransformer3DModel.from_pretrained(folder)
    assert model.config.speech_window == "paper" and model.config.speech_layers == 2
    base = read_weights(pieces.base / "transformer")
    ours = model.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in base.items())
    assert all("audio_" in name for name in ours.keys() - base.keys())
    gates = [b.audio_cross_attn.norm.linear.weight for b in model.transformer_blocks[::2]]
    assert gates and all(not gate.any() for gate in gates)
    assert torch.equal(model.audio_projector.weights, torch.ones(2))


def test_saved_and_opened_again_it_makes_the_same_film(demo, tmp_path):
    ours = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)
    ours.save_pretrained(tmp_path / "saved")
    again = MoChaPipeline.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    films = [p("a cat", voice(0.2), **SIZE).frames for p in (ours, again)]
    # The weights are the same to the bit; where they lie in memory changes the last bit of a sum.
    assert np.abs(films[0].astype(int) - films[1]).max() <= 1
    for name, network in ours.backbone.networks().items():
        found = again.backbone.networks()[name].state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
