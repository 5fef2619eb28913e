"""Wan with speech against diffusers' own Wan, and HuMo's names in both directions."""

import copy

import pytest
import torch
from diffusers import FirstBlockCacheConfig, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

from openmocha.models.humo_checkpoint import from_humo, humo_names, to_humo
from openmocha.models.wan import WanMoChaTransformer3DModel, humo_windows

BASE = dict(
    num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16,
    freq_dim=32, ffn_dim=32, num_layers=2,
)  # fmt: skip
SPEECH = dict(speech_layers=3, speech_width=8, speech_hidden=10)
HUMO = SPEECH | dict(speech_kind="humo", speech_token_width=20)
FRAMES = 3

# MODELS.md b.1, the speech settings of each base
FULL = {
    "1.3B": (dict(num_attention_heads=12, num_layers=30, ffn_dim=8960), 1_418_996_800),
    "14B": (dict(num_attention_heads=40, num_layers=40, ffn_dim=13824), 14_288_491_584),
    "5B": (
        dict(num_attention_heads=24, num_layers=30, ffn_dim=14336, in_channels=48, out_channels=48),
        4_999_787_712,
    ),
}


def base(seed: int = 0) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    return WanTransformer3DModel(**BASE).eval()


def loud(model: WanMoChaTransformer3DModel) -> WanMoChaTransformer3DModel:
    """Speech that matters: its output is not zero."""
    torch.manual_seed(7)
    for block in model.blocks:
        torch.nn.init.normal_(block.speech_attn.to_out[0].weight, std=0.5)
        torch.nn.init.normal_(block.speech_norm.weight, mean=1, std=0.2)
    return model


def inputs(per_frame: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    level = torch.tensor([[0.0, 400.0, 900.0], [3.0, 3.0, 7.0]])
    return {
        "hidden_states": torch.randn(2, 4, FRAMES, 4, 6, generator=generator),
        "timestep": level if per_frame else torch.tensor([999.0, 250.0]),
        "encoder_hidden_states": torch.randn(2, 5, 16, generator=generator),
    }


def speech(seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 1 + 4 * (FRAMES - 1), 3, 8, generator=generator)


@pytest.mark.parametrize("settings", [SPEECH, HUMO])
@pytest.mark.parametrize("per_frame", [False, True])
@torch.no_grad()
def test_untrained_it_is_wan_to_the_bit_whatever_it_hears(settings, per_frame):
    wan, given = base(), inputs(per_frame)
    model = WanMoChaTransformer3DModel.from_base(wan, **settings).eval()
    theirs = dict(given)
    if per_frame:  # diffusers wants a level for each token: 2 x 3 of a latent frame
        theirs["timestep"] = given["timestep"].repeat_interleave(6, dim=1)
    expected = wan(**theirs, return_dict=False)[0]
    assert torch.equal(model(**given), expected)
    assert torch.equal(model(**given, speech_tokens=speech()), expected)
    assert not torch.equal(loud(model)(**given, speech_tokens=speech()), expected)


@torch.no_grad()
def test_speech_attention_is_a_loop_over_frames():
    model = loud(WanMoChaTransformer3DModel.from_base(base(), **SPEECH))
    heard = model.hear(speech(), FRAMES)
    attention = model.blocks[0].speech_attn
    video = torch.randn(2, FRAMES * 6, 24)
    found = attention(video, heard).unflatten(1, (FRAMES, 6))
    # 0,1 | 0..5 | 4..8 : the frames of each latent and one to either side (MODELS.md b.5)
    for frame, seen in enumerate((range(0, 2), range(0, 6), range(4, 9))):
        tokens = heard.tokens[:, list(seen)]
        heads = lambda x: x.unflatten(-1, (2, 12)).transpose(1, 2)  # noqa: E731
        query = heads(attention.norm_q(attention.to_q(video.unflatten(1, (FRAMES, 6))[:, frame])))
        key, value = heads(attention.norm_k(attention.to_k(tokens))), heads(attention.to_v(tokens))
        weights = torch.softmax(query @ key.transpose(-1, -2) / 12**0.5, dim=-1)
        expected = attention.to_out[0]((weights @ value).transpose(1, 2).flatten(2))
        assert torch.allclose(found[:, frame], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "frame", "hearing"), [(HUMO, 0, [0, 1]), (HUMO, 6, [1, 2]), (HUMO, 8, [2])]
)
@torch.no_grad()
def test_a_speech_feature_changes_the_frames_whose_window_it_is_in(settings, frame, hearing):
    model = loud(WanMoChaTransformer3DModel.from_base(base(), **settings))
    changed = speech()
    changed[:, frame] += 1
    video = torch.randn(2, FRAMES * 6, 24)
    attention = model.blocks[0].speech_attn
    one, other = (attention(video, model.hear(x, FRAMES)) for x in (speech(), changed))
    moved = (one != other).unflatten(1, (FRAMES, 6)).any(-1).any(-1).any(0)
    assert moved.nonzero().flatten().tolist() == hearing


def test_humo_windows_are_those_of_the_table():
    features = torch.arange(1.0, 10.0).reshape(1, 9, 1)  # frame i is i + 1, zero is beyond
    assert humo_windows(features, 3)[0, :, :, 0].tolist() == [
        [0, 0, 0, 0, 0, 1, 2, 3],
        [0, 1, 2, 3, 4, 5, 6, 7],
        [4, 5, 6, 7, 8, 9, 0, 0],
    ]


def test_speech_of_another_length_is_refused():
    model = WanMoChaTransformer3DModel(**BASE, **SPEECH)
    with pytest.raises(ValueError, match=r"9 video frames, but there are 8"):
        model.hear(speech()[:, :8], FRAMES)


def test_the_way_out_of_zero_has_a_gradient():
    model = WanMoChaTransformer3DModel(**BASE, **SPEECH)
    model.enable_gradient_checkpointing()
    model.train()(**inputs(), speech_tokens=speech()).square().mean().backward()
    assert all(b.speech_attn.to_out[0].weight.grad.abs().sum() > 0 for b in model.blocks)


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = loud(WanMoChaTransformer3DModel.from_base(base(), **HUMO)).eval()
    model.save_pretrained(tmp_path)
    again = WanMoChaTransformer3DModel.from_pretrained(tmp_path).eval()
    expected = model(**inputs(), speech_tokens=speech())
    assert torch.equal(again(**inputs(), speech_tokens=speech()), expected)


@torch.no_grad()
def test_first_block_cache_skips_what_does_not_change():
    model = loud(WanMoChaTransformer3DModel.from_base(base(), **SPEECH)).eval()
    given = inputs() | {"speech_tokens": speech()}
    expected = model(**given)
    cached = copy.deepcopy(model)
    cached.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    runs = []
    cached.blocks[1].ffn.register_forward_hook(lambda *_: runs.append(1))
    with cached.cache_context("full"):
        first = cached(**given)
        second = cached(**given)
    assert torch.equal(first, expected) and torch.allclose(second, expected, atol=1e-5)
    assert len(runs) == 1


@pytest.mark.parametrize("name", FULL)
def test_full_sizes_are_the_public_ones(name):
    settings, parameters = FULL[name]
    with torch.device("meta"):
        model = WanMoChaTransformer3DModel(**settings)
    counted = {n: p.numel() for n, p in model.named_parameters()}
    assert sum(v for n, v in counted.items() if "speech" not in n) == parameters


@pytest.mark.parametrize(("name", "in_channels"), [("1.3B", 16), ("14B", 36)])
def test_humo_names_go_both_ways_and_leave_nothing(name, in_channels):
    """HuMo 1.7B and 17B."""
    settings = FULL[name][0] | dict(
        in_channels=in_channels, out_channels=16, speech_kind="humo", speech_layers=5,
        speech_width=1280, speech_token_width=1536,
    )  # fmt: skip
    with torch.device("meta"):
        model = WanMoChaTransformer3DModel(**settings)
    ours, layers = model.state_dict(), settings["num_layers"]
    theirs = to_humo(ours, layers)
    assert from_humo(theirs, layers).keys() == ours.keys()
    width = settings["num_attention_heads"] * 128
    wrapper = "blocks.3.audio_cross_attn_wrapper"
    assert theirs[f"{wrapper}.audio_cross_attn.k.weight"].shape == (width, 1536)
    assert theirs[f"{wrapper}.norm1_audio.bias"].shape == (width,)
    assert theirs["audio_proj.audio_proj_glob_1.layer.weight"].shape == (512, 51_200)
    assert theirs["audio_proj.audio_proj_glob_3.layer.weight"].shape == (16 * 1536, 512)
    assert sum("audio" in name for name in theirs) == 8 + layers * 12


def test_base_names_agree_with_those_of_diffusers_converter():
    names = {a: b for a, b in humo_names(2).items() if "speech" not in a}
    original = {theirs: ours for ours, theirs in names.items()}
    converted = convert_wan_transformer_to_diffusers(dict(original))
    assert all(name == ours for name, ours in converted.items()) and len(converted) == len(names)


def test_a_checkpoint_that_lacks_a_name_is_refused():
    theirs = dict.fromkeys(humo_names(1).values())
    del theirs["head.head.bias"]
    with pytest.raises(ValueError, match=r"1 names missing \(head\.head\.bias\), 0 unknown"):
        from_humo(theirs, 1)
