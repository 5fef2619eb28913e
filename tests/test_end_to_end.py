"""The whole chain on tiny models: films -> shards -> training -> model folder -> film -> judge."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install openmocha[voices]")
try:
    import skia  # noqa: F401
except ImportError as error:
    pytest.skip(f"drawing needs skia, libegl1 and libgl1: {error}", allow_module_level=True)

from tiny_model import tiny_speech_encoder, tiny_transformer, tiny_vae

from openmocha.media import read_film
from openmocha.models.config import toon
from openmocha.models.video_vae import VideoVAE, VideoVAEConfig
from openmocha.pipeline import MoChaPipeline
from openmocha.toon.films import make_film
from openmocha.toon.judge import Judge
from openmocha.training import recipes, toon_clips
from openmocha.training.drawn_lips import DrawnLipsTraining
from openmocha.training.latent_reader import LatentReader
from openmocha.training.samples import Records
from openmocha.training.toon_clips import (
    ShardPlan,
    crop_starts,
    far_apart,
    mouth_cells,
    toon_clip,
    toon_plan,
)


def test_crops_are_those_of_the_whole_film():
    plan = ShardPlan("s", "close-up", 3, 1, latent_frames=2, num_crops=2, width=64, height=64)
    clip, film = toon_clip(3, plan), make_film(3, "close-up", width=64, height=64)
    assert clip.caption == film.caption and clip.num_frames == len(film.frames)
    assert film.speech is not None and clip.speech is not None
    assert np.array_equal(clip.speech, film.speech)
    for k, start in enumerate(clip.starts):
        frames = slice(4 * start, 4 * start + 8)
        assert np.array_equal(clip.crops[k], film.frames[frames])
        boxes = film.truth.mouth_boxes[frames]
        assert np.array_equal(clip.mouth_cells[k], mouth_cells(boxes, 64, 64, 16))
    assert toon_clip(3, replace(plan, source="text")).speech is None
    dialogue = make_film(3, "dialogue", frames=range(1))
    assert toon_clip(3, replace(plan, source="dialogue")).cut_frame == dialogue.truth.cut_frame
    assert clip.cut_frame is None


def test_mouth_cells_against_a_loop():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-10, 74, (8, 2, 2, 2)), axis=-1)
    x, y = corners[..., 0, :], corners[..., 1, :]
    boxes = np.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1)
    boxes[2, 1] = np.nan
    cells = mouth_cells(boxes, 64, 64, 8)
    for latent in range(2):
        for row in range(8):
            for column in range(8):
                touched = any(
                    x0 < 8 * column + 8 and x1 > 8 * column and y0 < 8 * row + 8 and y1 > 8 * row
                    for x0, y0, x1, y1 in boxes[4 * latent : 4 * latent + 4].reshape(-1, 4)
                )
                assert cells[latent, row, column] == touched


def test_single_moments_find_the_rare_mouth():
    mouth = np.zeros((128, 4), np.float32)
    mouth[40:44, 0] = 1.0  # latent frame 10 alone is open
    for seed in range(5):
        starts = crop_starts(mouth, 1, 8, np.random.default_rng(seed))
        assert 10 in starts and len(set(starts)) == 8 and starts == sorted(starts)
    points = np.arange(10.0)[:, None]
    assert {0, 9} & set(far_apart(points, 2, np.random.default_rng(0)))


def test_long_crops_are_spread_over_the_film():
    mouth = np.zeros((128, 4), np.float32)
    for seed in range(20):
        first, second = crop_starts(mouth, 8, 2, np.random.default_rng(seed))
        assert 0 <= first <= 12 <= second <= 24
    assert crop_starts(mouth, 32, 1, np.random.default_rng(0)) == [0]


def test_the_recipes_networks_fit_each_other():
    assert toon().latent_channels == VideoVAEConfig().latent_channels
    assert {p.pixels_per_cell for p in toon_plan()} == {VideoVAEConfig().pixels_per_latent}


def test_plan_covers_every_source_and_draws_no_film_twice():
    plan = toon_plan()
    seeds = [(p.source, p.first_seed + i) for p in plan for i in range(p.num_films)]
    assert len(seeds) == len(set(seeds)) and len({p.name for p in plan}) == len(plan)
    for source, counts in toon_clips.TOON_FILMS.items():
        films = [sum(p.num_films for p in plan if (p.source, p.latent_frames, p.width)
                     == (source, length, 128)) for length in (32, 1)]  # fmt: skip
        assert films == list(counts[:2])


@pytest.mark.end_to_end
def test_from_nothing_to_a_judged_film(tmp_path: Path):
    torch.manual_seed(0)
    tiny_vae().save_pretrained(tmp_path / "video_vae" / "final")
    tiny_speech_encoder().save_pretrained(tmp_path / "speech_encoder" / "final")

    recipes.write_toon_shards(tmp_path, scale=1e-9, workers=1)
    records = Records(tmp_path / "shards")
    assert set(records.rows["source"]) == set(toon_clips.TOON_FILMS)
    recipes.write_toon_shards(tmp_path, scale=1e-9, workers=1)  # nothing is left to write
    assert Records(tmp_path / "shards").shards == records.shards

    reader = LatentReader(tiny_vae().config.latent_channels)
    (tmp_path / "latent_reader").mkdir()
    save_file(reader.state_dict(), tmp_path / "latent_reader" / "model.safetensors")
    config = tiny_transformer().config
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ema = recipes.train_toon_transformer(
        tmp_path, float("inf"), steps=5, learning_rate=1e-2, config=config, fuse=False
    )
    torch.set_num_threads(threads)
    log = (tmp_path / "transformer" / "log.jsonl").read_text()
    assert log == ""  # six steps, and a row every twenty
    recipes.preview_films(tmp_path, ema, tmp_path / "preview")
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert len(read_film(tmp_path / "preview-medium-close-up.mp4").frames) == 16

    settings = DrawnLipsTraining(reader_steps=5)
    recipes.train_decoder(tmp_path, minutes=0.01, held_out=1, settings=settings)
    before, after = (
        VideoVAE.from_pretrained(tmp_path / step / "final").state_dict()
        for step in ("video_vae", "decoder")
    )
    assert {n.split(".")[0] for n in after if not after[n].equal(before[n])} == {"decoder"}
    recipes.train_guided(tmp_path, minutes=0.01, held_out=1)
    recipes.export_toon(tmp_path, tmp_path / "model")
    drawn = VideoVAE.from_pretrained(tmp_path / "model" / "vae").state_dict()
    for name in (n for n in drawn if n.startswith("decoder.")):
        torch.testing.assert_close(drawn[name], after[name], atol=1e-3, rtol=1e-2)
    pipeline = MoChaPipeline.from_pretrained(tmp_path / "model")
    assert pipeline.sampling.default_shot == "medium close-up"
    pipeline.sampling = pipeline.sampling.with_given(default_shot="")  # this caption names no shot
    truth = make_film(1, "close-up", split="test", width=64, height=64)
    assert truth.speech is not None
    film = pipeline(truth.caption, truth.speech[:16000], height=64, width=64, seed=0)
    assert film.settings["quality"] == "fast" and film.settings["num_inference_steps"] == 4
    film.save(tmp_path / "film.mp4")
    judged = Judge().read(read_film(tmp_path / "film.mp4").frames)
    assert judged.mouth.shape[0] == len(film.frames) == 24
    assert np.isfinite(judged.mouth).all()


def test_training_begins_with_the_weights_that_are_given(tmp_path: Path, monkeypatch):
    start = tiny_transformer()
    torch.nn.init.normal_(start.output.weight)
    start.save_pretrained(tmp_path / "start")
    monkeypatch.setattr(recipes, "train", lambda model, *arguments: model)
    model = recipes.train_toon_transformer(tmp_path, 1.0, start=tmp_path / "start")
    assert torch.equal(model.output.weight, start.output.weight)


def interrupted() -> None:
    raise KeyboardInterrupt


def test_finished_steps_are_not_repeated(tmp_path: Path, capsys):
    runs = []
    recipes.run_step(tmp_path, "a", lambda: runs.append("a"))
    with pytest.raises(KeyboardInterrupt):
        recipes.run_step(tmp_path, "b", interrupted)
    recipes.run_step(tmp_path, "a", lambda: runs.append("a"))
    recipes.run_step(tmp_path, "b", lambda: runs.append("b"))
    assert runs == ["a", "b"]
    assert "a: finished before" in capsys.readouterr().err
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["a"]["finished"] and costs["b"]["finished"]


def test_what_an_interrupted_step_cost_is_counted(tmp_path: Path, monkeypatch):
    clock = iter((0.0, 60.0, 1000.0, 1030.0))
    monkeypatch.setattr(recipes.time, "monotonic", lambda: next(clock))
    with pytest.raises(KeyboardInterrupt):
        recipes.run_step(tmp_path, "a", interrupted)
    assert not json.loads((tmp_path / "costs.json").read_text())["a"]["finished"]
    recipes.run_step(tmp_path, "a", lambda: None)
    assert json.loads((tmp_path / "costs.json").read_text())["a"]["minutes"] == 1.5


def test_train_toon_goes_through_all_steps_and_on_from_the_one_that_stopped(tmp_path, monkeypatch):
    calls = []

    def stub(name: str, stops: bool = False):
        def step(*_, **settings):
            calls.append((name, settings.get("batch_scale")))
            if stops and calls.count((name, None)) == 1:
                raise KeyboardInterrupt

        return step

    for name in (
        "train_vae",
        "train_speech",
        "train_toon_judge",
        "train_reader",
        "train_reading",
        "train_decoder",
        "train_guided",
        "export_toon",
    ):
        monkeypatch.setattr(recipes, name, stub(name))
    monkeypatch.setattr(recipes, "write_toon_shards", stub("write_toon_shards", stops=True))
    monkeypatch.setattr(recipes, "train_toon_transformer", stub("train_toon_transformer"))
    with pytest.raises(KeyboardInterrupt):
        recipes.train_toon(tmp_path, batch_scale=16)
    assert recipes.train_toon(tmp_path, batch_scale=16) == tmp_path / "model"
    assert calls == [
        ("train_vae", None),
        ("train_speech", None),
        ("train_toon_judge", None),
        ("train_reader", None),
        ("write_toon_shards", None),
        ("write_toon_shards", None),
        ("train_reading", None),
        ("train_toon_transformer", 16),
        ("train_decoder", None),
        ("train_guided", None),
        ("export_toon", None),
    ]
    assert recipes.train_toon(tmp_path) == tmp_path / "model" and len(calls) == 11
