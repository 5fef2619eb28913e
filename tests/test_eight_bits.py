"""Weights as int8 with a scale for each row."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_transformer, tiny_vae

from openmocha.models import store
from openmocha.models.eight_bits import FEWEST, SCALE, restored, round_part, rounded
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE
from openmocha.toon.caption_reader import CaptionReader, CaptionReaderConfig


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "encoder.kernel": torch.randn(16, 8, 3, 3, 4, generator=generator) * 0.05,
        "encoder.bias": torch.randn(16, generator=generator),
        "encoder.small": torch.randn(4, 4, generator=generator),
        "decoder.matrix": torch.randn(64, FEWEST // 64, generator=generator).bfloat16(),
    }


def test_no_weight_moves_further_than_half_a_step():
    given = weights()
    again = restored(rounded(given))
    assert again.keys() == given.keys()
    for name, weight in given.items():
        rows = weight.float().flatten(1) if weight.ndim > 1 else weight.float()[:, None]
        step = rows.abs().amax(1, keepdim=True) / 127
        moved = (again[name].reshape(rows.shape) - rows).abs()
        assert again[name].dtype == torch.float32 and (moved <= 0.501 * step).all()
    assert torch.equal(again["encoder.bias"], given["encoder.bias"])
    assert torch.equal(again["encoder.small"], given["encoder.small"])


def test_what_is_rounded_again_stays_the_same():
    once = restored(rounded(weights()))
    twice = restored(rounded(once))
    assert all(torch.allclose(once[name], twice[name], rtol=1e-5, atol=0) for name in once)


def test_a_part_is_rounded_where_it_lies_and_once(tmp_path):
    path = tmp_path / "vae" / "model.safetensors"
    path.parent.mkdir()
    save_file(weights(), path)
    round_part(tmp_path, "vae", "encoder.")
    store.verify(tmp_path)
    kept = load_file(path)
    assert kept["encoder.kernel"].dtype == torch.int8 and "encoder.kernel" + SCALE in kept
    assert torch.equal(kept["decoder.matrix"], weights()["decoder.matrix"])
    for part, prefix, says in (
        ("vae", "encoder.", "left to round"),
        ("vae", "encodre.", "left to round"),
        ("speech_encoder", "", "read as it lies"),
    ):
        with pytest.raises(ValueError, match=says):
            round_part(tmp_path, part, prefix)
    round_part(tmp_path, "vae", "decoder.")  # what is rounded stays as it is
    both = load_file(path)
    assert both["decoder.matrix"].dtype == torch.int8
    assert all(torch.equal(both[name], kept[name]) for name in kept if "encoder" in name)
    store.verify(tmp_path)


def test_parts_in_eight_bits_are_read(tmp_path):
    torch.manual_seed(0)
    vae, reader = tiny_vae(), CaptionReader(CaptionReaderConfig(width=24, layers=1, heads=3))
    vae.save_pretrained(tmp_path / "vae")
    reader.save_pretrained(tmp_path / "caption_reader")
    for part in ("vae", "caption_reader"):
        round_part(tmp_path, part)
    states, mask = torch.randn(1, 5, 384), torch.ones(1, 5).bool()
    read = CaptionReader.from_pretrained(tmp_path / "caption_reader")(states, mask)
    expected = reader.eval()(states, mask)
    assert 0 < (read - expected).abs().max() < 0.05 * expected.abs().max()
    again = VideoVAE.from_pretrained(tmp_path / "vae").state_dict()
    for name, weight in vae.state_dict().items():
        assert (again[name] - weight).abs().max() <= 0.005 * weight.abs().max()


def test_a_row_of_zeros_stays_zeros():
    zeros = {"m": torch.zeros(64, FEWEST // 64)}
    assert torch.equal(restored(rounded(zeros))["m"], zeros["m"])


def test_a_rounded_transformer_is_read_as_it_was_nearly(tmp_path):
    model = tiny_transformer()
    model.save_pretrained(tmp_path / "transformer")
    round_part(tmp_path, "transformer")
    again = MoChaTransformer3DModel.from_pretrained(tmp_path / "transformer").state_dict()
    for name, weight in model.state_dict().items():
        step = weight.abs().max() / 127
        assert (again[name] - weight).abs().max() <= 0.51 * step
    assert any(not torch.equal(again[name], w) for name, w in model.state_dict().items())
