"""Measures without weights against films whose answer is known beforehand."""

import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest

from openmocha.curation.faces import Face
from openmocha.evaluation.free_measures import (
    colourfulness,
    measure_film,
    moved_back,
    sharpness,
    ssim,
    watch_film,
)
from openmocha.evaluation.mouth_and_loudness import (
    hop_power,
    lagged_correlations,
    loudness,
    peak,
)
from openmocha.media import SPEECH_RATE_HZ, write_film

FACE = Face(0.3, 0.2, 0.7, 0.8, 1, 0.1, 0, 0.5, 0.65)
TWO_CLIPS = (
    "Two video clips.\n\nCharacters: A woman (Person1) with red hair.\n\n"
    "First clip: Person1 speaks.\n\nSecond clip: Person1 nods."
)


def no_face(frames: list[np.ndarray]) -> list[list[Face]]:
    return [[] for _ in frames]


def grey_film(path: Path, levels: np.ndarray, size: tuple[int, int] = (96, 128)) -> Path:
    write_film(path, np.broadcast_to(levels[:, None, None, None], (len(levels), *size, 3)).copy())
    return path


def syllables(num_frames: int, seed: int = 0) -> np.ndarray:
    """(n,) amplitudes of bursts of sound at 24 frames a second."""
    rng = np.random.default_rng(seed)
    bursts = np.convolve(rng.random(num_frames) * (rng.random(num_frames) < 0.3), np.hanning(5))
    return 0.02 + bursts[2 : num_frames + 2] / bursts.max()


def write_speech(path: Path, amplitude: np.ndarray, rate: int = 24) -> Path:
    """A square wave, as loud in each 24th of a second as told: its power is known exactly."""
    samples = np.arange(round(len(amplitude) / rate * SPEECH_RATE_HZ))
    level = amplitude[np.minimum(samples * rate // SPEECH_RATE_HZ, len(amplitude) - 1)]
    sound = np.where(samples // 20 % 2, 1, -1) * level / amplitude.max()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SPEECH_RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.round(sound * 32000).astype("<i2").tobytes())
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_speech(tmp_path / "speech.wav", syllables(72))


# --- picture -------------------------------------------------------------------------------------


def test_flicker_between_two_grey_levels_is_their_difference(tmp_path: Path, speech: Path):
    film = grey_film(tmp_path / "film.mp4", np.tile([100, 140], 12).astype(np.uint8))
    found = measure_film(film, speech, find_faces=no_face)
    assert found["temporal_flickering"] == pytest.approx(1 - 40 / 255, abs=0.01)
    still = grey_film(tmp_path / "still.mp4", np.full(24, 100, np.uint8))
    assert measure_film(still, speech, find_faces=no_face)["temporal_flickering"] > 0.999


def texture(height: int, width: int) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def test_flow_of_a_texture_that_moves_by_two_pixels(tmp_path: Path, speech: Path):
    wide = texture(128, 256 + 48)
    frames = np.stack([wide[:, 2 * i : 2 * i + 256] for i in range(24)])
    write_film(tmp_path / "film.mp4", frames)
    found = measure_film(tmp_path / "film.mp4", speech, find_faces=no_face)
    assert found["flow"] == pytest.approx(2 / 256 * 24, rel=0.1)
    # moved back, it hardly changes
    lost = 1 - found["temporal_flickering"], 1 - found["warped_flickering"]
    assert lost[1] < lost[0] / 4


def test_a_picture_is_moved_back_along_its_flow():
    before = texture(40, 60)
    after = np.roll(before, (3, -5), axis=(0, 1))
    back = moved_back(after, np.broadcast_to(np.float32([-5, 3]), (40, 60, 2)))
    np.testing.assert_array_equal(back[:30, 10:], before[:30, 10:])


def test_two_scenes_are_two_shots(tmp_path: Path, speech: Path):
    frames = np.empty((48, 96, 128, 3), np.uint8)
    frames[:24], frames[24:] = (200, 30, 30), (30, 60, 200)
    write_film(tmp_path / "film.mp4", frames)
    film = tmp_path / "film.mp4"
    found = measure_film(film, speech, TWO_CLIPS, find_faces=no_face)
    assert (found["shots"], found["clips_asked"], found["shots_right"]) == (2, 2, 1)
    # 23 frames have the first one's colour, 24 have none of it
    assert found["first_frame_colours"] == pytest.approx(23 / 47, abs=0.01)
    other = measure_film(film, speech, "A man talks.", find_faces=no_face)
    assert (other["clips_asked"], other["shots_right"]) == (1, 0)
    for prompt in ("", "Two video clips.\n\nFirst clip: he talks."):
        none = measure_film(film, speech, prompt, find_faces=no_face)
        assert np.isnan([none["clips_asked"], none["shots_right"]]).all() and none["shots"] == 2


def test_a_cut_between_still_scenes_is_no_motion(tmp_path: Path, speech: Path):
    frames = np.empty((48, 96, 128, 3), np.uint8)
    frames[:24], frames[24:] = texture(96, 128), 255 - np.rot90(texture(128, 96))
    write_film(tmp_path / "film.mp4", frames)
    found = measure_film(tmp_path / "film.mp4", speech, find_faces=no_face)
    assert found["shots"] == 2 and found["flow"] < 0.005 and found["warped_flickering"] > 0.998
    assert found["temporal_flickering"] < found["warped_flickering"]  # VBench's counts the cut


def test_ssim_is_one_for_a_picture_itself_and_luminance_alone_for_flat_ones():
    picture = texture(60, 80)[..., 0]
    assert ssim(picture, picture) == pytest.approx(1)
    flat = np.full((60, 80), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(flat, np.full_like(flat, 120)) == pytest.approx(expected)
    assert ssim(picture, 255 - picture) < 0  # structure turned around


def test_sharpness_of_stripes_and_of_a_plane():
    stripes = np.zeros((360, 480, 3), np.uint8)
    stripes[:, ::2] = 255
    # each pixel differs from its two neighbours in the row by 255: the Laplacian is +-510
    assert sharpness(stripes) == pytest.approx(510**2)
    assert sharpness(np.full((360, 480, 3), 90, np.uint8)) == 0
    assert sharpness(np.repeat(np.repeat(stripes, 2, 0), 2, 1)) == pytest.approx(510**2)


def test_colourfulness_of_half_red_half_green():
    picture = np.zeros((10, 20, 3), np.uint8)  # BGR
    picture[:, :10, 2] = 255
    picture[:, 10:, 1] = 255
    # red less green: +-255; yellow less blue: 127.5 everywhere
    assert colourfulness(picture) == pytest.approx(255 + 0.3 * 127.5)
    assert colourfulness(np.full((10, 20, 3), 70, np.uint8)) == 0


# --- mouth ---------------------------------------------------------------------------------------


class Mouths:
    """A finder of faces that knows the opening of each mouth in each frame."""

    def __init__(self, *openings: np.ndarray, faces: tuple[Face, ...] = (FACE,)) -> None:
        self.openings, self.faces, self.seen, self.most = openings, faces, 0, 0

    def __call__(self, frames: list[np.ndarray]) -> list[list[Face]]:
        self.most = max(self.most, len(frames))
        numbers = range(self.seen, self.seen + len(frames))
        self.seen += len(frames)
        return [
            [
                face._replace(mouth_open=float(opening[n]))
                for face, opening in zip(self.faces, self.openings, strict=True)
                if np.isfinite(opening[n])
            ]
            for n in numbers
        ]


def opening_that_moves(loud: np.ndarray, late: int) -> np.ndarray:
    """A mouth that moves as far as the speech is loud, some frames later."""
    moved = np.roll(loud, late)
    return np.cumsum((moved + np.roll(moved, 1)) / 2)


@pytest.mark.parametrize("late", [-7, 0, 5])
def test_the_lag_of_a_mouth_that_follows_the_loudness_is_found(
    tmp_path: Path, speech: Path, late: int
):
    film = grey_film(tmp_path / "film.mp4", np.full(72, 100, np.uint8))
    loud = loudness(speech, np.arange(73) / 24)
    mouths = Mouths(opening_that_moves(loud, late))
    found = measure_film(film, speech, find_faces=mouths)
    assert found["mouth_lag"] == late and found["mouth_r"] > 0.9
    assert found["face_share"] == 1 and mouths.most <= 24


def test_a_mouth_that_is_unseen_now_and_then_still_has_its_lag(tmp_path: Path, speech: Path):
    film = grey_film(tmp_path / "film.mp4", np.full(72, 100, np.uint8))
    opening = opening_that_moves(loudness(speech, np.arange(73) / 24), 3)
    opening[20:26] = np.nan
    found = measure_film(film, speech, find_faces=Mouths(opening))
    assert found["mouth_lag"] == 3 and found["mouth_r"] > 0.9
    assert found["face_share"] == pytest.approx((72 - 8) / 72)  # and one frame to either side


def test_of_two_people_the_one_whose_mouth_moves_is_measured(tmp_path: Path, speech: Path):
    film = grey_film(tmp_path / "film.mp4", np.full(72, 100, np.uint8))
    loud = loudness(speech, np.arange(73) / 24)
    talking, still = opening_that_moves(loud, 2), np.full(72, 0.1)
    restless = 400 * np.random.default_rng(3).random(72)
    left = FACE._replace(x0=0.05, x1=0.45)
    right = FACE._replace(x0=0.55, x1=0.9)
    far = FACE._replace(x0=0.46, x1=0.54, y0=0.3, y1=0.5)  # a third as high
    mouths = Mouths(still, talking, restless, faces=(left, right, far))
    found = measure_film(film, speech, find_faces=mouths)
    assert found["mouth_lag"] == 2 and found["mouth_r"] > 0.9


def test_each_scene_has_its_own_speaker(tmp_path: Path, speech: Path):
    frames = np.empty((72, 96, 128, 3), np.uint8)
    frames[:36], frames[36:] = (200, 30, 30), (30, 60, 200)
    write_film(tmp_path / "film.mp4", frames)
    opening = opening_that_moves(loudness(speech, np.arange(73) / 24), 0)
    first, second = opening.copy(), opening.copy()
    first[36:], second[:36] = np.nan, np.nan
    second += 50  # another mouth: the step from one to the other is no motion
    faces = (FACE._replace(x0=0.0, x1=0.4), FACE._replace(x0=0.6, x1=1.0))
    found = measure_film(
        tmp_path / "film.mp4", speech, TWO_CLIPS, find_faces=Mouths(first, second, faces=faces)
    )
    assert found["mouth_lag"] == 0 and found["mouth_r"] > 0.9


def test_without_a_face_or_with_a_still_mouth_or_silence_there_is_no_number(tmp_path: Path):
    film = grey_film(tmp_path / "film.mp4", np.full(48, 100, np.uint8))
    speech = write_speech(tmp_path / "speech.wav", syllables(48))
    for finder in (no_face, Mouths(np.full(48, 0.2))):
        found = measure_film(film, speech, find_faces=finder)
        assert np.isnan([found["mouth_r"], found["mouth_lag"]]).all()
    assert measure_film(film, speech, find_faces=no_face)["face_share"] == 0
    silence = write_speech(tmp_path / "silence.wav", np.full(48, 1.0))
    with wave.open(str(silence), "wb") as file:
        file.setparams((1, 2, SPEECH_RATE_HZ, 0, "NONE", ""))
        file.writeframes(bytes(2 * SPEECH_RATE_HZ * 2))
    found = measure_film(film, silence, find_faces=Mouths(np.arange(48.0) ** 2))
    assert np.isnan(found["mouth_r"])


def test_loudness_is_in_decibels_below_the_loudest_frame(tmp_path: Path):
    amplitude = np.array([1, 0.5, 0.1, 1e-4] * 5)
    speech = write_speech(tmp_path / "speech.wav", amplitude, rate=25)  # whole hundredths of a s
    level = loudness(speech, np.arange(21) / 25)
    expected = (1 + 20 * np.log10(amplitude) / 40).clip(0, 1)
    np.testing.assert_allclose(level, expected, atol=0.001)
    assert (loudness(speech, np.arange(40) / 25)[20:] == 0).all()  # past its end
    moved = loudness(speech, np.arange(21) / 25 - 2 / 25)  # the speech two frames later
    np.testing.assert_allclose(moved[2:], level[:-2], atol=1e-6)
    assert len(hop_power(speech)) == 80


def test_lagged_correlations_are_numpys(tmp_path: Path):
    rng = np.random.default_rng(5)
    loud, motion = rng.random(60), rng.random(60)
    motion[[4, 30, 31]] = np.nan
    curve = lagged_correlations(loud, motion, 15)
    for lag in (-15, -3, 0, 6, 15):
        pairs = [
            (loud[i], motion[i + lag])
            for i in range(60)
            if 0 <= i + lag < 60 and np.isfinite(motion[i + lag])
        ]
        assert curve[15 + lag] == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])
    assert np.isnan(lagged_correlations(loud[:10], motion[:10], 15)).all()
    assert peak(np.array([0.1, np.nan, 0.3])) == {"mouth_r": 0.3, "mouth_lag": 1.0}


# --- any film ------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_film(tmp_path: Path, speech: Path):
    peaks = []
    for num_frames in (40, 120):
        levels = (100 + 40 * (np.arange(num_frames) % 2)).astype(np.uint8)
        film = grey_film(tmp_path / f"{num_frames}.mp4", levels)
        tracemalloc.start()
        watch_film(film, no_face)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    frame = 96 * 128 * 3
    assert peaks[1] - peaks[0] < 80 * frame / 20  # of 80 more frames, a few numbers are kept


def test_a_film_of_one_frame_has_no_steps(tmp_path: Path, speech: Path):
    found = measure_film(
        grey_film(tmp_path / "film.mp4", np.array([90], np.uint8)), speech, find_faces=no_face
    )
    assert found["shots"] == 1 and found["sharpness"] < 1
    names = ("temporal_flickering", "warped_flickering", "flow", "first_frame_ssim", "mouth_r")
    assert np.isnan([found[name] for name in names]).all()


def test_what_cannot_be_decoded_is_named(tmp_path: Path, speech: Path):
    film = grey_film(tmp_path / "film.mp4", np.full(24, 100, np.uint8))
    (tmp_path / "rubbish.mp4").write_bytes(b"rubbish" * 100)
    with pytest.raises(ValueError, match=r"rubbish\.mp4 cannot be decoded"):
        measure_film(tmp_path / "rubbish.mp4", speech, find_faces=no_face)
    with pytest.raises(ValueError, match=r"speech\.wav has no picture|speech\.wav cannot be deco"):
        measure_film(speech, speech, find_faces=no_face)
    with pytest.raises(ValueError, match=r"film\.mp4 has no sound"):
        measure_film(film, film, find_faces=no_face)
