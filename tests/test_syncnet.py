"""Films and speeches to SyncNet's scores: what is found where the truth is known, and bad input.

The films' brightness follows the loudness of the speech, and stand-in embeddings read just these
two, so that the right offset is known.
"""

import dataclasses
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import correlate

from openmocha.curation.faces import Face
from openmocha.evaluation.syncnet import (
    FilmSync,
    SyncScorer,
    load_scorer,
    score_film,
)
from openmocha.evaluation.syncnet.frames import Footage, speech_samples
from openmocha.evaluation.syncnet.network import Folded, SyncNet
from openmocha.evaluation.syncnet.s3fd import S3FDNet
from openmocha.evaluation.syncnet.scoring import boxes_from, listed_boxes
from openmocha.evaluation.syncnet.tracks import SceneFinder
from openmocha.media import SPEECH_RATE_HZ, write_film

RNG = np.random.default_rng(0)
NUM_FRAMES = 70  # at 25 a second
LEVELS = np.convolve(RNG.uniform(0, 1, NUM_FRAMES + 40), np.ones(3) / 3, "valid")
FACE = (20.0, 20.0, 140.0, 150.0, 0.99)


class BrightnessAndLoudness:
    """Both embeddings are the level of a window, 0..1."""

    def embed_lips(self, crops: torch.Tensor) -> torch.Tensor:
        middle = crops[:, 90:130, 90:130].float().mean(dim=(1, 2, 3))
        return ((middle - 40) / 175).unfold(0, 5, 1).mean(-1)[:, None]

    def embed_speech(self, mfcc: torch.Tensor, num_windows: int) -> torch.Tensor:
        loud = (mfcc[0] - mfcc[0].min()) / (mfcc[0].max() - mfcc[0].min())
        return loud.unfold(0, 20, 4)[:num_windows].mean(-1)[:, None].float()


def always(*boxes: Sequence[float]):
    """A detector that sees the same faces in every frame."""
    found = np.array(boxes, np.float64).reshape(-1, 5)
    return lambda frames: [found for _ in frames]


def scorer_of(*boxes: Sequence[float], **settings) -> SyncScorer:
    return SyncScorer(BrightnessAndLoudness(), always(*boxes), **settings)


def pictures(levels: np.ndarray, size: tuple[int, int] = (176, 176)) -> np.ndarray:
    grey = (40 + 175 * levels).astype(np.uint8)
    return np.tile(grey[:, None, None, None], (1, *size, 3))


def write_speech(path: Path, levels: np.ndarray, rate: int = SPEECH_RATE_HZ) -> Path:
    """Noise whose loudness in decibels follows levels, 25 a second."""
    loudness = np.repeat(10 ** (1.5 * levels - 2), rate // 25)
    noise = loudness * np.random.default_rng(1).standard_normal(len(loudness)) / 4
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((noise.clip(-1, 1) * 32767).astype(np.int16).tobytes())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_film(path, pictures(LEVELS[10 : 10 + NUM_FRAMES]), fps=25)
    return path


# --- what is found -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["fast", "compatible"])
@pytest.mark.parametrize("shift", [-4, 0, 3])
def test_offset_is_found_with_its_sign(film: Path, tmp_path: Path, shift: int, path) -> None:
    """Speech that comes `shift` frames early makes lips late: offset +shift."""
    levels = LEVELS[10 + shift : 10 + shift + NUM_FRAMES]
    speech = write_speech(tmp_path / "speech.wav", levels)
    found = score_film(film, speech, scorer_of(FACE, path=path))
    assert (found.offsets, found.has_face, found.num_tracks) == ((shift,), True, 1)
    assert (found.frames, found.note) == (((0, NUM_FRAMES - 1),), "")
    assert (found.variant, found.path) == ("mochabench", path)
    assert (found.sync_c, found.sync_d) == (found.confidences[0], found.distances[0])
    assert found.sync_c > 0 and found.sync_d < 0.1


def test_both_paths_agree(film: Path, tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", LEVELS[12 : 12 + NUM_FRAMES])
    fast, compatible = (
        score_film(film, speech, scorer_of(FACE, path=path)) for path in ("fast", "compatible")
    )
    assert fast.offsets == compatible.offsets
    assert fast.sync_d == pytest.approx(compatible.sync_d, abs=0.01)
    assert fast.sync_c == pytest.approx(compatible.sync_c, abs=0.01)


def test_a_sound_track_delays_the_compatible_path_by_a_frame(tmp_path: Path) -> None:
    """As the public scripts' JPEGs come out; the fast path shows films as they are."""
    levels = LEVELS[10 : 10 + NUM_FRAMES]
    speech = write_speech(tmp_path / "speech.wav", levels)
    film = tmp_path / "film.mp4"
    sound = speech_samples(speech).astype(np.float32) / 32768
    write_film(film, pictures(levels), sound, fps=25)
    assert score_film(film, speech, scorer_of(FACE)).offsets == (0,)
    assert score_film(film, speech, scorer_of(FACE, path="compatible")).offsets == (1,)
    assert score_film(film, film, scorer_of(FACE)).offsets == (0,)  # the film's own sound


@pytest.mark.parametrize("fps", [24, 25, 30])
def test_frame_rates(tmp_path: Path, fps: int) -> None:
    """A film of any rate is scored in its own time."""
    count = round(NUM_FRAMES / 25 * fps)
    levels = np.interp(np.arange(count) / fps, np.arange(NUM_FRAMES) / 25, LEVELS[:NUM_FRAMES])
    write_film(tmp_path / "film.mp4", pictures(levels), fps=fps)
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])
    found = score_film(tmp_path / "film.mp4", speech, scorer_of(FACE))
    ((first, last),) = found.frames
    assert first == 0 and abs(last + 1 - NUM_FRAMES) <= (2 if fps == 30 else 1)
    assert found.offsets[0] in ((0, 1, 2) if fps == 30 else (0,))  # FFmpeg's slack at 30


@pytest.mark.parametrize("path", ["fast", "compatible"])
def test_networks_see_blue_green_red(tmp_path: Path, path) -> None:
    """As the weights expect it; detectors see red, green, blue."""
    frames = np.tile(np.array([200, 100, 30], np.uint8), (60, 176, 176, 1))
    write_film(tmp_path / "film.mp4", frames, fps=25)
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:60])
    seen: dict[str, np.ndarray] = {}

    class Recorder(BrightnessAndLoudness):
        def embed_lips(self, crops: torch.Tensor) -> torch.Tensor:
            seen["crop"] = crops[0, 100, 100].numpy()
            return super().embed_lips(crops)

    def find_faces(given):
        seen["frame"] = given[0][100, 100]
        return always(FACE)(given)

    score_film(tmp_path / "film.mp4", speech, SyncScorer(Recorder(), find_faces, path=path))
    np.testing.assert_allclose(seen["crop"], [30, 100, 200], atol=8)
    np.testing.assert_allclose(seen["frame"], [200, 100, 30], atol=8)


def test_vertical_films(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    write_film(film, pictures(LEVELS[:NUM_FRAMES], (240, 160)), fps=25)
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])
    low = (20.0, 90.0, 140.0, 230.0, 0.99)
    for path in ("fast", "compatible"):
        found = score_film(film, speech, scorer_of(low, path=path))
        assert found.offsets == (0,)


def two_faces(tmp_path: Path) -> tuple[Path, Path]:
    """The left one speaks, the right one is still."""
    frames = pictures(LEVELS[:NUM_FRAMES], (176, 352))
    frames[:, :, 176:] = 100
    write_film(tmp_path / "film.mp4", frames, fps=25)
    return tmp_path / "film.mp4", write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])


def test_two_faces(tmp_path: Path) -> None:
    film, speech = two_faces(tmp_path)
    right = (196.0, 20.0, 316.0, 150.0, 0.99)
    found = score_film(film, speech, scorer_of(FACE, right, variant="original"))
    assert found.num_tracks == 0  # 70 frames are too few for it
    found = score_film(film, speech, scorer_of(FACE, right))
    assert found.num_tracks == 2 and found.offsets[0] == 0
    assert found.sync_c == max(found.confidences) == found.confidences[0]
    assert found.sync_d == min(found.distances) == found.distances[0]
    alone = score_film(film, speech, scorer_of(FACE))
    assert alone.distances[0] == found.distances[0]


def test_a_cut_parts_tracks(tmp_path: Path) -> None:
    """The speech of the second track is that of its own frames."""
    levels = np.convolve(np.random.default_rng(3).uniform(0, 1, 122), np.ones(3) / 3, "valid")
    frames = pictures(levels, (176, 240))
    frames[:, :, 160:] = 0
    frames[60:, :, 160:] = (255, 0, 0)
    write_film(tmp_path / "film.mp4", frames, fps=25)
    speech = write_speech(tmp_path / "speech.wav", levels)
    for path in ("fast", "compatible"):
        found = score_film(tmp_path / "film.mp4", speech, scorer_of(FACE, path=path))
        assert found.frames == ((0, 59), (60, 119))
        assert found.offsets == (0, 0) and max(found.distances) < 0.12


def test_scenes_are_pyscenedetects(tmp_path: Path) -> None:
    from scenedetect import ContentDetector, detect

    rng = np.random.default_rng(2)
    shots = [np.tile(rng.integers(0, 255, (1, 6, 8, 3)), (n, 1, 1, 1)) for n in (40, 9, 30, 51)]
    frames = np.concatenate(shots).astype(np.uint8).repeat(40, axis=1).repeat(40, axis=2)
    write_film(tmp_path / "film.mp4", frames, fps=25)
    finder = SceneFinder()
    for frame in Footage(tmp_path / "film.mp4"):
        finder.add(frame)
    expected = detect(str(tmp_path / "film.mp4"), ContentDetector())
    assert len(expected) > 1
    assert finder.scenes() == [(start.frame_num, end.frame_num) for start, end in expected]


# --- what is missing or wrong --------------------------------------------------------------------


def nothing(found: FilmSync) -> bool:
    return (found.sync_c, found.sync_d, found.has_face, found.num_tracks) == (0, 0, False, 0)


@pytest.mark.parametrize("path", ["fast", "compatible"])
def test_a_film_without_a_face(film: Path, tmp_path: Path, path) -> None:
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])
    found = score_film(film, speech, scorer_of(path=path))
    assert nothing(found) and found.note == "no face was found"
    small = score_film(film, speech, scorer_of((0, 0, 90, 90, 1), path=path))
    assert nothing(small) and "over 100 pixels" in small.note
    assert score_film(film, speech, scorer_of((0, 0, 90, 90, 1), min_face=80)).has_face


def test_speech_longer_than_the_film_is_cut(film: Path, tmp_path: Path) -> None:
    levels = LEVELS[10 : 10 + NUM_FRAMES]
    exact = write_speech(tmp_path / "exact.wav", levels)
    longer = write_speech(tmp_path / "longer.wav", np.concatenate([levels, np.ones(50)]))
    a, b = (score_film(film, speech, scorer_of(FACE)) for speech in (exact, longer))
    assert a.offsets == b.offsets and a.distances == pytest.approx(b.distances, abs=1e-3)


def test_speech_shorter_than_the_film(film: Path, tmp_path: Path) -> None:
    """Scored as far as it goes; with under six windows there is nothing to score."""
    levels = LEVELS[10 : 10 + NUM_FRAMES]
    half = write_speech(tmp_path / "half.wav", levels[:40])
    assert score_film(film, half, scorer_of(FACE)).offsets == (0,)
    for path in ("fast", "compatible"):
        tiny = write_speech(tmp_path / "tiny.wav", levels[:5])
        found = score_film(film, tiny, scorer_of(FACE, path=path))
        assert nothing(found) and found.note == "1 of 1 tracks lie beyond the end of the speech"


def test_a_film_of_five_frames(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", pictures(LEVELS[:5]), fps=25)
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])
    for path in ("fast", "compatible"):
        assert nothing(score_film(tmp_path / "film.mp4", speech, scorer_of(FACE, path=path)))


@pytest.mark.parametrize("path", ["fast", "compatible"])
def test_files_that_cannot_be_scored(film: Path, tmp_path: Path, path) -> None:
    scorer = scorer_of(FACE, path=path)
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])
    whole = film.read_bytes()
    cut, short = tmp_path / "cut.mp4", tmp_path / "short.mp4"
    cut.write_bytes(whole[:400])
    short.write_bytes(whole[: whole.index(b"mdat") + (len(whole) - whole.index(b"mdat")) // 2])
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    for bad, sound, error, words in (
        (tmp_path / "none.mp4", speech, FileNotFoundError, "does not exist"),
        (film, tmp_path / "none.wav", FileNotFoundError, "does not exist"),
        (cut, speech, ValueError, "film .*cut.mp4 cannot be decoded"),
        (short, speech, ValueError, "film .*short.mp4 (ends after|cannot be decoded after)"),
        (empty, speech, ValueError, "film .*empty.mp4 cannot be decoded"),
        (speech, speech, ValueError, "has no picture"),
        (film, film, ValueError, "has no sound"),
        (film, empty, ValueError, "speech file .*empty.mp4 cannot be decoded"),
        (film, write_speech(tmp_path / "short.wav", LEVELS[:3]), ValueError, "0.120 s long"),
    ):
        with pytest.raises(error, match=words):
            score_film(bad, sound, scorer)


def test_a_detector_that_forgets_a_frame_is_named(film: Path, tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:NUM_FRAMES])
    forgetful = SyncScorer(BrightnessAndLoudness(), lambda frames: [np.zeros((0, 5))])
    with pytest.raises(ValueError, match="answered for 1 frames of 8"):
        score_film(film, speech, forgetful)


# --- sound ---------------------------------------------------------------------------------------


def test_sound_of_other_rates_and_through_mp3(film: Path, tmp_path: Path) -> None:
    levels = LEVELS[10 : 10 + NUM_FRAMES]
    speech = write_speech(tmp_path / "speech.wav", levels, rate=44_100)
    assert len(speech_samples(speech)) == NUM_FRAMES * 640
    assert score_film(film, speech, scorer_of(FACE)).offsets == (0,)
    from openmocha.evaluation.syncnet.scripts import mp3_samples

    coded = mp3_samples(speech, tmp_path).astype(float)
    plain = speech_samples(speech).astype(float)
    matches = correlate(coded, plain, method="fft")
    assert matches.max() > 0.9 * np.sqrt((coded**2).sum() * (plain**2).sum())
    delay_s = (matches.argmax() - (len(plain) - 1)) / 16_000
    assert 0.01 < delay_s < 0.08  # the same sound, later by the codec's delay


def test_original_takes_the_sound_through_mp3_on_the_compatible_path(tmp_path: Path) -> None:
    levels = LEVELS[:105]
    write_film(tmp_path / "film.mp4", pictures(levels), fps=25)
    speech = write_speech(tmp_path / "speech.wav", levels, rate=44_100)
    fast, compatible = (
        score_film(tmp_path / "film.mp4", speech, scorer_of(FACE, variant="original", path=path))
        for path in ("fast", "compatible")
    )
    assert fast.offsets == (0,)
    assert compatible.offsets in ((0,), (-1,)) and compatible.distances != fast.distances


# --- detectors and weights -----------------------------------------------------------------------


def test_other_detectors(film: Path) -> None:
    frames = [np.zeros((100, 200, 3), np.uint8)] * 3
    faces = [[Face(0.1, 0.2, 0.5, 0.6, 0.9, 0, 0, 0.3, 0.5)], [], []]
    found = boxes_from(lambda given: faces[: len(given)])(frames)
    np.testing.assert_allclose(found[0], [[20, 20, 100, 60, 0.9]])
    assert [len(boxes) for boxes in found] == [1, 0, 0]
    listed = listed_boxes([np.array([FACE]), np.zeros((0, 5))])
    assert [len(boxes) for boxes in listed(frames[:2])] == [1, 0]
    assert [len(boxes) for boxes in listed(frames)] == [0, 0, 0]  # beyond the list


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the public names: one file of torch.save, one packed as int8."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(SyncNet().state_dict(), folder / "syncnet_v2.model")
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in S3FDNet().state_dict().items():
        packed[name] = (tensor / tensor.abs().max() * 127).round().to(torch.int8)
        packed[f"{name}.scale"] = tensor.abs().max()[None] / 127
    save_file(packed, folder / "sfd_face.safetensors")
    return folder


def test_scorers_from_a_folder_of_weights(weights: Path, film: Path, tmp_path: Path) -> None:
    scorer = load_scorer(weights)
    assert isinstance(scorer.network, Folded)
    assert len(scorer.find_faces([np.zeros((128, 160, 3), np.uint8)])) == 1
    with pytest.raises(ValueError, match="96x160 are too small for S3FD|160x96 are too small"):
        scorer.find_faces([np.zeros((96, 160, 3), np.uint8)])
    plain = load_scorer(weights, "original", "compatible", find_faces=always(FACE))
    assert isinstance(plain.network, SyncNet) and plain.variant == "original"
    speech = write_speech(tmp_path / "speech.wav", LEVELS[:12])
    short = dataclasses.replace(scorer, find_faces=always(FACE))
    found = score_film(film, speech, short)
    assert found.has_face and np.isfinite(found.sync_d)


def test_absent_or_wrong_weights_say_where_they_come_from(weights: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match="robots.ox.ac.uk.*check their terms"):
            load_scorer(folder)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "syncnet_v2.model")
    with pytest.raises(ValueError, match="is no SyncNet: 102 tensors are missing, 1 unknown"):
        load_scorer(tmp_path)
    (tmp_path / "syncnet_v2.model").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        load_scorer(tmp_path)
    (tmp_path / "syncnet_v2.model").write_bytes((weights / "syncnet_v2.model").read_bytes())
    with pytest.raises(ValueError, match="holds neither sfd_face"):
        load_scorer(tmp_path)
    for settings, words in (
        ({"variant": "latentsync"}, "original or mochabench"),
        ({"path": "slow"}, "fast or compatible"),
    ):
        with pytest.raises(ValueError, match=words):
            load_scorer(weights, **settings)
