"""Weights from files: what they may be, and that a model is not held twice while it is loaded."""

import subprocess
import sys

import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel, WanTransformer3DModel
from safetensors.torch import save_file

from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.models.weights import assemble, read_weights, tensor_sizes, weight_files

SMALL = dict(
    num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=32, ffn_dim=32, num_layers=2
)
SPEECH = dict(speech_layers=2, speech_width=4, speech_hidden=6)


def test_a_base_models_weights_are_taken_over_and_the_rest_starts_fresh():
    torch.manual_seed(0)
    base = WanTransformer3DModel(**SMALL)
    tensors = dict(base.state_dict())
    model = assemble(WanMoChaTransformer3DModel, SMALL | SPEECH, tensors, torch.float32)
    ours = model.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in tensors.items())
    fresh = {name: ours[name] for name in ours.keys() - tensors.keys()}
    assert fresh and all("speech" in name for name in fresh)
    for name, tensor in fresh.items():
        assert not tensor.is_meta and tensor.isfinite().all(), name
        if "speech_attn.to_out" in name:
            assert not tensor.any()
        elif "norm" in name and name.endswith("weight"):
            assert torch.equal(tensor, torch.ones_like(tensor))
        elif name.endswith("to_q.weight"):
            assert 0.05 < tensor.std() < 0.3  # uniform in +-1/sqrt(24), as torch's layers start
    assert not any(buffer.is_meta for buffer in model.buffers())


def test_layers_that_must_be_precise_stay_so():
    tensors = dict(WanTransformer3DModel(**SMALL).state_dict())
    model = assemble(WanMoChaTransformer3DModel, SMALL | SPEECH, tensors, torch.bfloat16)
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    assert dtypes["blocks.0.speech_norm.weight"] == torch.float32
    assert dtypes["scale_shift_table"] == dtypes["blocks.1.norm2.bias"] == torch.float32
    assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16


def test_weights_of_another_model_are_refused():
    tensors = dict(WanTransformer3DModel(**SMALL).state_dict())
    tensors["proj_out.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"1 tensors have no place .* \(proj_out.bias\)"):
        assemble(WanMoChaTransformer3DModel, SMALL | SPEECH, tensors, torch.float32)


def test_files_that_are_not_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.ckpt does not exist"):
        read_weights(tmp_path / "nothing.ckpt")
    torch.save({"weight": print}, tmp_path / "code.ckpt")
    with pytest.raises(ValueError, match="code.ckpt cannot be read .* expected tensors by name"):
        read_weights(tmp_path / "code.ckpt")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "nested.ckpt")
    with pytest.raises(ValueError, match="nested.ckpt holds other things than tensors"):
        read_weights(tmp_path / "nested.ckpt")
    (tmp_path / "short.safetensors").write_bytes(b"abc")
    with pytest.raises(ValueError, match="short.safetensors cannot be read .* truncated"):
        read_weights(tmp_path / "short.safetensors")


def test_shards_are_read_as_one_and_a_missing_one_is_named(tmp_path):
    save_file({"a": torch.arange(6.0).reshape(2, 3)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(4)}, tmp_path / "two.safetensors")
    index = '{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    tensors = read_weights(tmp_path)
    assert tensors["a"][1, 2] == 5 and tensors["b"].sum() == 4
    assert tensor_sizes(weight_files(tmp_path)) == {"a": 6, "b": 4}
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 files of weights \(two.safetensors"):
        read_weights(tmp_path)


LARGE = dict(
    num_attention_heads=8, attention_head_dim=128, text_dim=64, freq_dim=32, ffn_dim=4096,
    num_layers=2,
)  # fmt: skip

HUNYUAN = dict(
    num_attention_heads=4, num_layers=2, num_single_layers=2, text_embed_dim=64,
    pooled_projection_dim=64,
)  # fmt: skip

# Peak of the process's own and mapped memory while a folder is opened, over its size on disk.
MEASURE = """
import sys, torch
from pathlib import Path
from openmocha.backbones import assemble
from openmocha.backbones.assemble import Pieces, build_transformer
from openmocha.backbones.wan import load_transformer
from openmocha.backbones.diffusers_backbone import DiffusersBackbone
from tests.tiny_model import tiny_speech_encoder

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

folder, what = Path(sys.argv[1]), sys.argv[2]
encoder = tiny_speech_encoder()
load_transformer(folder / "tiny", "WanMoChaTransformer3DModel", torch.bfloat16)  # imports
size = sum(
    file.stat().st_size
    for place in ((folder / what) / "transformer", folder / what)
    for file in (*place.glob("*.safetensors"), *place.glob("*.ckpt"))
)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
before = status("VmRSS")
if what == "demo":
    encoder.save_pretrained(folder / "wav2vec2")
    assemble.SHARD_SIZE = "10MB"
    pieces = Pieces(folder / what, folder / "wav2vec2", folder / what / "model.ckpt")
    assemble.init(pieces, folder / "made")
elif what == "base":
    pieces = Pieces(folder, folder)
    build_transformer(pieces, what, "WanTransformer3DModel", encoder, False, torch.bfloat16, None)
else:
    load_transformer(folder / what, "WanMoChaTransformer3DModel", torch.bfloat16)
print((status("VmHWM") - before) / size)
"""


@pytest.fixture(scope="module")
def large_folders(tmp_path_factory):
    """120 MB in shards of 30 MB, as base and as a model that hears."""
    folder = tmp_path_factory.mktemp("large")
    torch.manual_seed(0)
    base = WanTransformer3DModel(**LARGE).to(torch.bfloat16)
    base.save_pretrained(folder / "base", max_shard_size="30MB")
    hearing = assemble(
        WanMoChaTransformer3DModel, LARGE | SPEECH, dict(base.state_dict()), torch.bfloat16
    )
    hearing.save_pretrained(folder / "model", max_shard_size="30MB")
    WanMoChaTransformer3DModel(**SMALL, **SPEECH).save_pretrained(folder / "tiny")
    demo = HunyuanMoChaTransformer3DModel(**HUNYUAN, speech_layers=2, speech_width=16)
    torch.save(demo.to(torch.bfloat16).state_dict(), folder / "model.ckpt")
    hunyuan = HunyuanVideoTransformer3DModel(**HUNYUAN).to(torch.bfloat16)
    hunyuan.save_pretrained(folder / "demo" / "transformer", max_shard_size="20MB")
    (folder / "model.ckpt").rename(folder / "demo" / "model.ckpt")
    index = '{"transformer": ["diffusers", "HunyuanVideoTransformer3DModel"]}'
    (folder / "demo" / "model_index.json").write_text(index)
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("what", "at_most"), [("model", 1.2), ("base", 1.6), ("demo", 1.0)])
def test_a_large_folder_is_not_held_twice(large_folders, what, at_most):
    """The base gets speech attention too, a quarter of its own size, and that is new memory.
    MoCha-Demo's base and single file together are what making a folder of them may take."""
    command = [sys.executable, "-c", MEASURE, str(large_folders), what]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout.split()[-1]) < at_most
