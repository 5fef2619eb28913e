"""HuMo from its public pieces, tiny and random, and Whisper's features as it reads them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from openmocha.backbones.assemble import Pieces, init
from openmocha.backbones.backbone import Conditions
from openmocha.models.humo_checkpoint import to_humo
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.pipeline import MoChaPipeline
from openmocha.sampling import Sampling
from tests.tiny_folders import voice, wan_folder, whisper_features, whisper_folder

SIZE = dict(height=64, width=64, num_inference_steps=2, seed=3)


def humo_weights(in_channels: int) -> dict[str, torch.Tensor]:
    """By HuMo's own names."""
    torch.manual_seed(4)
    model = WanMoChaTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=32, ffn_dim=32,
        num_layers=2, in_channels=in_channels, speech_kind="humo", speech_layers=5,
        speech_width=16, speech_hidden=10, speech_token_width=20,
    )  # fmt: skip
    for block in model.blocks:
        torch.nn.init.normal_(block.speech_attn.output.weight)
    return to_humo(model.state_dict(), 2)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("humo")
    return wan_folder(folder / "base"), whisper_folder(folder / "whisper"), folder


@pytest.fixture(scope="module", params=[16, 36], ids=["1.7B", "17B"])
def pipeline(request, pieces):
    """One checkpoint as a pickled file, one as shards with an index: as they are published."""
    base, whisper, folder = pieces
    tensors, name = humo_weights(request.param), f"humo{request.param}"
    if request.param == 16:
        checkpoint = folder / "ema.pth"
        torch.save(tensors, checkpoint)
    else:
        checkpoint = folder / "HuMo-17B"
        checkpoint.mkdir()
        names = sorted(tensors)
        shards = {"humo-1.safetensors": names[:30], "humo-2.safetensors": names[30:]}
        for shard, its in shards.items():
            save_file({n: tensors[n].contiguous() for n in its}, checkpoint / shard)
        where = {n: shard for shard, its in shards.items() for n in its}
        index = f'{{"weight_map": {where!r}}}'.replace("'", '"')
        (checkpoint / "humo.safetensors.index.json").write_text(index)
    init(Pieces(base, whisper, checkpoint), folder / name, dtype=torch.float32)
    return MoChaPipeline.from_pretrained(folder / name, dtype=torch.float32)


@torch.inference_mode()
def test_features_are_means_of_hidden_states_at_25_a_second():
    encoder = whisper_features()
    wave = voice(1.21)  # 30.25 frames
    found = encoder.encode(wave)
    mel = encoder.extractor(wave, sampling_rate=16_000, return_tensors="pt").input_features
    states = encoder.encoder(mel, output_hidden_states=True).hidden_states
    assert found.shape == (30, 5, 16)
    for group in range(4):  # four layers: each group is one state
        assert torch.allclose(found[0, group], states[group][0, 0], atol=1e-5)
        assert torch.allclose(found[-1, group], states[group][0, 59], atol=1e-5)
    assert torch.allclose(found[-1, 4], states[4][0, 59], atol=1e-5)
    place = 10 * 59 / 29  # corners are aligned
    low, share = int(place), place - int(place)
    expected = (1 - share) * states[4][0, low] + share * states[4][0, low + 1]
    assert torch.allclose(found[10, 4], expected, atol=1e-4)


@torch.inference_mode()
def test_long_recordings_are_heard_in_pieces_of_thirty_seconds():
    encoder = whisper_features()
    wave = voice(31.0)
    found = encoder.encode(wave)
    assert found.shape[0] == 775
    second = encoder.encode(wave[480_000:])
    assert torch.allclose(found[-1], second[-1], atol=1e-5)


def test_the_film_is_as_long_as_the_speech_and_hears_it(pipeline):
    film = pipeline("a cat", voice(0.6), **SIZE)
    assert film.fps == 25 and film.frames.shape == (13, 64, 64, 3)
    other = pipeline("a cat", voice(0.6)[::-1].copy(), **SIZE)
    assert not np.array_equal(film.frames, other.frames)
    with pytest.raises(ValueError, match="give a speech recording"):
        pipeline("a cat", **SIZE)


def test_in_bfloat16_the_film_is_nearly_the_same(pipeline):
    whole = pipeline("a cat", voice(0.2), **SIZE).frames
    half = MoChaPipeline.from_pretrained(pipeline.name, dtype=torch.bfloat16)
    assert np.abs(half("a cat", voice(0.2), **SIZE).frames.astype(int) - whole).mean() < 5


@torch.inference_mode()
def test_guidance_and_the_slot_after_the_film(pipeline):
    """neg + s_t (text - neg) + s_a (both - text), each with zeros and unheard at the end."""
    backbone, model = pipeline.backbone, pipeline.backbone.transformer
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 16, 3, 8, 8, generator=generator)
    speech = backbone.encode_speech(voice(0.5), 9)
    words, none = backbone.encode_text("a cat"), backbone.encode_text("")
    assert speech.shape == (1, 12, 5, 16)
    given = torch.cat([latents, torch.zeros(1, 16, 1, 8, 8)], dim=2)
    if model.config.in_channels == 36:
        mask = torch.zeros(1, 4, 4, 8, 8)
        mask[:, :, 3] = 1
        grey = backbone.encode_frames(torch.zeros(1, 13, 3, 64, 64))
        given = torch.cat([given, mask, grey], dim=1)

    def predict(text, heard):
        return model(given, torch.tensor([500.0]), text, heard, 1)[:, :, :3]

    silence = torch.zeros_like(speech)
    both, text, negative = predict(words, speech), predict(words, silence), predict(none, silence)
    expected = negative + 3 * (text - negative) + 5 * (both - text)
    sampling = Sampling(97, 64, 64, 2, 3.0, 5.0)
    found = backbone.velocity(latents, 0.5, Conditions(words, none, speech), sampling)
    assert torch.allclose(found, expected, atol=1e-4) and (both - text).abs().max() > 1e-3


@torch.inference_mode()
def test_the_slot_hears_zeros_and_the_film_its_own_windows(pipeline):
    model = pipeline.backbone.transformer
    features = torch.randn(1, 9, 5, 16, generator=torch.Generator().manual_seed(1))
    heard = model.hear(features, 4, num_reference_frames=1)
    alone = model.hear(features, 3)
    assert torch.allclose(heard.tokens[:, :48], alone.tokens, atol=1e-5)
    zeros = model.hear(torch.zeros_like(features), 3).tokens[:, :16]
    assert torch.allclose(heard.tokens[:, 48:], zeros, atol=1e-6)


def test_other_pieces_are_refused(pieces, tmp_path):
    base, whisper, _ = pieces
    tensors = humo_weights(16)
    tensors.pop("head.modulation")
    torch.save(tensors, tmp_path / "ema.pth")
    with pytest.raises(ValueError, match=r"1 names missing \(head.modulation\)"):
        init(Pieces(base, whisper, tmp_path / "ema.pth"), tmp_path / "humo")
    with pytest.raises(ValueError, match="expected a Wav2Vec2 checkpoint folder"):
        init(Pieces(base, tmp_path, tmp_path / "ema.pth"), tmp_path / "humo")
