"""A diffusers folder of Wan, tiny and random: films, images, and speech attention added to it."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from openmocha.backbones.folder import init_wan
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.pipeline import MoChaPipeline
from tests.tiny_model import tiny_speech_encoder

SIZE = dict(height=64, width=64, num_frames=9, num_inference_steps=2, seed=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Saved by diffusers alone."""
    torch.manual_seed(0)
    words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "cat": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    folder = tmp_path_factory.mktemp("wan") / "base"
    WanPipeline(
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", unk_token="<unk>"
        ),
        text_encoder=UMT5EncoderModel(
            UMT5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        transformer=WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=32, ffn_dim=32,
            num_layers=2,
        ).to(torch.bfloat16),
        vae=AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def mocha(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mocha")
    torch.manual_seed(1)
    tiny_speech_encoder().save_pretrained(folder / "wav2vec2")
    init_wan(base, folder / "wav2vec2", folder / "model")
    return folder / "model"


def voice(seconds=0.6):
    return (0.3 * np.random.default_rng(0).standard_normal(round(seconds * 16_000))).astype("f4")


def test_a_base_folder_makes_the_film_that_diffusers_makes(base):
    ours = MoChaPipeline.from_pretrained(base, dtype=torch.float32)
    theirs = WanPipeline.from_pretrained(base, dtype=torch.float32)
    noise = ours.draw_noise(9, ours.sampling.with_given(height=64, width=64), seed=3)
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
    heard = ours("a cat", voice(), **SIZE)
    # guidance adds three passes instead of two: the last bit of a sum
    assert np.abs(heard.frames.astype(int) - silent.frames).max() <= 1
    assert isinstance(ours.backbone.transformer, WanMoChaTransformer3DModel)
    for block in ours.backbone.transformer.blocks:
        torch.nn.init.normal_(block.speech_attn.output.weight)
    moved = ours("a cat", voice(), **SIZE)
    assert moved.frames.shape == (9, 64, 64, 3) and not np.array_equal(moved.frames, silent.frames)


@pytest.mark.parametrize(("seconds", "frames"), [(0.6, 9), (0.7, 9), (0.82, 13)])
def test_the_speech_says_how_long_the_film_is(mocha, seconds, frames):
    """Cut to 1 + 4k frames at 16 a second."""
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
