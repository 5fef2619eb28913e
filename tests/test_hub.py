"""Hub repositories: what is fetched, and what is said when it cannot be."""

import importlib
from types import SimpleNamespace

import huggingface_hub as hub
import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo, AutoencoderKLWan, WanTransformer3DModel
from huggingface_hub import errors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    UMT5Config,
    UMT5EncoderModel,
)

from openmocha.memory import largest_block
from openmocha.models import hub as ours
from openmocha.models.hub import PUBLIC_MODELS, Source, fetch, model_rows, public_model
from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel
from openmocha.models.store import model_folder
from openmocha.models.wan import WanMoChaTransformer3DModel
from openmocha.pipeline import MoChaPipeline
from tests.tiny_folders import hunyuan_folder, voice
from tests.tiny_model import tiny_speech_encoder

http = importlib.import_module(errors.HTTPError.__module__.split(".")[0])  # httpx by any name
WAN_13B = dict(num_attention_heads=12, num_layers=30, ffn_dim=8960)
WAN_14B = dict(num_attention_heads=40, num_layers=40, ffn_dim=13824)
HUMO = dict(speech_kind="humo", speech_layers=5, speech_width=1280, speech_token_width=1536)
NETWORKS = {
    ("Wan2.1-T2V-1.3B", "transformer"): lambda: WanTransformer3DModel(**WAN_13B),
    ("Wan2.1-T2V-14B", "transformer"): lambda: WanTransformer3DModel(**WAN_14B),
    ("Wan2.2-T2V-A14B", "transformer_2"): lambda: WanTransformer3DModel(**WAN_14B),
    ("Wan2.2-TI2V-5B", "transformer"): lambda: WanTransformer3DModel(
        num_attention_heads=24, num_layers=30, ffn_dim=14336, in_channels=48, out_channels=48
    ),
    ("HuMo-1.7B", "transformer"): lambda: WanMoChaTransformer3DModel(**WAN_13B, **HUMO),
    ("HuMo-17B", "transformer"): lambda: WanMoChaTransformer3DModel(
        **WAN_14B, **HUMO, in_channels=36
    ),
    ("MoCha-Demo", "transformer"): HunyuanMoChaTransformer3DModel,
    ("MoCha-Demo", "vae"): AutoencoderKLHunyuanVideo,
    ("HuMo-17B", "vae"): AutoencoderKLWan,
    ("Wan2.2-TI2V-5B", "vae"): lambda: AutoencoderKLWan(
        base_dim=160, decoder_base_dim=256, z_dim=48, is_residual=True, in_channels=12,
        out_channels=12, patch_size=2, scale_factor_spatial=16,
    ),  # fmt: skip
    ("HuMo-1.7B", "text_encoder"): lambda: UMT5EncoderModel(
        UMT5Config(
            vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    ),  # fmt: skip
    ("MoCha-Demo", "text_encoder"): lambda: LlamaModel(
        LlamaConfig(
            vocab_size=128320, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=8,
        )
    ),  # fmt: skip
    ("MoCha-Demo", "text_encoder_2"): lambda: CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
            num_attention_heads=12,
        )
    ),  # fmt: skip
}  # fmt: skip


@pytest.mark.parametrize(("model", "part"), NETWORKS)
def test_sizes_are_those_of_full_networks(model, part):
    with torch.device("meta"):
        network = NETWORKS[model, part]()
    sizes = {name: tensor.numel() for name, tensor in network.named_parameters()}
    (known,) = [m for m in PUBLIC_MODELS if m.name.split("/")[1].startswith(model)]
    (stated,) = [p for p in known.parts if p.name == part]
    assert (stated.parameters, stated.largest_block) == (sum(sizes.values()), largest_block(sizes))


def answer(status: int) -> http.Response:
    return http.Response(status, request=http.Request("GET", "https://huggingface.co"))


@pytest.fixture
def repositories(monkeypatch, tmp_path):
    """A hub of folders: name -> folder, and what was asked for."""
    known, asked = {}, []

    def model_info(self, name, files_metadata):
        if name not in known:
            raise errors.RepositoryNotFoundError("404", response=answer(404))
        files = [f for f in known[name].rglob("*") if f.is_file()]
        return SimpleNamespace(
            siblings=[
                SimpleNamespace(rfilename=str(f.relative_to(known[name])), size=f.stat().st_size)
                for f in files
            ]
        )

    def snapshot_download(name, allow_patterns, local_files_only=False):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        asked.append((name, tuple(allow_patterns)))
        return str(known[name])

    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setenv("OPENMOCHA_CACHE", str(tmp_path / "cache"))
    return known, asked


def test_mocha_demo_is_made_from_three_repositories_once(repositories, tmp_path):
    known, asked = repositories
    known["hunyuanvideo-community/HunyuanVideo"] = hunyuan_folder(tmp_path / "base")
    known["facebook/wav2vec2-base-960h"] = tmp_path / "wav2vec2"
    known["CongWei1230/MoCha-Demo"] = tmp_path / "demo"
    tiny_speech_encoder().save_pretrained(tmp_path / "wav2vec2")
    (tmp_path / "demo").mkdir()
    # A checkpoint with every tensor: that of a silent model, saved as the demo's is.
    from openmocha.backbones.assemble import Pieces, init
    from openmocha.models.weights import read_weights

    init(Pieces(tmp_path / "base", tmp_path / "wav2vec2"), tmp_path / "silent")
    torch.save(read_weights(tmp_path / "silent" / "transformer"), tmp_path / "demo" / "model.ckpt")
    said = []
    pipeline = MoChaPipeline.from_pretrained(
        "CongWei1230/MoCha-Demo", dtype=torch.float32, say=said.append
    )
    film = pipeline("a cat", voice(0.2), height=64, width=64, num_inference_steps=1)
    assert len(film.frames) == 5 and film.settings["model"] == "CongWei1230/MoCha-Demo"
    assert len(asked) == 3 and ("CongWei1230/MoCha-Demo", ("model.ckpt",)) in asked
    assert any("of CongWei1230/MoCha-Demo" in text for text in said)
    model_folder("CongWei1230/MoCha-Demo")
    assert len(asked) == 3  # the second time it is there


def test_an_unknown_repository_is_tried_as_a_diffusers_folder(repositories, tmp_path):
    known, asked = repositories
    known["someone/a-model"] = hunyuan_folder(tmp_path / "base")
    assert model_folder("someone/a-model") == tmp_path / "base"
    (name, patterns), *_ = asked
    assert name == "someone/a-model" and not any("ckpt" in p or "bin" in p for p in patterns)
    known["someone/pictures"] = tmp_path / "pictures"
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="someone/pictures holds none of"):
        model_folder("someone/pictures")


def test_absent_and_gated_repositories(repositories, monkeypatch):
    with pytest.raises(ValueError, match="repository no/body does not exist, or is private"):
        fetch(Source("no/body"))

    def gated(self, name, files_metadata):
        raise errors.GatedRepoError("403", response=answer(403))

    monkeypatch.setattr(hub.HfApi, "model_info", gated)
    with pytest.raises(ValueError, match="accept its licence at https://huggingface.co/no/body"):
        fetch(Source("no/body"))


@pytest.mark.parametrize(
    "reason", [http.ConnectError("no route"), errors.OfflineModeIsEnabled("offline")]
)
def test_no_network_and_nothing_in_the_cache(repositories, monkeypatch, reason):
    def unreachable(self, name, files_metadata):
        raise reason

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(ValueError, match="no/body cannot be reached .* not in the cache; check"):
        fetch(Source("no/body"))


def test_without_network_the_cache_is_used(repositories, monkeypatch, tmp_path):
    def unreachable(self, name, files_metadata):
        raise http.ConnectError("no route")

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(hub, "snapshot_download", lambda name, local_files_only, **_: str(tmp_path))
    assert fetch(Source("some/body", ("a/b",), "a/b")) == tmp_path / "a" / "b"


def test_too_little_disk_is_said_before_the_download(repositories, monkeypatch, tmp_path):
    known, asked = repositories
    known["big/model"] = hunyuan_folder(tmp_path / "base")
    monkeypatch.setattr(ours.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match=r"big/model needs .* GiB of disk, .* 0.0 GiB free"):
        fetch(Source("big/model"))
    assert not asked


def test_every_model_says_what_it_takes():
    rows = {row["name"]: row for row in model_rows()}
    assert len(rows) == 8 and all(row["licence"] and row["accepts"] for row in rows.values())
    assert "excludes the EU" in rows["CongWei1230/MoCha-Demo"]["licence"]
    for name, row in rows.items():
        if name != "toon":
            needed = row["memory_gib"]
            assert needed["low"] < needed["balanced"] < needed["fast"]
    assert public_model("bytedance-research/HuMo").name == "bytedance-research/HuMo-1.7B"
