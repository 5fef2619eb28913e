"""Plans that fit the memory there is, and networks that still give the same answers under them."""

import pytest
import torch
from einops import rearrange

from openmocha import memory
from openmocha.backbones import folder as folders
from openmocha.backbones.assemble import Pieces, init
from openmocha.backbones.backbone import Conditions
from openmocha.backbones.hunyuan import SAMPLING
from openmocha.memory import (
    GIB,
    MEMORY,
    PLANS,
    SHARE,
    MemoryPlan,
    apply_plan,
    choose_plan,
    peak_bytes,
)
from openmocha.models.hub import PUBLIC_MODELS, public_model
from openmocha.pipeline import MoChaPipeline
from tests.tiny_folders import hunyuan_folder, voice, wan_folder
from tests.tiny_model import tiny_speech_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    tiny_speech_encoder().save_pretrained(folder / "wav2vec2")
    base = hunyuan_folder(folder / "base")
    init(Pieces(base, folder / "wav2vec2"), folder / "demo", dtype=torch.float32)
    return folder / "demo"


def backbone(folder):
    torch.manual_seed(0)
    found = folders.load_large(folder, folders.HUNYUAN, torch.float32)
    for block in found.transformer.modules():
        if type(block).__name__ == "SpeechCrossAttention":
            torch.nn.init.normal_(block.norm.linear.weight, std=0.2)
    return found


@torch.inference_mode()
def answer(found, sigma=0.7):
    words, none = found.encode_text("a cat"), found.encode_text("")
    speech = found.encode_speech(voice(0.4), 9)
    latents = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    found.before_denoising()
    return found.velocity(latents, sigma, Conditions(words, none, speech), SAMPLING)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_weights_are_counted_in_bytes():
    model = public_model("CongWei1230/MoCha-Demo")
    parts = {part.name: part.parameters for part in model.parts}
    whole = 2 * sum(parts.values())
    count = lambda plan: memory.weights_bytes(plan, model.parts, torch.bfloat16)  # noqa: E731
    assert count(MemoryPlan()) == whole
    assert count(MemoryPlan(quantisation="fp8")) == whole - parts["transformer"]
    assert count(MemoryPlan("model")) == 2 * parts["transformer"]
    assert count(MemoryPlan("group")) == 4 * 525_598_720  # Llama's words, and the next


@pytest.mark.parametrize("model", PUBLIC_MODELS, ids=lambda model: model.name)
def test_a_chosen_plan_fits_and_lower_settings_need_less(model):
    for setting in MEMORY:
        for gib in (8, 24, 48, 80, 141):
            try:
                plan = choose_plan(setting, model.parts, model.film, gib * GIB)
            except ValueError as error:
                assert f"{gib} GiB are free" in str(error)
                continue
            assert peak_bytes(plan, model.parts, model.film) <= SHARE * gib * GIB
    least = [min(peak_bytes(p, model.parts, model.film) for p in PLANS[s]) for s in MEMORY]
    assert least == sorted(least)


def test_what_fits_where():
    demo = public_model("CongWei1230/MoCha-Demo")
    chosen = {
        (setting, gib): choose_plan(setting, demo.parts, demo.film, gib * GIB).offload
        for setting, gib in (("fast", 80), ("balanced", 80), ("balanced", 48), ("low", 24))
    }
    assert chosen == {
        ("fast", 80): "none",
        ("balanced", 80): "none",
        ("balanced", 48): "model",
        ("low", 24): "group",
    }
    with pytest.raises(ValueError, match=r"129 frames of 832x480 .* 24 GiB are free; try --memory"):
        choose_plan("fast", demo.parts, demo.film, 24 * GIB)
    with pytest.raises(ValueError, match="a smaller --size"):
        choose_plan("low", demo.parts, demo.film, 2 * GIB)


def test_plans_that_cannot_work_are_refused():
    for wrong in (
        dict(compile=True, first_block_cache=0.1),
        dict(compile=True, offload="group"),
        dict(quantisation="int8", offload="model"),
        dict(offload="disk"),
    ):
        with pytest.raises(ValueError, match="choose|needs offload_folder"):
            MemoryPlan(**wrong)


def test_a_folders_networks_are_counted_from_their_headers(demo):
    found = folders.load_large(demo, folders.HUNYUAN, torch.float32)
    parts = {part.name: part.parameters for part in memory.folder_parts(demo)}
    networks = found.networks()
    assert parts == {n: sum(p.numel() for p in m.parameters()) for n, m in networks.items()}
    film = memory.folder_film(demo, folders.large_sampling(demo, folders.HUNYUAN))
    latents = torch.zeros(1, 16, *found.latent_shape(129, 480, 832)[1:])
    tokens = rearrange(latents, "1 C F (h p) (w q) -> (F h w) (C p q)", p=2, q=2)
    assert film.tokens == len(tokens) and film.model_width == 32


def test_a_model_larger_than_this_machine_is_refused_before_it_is_loaded(demo, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"of weights, this machine has 0.0 GiB of memory free"):
        MoChaPipeline.from_pretrained(demo)


def test_one_block_at_a_time_gives_the_same_answer(demo, tmp_path):
    expected = answer(backbone(demo))
    for plan in (MemoryPlan("group"), MemoryPlan("disk", offload_folder=str(tmp_path))):
        found = backbone(demo)
        apply_plan(plan, found, CPU)
        assert found.placed_by_plan and relative(answer(found), expected) < 1e-5
        with torch.inference_mode():
            assert found.decode(torch.zeros(1, 16, 2, 8, 8)).shape == (1, 5, 3, 64, 64)


def test_weights_in_eight_bits_give_nearly_the_same_answer(demo):
    expected = answer(backbone(demo))
    found = backbone(demo)
    apply_plan(MemoryPlan(quantisation="fp8"), found, CPU)
    stored = found.transformer.transformer_blocks[0].attn.to_q.weight.dtype
    assert stored == torch.float8_e4m3fn
    assert 1e-4 < relative(answer(found), expected) < 0.1


def test_int8_weights_give_nearly_the_same_answer(demo):
    pytest.importorskip("torchao", reason="needs pip install 'openmocha[gpu]'")
    expected = answer(backbone(demo))
    found = backbone(demo)
    apply_plan(MemoryPlan(quantisation="int8"), found, CPU)
    assert 1e-5 < relative(answer(found), expected) < 0.02


def test_first_block_cache_skips_the_other_blocks_of_each_pass(demo):
    found = backbone(demo)
    apply_plan(MemoryPlan(first_block_cache=1e9), found, CPU)
    calls = []
    last = found.transformer.single_transformer_blocks[-1]
    last.attn.register_forward_hook(lambda *_: calls.append(1))
    answer(found)
    assert len(calls) == 3  # a film's first step computes all blocks of its three passes
    latents = torch.zeros(1, 16, 3, 8, 8)
    words, none = found.encode_text("a cat"), found.encode_text("")
    speech = found.encode_speech(voice(0.4), 9)
    with torch.inference_mode():
        found.velocity(latents, 0.6, Conditions(words, none, speech), SAMPLING)
    assert len(calls) == 3
    answer(found)  # another film knows nothing of it
    assert len(calls) == 6


def test_blocks_are_compiled_and_kernels_chosen(demo, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self)))
    found = backbone(demo)
    apply_plan(MemoryPlan(compile=True, attention="native"), found, CPU)
    assert [kind.__name__ for kind in compiled] == ["SpeechDualBlock"] * 2 + [
        "SpeechSingleBlock"
    ] * 2
    heard = found.transformer.transformer_blocks[0].audio_cross_attn.attn.processor
    assert heard._attention_backend == "native"


def test_a_film_that_cannot_be_decoded_at_once_is_decoded_in_tiles(demo):
    pipeline = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)
    decode, sizes = pipeline.backbone.decode, []

    def short_of_memory(latents):
        sizes.append(pipeline.backbone.vae.use_tiling)
        if not pipeline.backbone.vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents)

    pipeline.backbone.decode = short_of_memory
    film = pipeline("a cat", voice(0.2), height=64, width=64, num_inference_steps=1)
    assert len(film.frames) == 5 and sizes == [False, True]


def test_out_of_memory_becomes_advice(demo):
    pipeline = MoChaPipeline.from_pretrained(demo, dtype=torch.float32)

    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    pipeline.backbone.velocity = no_memory
    with pytest.raises(
        ValueError,
        match="at 64x64 and 2 latent frames; try a lower --memory setting, a smaller --size",
    ):
        pipeline("a cat", voice(0.2), height=64, width=64)


def test_lora(tmp_path):
    pytest.importorskip("peft", reason="needs pip install 'openmocha[gpu]'")
    from safetensors.torch import save_file

    base = wan_folder(tmp_path / "wan")
    size = dict(height=64, width=64, num_frames=5, num_inference_steps=1, seed=1)
    plain = MoChaPipeline.from_pretrained(base, dtype=torch.float32)("a cat", **size).frames
    name, generator = "transformer.blocks.0.attn1.to_q", torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 24, generator=generator), torch.randn(24, 4, generator=generator)
    lora = tmp_path / "a.safetensors"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, lora)
    changed = MoChaPipeline.from_pretrained(base, dtype=torch.float32, lora=lora)
    linear = changed.backbone.transformer.blocks[0].attn1.to_q
    x = torch.randn(2, 24, generator=generator)
    assert torch.allclose(linear(x), linear.base_layer(x) + x @ down.T @ up.T, atol=1e-4)
    assert changed("a cat", **size).frames.shape == plain.shape
    with pytest.raises(FileNotFoundError, match="does not exist"):
        MoChaPipeline.from_pretrained(base, lora=tmp_path / "b.safetensors")
    save_file({"something": down}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="c.safetensors"):
        MoChaPipeline.from_pretrained(base, lora=tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="takes no LoRA"):
        MoChaPipeline.from_pretrained("toon", lora=lora)


def test_a_cpu_needs_no_plan_and_says_so(demo):
    said = []
    MoChaPipeline.from_pretrained(demo, memory="low", say=said.append)
    assert said == ["--memory low is for a GPU; on a cpu everything is in its own memory"]


def test_settings_have_names():
    assert memory.checked_memory("low") == "low" and memory.checked_memory(None) is None
    with pytest.raises(ValueError, match="expected low, balanced, fast"):
        memory.checked_memory("tiny")
