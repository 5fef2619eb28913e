"""A tiny Wan learns to hear: shards by its own encoders, the shared loop, a folder that opens."""

import numpy as np
import pytest
import torch

from openmocha.backbones.assemble import Pieces, init
from openmocha.backbones.wan import load_wan
from openmocha.models.weights import read_weights
from openmocha.pipeline import MoChaPipeline
from openmocha.training.large import (
    CausalVideo,
    LargeTraining,
    PromptStates,
    check_trainable,
    large_encoders,
    large_stages,
    load_trainable,
    train_folder,
)
from openmocha.training.samples import CausalLayout, speech_slice
from openmocha.training.shards import TrainingClip, write_empty_prompt, write_shard
from tests.tiny_folders import hunyuan_folder, voice, wan_folder
from tests.tiny_model import tiny_speech_encoder

SOURCES = ("close-up", "medium close-up", "medium", "dialogue", "text")
GIVEN = LargeTraining(
    steps=8, batch_size=1, latent_frames=3, height=64, width=64, learning_rate=1e-2
)


@pytest.fixture(scope="module")
def mocha(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    torch.manual_seed(1)
    tiny_speech_encoder().save_pretrained(folder / "wav2vec2")
    init(Pieces(wan_folder(folder / "base"), folder / "wav2vec2"), folder / "mocha")
    return folder / "mocha"


def clip(seed: int, source: str) -> TrainingClip:
    """Random frames and noise for a voice: 3 latents of a film of half a second."""
    rng = np.random.default_rng(seed)
    return TrainingClip(
        source=source,
        seed=seed,
        caption="a cat" if seed % 2 else "a",
        num_frames=12,
        crops=rng.integers(0, 256, (1, 12, 64, 64, 3), dtype=np.uint8),
        starts=[0],
        speech=None if source == "text" else rng.standard_normal(8000).astype(np.float32),
        mouth_cells=np.zeros((1, 3, 8, 8), np.uint8),
    )


@pytest.fixture(scope="module")
def demo(mocha):
    folder = mocha.parent
    pieces = Pieces(hunyuan_folder(folder / "hunyuan"), folder / "wav2vec2")
    init(pieces, folder / "demo")
    return folder / "demo"


def write_shards(model, folder):
    encoders = large_encoders(model)
    for number, source in enumerate(SOURCES):
        clips = [clip(10 * number + i, source) for i in range(2)]
        write_shard(folder / source.replace(" ", "-"), clips, encoders)
    write_empty_prompt(folder, encoders.text)
    return folder


@pytest.fixture(scope="module")
def shards(mocha):
    return write_shards(mocha, mocha.parent / "shards")


def test_stages_are_the_papers_in_its_proportions():
    stages = large_stages(LargeTraining(steps=600, minutes=60))
    assert [stage.steps for stage in stages] == [200, 200, 100, 100]
    assert [dict(stage.shares)["text"] for stage in stages] == [20] * 4
    assert sum(stage.time_budget_s for stage in stages) == 3600
    assert all(stage.learning_rate == 1e-5 for stage in stages)


def test_shards_hold_what_the_models_own_encoders_make(mocha):
    backbone = load_wan(mocha, torch.float32, with_transformers=False)
    video = torch.rand(2, 12, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        latents = CausalVideo(backbone).encode(video)
        alone = backbone.encode_frames(video[1:, :9])  # 1 + 4 (3 - 1) frames
        states, mask = PromptStates(backbone).encode(["a cat", "a"])
        assert torch.equal(latents[1:], alone) and latents.shape == (2, 16, 3, 8, 8)
        assert mask.sum(1).tolist() == [2, 1]
        assert torch.equal(states[:1], backbone.encode_text("a cat"))
    assert not states[1, 1:].any()


def test_the_loop_asks_the_transformer_what_the_pipeline_asks_it(mocha):
    network = load_trainable(mocha).eval()
    for block in network.blocks:
        torch.nn.init.normal_(block.speech_attn.output.weight)
    torch.manual_seed(0)
    latents, speech = torch.randn(2, 16, 3, 8, 8), torch.randn(2, 9, 2, 16)
    tokens, mask = torch.randn(2, 4, 16), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    padded = torch.zeros(2, 512, 16)
    padded[0, :4], padded[1, :2] = tokens[0], tokens[1, :2]
    nothing = torch.zeros(2, 3, 0)
    with torch.inference_mode():
        one_level = torch.tensor([[0.3] * 3, [0.8] * 3])
        found = network(latents, one_level, [(tokens, mask)], speech, nothing)
        asked = network.transformer(latents, torch.tensor([300.0, 800.0]), padded, speech)
        assert torch.allclose(found, asked, atol=1e-5)
        silent = network(latents, one_level, [(tokens, mask)], None, nothing)
        zeros = network(latents, one_level, [(tokens, mask)], 0 * speech, nothing)
        assert torch.equal(silent, zeros) and not torch.allclose(silent, found, atol=1e-3)
        levels = torch.tensor([[0.0, 0.5, 0.5], [0.8, 0.8, 0.8]])
        each = network(latents, levels, [(tokens, mask)], speech, nothing)
        assert torch.allclose(each[1], found[1], atol=1e-4)


def test_a_causal_crop_hears_its_film_from_the_beginning():
    first, num_tokens, windows = speech_slice(0, 3, 128, CausalLayout())
    assert (first, num_tokens, windows.shape) == (0, 9, (3, 0))
    with pytest.raises(ValueError, match="its crops start with their film"):
        speech_slice(2, 3, 128, CausalLayout())


def test_training_goes_through_all_stages_and_makes_a_folder_that_opens(mocha, shards, tmp_path):
    before = read_weights(mocha / "transformer")
    model = train_folder(mocha, tmp_path, GIVEN, shards)
    after = read_weights(model / "transformer")
    assert before.keys() == after.keys()
    assert all(after[name].dtype == before[name].dtype for name in after)
    for block in range(2):
        name = f"blocks.{block}.speech_attn.to_out.0.weight"
        assert not before[name].any() and after[name].any()
    film = MoChaPipeline.from_pretrained(model, dtype=torch.float32)(
        "a cat", voice(0.4), height=64, width=64, num_inference_steps=1
    )
    assert film.frames.shape == (9, 64, 64, 3) and film.fps == 24
    again = train_folder(mocha, tmp_path, GIVEN, shards)  # finished: nothing changes
    unchanged = read_weights(again / "transformer")
    assert all(torch.equal(unchanged[name], tensor) for name, tensor in after.items())


@torch.no_grad()
def test_hunyuan_is_asked_in_training_what_its_pipeline_asks(demo):
    network = load_trainable(demo).eval()
    encoders = large_encoders(demo)
    streams = encoders.text.encode(["a cat"])
    torch.manual_seed(0)
    latents, speech = torch.randn(1, 16, 3, 8, 8), torch.randn(1, 9, 2, 16)
    for block in network.blocks[::2]:
        torch.nn.init.normal_(block.audio_cross_attn.norm.linear.weight)
    found = network(latents, torch.full((1, 3), 0.6), streams, speech, torch.zeros(1, 3, 0))
    words = encoders.text.backbone.encode_text("a cat")
    guidance = torch.tensor([6000.0])
    expected = network.transformer(
        latents, torch.tensor([999 * 0.6]), words.states, words.mask, words.pooled, guidance, speech
    )
    assert torch.allclose(found, expected, atol=1e-4) and words.mask.sum() < 256
    with pytest.raises(ValueError, match="one noise level for a clip"):
        network(latents, torch.tensor([[0.0, 0.5, 0.5]]), streams, speech, torch.zeros(1, 3, 0))


def test_hunyuan_learns_to_hear(demo, tmp_path):
    shards = write_shards(demo, tmp_path / "shards")
    before = read_weights(demo / "transformer")
    after = read_weights(train_folder(demo, tmp_path, GIVEN, shards) / "transformer")
    name = "transformer_blocks.0.audio_cross_attn.norm.linear.weight"
    assert before.keys() == after.keys() and not before[name].any() and after[name].any()
    film = MoChaPipeline.from_pretrained(tmp_path / "model", dtype=torch.float32)(
        "", voice(0.4), height=64, width=64, num_inference_steps=1
    )
    assert film.frames.shape == (9, 64, 64, 3)


def test_what_cannot_be_trained_is_said(mocha):
    with pytest.raises(ValueError, match="make a model from Wan or HunyuanVideo"):
        check_trainable(mocha.parent / "base")
