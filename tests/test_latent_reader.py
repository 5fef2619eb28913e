"""What is to be read from latent frames, the reader that learns it, and what that teaches."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install openmocha[voices]")
try:
    import skia  # noqa: F401
except ImportError as error:
    pytest.skip(f"drawing needs skia, libegl1 and libgl1: {error}", allow_module_level=True)

from tiny_model import tiny_vae

from openmocha.toon.films import film_scenes
from openmocha.toon.labels import NO_ANSWER, PERSON_ATTRIBUTES, POSE, visible_labels
from openmocha.toon.stories import make_story
from openmocha.toon.turns import cut_frame, spoken_turns
from openmocha.training import seen_latents as drawing
from openmocha.training.latent_reader import (
    CLASSES,
    LatentReader,
    Read,
    Reading,
    batches,
    evaluate,
    load_latent_reader,
    misread,
    reading_loss,
    train_latent_reader,
)
from openmocha.training.latent_truth import ANSWERS, CHANNELS, NUM_LIPS, latent_truth
from openmocha.training.samples import Batch, to_be_read

QUESTIONS = list(ANSWERS)


def film_truth(seed: int, source: str):
    story = make_story(seed, source, "train")
    turns = spoken_turns(story, 128, 24.0)
    cut = cut_frame(turns[1].spans[0][0], 24.0) if len(story.clips) == 2 else None
    scenes = film_scenes(story, turns, cut, 128)
    return story, scenes, cut, *latent_truth(story, scenes)


def test_the_truth_of_a_latent_frame_is_that_of_its_four_frames():
    story, scenes, _, answers, poses = film_truth(5, "close-up")
    assert answers.shape == (32, len(ANSWERS)) and poses.shape == (32, len(CHANNELS))
    labels = visible_labels(story, story.clips[0])
    for number, name in enumerate(QUESTIONS):
        wanted = labels[name][0] if name in PERSON_ATTRIBUTES else labels[name]
        assert (answers[:, number] == wanted).all()
    for latent in (0, 7, 31):
        frames = range(4 * latent, 4 * latent + 4)
        shown = [scenes[0].poses[t][0] for t in frames]
        read = dict(zip(CHANNELS, poses[latent].tolist(), strict=True))
        assert read["yaw"] == pytest.approx(np.mean([p.head[0] for p in shown]), abs=1e-6)
        assert read["right bend"] == pytest.approx(np.mean([p.right_arm.bend for p in shown]))
        assert read["smile"] == pytest.approx(np.mean([p.smile for p in shown]), abs=1e-6)
        assert read["spread"] == pytest.approx(scenes[0].mouth[frames, 1].mean(), abs=1e-6)
        opening = [read[f"open {frame}"] for frame in range(4)]
        assert opening == pytest.approx(scenes[0].mouth[frames, 0].tolist())


def test_each_clip_has_its_own_truth_and_two_people_have_none():
    story, _, cut, answers, _ = film_truth(7, "dialogue")
    for latent in range(32):
        labels = visible_labels(story, story.clips[4 * latent >= cut])
        assert answers[latent, QUESTIONS.index("species")] == labels["species"][0]
        assert answers[latent, QUESTIONS.index("shot")] == labels["shot"]
    pairs = (make_story(seed, "medium", "train") for seed in range(100))
    seed = next(s.seed for s in pairs if len(s.clips[0].cast) == 2)
    story, _, _, answers, poses = film_truth(seed, "medium")
    assert np.isnan(poses).all()
    for number, name in enumerate(QUESTIONS):
        of_person = name in PERSON_ATTRIBUTES
        assert (answers[:, number] == NO_ANSWER).all() == of_person


def test_only_what_prompt_and_speech_say_is_to_be_read():
    rng = np.random.default_rng(0)
    record = {
        "answers": rng.integers(0, 3, (32, len(ANSWERS))).astype(np.int8),
        "poses": rng.standard_normal((32, len(CHANNELS))).astype(np.float32),
    }
    kept = {name: value.copy() for name, value in record.items()}
    answers, poses = to_be_read(record, 3, 8, told=True, heard=True)
    assert (answers == record["answers"][3:11]).all() and (poses == record["poses"][3:11]).all()
    answers, poses = to_be_read(record, 3, 8, told=True, heard=False)
    assert np.isnan(poses[:, -NUM_LIPS:]).all() and np.isfinite(poses[:, :-NUM_LIPS]).all()
    for asked in ({"told": False, "heard": True}, {"told": True, "heard": True}):
        answers, poses = to_be_read(record if not asked["told"] else {}, 3, 8, **asked)
        assert (answers == NO_ANSWER).all() and np.isnan(poses).all()
        assert answers.shape == (8, len(ANSWERS)) and poses.shape == (8, len(CHANNELS))
    assert all((record[name] == kept[name]).all() for name in record)


class Says(nn.Module):
    """A reader that answers the same whatever it sees."""

    def __init__(self, scores: torch.Tensor, poses: torch.Tensor) -> None:
        super().__init__()
        self.says = scores, poses

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.says

    def standard(self, poses: torch.Tensor) -> torch.Tensor:
        return (poses - 1) / 2


def test_a_guess_among_equals_is_a_surprise_of_one():
    answers = torch.full((3, len(CLASSES)), NO_ANSWER)
    answers[0], answers[1, 2] = 0, 1
    poses = torch.full((3, len(CHANNELS)), math.nan)
    poses[0], poses[1, :2] = 1.0, torch.tensor([5.0, 3.0])
    reader = Says(torch.zeros(3, sum(CLASSES)), torch.zeros(3, len(CHANNELS)))
    told, posed = misread(reader, torch.zeros(3), answers, poses)
    assert told.tolist() == pytest.approx([1, 1, 0]) and posed.tolist() == [0.0, 2.5, 0.0]
    sure = torch.zeros(3, sum(CLASSES))
    sure[1, sum(CLASSES[:2]) + 1] = 50.0
    told, _ = misread(Says(sure, reader.says[1]), torch.zeros(3), answers, poses)
    assert told[1] < 1e-6


def test_what_is_misread_counts_by_how_clear_it_should_be():
    torch.manual_seed(0)
    reader = LatentReader(4).eval()
    shape = (2, 3, len(ANSWERS))
    batch = Batch(
        latents=torch.zeros(2, 4, 3, 4, 6), mouth_cells=torch.zeros(2, 3, 4, 6), text=[],
        speech=None, speech_windows=torch.zeros(2, 3, 1), views=torch.zeros(2, 3, 3),
        answers=torch.randint(-1, 2, shape), poses=torch.randn(2, 3, len(CHANNELS)),
        figures=torch.zeros(2, 3, 1), seeds=(0, 1),
    )  # fmt: skip
    expected = torch.randn(2, 4, 3, 4, 6, requires_grad=True)
    sigma = torch.tensor([[0.0, 0.5, 0.25], [1.0, 0.9, 0.1]])
    loss = Reading(reader, weight=0.5).loss(batch, expected, sigma)
    total = 0.0
    for b, f in np.ndindex(2, 3):
        one = (batch.answers[b, f][None], batch.poses[b, f][None])
        told, posed = misread(reader, expected[b, :, f][None], *one)
        total += 0.5 * (1 - sigma[b, f]) * (told + posed)[0] / 6 if sigma[b, f] > 0 else 0.0
    torch.testing.assert_close(loss, total)
    loss.backward()
    moved = expected.grad.abs().amax((1, 3, 4))
    assert ((moved > 0) == ((sigma > 0) & (sigma < 1))).all()


def test_a_reader_learns_what_a_cell_shows(tmp_path: Path):
    """A smile is a number of one cell, and the species the sign of another."""
    torch.manual_seed(0)
    latents = torch.randn(2000, 4, 4, 4)
    answers = torch.full((2000, len(ANSWERS)), NO_ANSWER)
    answers[:, QUESTIONS.index("species")] = (latents[:, 1, 2, 2] > 0).long()
    poses = torch.full((2000, len(CHANNELS)), math.nan)
    poses[:, CHANNELS.index("smile")] = latents[:, 0, 1, 1]
    read = Read(latents, answers, poses)
    reader = LatentReader(4)
    optimizer = torch.optim.AdamW(reader.parameters(), 3e-3)
    source = batches(read, 1800, seed=0)
    before = evaluate(reader, read, 1800)
    for _ in range(120):
        optimizer.zero_grad()
        reading_loss(reader, next(source))[0].backward()
        optimizer.step()
    after = evaluate(reader, read, 1800)
    assert before["species"] < 0.7 < 0.8 < after["species"]
    assert before["smile"] < 0.3 < 0.6 < after["smile"] and after["posed"] < 0.4
    assert math.isnan(after["yaw"])


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    tiny_vae().save_pretrained(folder)
    return folder


def test_what_is_seen_is_a_moment_of_a_story(vae: Path):
    from openmocha.models.video_vae import VideoVAE

    net = VideoVAE.from_pretrained(vae).eval()
    for seed in (4, 5, 6):
        seen, again = drawing.draw_seen(net, seed), drawing.draw_seen(net, seed)
        assert all(np.array_equal(seen[name], again[name], equal_nan=True) for name in seen)
        assert seen["latents"].dtype == np.float16 and len(seen["latents"]) == drawing.SPAN - 2
        assert seen["answers"].shape == (3, len(ANSWERS))
        story = make_story(seed, drawing.SOURCES[seed % 4], "train")
        labels = visible_labels(story, story.clips[0])
        assert (seen["answers"][:, QUESTIONS.index("place")] == labels["place"]).all()


def test_a_reader_is_trained_and_comes_back(vae: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(drawing, "STORIES", 3)
    reader = train_latent_reader(vae, tmp_path, files=2, workers=0, time_budget_s=1.0)
    names = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert names == ["00000.npz", "00001.npz"]
    loaded = load_latent_reader(tmp_path)
    given = torch.randn(2, reader.input.in_channels - 2, 8, 8)
    for one, other in zip(reader(given), loaded(given), strict=True):
        assert torch.equal(one, other)
    assert not any(p.requires_grad for p in loaded.parameters())
    with pytest.raises(ValueError, match="files is 1; expected two or more"):
        train_latent_reader(vae, tmp_path, files=1)


def test_channels_are_those_of_a_pose_and_a_face():
    assert CHANNELS[: len(POSE)] == POSE and CHANNELS[-NUM_LIPS] == "spread"
