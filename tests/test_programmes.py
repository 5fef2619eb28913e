"""Programmes say what is wrong with them, and the finder of drawn faces sees who is there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from openmocha.curation.filters import FILTERS, reason_to_drop
from openmocha.curation.settings import Thresholds
from openmocha.media import FPS
from openmocha.toon import programmes
from openmocha.toon.face_finder import FaceFinder, apart, corners, load_face_finder, targets
from openmocha.toon.turns import SAMPLE_RATE_HZ

WEIGHTS = Path(programmes.__file__).parents[1] / "weights" / "toon" / "face_finder"

voices = pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def programme() -> list[programmes.PlannedScene]:
    return programmes.plan_programme(3, len(programmes.KINDS))


def test_a_programme_holds_every_kind_once_and_is_the_same_every_time(programme):
    assert sorted(scene.truth.kind for scene in programme) == sorted(programmes.KINDS)
    again = programmes.plan_programme(3, len(programmes.KINDS))
    assert [scene.truth for scene in again] == [scene.truth for scene in programme]
    firsts = [scene.truth.first_frame for scene in programme]
    lengths = [scene.truth.num_frames for scene in programme]
    assert firsts == [0, *np.cumsum(lengths)[:-1].tolist()]
    for scene in programme:
        assert len(scene.sound) == round(scene.truth.num_frames / FPS * SAMPLE_RATE_HZ)
        assert sum(len(s.poses) for s in scene.scenes) == scene.truth.num_frames


def test_scenes_are_what_their_kind_says(programme):
    scenes = {scene.truth.kind: scene for scene in programme}
    assert scenes["music"].truth.speech_s == () == scenes["noise"].truth.speech_s
    assert scenes["nobody"].truth.num_people == 0 and scenes["nobody"].scenes[0].clip.cast == ()
    assert scenes["crowd"].truth.num_people >= 3 and scenes["pair"].truth.num_people == 2
    assert scenes["far"].truth.shot == "wide" != scenes["talk"].truth.shot
    assert 0.2 <= abs(scenes["shifted"].truth.shift_s) <= 1.0
    assert len(set(map(id, scenes["frozen"].scenes[0].poses))) == 1
    assert np.abs(scenes["voice-over"].scenes[0].mouth).max() == 0
    assert np.abs(scenes["talk"].scenes[0].mouth).max() > 0.2
    (cut,) = scenes["dialogue"].truth.cut_frames
    truth = scenes["dialogue"].truth
    assert truth.first_frame < cut < truth.first_frame + truth.num_frames


def test_speech_is_heard_where_the_truth_says_it_is(programme):
    for scene in programme:
        if scene.truth.kind in ("music", "noise", "loud background"):
            continue
        first_s = scene.truth.first_frame / FPS
        heard = np.zeros(len(scene.sound), bool)
        for start, end in scene.truth.speech_s:
            heard[round((start - first_s) * 16000) : round((end - first_s) * 16000)] = True
        loud, quiet = np.square(scene.sound[heard]).mean(), np.square(scene.sound[~heard]).mean()
        assert loud > 30 * quiet, scene.truth.kind


def test_every_faults_reason_is_one_that_the_filters_give():
    import inspect

    from openmocha.curation import filters

    source = inspect.getsource(filters)
    assert all(f'"{reason}"' in source for reason in programmes.FAULTS.values())
    assert FILTERS and callable(reason_to_drop) and Thresholds()


def test_boxes_and_what_the_network_shall_give_are_inverse():
    rng = np.random.default_rng(0)
    low = rng.uniform(10, 50, (20, 2, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (20, 2, 2))], axis=2).reshape(20, 8)
    rows, columns = torch.arange(20), torch.arange(20) + 5
    pixels = torch.from_numpy(boxes).float()
    torch.testing.assert_close(corners(targets(pixels, rows, columns), rows, columns), pixels)


def test_a_face_with_two_peaks_is_one_face():
    boxes = torch.tensor([[0, 0, 40, 40], [4, 4, 44, 44], [60, 60, 90, 90.0]])
    assert apart(boxes) == [0, 2]


def test_the_shipped_finder_counts_faces_and_finds_them():
    pytest.importorskip("skia", exc_type=ImportError)
    from openmocha.training.face_finder import samples

    finder = load_face_finder(WEIGHTS)
    source = samples(5, "test")
    drawn = [next(source) for _ in range(120)]
    found = [finder.find(frame[None])[0] for frame, _ in drawn]
    right = [len(f.faces) == len(boxes) for f, (_, boxes) in zip(found, drawn, strict=True)]
    assert np.mean(right) > 0.9
    off = [
        np.abs(f.faces - boxes[0, :4]).max() / np.ptp(boxes[0, [1, 3]])
        for f, (_, boxes) in zip(found, drawn, strict=True)
        if len(f.faces) == len(boxes) == 1
    ]
    assert np.median(off) < 0.1


def test_training_the_finder_lowers_its_loss():
    pytest.importorskip("skia", exc_type=ImportError)
    from openmocha.training.face_finder import loss_of, samples

    torch.manual_seed(0)
    source = samples(0, "train")
    batch = [next(source) for _ in range(16)]
    finder = FaceFinder().train()
    optimizer = torch.optim.AdamW(finder.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = loss_of(finder, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
