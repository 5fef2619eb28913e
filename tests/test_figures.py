"""Stick figures: where in the picture somebody is told to do what, and who is told."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from openmocha.backbones.backbone import Conditions
from openmocha.backbones.paper import told_story
from openmocha.continuation import passes
from openmocha.filming import end_of, going_on, part_of
from openmocha.models.config import with_settings
from openmocha.models.figures import FIGURE, NUM_FIGURE, FigureEmbedding, bumps, features
from openmocha.models.places import AT_REST, places
from openmocha.toon.acts import DIRECTIONS, MOODS, average_directions
from openmocha.toon.figures import figure, latent_figures
from openmocha.toon.films import film_scenes
from openmocha.toon.poses import Arm, Pose, View
from openmocha.toon.stories import Cast, Story, make_story
from openmocha.training.samples import cut, figures_of
from openmocha.training.shards import encode_clips, read_record
from openmocha.training.toon_clips import film_figures
from tests.fake_shards import ENCODERS, fake_clip
from tests.test_samples import MODEL
from tests.test_transformer import TINY, awake, make_inputs

FACE = slice(FIGURE.index("brow"), FIGURE.index("smile") + 1)
HANDS = [FIGURE.index(name) for name in ("left hand x", "right hand x")]
LATENTS = torch.zeros(1, 16, 16, 4, 4)


def doing(action: str, shot: str = "medium", emotion: str = "happy") -> Story:
    """A story of one person in the middle who does that."""
    story = make_story(13, "medium", "train")
    cast = Cast(0, "camera", "center", emotion, action)
    return replace(story, clips=(replace(story.clips[0], shot=shot, cast=(cast,)),))


@pytest.mark.parametrize("shot", ["medium close-up", "medium", "wide"])
@pytest.mark.parametrize("size", [(128, 128), (160, 96)])
def test_a_figure_is_where_the_drawing_is(shot, size):
    drawing = pytest.importorskip("openmocha.toon.drawing", exc_type=ImportError)
    story, (width, height) = doing("wave", shot), size
    (clip,) = story.clips
    directed = average_directions(clip.cast[0], range(64, 65), 24)
    told = dict(zip(FIGURE, figure(story, clip, 0, directed, *size)[0], strict=True))
    body = dict(zip(DIRECTIONS, directed[0], strict=True))

    def drawn(hand: str) -> "drawing.Drawn":
        arm = Arm(*(body[f"right {part}"] for part in ("lift", "reach", "bend")), hand)
        return drawing.draw_frame(story, clip, [Pose(right_arm=arm)], View(), *size)

    fist, pointing = drawn("fist"), drawn("point")
    half = min(size) / 2
    x0, y0, x1, y1 = (fist.faces[0] - [width / 2, height / 2] * 2) / half
    assert told["head x"] == pytest.approx((x0 + x1) / 2, abs=0.02)
    assert told["head y"] == pytest.approx((y0 + y1) / 2, abs=0.05)
    assert told["size"] == pytest.approx((x1 - x0) / 2, rel=0.2)
    moved = np.abs(fist.pixels.astype(int) - pointing.pixels).sum(-1) > 60
    rows, cols = np.nonzero(moved)
    hand = np.array([cols.mean() - width / 2, rows.mean() - height / 2]) / half
    at = [told["right hand x"], told["right hand y"]]
    assert np.linalg.norm(hand - at) < told["size"]  # fingers begin where the hand ends


def test_a_latent_frame_is_told_two_moments():
    figures = np.arange(16 * 3, dtype=np.float32).reshape(16, 3)
    latents = latent_figures(figures, 4)
    assert latents.shape == (4, 6)
    np.testing.assert_array_equal(latents[1, :3], figures[4:6].mean(0))
    np.testing.assert_array_equal(latents[1, 3:], figures[6:8].mean(0))


def test_nobody_is_told_of_where_two_are_seen():
    stories = [make_story(seed, "medium", "train") for seed in range(40)]
    two = next(story for story in stories if len(story.characters) == 2)
    one = next(story for story in stories if len(story.characters) == 1)
    for story, alone in ((one, True), (two, False)):
        silent = replace(story, clips=(replace(story.clips[0], speaker=None),))
        told = film_figures(silent, film_scenes(silent, (), None, 128), 128, 128)
        assert told.shape == (32, NUM_FIGURE)
        assert np.isnan(told).all() != alone and np.isnan(told).any() != alone
        assert (told_story(story).story == story) == alone
        of_each = [person.story.clips[0].cast for person in told_story(story).apart]
        cast = () if alone else story.clips[0].cast
        assert of_each == [(replace(person, character=0),) for person in cast]
    assert told_story(make_story(1, "dialogue", "train")).story is None


def test_a_record_keeps_its_figures_and_a_sample_may_lose_them():
    told = np.random.default_rng(0).random((16, NUM_FIGURE)).astype(np.float32)
    clip = replace(fake_clip(1, "close-up", 1, 8), figures=told)
    record = read_record(encode_clips([clip], ENCODERS)[0])
    assert np.array_equal(figures_of(record, 3, 4, True), told[3:7])
    assert np.isnan(figures_of(record, 3, 4, False)).all()
    unknown = read_record(encode_clips([replace(clip, figures=None)], ENCODERS)[0])
    assert np.isnan(figures_of(unknown, 3, 4, True)).all()
    settings = {"with_speech": False, "num_frames": 64, "seed": 0, "model": MODEL}
    empty = (np.zeros((1, 3), np.float32),)
    for text, asked in ((None, True), (None, False), (empty, True)):
        sample = cut(record, 0, 1, 4, text=text, with_figures=asked, **settings)
        start = int(record["start"][0]) + 1
        if text is None and asked:
            assert np.array_equal(sample.figures, told[start : start + 4])
        else:
            assert np.isnan(sample.figures).all()


def test_bumps_stand_where_they_are_told():
    views = torch.tensor([[AT_REST, (2.0, 0.25, -0.5)]])
    down, across = places(4, 4, views)
    at = torch.tensor([[[0.25, -0.75], [0.25, -0.25]]])
    near, way = bumps(at, torch.tensor([[[0.5], [0.5]]]), down, across)
    near, way = near.reshape(1, 2, 4, 4), way.reshape(1, 2, 4, 4, 2)
    assert near[0, 0, 0, 2] == 1 and (near[0, 0] == 1).sum() == 1
    assert near[0, 0, 0, 3] == pytest.approx(np.exp(-0.5)) and way[0, 0, 0, 3, 0] < 0
    assert way[0, 0, 0, 1].tolist() == pytest.approx([np.exp(-0.5), 0.0])
    # twice as near, of a camera that looks up and to the right: the point is between four tokens
    inner = near[0, 1, 1:, 1:3]
    assert near[0, 1].argmax() in (9, 10) and torch.allclose(inner[:, 0], inner[:, 1])


def test_near_the_head_a_token_knows_the_face_and_far_away_nothing():
    down, across = places(4, 4, torch.tensor([[AT_REST]]))
    moment = torch.zeros(1, 1, len(FIGURE))
    moment[..., 0] = 0.05  # a very small head, in the middle of a token
    moment[..., 1:3] = torch.tensor([0.25, 0.25])
    moment[..., FACE] = torch.tensor([0.3, -0.5, 0.9])
    moment[..., 9:] = 9.0
    seen = features(moment, down, across).reshape(4, 4, -1)
    assert seen[2, 2, :3].tolist() == [1, 0, 0]
    assert seen[2, 2, 3:9].tolist() == pytest.approx([0, 0, 0, 0.3, -0.5, 0.9])
    seen[2, 2] = 0
    assert seen.abs().max() < 1e-4


@torch.no_grad()
def test_a_model_begins_without_figures_and_is_told_frame_by_frame():
    latents, sigma, text, speech = make_inputs()
    frames = latents.shape[2]
    told = torch.rand(len(latents), frames, NUM_FIGURE)
    model = awake(with_settings(TINY, told_figures=True))
    linear = model.figure_embedding.linear
    torch.nn.init.zeros_(linear.weight), torch.nn.init.zeros_(linear.bias)
    without = model(latents, sigma, text, speech)
    assert torch.equal(model(latents, sigma, text, speech, figures=told), without)
    torch.nn.init.normal_(linear.weight), torch.nn.init.normal_(linear.bias)
    nobody = torch.full_like(told, float("nan"))
    assert torch.equal(model(latents, sigma, text, speech, figures=nobody), without)
    one = nobody.clone()
    one[1] = told[1]
    moved = model(latents, sigma, text, speech, figures=one)
    torch.testing.assert_close(moved[0], without[0])
    assert (moved[1] - without[1]).abs().max() > 1e-3
    embedding = FigureEmbedding(8)
    embedded = embedding(told, 3, 5)
    assert embedded.shape == (len(told), frames, 15, 8)
    torch.testing.assert_close(embedding(told.flip(1), 3, 5), embedded.flip(1))


def test_who_is_calm_does_the_same_with_a_neutral_face(directed):
    words, calm = directed.encode_told("A cat nods happily.", "A cat nods.", doing("nod"))
    nothing = directed.encode_text("")
    told = directed.told_beside([words, calm, nothing], Conditions(0, 0), LATENTS)["figures"]
    assert told.shape == (3, 16, NUM_FIGURE) and told[2].isnan().all()
    moments = told[:2].reshape(2, 32, len(FIGURE))
    faces = moments[:, 0, FACE]
    for face, emotion in zip(faces, ("happy", "neutral"), strict=True):
        mood = MOODS[emotion]
        assert face.tolist() == pytest.approx([mood.brow, mood.frown, mood.smile])
    moments[:, :, FACE] = 0
    assert torch.equal(moments[0], moments[1])
    assert directed.told_beside([nothing], Conditions(0, 0), LATENTS) == {}


@pytest.mark.parametrize("action", ["wave", "shrug"])
def test_each_pass_is_told_its_own_part(directed, action):
    words, _ = directed.encode_told("A cat.", None, doing(action))
    take = Conditions(words, words)
    whole = told_of(directed, take, 18)
    hands = whole.reshape(36, len(FIGURE))[:, HANDS]
    assert hands[:, 1].std() > 0.02 and (hands[:, 0].std() > 0.02) == (action == "shrug")
    for one in passes(18, 8):
        part = told_of(directed, part_of(directed, take, one), one.stop - one.start)
        torch.testing.assert_close(part, whole[:, one.start : one.stop])


def test_who_goes_on_is_told_what_they_did(directed):
    """Three takes, each of which begins with the last three frames of the one before."""
    acts, lengths = ("wave", "shrug", "nod"), (9, 2, 6)
    whole, before = [], None
    for act, length in zip(acts, lengths, strict=True):
        words, calm = directed.encode_told("A cat.", "A cat.", doing(act))
        own = Conditions(words, words, calm=calm)
        alone = told_of(directed, own, length)
        total = length
        if before is not None:
            total += 3
            own = going_on(own, before, total)
            told = told_of(directed, own, total)
            torch.testing.assert_close(told[:, :3], torch.cat(whole, dim=1)[:, -3:])
            torch.testing.assert_close(told[:, 3:], alone)
        whole.append(alone)
        latents = torch.zeros(1, 16, total, 4, 4)
        before = end_of(directed, own, latents, total, longest=12)
        assert before.num_known == 3


def test_where_two_were_told_apart_who_goes_on_is_told_nothing_of_it(directed):
    words, _ = directed.encode_told("A cat.", None, doing("wave"))
    pair = directed.encode_text("Two cats.")
    known = torch.zeros(1, 16, 3, 4, 4)
    told = told_of(
        directed, going_on(Conditions(words, words), Conditions(pair, pair, known=known), 9), 9
    )
    assert told[:, :3].isnan().all() and not told[:, 3:].isnan().any()


def test_an_older_model_is_widened_and_stays_as_it_was():
    old = awake(TINY)
    new = old.to_be_told_figures()
    inputs = make_inputs()
    told = torch.rand(*inputs[0].shape[:1], inputs[0].shape[2], NUM_FIGURE)
    with torch.no_grad():
        assert torch.equal(new(*inputs, figures=told), old(*inputs))
    assert new.config == replace(old.config, told_figures=True)


def test_films_are_drawn_without_torch():
    pytest.importorskip("openmocha.toon.drawing", exc_type=ImportError)
    code = "import sys, openmocha.toon.films, openmocha.toon.drawing; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def told_of(backbone, conditions: Conditions, frames: int) -> torch.Tensor:
    """The figures that the words of a take are told with."""
    latents = torch.zeros(1, 16, frames, 4, 4)
    return backbone.told_beside([conditions.words], conditions, latents)["figures"]


@pytest.fixture
def directed(tiny, monkeypatch):
    """The tiny model's backbone, as if it could be told figures."""
    monkeypatch.setattr(tiny.backbone, "format", replace(tiny.backbone.format, told_figures=True))
    return tiny.backbone
