import json

import pytest
import torch

from openmocha.models.config import MoChaConfig, mocha_4b, mocha_30b, toon, with_settings
from openmocha.models.speech_attention import uniform_windows
from openmocha.models.transformer import MoChaTransformer3DModel

TINY = MoChaConfig(
    layers=2,
    width=24,
    ffn=32,
    heads=2,
    text_widths=(6, 4),
    speech_layers=2,
    speech_width=3,
    speech_hidden=8,
    latent_channels=3,
    sigma_width=8,
)


def awake(config=TINY):
    """A model none of whose parts is silent: what starts at zero is drawn at random."""
    torch.manual_seed(0)
    model = MoChaTransformer3DModel(config)
    for value in model.parameters():
        if not value.any():
            torch.nn.init.normal_(value, std=0.2)
    return model.eval()


def make_inputs(batch=2, frames=3, config=TINY):
    torch.manual_seed(1)
    text = [(torch.randn(batch, 5, width), torch.ones(batch, 5).bool()) for width in (6, 4)]
    text[0][1][0, 3:] = False
    speech = torch.randn(batch, frames * 4, config.speech_layers, config.speech_width)
    return torch.randn(batch, 3, frames, 4, 6), torch.rand(batch), text, speech


def frames_changed(before, after):
    return (before - after).abs().amax(dim=(0, 1, 3, 4)) > 1e-6


def test_adding_speech_to_a_text_to_video_model_changes_no_bit():
    latents, sigma, text, speech = make_inputs()
    base = awake(with_settings(TINY, speech_attention="none"))
    with torch.no_grad():
        before = base(latents, sigma, text)
        for mode in ("window", "global+rope"):
            config = with_settings(TINY, speech_attention=mode)
            model = MoChaTransformer3DModel.from_text_to_video(base, config).eval()
            assert torch.equal(model(latents, sigma, text, speech), before)
            assert torch.equal(model(latents, sigma, text), before)
    with pytest.raises(ValueError, match="base"):
        MoChaTransformer3DModel.from_text_to_video(base, with_settings(TINY, layers=3))
    with pytest.raises(ValueError, match="cannot take speech"):
        base(latents, sigma, text, speech)


def test_one_level_for_a_sample_equals_the_same_level_on_all_frames():
    model, (latents, sigma, text, speech) = awake(), make_inputs()
    with torch.no_grad():
        one = model(latents, sigma, text, speech)
        assert torch.equal(model(latents, sigma[:, None].expand(-1, 3), text, speech), one)


@torch.no_grad()
def test_preconditioned_each_frame_is_scaled_by_its_own_noise_level():
    latents, _, text, speech = make_inputs()
    model = MoChaTransformer3DModel(with_settings(TINY, precondition=True)).eval()
    sigma = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    velocity = model(latents, sigma, text, speech)  # its last layer starts at zero
    # 2 sigma - 1 over sigma^2 + (1 - sigma)^2: 1 at noise, 0 half way, -1 at data.
    skip = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    torch.testing.assert_close(velocity, skip[:, None, :, None, None] * latents)


@torch.no_grad()
def test_a_frames_own_noise_level_reaches_other_frames_only_through_self_attention():
    model, (latents, _, text, speech) = awake(with_settings(TINY, layers=1)), make_inputs()
    sigma = torch.full((2, 3), 0.5)
    other = sigma.clone()
    other[:, 1] = 0.9
    before, after = (model(latents, level, text, speech) for level in (sigma, other))
    assert frames_changed(before, after).all()
    model.blocks[0].self_attention.output.weight.zero_()
    before, after = (model(latents, level, text, speech) for level in (sigma, other))
    assert frames_changed(before, after).tolist() == [False, True, False]


@torch.no_grad()
def test_one_speech_token_changes_only_the_frames_that_may_hear_it():
    # Self-attention aside, a latent frame hears its window, and 5 more through the projector.
    model, (latents, sigma, text, speech) = awake(with_settings(TINY, layers=1)), make_inputs(1, 8)
    model.blocks[0].self_attention.output.weight.zero_()
    windows = uniform_windows(8)
    for token in (0, 9, 17, 31):
        moved = speech.clone()
        moved[:, token] += 3
        before, after = (model(latents, sigma, text, heard) for heard in (speech, moved))
        allowed = ((windows - token).abs() <= 5).any(1)
        assert torch.equal(frames_changed(before, after), allowed)


@torch.no_grad()
def test_a_crop_with_margins_equals_the_whole_film():
    # Self-attention aside, six speech tokens on either side are all that a crop needs.
    model, (latents, sigma, text, speech) = awake(with_settings(TINY, layers=1)), make_inputs(2, 8)
    model.blocks[0].self_attention.output.weight.zero_()
    whole = model(latents, sigma, text, speech)
    windows, first, frames = uniform_windows(8), 3, 2
    tokens = slice(first * 4 - 6, (first + frames) * 4 + 6)
    part = slice(first, first + frames)
    crop_windows = (windows[part] - tokens.start).expand(2, -1, -1)
    cropped = model(latents[:, :, part], sigma, text, speech[:, tokens], crop_windows)
    torch.testing.assert_close(cropped, whole[:, :, part], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_speech_is_zeros_before_the_projector():
    model, (latents, sigma, text, speech) = awake(), make_inputs()
    silent = model(latents, sigma, text)
    assert torch.equal(model(latents, sigma, text, torch.zeros_like(speech)), silent)
    assert not torch.allclose(model(latents, sigma, text, speech), silent)


@torch.no_grad()
def test_text_behind_the_mask_is_not_read_and_every_stream_is():
    model, (latents, sigma, text, speech) = awake(), make_inputs()
    before = model(latents, sigma, text, speech)
    for stream, token, sample, heard in ((0, 4, 0, False), (0, 1, 0, True), (1, 4, 1, True)):
        moved = [(tokens.clone(), mask) for tokens, mask in text]
        moved[stream][0][sample, token] += 1
        changed = (model(latents, sigma, moved, speech) != before).flatten(1).any(1)
        assert changed.tolist() == [heard and i == sample for i in range(2)]
    masked = [(tokens, torch.zeros_like(mask)) for tokens, mask in text]
    assert model(latents, sigma, masked, speech).isfinite().all()


@torch.no_grad()
def test_video_positions_are_relative_in_time_and_told_apart_in_space():
    from openmocha.models.attention import rotary_turns, rotate, video_angles

    turns = rotary_turns(video_angles(4, 2, 3, 24, 100.0)[0])
    query, key = torch.randn(2, 24)
    logits = rotate(query.expand(24, -1), turns) @ rotate(key.expand(24, -1), turns).T
    logits = logits.reshape(4, 6, 4, 6)
    torch.testing.assert_close(logits[0, :, 1], logits[2, :, 3])
    assert len(logits[0, 0].flatten().unique()) == 24


def test_gradient_checkpointing_changes_memory_only():
    latents, sigma, text, speech = make_inputs()
    gradients = []
    for checkpointing in (False, True):
        model = awake().train()
        model.gradient_checkpointing = checkpointing
        model(latents, sigma, text, speech).square().mean().backward()
        gradients.append([value.grad for value in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_every_weight_learns_in_every_mode():
    latents, sigma, text, speech = make_inputs()
    for mode in ("window", "window+rope", "global", "global+sinusoidal", "global+learnable"):
        config = with_settings(TINY, speech_attention=mode, modulate_cross_attention=True)
        model = awake(config)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = model(latents, sigma, text, speech)
        velocity.float().square().mean().backward()
        silent = [name for name, value in model.named_parameters() if not value.grad.any()]
        assert silent == []


@torch.no_grad()
def test_the_alternatives_of_the_ablation_hear_differently():
    latents, sigma, text, speech = make_inputs()
    modes = ("window", "window+rope", "global", "global+rope", "global+sinusoidal")
    outputs = [
        awake(with_settings(TINY, speech_attention=mode))(latents, sigma, text, speech)
        for mode in modes
    ]
    assert len({output.sum().item() for output in outputs}) == len(modes)


def count(config):
    with torch.device("meta"):
        return sum(value.numel() for value in MoChaTransformer3DModel(config).parameters())


def test_parameter_counts_are_the_papers():
    base, full = count(with_settings(mocha_30b(), speech_attention="none")), count(mocha_30b())
    assert base == pytest.approx(29.0e9, rel=0.01)
    assert full == pytest.approx(36.2e9, rel=0.01)
    assert full - base == pytest.approx(7.2e9, rel=0.02)
    assert count(mocha_4b()) == pytest.approx(4.0e9, rel=0.02)
    assert 5e6 < count(toon()) < 20e6


def test_saved_and_read_again_is_the_same_model(tmp_path):
    model, inputs = awake(), make_inputs()
    model.save_pretrained(tmp_path)
    again = MoChaTransformer3DModel.from_pretrained(tmp_path)
    assert again.config == TINY
    with torch.no_grad():
        assert torch.equal(again.eval()(*inputs), model(*inputs))


def test_a_folder_that_does_not_fit_is_refused(tmp_path):
    awake().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, message in (
        (config | {"widht": 3}, "did you mean 'width'"),
        ({name: value for name, value in config.items() if name != "ffn"}, "ffn"),
        (config | {"layers": 3}, "missing .*blocks.2"),
        (config | {"layers": 1}, "unexpected .*blocks.1"),
        (config | {"ffn": 64}, "another shape .*ffn"),
        (config | {"speech_attention": "windows"}, "choose one of window"),
        (config | {"heads": 5}, "heads"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            MoChaTransformer3DModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ValueError, match="damaged"):
        MoChaTransformer3DModel.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match="holds no model.safetensors"):
        MoChaTransformer3DModel.from_pretrained(tmp_path)


def test_inputs_that_do_not_fit_are_named():
    model, (latents, sigma, text, speech) = awake(), make_inputs()
    windows = uniform_windows(3)
    for wrong, message in (
        ((latents[:, :2], sigma, text, speech), "3 channels"),
        ((latents[..., :3], sigma, text, speech), "multiples of 2"),
        ((latents, sigma, text[:1], speech), "text streams"),
        ((latents, sigma, text, speech[:, :10]), "10 speech tokens for 3 latent frames"),
        ((latents, sigma, text, speech, windows + 1), "there are 12 speech tokens"),
        ((latents, torch.rand(2, 4), text, speech), "sigma"),
    ):
        with pytest.raises(ValueError, match=message):
            model(*wrong)
