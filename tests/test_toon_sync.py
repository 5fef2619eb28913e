"""Toon-Sync: mel bands, windows, tracks, and what the shipped network finds in unseen films."""

import numpy as np
import pytest
import torch

from openmocha.evaluation import toon_sync as scoring
from openmocha.toon import sync
from openmocha.toon.face_finder import FoundFaces


def test_a_tone_lies_in_its_own_band_and_a_click_in_its_own_frame() -> None:
    times = np.arange(16_000) / 16_000
    bands = sync.log_mel(np.sin(2 * np.pi * 1000 * times).astype(np.float32))
    filters = sync.mel_filters()
    assert int(bands[:, 50].argmax()) == int(filters[:, 1000 * 512 // 16_000].argmax())
    click = np.zeros(16_000, np.float32)
    click[8000] = 1.0
    loudest = sync.log_mel(click).mean(0)
    assert bands.shape == (sync.MEL_BANDS, 101)
    assert torch.allclose(loudest[49:52].argmax(), torch.tensor(1))


def test_mel_windows_are_those_around_the_middle_of_five_frames() -> None:
    bands = torch.arange(300.0).repeat(sync.MEL_BANDS, 1)
    windows, heard = sync.mel_windows(bands, np.array([24, -40]))
    middle = (24 + 2.5) / 24 * 100
    first = round(middle) - sync.MEL_FRAMES // 2
    assert windows[0, 3].tolist() == list(range(first, first + sync.MEL_FRAMES))
    assert heard.tolist() == [True, False]
    assert (windows[1] == 0).all()  # before the sound: its quietest value


def test_distances_skip_what_has_no_sound() -> None:
    lips, speech = torch.eye(3), torch.eye(3)
    speech[1] = torch.tensor([1.0, 0.0, 0.0])
    heard = torch.tensor([True, True, False])
    assert float(sync.mean_distance(lips, speech, heard)) == pytest.approx(2**0.5 / 2)
    assert sync.mean_distance(lips, speech, torch.zeros(3, dtype=torch.bool)) == float("inf")


def found(*places: tuple[float, float]) -> FoundFaces:
    """Faces of 20 pixels at places, with mouths of 8 in their middle."""
    centres = np.array(places).reshape(-1, 2)
    around = np.array([-1, -1, 1, 1])
    faces = np.tile(centres, 2) + 10 * around
    return FoundFaces(np.ones(len(centres)), faces, np.tile(centres, 2) + 4 * around)


def test_tracks_follow_faces_fill_gaps_and_end_at_jumps() -> None:
    frames = [found((50 + t, 40), (100, 60)) for t in range(30)]
    frames[10] = found((100, 60))  # the first face is missed once
    frames += [found((20, 100)) for _ in range(25)]  # a cut
    frames += [found((90, 90)) for _ in range(5)]  # too short to be scored
    tracks = scoring.mouth_tracks(frames)
    assert sorted((t.first, len(t.boxes)) for t in tracks) == [(0, 30), (0, 30), (30, 25)]
    first = next(t for t in tracks if t.boxes[0, 0] == 46)
    assert first.boxes[10].tolist() == [56, 36, 64, 44]  # between its neighbours


def test_other_frame_rates_are_read_as_24() -> None:
    numbers = np.arange(60, dtype=np.uint8)[:, None, None, None]
    taken = scoring.at_24_fps(numbers, 60.0)[:, 0, 0, 0]
    assert taken.tolist() == [int((t + 0.5) / 24 * 60) for t in range(24)]
    assert scoring.at_24_fps(numbers, 24.0) is numbers


@pytest.fixture(scope="module")
def scorer() -> scoring.ToonSyncScorer:
    torch.set_num_threads(1)
    return scoring.load_toon_sync()


def test_the_shipped_network_finds_shifts_of_unseen_films(scorer: scoring.ToonSyncScorer) -> None:
    skia = pytest.importorskip("skia")
    assert skia
    from openmocha.toon.films import make_film

    film, other = (make_film(seed, "close-up", split="test") for seed in (900, 901))
    assert film.speech is not None and other.speech is not None
    own = scoring.score_frames(film.frames, film.speech, scorer)
    assert own.offsets == (0,)
    late = np.concatenate([np.zeros(3 * 16_000 // 24, np.float32), film.speech])
    assert scoring.score_frames(film.frames, late, scorer).offsets == (-3,)
    early = film.speech[2 * 16_000 // 24 :]
    assert scoring.score_frames(film.frames, early, scorer).offsets == (2,)
    swapped = scoring.score_frames(film.frames, other.speech, scorer)
    assert swapped.toon_sync_c < own.toon_sync_c
    assert swapped.toon_sync_d > own.toon_sync_d


def test_a_film_without_a_face_has_no_score(scorer: scoring.ToonSyncScorer) -> None:
    grey = np.full((30, 64, 64, 3), 128, np.uint8)
    nobody = scoring.score_frames(grey, np.zeros(20_000, np.float32), scorer)
    assert not nobody.has_face and np.isnan(nobody.toon_sync_c) and "no face" in nobody.note


def test_four_frames_are_too_few() -> None:
    with pytest.raises(ValueError, match="5 or more"):
        sync.ToonSync().score(torch.zeros(4, 3, 32, 32), np.zeros(16_000, np.float32))
