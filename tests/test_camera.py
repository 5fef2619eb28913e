"""A moving camera: the film set's own, and what a network is told of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openmocha.backbones.backbone import Conditions
from openmocha.backbones.paper import told_story
from openmocha.continuation import passes, scene_of
from openmocha.filming import (
    Making,
    film_pieces,
    going_on,
    moving_of,
    part_of,
    told_way,
    views_of,
)
from openmocha.models.attention import video_angles
from openmocha.models.conditions import PlaceEmbedding
from openmocha.models.config import with_settings
from openmocha.models.places import AT_REST, middles, on_the_way, places
from openmocha.takes import Take
from openmocha.toon.camera import clip_views, clip_way, in_scene, latent_views, story_views
from openmocha.toon.poses import Pose, View
from openmocha.toon.stories import CAMERAS, make_story
from openmocha.training.samples import seen_views
from openmocha.training.shards import encode_clips, read_record
from tests.fake_shards import ENCODERS, fake_clip
from tests.test_transformer import TINY, awake, make_inputs

MOVE = ((1.0, 0.0, 0.0), (1.25, 0.5, -0.25))


def rest(frames: int) -> torch.Tensor:
    return torch.tensor([AT_REST]).expand(1, frames, 3)


def test_places_are_where_the_camera_looks():
    views = torch.tensor([[AT_REST, (2.0, 0.0, 0.0), (1.0, 0.5, 0.0), (1.0, 0.0, -0.5)]])
    down, across = places(2, 4, views)  # two rows, twice as many columns
    assert across[0, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert across[0, 1].tolist() == [-0.375, -0.125, 0.125, 0.375]
    # half a short side to the right is one column of a picture twice as wide, half a row upwards
    assert across[0, 2].tolist() == [-0.5, 0.0, 0.5, 1.0] and down[0, 2].tolist() == [-0.5, 0.5]
    assert down[0, 3].tolist() == [-1.0, 0.0] and across[0, 3].tolist() == across[0, 0].tolist()
    assert torch.equal(across[0, 0], middles(4, views.device))


def test_a_pan_by_a_column_turns_what_the_next_column_was():
    column = 2 / 4  # of the short side, of 4 columns and 4 rows
    views = torch.tensor([[AT_REST, (1.0, column, 0.0)]])
    plain = video_angles(2, 4, 4, 12, 100.0).reshape(2, 4, 4, 6)
    moved = video_angles(2, 4, 4, 12, 100.0, views).reshape(2, 4, 4, 6)
    torch.testing.assert_close(moved[0], plain[0])
    torch.testing.assert_close(moved[1, :, :3], plain[1, :, 1:])
    embedding = PlaceEmbedding(8)
    still, panned = embedding(2, 4, 4)[0, 0], embedding(2, 4, 4, views)[0]
    torch.testing.assert_close(panned[0], still)
    torch.testing.assert_close(
        panned[1].reshape(4, 4, 8)[:, :3], still.reshape(4, 4, 8)[:, 1:], atol=1e-6, rtol=0
    )


def test_a_zoom_is_told_where_places_do_not_show_it():
    views = torch.tensor([[AT_REST, (2.0, 0.0, 0.0)]])
    for zooms in (False, True):
        embedding = PlaceEmbedding(8, zooms=zooms)
        near = embedding(3, 3, 3, views)[0, :, 4]  # of the picture's middle, which zooms leave
        assert torch.equal(*near) == (not zooms)
        torch.testing.assert_close(embedding(3, 3, 3)[0, 0, 4], near[0])


@torch.no_grad()
def test_each_sample_has_a_camera_of_its_own():
    model = awake(with_settings(TINY, embed_places=True, embed_times=True))
    latents, sigma, text, speech = make_inputs()
    frames = latents.shape[2]
    before = model(latents, sigma, text, speech)
    still = rest(frames).expand(len(latents), -1, -1)
    told = model(latents, sigma, text, speech, views=still)
    torch.testing.assert_close(told, before, atol=1e-5, rtol=1e-4)
    views = still.clone()
    views[1] = on_the_way(*MOVE, frames, frames)[0]
    moved = model(latents, sigma, text, speech, views=views)
    torch.testing.assert_close(moved[0], told[0])
    assert (moved[1] - told[1]).abs().max() > 1e-3


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("size", [(128, 128), (160, 96), (96, 160)])
def test_what_is_told_of_the_camera_is_what_is_drawn(camera, size):
    drawing = pytest.importorskip("openmocha.toon.drawing", exc_type=ImportError)
    story = make_story(3, "medium close-up", "train")
    clip = replace(story.clips[0], camera=camera)
    width, height = size

    def mouth(view: View) -> np.ndarray:
        """Middle and width of the mouth, from the picture's middle, in half short sides."""
        x0, y0, x1, y1 = drawing.draw_frame(story, clip, [Pose()], view, *size).mouths[0]
        short = min(size)
        middle = np.array([x0 + x1 - width, y0 + y1 - height])
        return np.array([*middle, x1 - x0]) / short

    at_rest = mouth(View())
    for view in clip_way(clip):
        zoom, x, y = in_scene(view)
        seen = zoom * (at_rest - [x, y, 0.0])
        np.testing.assert_allclose(mouth(view), seen, atol=0.02)


def test_a_clip_goes_evenly_from_its_first_to_its_last_view():
    for seed in range(40):
        story = make_story(seed, "close-up", "train")
        clip = story.clips[0]
        views = clip_views(story, clip, 128)
        first, last = clip_way(clip, 1.0)
        assert (first == last) == (clip.camera == "static") == (len(set(views)) == 1)
        means = latent_views(views, 4)
        assert means.shape == (32, 3) and means.dtype == np.float32
        assert np.allclose(means[5], np.mean([in_scene(v) for v in views[20:24]], axis=0))
    story = make_story(1, "dialogue", "train")
    views = story_views(story, 48, 128)
    assert views[:48] == clip_views(story, story.clips[0], 48)
    assert views[48:] == clip_views(story, story.clips[1], 80)


def test_a_camera_that_moves_is_told_and_one_that_rests_is_not():
    story = make_story(3, "close-up", "train")
    for camera in CAMERAS:
        moved = replace(story, clips=(replace(story.clips[0], camera=camera),))
        told = told_story(moved).camera
        assert (told is None) == (camera == "static")
        if told is not None:
            assert told == tuple(in_scene(view) for view in clip_way(moved.clips[0]))
            size = 1.6 if camera.startswith("zoom") else 1.0
            larger = tuple(in_scene(view) for view in clip_way(moved.clips[0], size))
            np.testing.assert_allclose(told_way(told, 1.6), larger, atol=1e-12)
    assert told_story(make_story(1, "dialogue", "train")).camera is None


def test_a_camera_moves_before_others_go_on_from_it(longer):
    """Passes of 8 latent frames, of which 3 are known."""
    take = Take("A cat talks.", 4 * 18, camera=MOVE)
    making = Making(longer.sampling, 8, 0)
    views = views_of(longer.backbone, take, making)
    assert moving_of(18, 8) == 5 and moving_of(6, 8) == 6
    assert torch.equal(views, on_the_way(*MOVE, 18, 5))
    torch.testing.assert_close(views[0, 0], torch.tensor([1.025, 0.05, -0.025]))
    assert torch.equal(views[0, 5:], torch.tensor(MOVE[1]).expand(13, 3))
    parts = [part_of(longer.backbone, Conditions(0, 0, views=views), one) for one in passes(18, 8)]
    assert torch.equal(parts[0].views, views[:, :8])
    assert all(torch.equal(part.views, views[:, -8:]) for part in parts[1:])
    # of another take that ends with `before` and is seen to move there, then rests
    before = Conditions(0, 0, views=views[:, 1:4])
    later = going_on(Conditions(0, 0, views=views), before, 11)
    assert torch.equal(later.views[:, :3], before.views)
    assert torch.equal(later.views[:, 3:], views[:, 3:4].expand(1, 8, 3))
    assert going_on(Conditions(0, 0, views=views), Conditions(0, 0), 11).views is None
    assert views_of(longer.backbone, replace(take, camera=None), making) is None


@torch.inference_mode()
@pytest.mark.parametrize("camera", [MOVE, None])
def test_the_scene_that_is_held_is_that_of_a_camera_at_rest(longer, monkeypatch, camera):
    backbone, seen = longer.backbone, []
    plain = type(backbone).velocity

    def watching(backbone, latents, sigma, conditions, sampling):
        seen.append(conditions)
        return plain(backbone, latents, sigma, replace(conditions, views=None), sampling)

    monkeypatch.setattr(type(backbone), "velocity", watching)
    words = backbone.encode_text("A cat talks.")
    take = Take("A cat talks.", 4 * 18, camera=camera)
    making = Making(longer.sampling, 8, seed=5)
    list(film_pieces(backbone, [take], [Conditions(words, words)], making))
    second = next(conditions for conditions in seen if conditions.scene is not None)
    at_rest = torch.equal(second.scene, scene_of(second.known))  # of the three that it goes on from
    assert at_rest == (camera is not None)


def test_a_model_is_told_of_its_camera_if_it_has_learnt_to(longer, monkeypatch):
    transformer = longer.backbone.transformer
    plain, seen = transformer.forward, []

    def watching(*arguments, views=None):
        seen.append(views)
        return plain(*arguments, views=views)

    monkeypatch.setattr(transformer, "forward", watching)
    monkeypatch.setattr(
        type(longer.backbone),
        "understood",
        lambda _, takes, *__: [told_story(replace(story, clips=(moving,))) for _ in takes],
    )
    story = make_story(3, "close-up", "train")
    moving = replace(story.clips[0], camera="zoom in")
    longer.sampling = replace(longer.sampling, retell=True)
    films = []
    for told in (False, True):
        known = replace(longer.backbone.format, told_views=told)
        monkeypatch.setattr(longer.backbone, "format", known)
        seen.clear()
        films.append(longer("A cat talks.", num_frames=32, seed=5).frames)
        assert all((views is not None) == told for views in seen)
    assert seen[-1].shape[1:] == (8, 3) and 1 < seen[-1][0, 0, 0] < seen[-1][0, 7, 0]
    assert not np.array_equal(*films)


def test_a_record_keeps_the_cameras_way():
    views = np.random.default_rng(0).random((16, 3)).astype(np.float32)
    clip = replace(fake_clip(1, "close-up", 1, 8), views=views)
    record = read_record(encode_clips([clip], ENCODERS)[0])
    assert np.array_equal(seen_views(record, 3, 4), views[3:7])
    unknown = read_record(encode_clips([replace(clip, views=None)], ENCODERS)[0])
    assert np.array_equal(seen_views(unknown, 3, 4), np.tile(AT_REST, (4, 1)).astype(np.float32))
