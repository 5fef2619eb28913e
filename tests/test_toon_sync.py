"""Toon-Sync: mel bands, windows, tracks, and what the shipped network finds in unseen films."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from openmocha.evaluation import toon_sync as scoring
from openmocha.media import load_speech, read_film, write_film
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
    numbers = list(np.arange(60))
    assert list(scoring.at_24_fps(numbers, 60.0)) == [int((t + 0.5) / 24 * 60) for t in range(24)]
    assert list(scoring.at_24_fps(numbers, 24.0)) == numbers
    assert list(scoring.at_24_fps(numbers[:5], 12.0)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_frames_in_parts_are_all_frames() -> None:
    parts = list(scoring.parts_of(np.arange(70).reshape(70, 1), 32))
    assert [len(part) for part in parts] == [32, 32, 6]
    assert np.concatenate(parts)[:, 0].tolist() == list(range(70))


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


class OneFace:
    """Stands for a finder: a face in the middle, but for the frames that are black."""

    def find(self, frames: np.ndarray) -> list[FoundFaces]:
        return [found((64, 64)) if frame.any() else found() for frame in frames]


def grey_film(num_frames: int, black: int) -> np.ndarray:
    frames = np.random.default_rng(0).integers(1, 255, (num_frames, 128, 128, 3)).astype(np.uint8)
    frames[:black] = 0
    return frames


@pytest.mark.parametrize("size", [3, 7, 24, 60])
def test_mouths_are_the_same_however_a_film_is_parted(
    size: int, scorer: scoring.ToonSyncScorer
) -> None:
    frames = grey_film(60, black=10)
    one_face = scoring.ToonSyncScorer(scorer.network, OneFace())  # type: ignore[arg-type]
    (mouth,) = scoring.mouths_of(lambda: scoring.parts_of(frames, size), one_face)
    boxes = np.tile(found((64, 64)).mouths, (50, 1))
    whole = scorer.network.embed_crops(sync.lip_crops(frames[10:], boxes))
    assert mouth.first == 10 and len(whole) == 46
    torch.testing.assert_close(mouth.lips, whole, atol=1e-5, rtol=1e-5)


def test_no_more_than_two_parts_of_a_film_are_held(scorer: scoring.ToonSyncScorer) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def parts() -> Iterator[np.ndarray]:
        nonlocal most
        for part in scoring.parts_of(grey_film(160, black=0), 16):
            alive.append(weakref.ref(part))
            most = max(most, sum(one() is not None for one in alive))
            yield part

    one_face = scoring.ToonSyncScorer(scorer.network, OneFace())  # type: ignore[arg-type]
    (mouth,) = scoring.mouths_of(parts, one_face)
    assert len(mouth.lips) == 156 and len(alive) == 20 and most == 2


def test_a_file_is_scored_as_its_frames_are(tmp_path: Path, scorer: scoring.ToonSyncScorer) -> None:
    speech = np.random.default_rng(1).normal(size=50 * 16_000 // 24).astype(np.float32) / 10
    path = tmp_path / "film.mp4"
    write_film(path, grey_film(50, black=0), speech, 24, {})
    one_face = scoring.ToonSyncScorer(scorer.network, OneFace())  # type: ignore[arg-type]
    score = scoring.score_film(path, path, one_face)
    again = scoring.score_frames(read_film(path).frames, load_speech(path), one_face)
    assert score == again and score.has_face


def test_a_film_that_cannot_be_read_is_named(
    tmp_path: Path, scorer: scoring.ToonSyncScorer
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no film")
    with pytest.raises(ValueError, match="film.mp4"):
        scoring.score_film(path, path, scorer)
