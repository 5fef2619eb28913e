"""SyncNet's stages, each against its definition done the slow way, and against the reference."""

import json
import math
import os
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from openmocha.evaluation.syncnet import mfcc as mfcc_module
from openmocha.evaluation.syncnet import scoring
from openmocha.evaluation.syncnet.crops import Window, crop, crop_windows, smoothed
from openmocha.evaluation.syncnet.frames import at_constant_rate
from openmocha.evaluation.syncnet.mfcc import mfcc
from openmocha.evaluation.syncnet.network import Folded, SyncNet
from openmocha.evaluation.syncnet.s3fd import (
    S3FDNet,
    decode,
    detections,
    priors,
    s3fd_detector,
    suppress,
)
from openmocha.evaluation.syncnet.score import SyncScore, aggregate, distances, sync_score
from openmocha.evaluation.syncnet.tracks import Track, Variant, find_tracks, overlap

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
REFERENCE = SHARED / "reference" / "syncnet"


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/reference/syncnet is absent")
def test_every_stage_of_the_reference() -> None:
    from check_syncnet import check

    rows = list(check(REFERENCE))
    assert {row.stage for row in rows} == {
        "network", "mfcc", "score", "tracks", "crop windows", "aggregation", "S3FD",
    }  # fmt: skip
    assert not [row for row in rows if not row.passed]


def test_the_checker_says_what_it_could_not_check(tmp_path: Path, capsys) -> None:
    from check_syncnet import main

    assert main([str(tmp_path)]) == 2 and "holds no cases.json" in capsys.readouterr().out
    case = {
        "detections": [[], []], "scenes": [[0, 2]], "tracks": [],
        "expected": {"has_face": False, "best_conf": 0.0, "min_dist": 100.0, "offsets": []},
    }  # fmt: skip
    best, nearest, has_face = aggregate([])
    case["expected"] |= {"has_face": has_face, "best_conf": best, "min_dist": nearest}
    (tmp_path / "cases.json").write_text(json.dumps({"empty": case}))
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for stage in ("network, MFCC", "no case has a track", "both trackers", "S3FD: no"):
        assert stage in told
    assert told.count("not checked: ") == 4
    case["expected"]["best_conf"] = 9.0
    (tmp_path / "cases.json").write_text(json.dumps({"empty": case}))
    assert main([str(tmp_path)]) == 1
    assert "empty best_conf" in capsys.readouterr().out


# --- sound ---------------------------------------------------------------------------------------


def mfcc_by_definition(samples: np.ndarray) -> np.ndarray:
    """One frame, band and coefficient after the other."""
    emphasised = [float(samples[0])]
    emphasised += [
        float(b) - 0.97 * float(a) for a, b in zip(samples[:-1], samples[1:], strict=True)
    ]
    num_frames = 1 + max(0, math.ceil((len(samples) - 400) / 160))
    emphasised += [0.0] * (num_frames * 160 + 400 - len(emphasised))
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = [math.floor(513 * 700 * (10 ** (top * i / 27 / 2595) - 1) / 16000) for i in range(28)]
    found = []
    for number in range(num_frames):
        frame = np.array(emphasised[160 * number : 160 * number + 400])
        times = np.arange(400)
        power = [
            abs((frame * np.exp(-2j * np.pi * k * times / 512)).sum()) ** 2 / 512
            for k in range(257)
        ]
        bands = []
        for band in range(26):
            left, middle, right = edges[band : band + 3]
            rising = sum(power[k] * (k - left) / (middle - left) for k in range(left, middle))
            falling = sum(power[k] * (right - k) / (right - middle) for k in range(middle, right))
            bands.append(math.log(rising + falling or np.finfo(float).eps))
        column = [math.log(sum(power) or np.finfo(float).eps)]
        for n in range(1, 13):
            wave = sum(b * math.cos(math.pi * n * (2 * i + 1) / 52) for i, b in enumerate(bands))
            column.append(math.sqrt(2 / 26) * wave * (1 + 11 * math.sin(math.pi * n / 22)))
        found.append(column)
    return np.array(found).T


def test_mfcc_follows_its_definition() -> None:
    noise = np.random.default_rng(0).integers(-9000, 9000, 1300).astype(np.int16)
    noise[:700] = 0  # a frame of nothing: logarithms of eps
    np.testing.assert_allclose(mfcc(noise), mfcc_by_definition(noise), rtol=1e-9, atol=1e-9)


def test_mfcc_of_a_long_recording_has_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(-9000, 9000, 16_000).astype(np.int16)
    whole = mfcc(noise)
    monkeypatch.setattr(mfcc_module, "_BLOCK", 7)
    np.testing.assert_allclose(mfcc(noise), whole, rtol=1e-12)


# --- networks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> SyncNet:
    """Random weights, and batch normalisation that does something."""
    torch.manual_seed(0)
    network = SyncNet()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval().requires_grad_(False)


def test_names_and_sizes_are_the_public_ones(network: SyncNet) -> None:
    with torch.device("meta"):
        s3fd = S3FDNet()
    assert sum(p.numel() for p in network.parameters()) == 13_631_616
    assert len(network.state_dict()) == 102
    assert network.state_dict()["netcnnlip.18.weight"].shape == (512, 256, 1, 6, 6)
    assert network.state_dict()["netcnnaud.4.weight"].shape == (192, 64, 3, 3)
    assert sum(p.numel() for p in s3fd.parameters()) == 22_459_110
    assert len(s3fd.state_dict()) == 65
    assert s3fd.state_dict()["conf.0.weight"].shape == (4, 256, 3, 3)


def test_windows_are_embedded_one_by_one_or_together(network: SyncNet) -> None:
    """Folded, batched and sliding: the same as the published layers on each window alone."""
    rng = np.random.default_rng(2)
    crops = torch.from_numpy(rng.integers(0, 255, (7, 224, 224, 3), np.uint8))
    heard = torch.from_numpy(rng.normal(size=(13, 4 * 3 + 16)))
    folded = Folded(network)
    lips, speech = folded.embed_lips(crops), folded.embed_speech(heard, 3)
    assert lips.shape == speech.shape == (3, 1024)
    for i in range(3):
        window = crops[i : i + 5].permute(3, 0, 1, 2)[None].float()  # (1, C, T, H, W)
        alone = network.netfclip(network.netcnnlip(window).flatten(1))
        assert (alone - lips[i]).abs().max() < 1e-4 * alone.abs().max()
        sound = heard[:, 4 * i : 4 * i + 20][None, None].float()
        alone = network.netfcaud(network.netcnnaud(sound).flatten(1))
        assert (alone - speech[i]).abs().max() < 1e-4 * alone.abs().max()


# --- score ---------------------------------------------------------------------------------------


def test_distances_follow_their_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    lips, speech = torch.randn(2, 9, 4, generator=generator).numpy()
    found = distances(lips, speech)
    assert found.shape == (9, 31)
    for i, j in product(range(9), range(31)):
        other = speech[i + j - 15] if 0 <= i + j - 15 < 9 else np.zeros(4)
        expected = math.sqrt(((lips[i] - other + 1e-6) ** 2).sum())
        assert found[i, j] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("offset", [-15, -3, 0, 4, 15])
def test_offset_confidence_and_distance(offset: int) -> None:
    means = np.arange(31.0) + 10
    means[15 - offset] = 2.0
    score = sync_score(means)
    assert score.offset == offset
    assert score.distance == 2.0
    middle = sorted(means.tolist())[15]
    assert score.confidence == middle - 2.0


def test_damaged_weights_are_named() -> None:
    with pytest.raises(ValueError, match="weights are damaged"):
        sync_score(np.full(31, np.nan))


def test_a_film_takes_its_most_confident_and_its_nearest_track() -> None:
    assert aggregate([SyncScore(0, 5.0, 9.0), SyncScore(1, 2.0, 7.0)]) == (5.0, 7.0, True)
    assert aggregate([]) == (0.0, 0.0, False)


class Levels:
    """Embeds a window as the mean of its pixels, or of its first coefficient."""

    def embed_lips(self, crops: torch.Tensor) -> torch.Tensor:
        levels = crops.float().mean(dim=(1, 2, 3)) / 255
        return levels.unfold(0, 5, 1).mean(-1)[:, None]

    def embed_speech(self, mfcc: torch.Tensor, num_windows: int) -> torch.Tensor:
        return mfcc[0].unfold(0, 20, 4)[:num_windows].mean(-1)[:, None].float()


def test_a_track_scored_in_pieces_is_the_track_scored_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    crops = rng.integers(0, 255, (60, 8, 8, 3), np.uint8)
    samples = rng.integers(-3000, 3000, 60 * 640).astype(np.int16)
    lips = Levels().embed_lips(torch.from_numpy(crops))[:55]
    speech = Levels().embed_speech(torch.from_numpy(mfcc(samples)), 55)
    whole = sync_score(distances(lips.numpy(), speech.numpy()).mean(0))
    for pieces in (1, 7, 54, 100):
        monkeypatch.setattr(scoring, "WINDOWS_AT_ONCE", pieces)
        track = scoring.TrackScorer(Levels(), samples, len(crops))
        for pixels in crops[: 55 + 4]:
            track.add(pixels)
        score = track.score()
        assert score is not None and score.offset == whole.offset
        assert score.distance == pytest.approx(whole.distance, abs=1e-5)
        assert score.confidence == pytest.approx(whole.confidence, abs=1e-5)


# --- tracks and crops ----------------------------------------------------------------------------


def tracks_one_after_the_other(
    boxes: list[np.ndarray], variant: str, shortest: int
) -> list[tuple[list[int], list[list[float]]]]:
    """The trackers as they are described: a face is followed through the whole scene, then the
    next one through what is left."""
    left = [[list(map(float, box)) for box in found] for found in boxes]
    tracks = []
    while any(left):
        frames: list[int] = []
        taken: list[list[float]] = []
        for number, found in enumerate(left):
            at = 0
            while at < len(found):
                if frames and number - frames[-1] > 25:
                    break
                if not frames or overlap(np.array(found[at]), np.array(taken[-1])) > 0.5:
                    frames.append(number)
                    taken.append(found.pop(at))
                elif variant == "mochabench":
                    break
                at += 1
        if len(frames) > shortest:
            tracks.append((frames, taken))
    return tracks


@pytest.mark.parametrize("variant", ["original", "mochabench"])
def test_trackers_follow_one_face_after_the_other(variant: Variant) -> None:
    """Random crowds: faces jitter, vanish for up to 40 frames, come doubled and in any order."""
    rng = np.random.default_rng(4)
    for _ in range(8):
        boxes: list[list[np.ndarray]] = [[] for _ in range(160)]
        for corner in rng.uniform(0, 300, (4, 2)):
            gone = rng.integers(0, 160, 3)
            for number, found in enumerate(boxes):
                if not any(0 <= number - g < rng.integers(1, 40) for g in gone):
                    for _ in range(rng.choice([1, 1, 1, 2])):
                        place = corner + rng.normal(0, 12, 2)
                        found.append(np.concatenate([place, place + 150]))
        crowd = [np.array(rng.permutation(np.array(f).reshape(-1, 4))) for f in boxes]
        expected = tracks_one_after_the_other(crowd, variant, 20)
        found_tracks = find_tracks(crowd, [(0, 160)], variant, min_track=20)
        assert len(expected) == len(found_tracks) > 0
        for track, (frames, taken) in zip(found_tracks, expected, strict=True):
            assert (track.first, track.last) == (frames[0], frames[-1])
            np.testing.assert_allclose(
                track.boxes[np.array(frames) - frames[0]][:, 0],
                # two boxes of one frame make interpolation between them arbitrary: the last counts
                [taken[len(frames) - 1 - frames[::-1].index(f)][0] for f in frames],
            )


def test_a_track_needs_length_size_and_its_scene() -> None:
    box = np.array([[10.0, 10.0, 130.0, 100.0, 1.0]])
    for count, variant, tracks in (
        (50, "mochabench", 0), (51, "mochabench", 1), (100, "original", 0), (101, "original", 1),
    ):  # fmt: skip
        assert len(find_tracks([box] * count, [(0, count)], variant)) == tracks
    small = np.array([[0.0, 0.0, 100.0, 100.0, 1.0]])
    assert find_tracks([small] * 60, [(0, 60)], "mochabench") == []
    assert len(find_tracks([small] * 60, [(0, 60)], "mochabench", min_face=90)) == 1
    found = find_tracks([box] * 130, [(0, 60), (60, 130)], "mochabench")
    assert [(track.first, track.last) for track in found] == [(0, 59), (60, 129)]


def test_gaps_are_filled_linearly() -> None:
    boxes = [np.array([[float(i), 0.0, 150.0 + i, 150.0]]) for i in range(70)]
    for i in range(20, 44):
        boxes[i] = np.zeros((0, 4))
    (track,) = find_tracks(boxes, [(0, 70)], "mochabench", min_track=40)
    np.testing.assert_allclose(track.boxes[:, 0], np.arange(70.0))


def test_overlap() -> None:
    assert overlap(np.array([0, 0, 2, 2]), np.array([1, 1, 3, 3])) == pytest.approx(1 / 7)
    assert overlap(np.array([0, 0, 1, 1]), np.array([1, 0, 2, 1])) == 0


def test_smoothing_is_a_median_with_zeros_beyond_the_ends() -> None:
    values = np.random.default_rng(5).uniform(1, 9, 40)
    np.testing.assert_array_equal(smoothed(values), medfilt(values, 13))
    assert smoothed(values)[0] == values[:7].min()


def test_crops_are_cut_from_a_padded_frame() -> None:
    """Also where a box hangs over the frame's edges."""
    rng = np.random.default_rng(6)
    frame = rng.integers(0, 255, (120, 90, 3), np.uint8)
    for _ in range(40):
        corner, side = rng.uniform(-30, 100, 2), rng.uniform(20, 60)
        track = Track(0, np.tile([*corner, *(corner + side)], (13, 1)))
        window = crop_windows(track)[6]  # the middle: smoothing changes nothing
        half, (x, y) = side / 2, corner + side / 2
        pad = int(half * 1.8)
        rows = slice(max(0, int(y + pad - half)), int(y + pad + 1.8 * half))
        columns = slice(max(0, int(x + pad - 1.4 * half)), int(x + pad + 1.4 * half))
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
        expected = padded[rows, columns]
        if expected.size:
            np.testing.assert_array_equal(crop(frame, window), cv2.resize(expected, (224, 224)))


def test_a_window_beyond_the_frame_is_grey() -> None:
    nowhere = Window(top=500, bottom=600, left=500, right=600, pad=10)
    assert (crop(np.zeros((50, 50, 3), np.uint8), nowhere) == 110).all()


# --- frames --------------------------------------------------------------------------------------


def constant_film(fps: float, count: int) -> list[int]:
    return list(at_constant_rate((25 * i / fps, 25 / fps, i) for i in range(count)))


def test_24_frames_a_second_become_25() -> None:
    """127 frames give 132, as the public scripts' film of that length did; each slot shows the
    frame that begins nearest to it."""
    found = constant_film(24, 127)
    assert len(found) == 132
    starts = [math.floor(i * 25 / 24 + 0.5 + 1e-9) for i in range(128)]
    assert found == [i for i in range(127) for _ in range(starts[i], starts[i + 1])]


def test_other_rates() -> None:
    assert constant_film(25, 60) == list(range(60))
    assert constant_film(12.5, 30) == [i // 2 for i in range(60)]
    # a frame is left out when it ended 1.1 slots before its turn: (n + 1) / 1.2 - n < -1.1
    left_out = set(range(12, 156, 6))
    assert constant_film(30, 156) == [i for i in range(156) if i not in left_out]


def test_a_gap_is_filled_by_the_frame_after_it() -> None:
    """An AVI whose second frame is one late: f0, f1, f1, f2 (a known quirk of the scripts)."""
    times = [0, 2, 3, 4]
    assert list(at_constant_rate((t, 1, i) for i, t in enumerate(times))) == [0, 1, 1, 2, 3]
    held = list(at_constant_rate([(0, 1, "a"), (10, 1, "b"), (11, 1, "c")]))
    assert held == ["a"] * 9 + ["b", "b", "c"]  # FFmpeg shows what comes a little early


# --- face detector -------------------------------------------------------------------------------


def test_suppression_keeps_the_best_of_what_overlaps() -> None:
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 60, (50, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (50, 2))], axis=1)
    scores = rng.permutation(50) / 50
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(overlap(boxes[i], boxes[k]) <= 0.3 for k in kept):
            kept.append(int(i))
    assert suppress(boxes, scores, 0.3).tolist() == kept
    assert len(suppress(boxes[:0], scores[:0], 0.3)) == 0


def test_priors_and_boxes_follow_their_definition() -> None:
    sizes = ((4, 6), (2, 3), (1, 1), (1, 1), (1, 1), (1, 1))
    found = priors(16, 24, sizes)
    rows = [
        ((x + 0.5) * stride / 24, (y + 0.5) * stride / 16, anchor / 24, anchor / 16)
        for (height, width), stride, anchor in zip(
            sizes, (4, 8, 16, 32, 64, 128), (16, 32, 64, 128, 256, 512), strict=True
        )
        for y, x in product(range(height), range(width))
    ]
    np.testing.assert_allclose(found, rows, rtol=1e-6)
    offsets = torch.from_numpy(np.random.default_rng(8).normal(size=(len(rows), 4)))
    for box, (dx, dy, dw, dh), (x, y, w, h) in zip(
        decode(offsets, found).tolist(), offsets.tolist(), rows, strict=True
    ):
        x, y = x + 0.1 * dx * w, y + 0.1 * dy * h
        w, h = w * math.exp(0.2 * dw), h * math.exp(0.2 * dh)
        assert box == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], rel=1e-5)


def test_detections_of_one_picture() -> None:
    """Two cells on one face, one elsewhere, one too uncertain."""
    prior = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.31, 0.3, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2],
                          [0.1, 0.9, 0.1, 0.1]])  # fmt: skip
    scores = torch.tensor([0.7, 0.95, 0.6, 0.04])
    found = detections(torch.zeros(4, 4), torch.stack([1 - scores, scores], 1), prior)
    np.testing.assert_allclose(
        found, [[0.95, 0.21, 0.2, 0.41, 0.4], [0.6, 0.7, 0.7, 0.9, 0.9]], rtol=1e-5
    )


def test_detector_gives_pixels_and_looks_at_repeated_frames_once() -> None:
    torch.manual_seed(0)
    network = S3FDNet().requires_grad_(False)
    for conf in network.conf:
        conf.bias[-1] += 4.0  # random weights see faces somewhere
    looks: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: looks.append(len(inputs[0])))
    rng = np.random.default_rng(9)
    frames = [rng.integers(0, 255, (132, 244, 3), np.uint8) for _ in range(3)]
    together = s3fd_detector(network)([frames[0], frames[0], *frames[1:]])
    assert looks == [3]
    np.testing.assert_array_equal(together[0], together[1])
    alone = s3fd_detector(network, batch=1, channels_last=False)(frames)
    for a, b in zip(together[1:], alone, strict=True):
        assert a.shape == b.shape and a.shape[1] == 5 and len(a)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2)
    small = cv2.resize(frames[0], None, fx=0.25, fy=0.25) - np.array([123, 117, 104], np.float32)
    offsets, classes, sizes = network(torch.from_numpy(small).permute(2, 0, 1)[None])
    best = detections(offsets[0], classes[0], priors(33, 61, tuple(sizes)))[0]
    pixels = [best[1] * 244, best[2] * 132, best[3] * 244, best[4] * 132, best[0]]
    np.testing.assert_allclose(alone[0][0], pixels, rtol=1e-3)
