import copy
import json
import multiprocessing
import os
import random
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_shards import tiny_transformer, write_fake_shards
from safetensors.torch import load_file

from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.training import checkpoint
from openmocha.training.objective import Objective
from openmocha.training.optimizers import make_optimizer
from openmocha.training.stages import Crop, Stage
from openmocha.training.train import TrainConfig, export_model, train

SINGLES, MOTION = Crop(1, 10, 0.5, 32, 32), Crop(4, 4, 0.5, 32, 32)
STAGES = (
    Stage("text", 4, {"text": 100}, (SINGLES,), learning_rate=1e-2, warmup_steps=3),
    Stage("close-ups", 4, {"close-up": 80, "text": 20}, (SINGLES, MOTION), 1e-2, 0, 1e-3),
)
CONFIG = TrainConfig(log_every=1, checkpoint_every_s=0.0, preview_every_s=0.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_fake_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def straight(shards, tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    train(tiny_transformer(), shards, folder, STAGES, CONFIG)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.checkpoints(folder / "checkpoints")[-1]
    return {k: v for file in newest.glob("*.safetensors") for k, v in load_file(file).items()}


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_run(folder: Path, straight: Path) -> None:
    expected, found = weights(straight), weights(folder)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    losses = {row["step"]: row["loss"] for row in rows(straight)}
    assert all(losses[row["step"]] == row["loss"] for row in rows(folder))
    assert [row["step"] for row in rows(folder)] == list(range(1, 9))


def interrupt_at(step: int):
    def preview(ema, path: Path) -> None:
        if path.name == f"step-{step:08d}":
            raise KeyboardInterrupt

    return preview


@pytest.mark.parametrize("step", [3, 4, 6])
def test_resume_is_bit_identical(shards, straight, tmp_path, step):
    # Inside the first stage, at its end, inside the second; the model starts from other weights.
    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG, interrupt_at(step))
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, step + 1))
    train(tiny_transformer(seed=99), shards, tmp_path, STAGES, CONFIG)
    assert_same_run(tmp_path, straight)


def test_muon_resumes_bit_identical(shards, tmp_path):
    muon = replace(CONFIG, optimizer="muon")
    train(tiny_transformer(), shards, tmp_path / "straight", STAGES, muon)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path / "again", STAGES, muon, interrupt_at(6))
    train(tiny_transformer(seed=99), shards, tmp_path / "again", STAGES, muon)
    assert_same_run(tmp_path / "again", tmp_path / "straight")


def test_only_matrices_of_the_blocks_are_made_orthogonal():
    model = tiny_transformer()
    optimizer = make_optimizer(model, "muon", speech_rate=2.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            orthogonal = "exp_avg_sq" not in optimizer.state[parameter]
            scales[names[id(parameter)]] = (group["scale"], orthogonal)
    assert scales["blocks.0.ffn.output.weight"] == (1.0, True)
    assert scales["blocks.0.speech_attention.query.weight"] == (2.0, True)
    assert scales["blocks.0.modulation"] == scales["output.weight"] == (1 / 3, False)
    assert scales["speech_projector.hidden.weight"] == (2 / 3, False)
    assert len(scales) == len(names)


def train_in_child(shards: Path, folder: Path, ready) -> None:
    torch.set_num_threads(1)
    ready.set()
    train(tiny_transformer(), shards, folder, STAGES, CONFIG)


def test_kill_loses_nothing(shards, straight, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["openmocha.training.train", "grain", "pyarrow.parquet"])
    rng = random.Random(0)
    reached = 0
    for _ in range(4):
        ready = context.Event()
        child = context.Process(target=train_in_child, args=(shards, tmp_path, ready))
        child.start()
        assert ready.wait(60)
        before = checkpoint.checkpoints(tmp_path / "checkpoints")
        while child.is_alive() and checkpoint.checkpoints(tmp_path / "checkpoints") == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.15))
        child.kill()
        child.join()
        found = checkpoint.checkpoints(tmp_path / "checkpoints")
        for path in found:
            checkpoint.verify(path)
        step = checkpoint.load_state(found[-1])["step"]
        assert step >= reached
        reached = step
    train(tiny_transformer(seed=5), shards, tmp_path, STAGES, CONFIG)
    assert_same_run(tmp_path, straight)


def test_two_trainers_cannot_share_a_folder(shards, tmp_path):
    def second(ema, path: Path) -> None:
        with pytest.raises(ValueError, match=f"owned by another trainer .process {os.getpid()}"):
            train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG, second)


def test_non_finite_loss_stops_before_the_step(shards, tmp_path):
    model = tiny_transformer()

    def spoil(ema, path: Path) -> None:
        if path.name == "step-00000002":
            with torch.no_grad():
                model.patch_input.bias[0] = float("nan")

    with pytest.raises(FloatingPointError, match="at step 2"):
        train(model, shards, tmp_path, STAGES, CONFIG, spoil)
    finite = [p.isfinite().all() for n, p in model.named_parameters() if n != "patch_input.bias"]
    assert all(finite)
    assert all(t.isfinite().all() for t in weights(tmp_path).values())


def test_damaged_checkpoint_is_not_trained_on(shards, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG, interrupt_at(2))
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    (file,) = newest.glob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="altered"):
        train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG)


def test_another_seed_is_not_mixed_in(shards, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG, interrupt_at(1))
    with pytest.raises(ValueError, match="seed 0, not 1"):
        train(tiny_transformer(), shards, tmp_path, STAGES, TrainConfig(seed=1))


@pytest.mark.parametrize(("first", "second"), [("adamw", "muon"), ("muon", "adamw")])
def test_moments_of_one_optimizer_are_not_given_to_another(shards, tmp_path, first, second):
    train(tiny_transformer(), shards, tmp_path, STAGES, replace(CONFIG, optimizer=first))
    with pytest.raises(ValueError, match=f"trained by {first}, not {second}"):
        train(tiny_transformer(), shards, tmp_path, STAGES, replace(CONFIG, optimizer=second))
    with pytest.raises(ValueError, match="choose adamw or muon"):
        make_optimizer(tiny_transformer(), "sgd")


def test_other_stages_do_not_go_on_from_these(shards, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path, STAGES, CONFIG, interrupt_at(1))
    with pytest.raises(ValueError, match="in the stages text, not close-ups"):
        train(tiny_transformer(), shards, tmp_path, STAGES[1:], CONFIG)


def test_stage_ends_when_its_time_is_spent(shards, tmp_path):
    short = Stage("short", 1000, {"text": 1}, (SINGLES,), 1e-3, time_budget_s=1e-3)
    train(tiny_transformer(), shards, tmp_path, (short, short), TrainConfig(log_every=1))
    assert [(row["step"], row["stage_step"]) for row in rows(tmp_path)] == [(1, 1), (2, 1)]


def test_stop_file_ends_training_with_a_checkpoint(shards, tmp_path):
    def ask(ema, path: Path) -> None:
        if path.name == "step-00000002":
            (tmp_path / "stop").touch()

    config = TrainConfig(log_every=1, preview_every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_transformer(), shards, tmp_path, STAGES, config, ask)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    assert checkpoint.load_state(newest)["step"] == 2
    train(tiny_transformer(), shards, tmp_path, STAGES, config)  # obeyed once, not for ever
    assert checkpoint.load_state(checkpoint.checkpoints(tmp_path / "checkpoints")[-1])["step"] == 8


def test_training_learns_the_films(shards, tmp_path):
    # One film's latents, always the same: the loss must fall far below that of any constant.
    stage = Stage("s", 120, {"close-up": 1}, (Crop(1, 16, 1, 32, 32),), 5e-3)
    objective = Objective(sigma_mean=1.0)
    train(
        tiny_transformer(),
        shards,
        tmp_path,
        (stage,),
        TrainConfig(log_every=1, objective=objective),
    )
    losses = [row["loss"] for row in rows(tmp_path)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_the_speech_path_learns_at_its_own_rate(shards, tmp_path):
    stage = replace(STAGES[1], steps=1)
    untrained = tiny_transformer()
    for parameter in untrained.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # where layers start at zero, nothing flows
    before, moved = untrained.state_dict(), {}
    for rate in (1.0, 3.0):
        model = copy.deepcopy(untrained)
        config = replace(CONFIG, speech_rate=rate, weight_decay=0.0)
        train(model, shards, tmp_path / str(rate), (stage,), config)
        moved[rate] = {name: now - before[name] for name, now in model.state_dict().items()}
    for name, once in moved[1.0].items():
        scale = 3.0 if "speech" in name else 1.0
        assert torch.allclose(moved[3.0][name], scale * once, atol=1e-6), name
    assert any(moved[1.0][name].any() for name in before if "speech" in name)


def test_export_is_the_moving_average(straight, tmp_path):
    newest = checkpoint.checkpoints(straight / "checkpoints")[-1]
    export_model(newest, tmp_path / "transformer", torch.float32)
    model = MoChaTransformer3DModel.from_pretrained(tmp_path / "transformer")
    saved = weights(straight)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[f"ema.{name}"])
    assert not torch.equal(saved["ema.output.weight"], saved["model.output.weight"])


def test_losses_are_those_of_tensorboard(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight / "tensorboard"))
    events.Reload()
    board = {event.step: event.value for event in events.Scalars("loss")}
    assert board == pytest.approx({row["step"]: row["loss"] for row in rows(straight)})


def train_as_rank(rank: int, port: int, shards: Path, folder: Path, shard_from: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    config = TrainConfig(log_every=1, autocast=False, shard_from=shard_from)
    train(tiny_transformer(), shards, folder, STAGES[:1], config)


@pytest.mark.parametrize("shard_from", [0, 10**9])
def test_two_ranks_train_what_one_trains_and_one_goes_on_from_two(shards, tmp_path, shard_from):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    children = [
        context.Process(
            target=train_as_rank, args=(rank, port, shards, tmp_path / "two", shard_from)
        )
        for rank in (0, 1)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(90)
    for child in children:
        child.kill()
        assert child.exitcode == 0
    config = TrainConfig(log_every=1, autocast=False)
    train(tiny_transformer(), shards, tmp_path / "one", STAGES[:1], config)
    for two, one in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    # Saved by two ranks in two files, loaded by one.
    (newest,) = checkpoint.checkpoints(tmp_path / "two" / "checkpoints")
    assert len(list(newest.glob("*.safetensors"))) == 2
    train(tiny_transformer(seed=3), shards, tmp_path / "two", STAGES, config)
    assert [row["step"] for row in rows(tmp_path / "two")] == list(range(1, 9))
