import json
import random
import shutil

import pytest
import torch
from fake_shards import tiny_transformer

from openmocha.training import checkpoint
from openmocha.training.parallel import Ranks


def prepared(seed: int):
    model, ema = tiny_transformer(seed), tiny_transformer(seed + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    checkpoint.prepare_adamw(model, optimizer)
    return model, checkpoint.training_tensors(model, ema, optimizer), optimizer


def saved(folder, step: int, seed: int = 0, **options):
    _, tensors, _ = prepared(seed)
    return checkpoint.save(folder, tensors, {"step": step}, Ranks(), **options), tensors


def test_everything_comes_back_to_the_bit(tmp_path):
    model, tensors, optimizer = prepared(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    path = checkpoint.save(tmp_path, tensors, {"step": 1, "note": [1, "a"]}, Ranks())
    _, other, _ = prepared(7)
    assert any(not torch.equal(tensors[name], other[name]) for name in tensors)
    checkpoint.verify(path)
    checkpoint.load_tensors(path, other, Ranks())
    assert tensors.keys() == other.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other[name]), name
    assert other["step.patch_input.weight"] == 1
    assert checkpoint.load_state(path) == {"step": 1, "note": [1, "a"]}


def test_no_file_is_a_pickle(tmp_path):
    path, _ = saved(tmp_path, 1)
    assert {p.suffix for p in path.rglob("*") if p.is_file()} == {".safetensors", ".json"}
    assert not list(path.rglob(".metadata"))


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 20):
        saved(tmp_path, step, keep=2)
    names = [p.name for p in checkpoint.checkpoints(tmp_path)]
    assert names == ["step-00000003", "step-00000020"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_one_flipped_bit_is_noticed(tmp_path):
    path, _ = saved(tmp_path, 1)
    (weights,) = path.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    place = random.Random(0).randrange(len(content))
    content[place] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=f"{weights.name} is altered"):
        checkpoint.verify(path)


def test_missing_and_truncated_files_are_noticed(tmp_path):
    path, _ = saved(tmp_path, 1)
    (path / "state.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(ValueError, match="state.json is altered"):
        checkpoint.verify(path)
    (path / "state.json").unlink()
    with pytest.raises(ValueError, match="state.json is missing"):
        checkpoint.verify(path)


def test_half_written_and_half_deleted_folders_are_no_checkpoints(tmp_path):
    first, _ = saved(tmp_path, 1)
    second, _ = saved(tmp_path, 2)
    shutil.copytree(second, tmp_path / ".step-00000003.tmp")
    (second / "manifest.json").unlink()
    assert checkpoint.checkpoints(tmp_path) == [first]
    third, _ = saved(tmp_path, 3)
    assert checkpoint.checkpoints(tmp_path) == [first, third]
    assert not (tmp_path / ".step-00000003.tmp").exists()


def test_interrupted_deletion_is_no_checkpoint_and_can_be_saved_again(tmp_path, monkeypatch):
    def die_halfway(path):
        next(path.glob("*.json")).unlink()
        raise KeyboardInterrupt

    first, _ = saved(tmp_path, 1)
    saved(tmp_path, 2)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", die_halfway)
        saved(tmp_path, 3)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    again, _ = saved(tmp_path, 1, keep=3)
    assert again == first
    checkpoint.verify(again)
    assert not list(tmp_path.glob(".step-*"))


def test_checkpoint_of_another_network_is_refused(tmp_path):
    path, tensors = saved(tmp_path, 1)
    wrong = {name: tensor for name, tensor in tensors.items() if "exp_avg" not in name}
    wrong["model.extra"] = torch.zeros(3)
    with pytest.raises(ValueError, match="does not fit this model"):
        checkpoint.load_tensors(path, wrong, Ranks())
