"""Check every stage of SyncNet scoring against a folder of reference values.

    python -m tests.check_syncnet ../shared/reference/syncnet

The folder holds cases.json (detections -> tracks, crop windows, expected scores), one safetensors
per track (crops as JPEG, sound, MFCC, embeddings, distances), the network's weights, and vectors of
the tracker and the face detector. Prints stage, case, error, tolerance, and what could not be
checked because it is absent; exit code 1 where any fails, 2 where there is nothing to check.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from openmocha.evaluation.syncnet.crops import crop_windows, smoothed
from openmocha.evaluation.syncnet.mfcc import mfcc
from openmocha.evaluation.syncnet.network import Embedder, Folded, SyncNet
from openmocha.evaluation.syncnet.s3fd import S3FDNet, decode, detections, priors, suppress
from openmocha.evaluation.syncnet.score import (
    SyncScore,
    aggregate,
    distances,
    num_windows,
    sync_score,
)
from openmocha.evaluation.syncnet.tracks import Track, find_tracks
from openmocha.evaluation.syncnet.weights import unpacked
from openmocha.models.weights import read_weights

RELATIVE, ABSOLUTE, EXACT = "of the largest", "", "exact"
NETWORK, MFCC, SCORE, FACES, BOXES = 1e-4, 1e-6, 1e-4, 1e-5, 1e-6
PLAIN_WINDOWS = 8  # of the network as published; all windows go through the folded one
S3FD_SIZE = (132, 244)  # of the vectors' input
S3FD_PARAMETERS, S3FD_TENSORS = 22_459_110, 65
SYNCNET_PARAMETERS, SYNCNET_TENSORS = 13_631_616, 102


class Row(NamedTuple):
    """One checked answer."""

    stage: str
    case: str
    error: float
    tolerance: float
    kind: str = ABSOLUTE

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # NaN does not


def check(folder: Path) -> Iterator[Row]:
    """All stages of all cases of a folder."""
    yield from check_sizes()
    network = read_network(folder)
    cases = json.loads((folder / "cases.json").read_text())
    if not cases:
        raise ValueError(f"{folder / 'cases.json'} lists no cases")
    for name, case in cases.items():
        scores = []
        for about in case["tracks"]:
            score = SyncScore(about["offset"], about["conf"], about["min_dist"])
            if network is not None:
                tensors = load_file(folder / about["file"])
                score, rows = check_track(network, f"{name}[{len(scores)}]", about, tensors)
                yield from rows
            scores.append(score)
        yield from check_geometry(name, case)
        yield from check_aggregation(name, case["expected"], scores)
    if (folder / "tracker_vectors.json").exists():
        yield from check_trackers(json.loads((folder / "tracker_vectors.json").read_text()))
    if (folder / "s3fd_vectors.safetensors").exists():
        yield from check_faces(load_file(folder / "s3fd_vectors.safetensors"))


def absent(folder: Path) -> list[str]:
    """Stages that a folder holds nothing to check of, and why."""
    found = []
    if not any(folder.glob("syncnet_weights*.safetensors")):
        found.append("network, MFCC and scores of tracks: no syncnet_weights*.safetensors")
    if not any(case["tracks"] for case in json.loads((folder / "cases.json").read_text()).values()):
        found.append("MFCC, scores and crop windows: no case has a track")
    if not (folder / "tracker_vectors.json").exists():
        found.append("both trackers: no tracker_vectors.json")
    if not (folder / "s3fd_vectors.safetensors").exists():
        found.append("S3FD: no s3fd_vectors.safetensors")
    return found


def check_sizes() -> Iterator[Row]:
    """Parameters and tensors of both networks, as the public files have them."""
    with torch.device("meta"):
        networks = SyncNet(), S3FDNet()
    expected = (SYNCNET_PARAMETERS, SYNCNET_TENSORS), (S3FD_PARAMETERS, S3FD_TENSORS)
    for network, (parameters, tensors) in zip(networks, expected, strict=True):
        name = type(network).__name__
        found = sum(p.numel() for p in network.parameters())
        yield Row("network", f"{name} parameters", abs(found - parameters), 0, EXACT)
        found = len(network.state_dict())
        yield Row("network", f"{name} tensors", abs(found - tensors), 0, EXACT)


def read_network(folder: Path) -> SyncNet | None:
    """SyncNet with the folder's weights; None where it has none. Names must be the public ones."""
    files = sorted(folder.glob("syncnet_weights*.safetensors"))
    if not files:
        return None
    network = SyncNet()
    network.load_state_dict(unpacked(read_weights(files[0])), strict=True)
    return network.eval().requires_grad_(False)


def check_track(
    network: SyncNet, case: str, about: dict[str, Any], given: dict[str, np.ndarray]
) -> tuple[SyncScore, list[Row]]:
    """Crops and sound -> MFCC -> embeddings -> distances -> score, each stage from the reference's
    own input to it, the last from ours."""
    crops, rows = read_crops(case, given)
    samples, expected = given["audio_int16_16k"], given["mfcc_13xT"]
    coefficients = mfcc(samples)
    error = gap(coefficients / expected, np.ones_like(expected))
    rows.append(Row("mfcc", case, error, MFCC, "of each value"))
    count = num_windows(len(crops), len(samples))
    rows.append(Row("score", f"{case} windows", abs(count - about["n_windows"]), 0, EXACT))
    lips, speech = embed(Folded(network), crops, coefficients, count)
    some = embed(network, crops, coefficients, min(count, PLAIN_WINDOWS))
    for name, one, part in (
        ("Folded", lips, "lip_emb"),
        ("Folded", speech, "aud_emb"),
        ("SyncNet", some[0], "lip_emb"),
        ("SyncNet", some[1], "aud_emb"),
    ):
        error = relative(one.numpy(), given[part][: len(one)])
        rows.append(Row("network", f"{case} {name} {part}", error, NETWORK, RELATIVE))
    table = distances(given["lip_emb"], given["aud_emb"])
    rows.append(Row("score", f"{case} distances", gap(table.T, given["dist_31xN"]), SCORE))
    means = table.mean(0)
    rows.append(Row("score", f"{case} means", gap(means, given["mean_dist_31"]), SCORE))
    rows += score_rows(f"{case} from embeddings", sync_score(means), about)
    score = sync_score(distances(lips.numpy(), speech.numpy()).mean(0))
    rows += score_rows(f"{case} from crops and sound", score, about)
    return score, rows


def read_crops(case: str, given: dict[str, np.ndarray]) -> tuple[Tensor, list[Row]]:
    """uint8 (T, 224, 224, 3) BGR, and whether this machine's JPEG decoder gives the same pixels."""
    edges = given["jpeg_offsets"]
    pieces = [given["jpeg_bytes"][a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    crops = np.stack([cv2.imdecode(piece, cv2.IMREAD_COLOR) for piece in pieces])
    chosen = crops[[0, len(crops) // 2]].astype(int)
    error = np.abs(chosen - given["decoded_bgr_first_and_middle"]).max()
    return torch.from_numpy(crops), [Row("network", f"{case} JPEG pixels", error, 0, EXACT)]


def embed(
    embedder: Embedder, crops: Tensor, coefficients: np.ndarray, count: int
) -> tuple[Tensor, Tensor]:
    heard = torch.from_numpy(np.ascontiguousarray(coefficients))
    return embedder.embed_lips(crops[: count + 4]), embedder.embed_speech(heard, count)


def score_rows(case: str, score: SyncScore, about: dict[str, Any]) -> list[Row]:
    return [
        Row("score", f"{case}: offset", abs(score.offset - about["offset"]), 0, EXACT),
        Row("score", f"{case}: Sync-C", abs(score.confidence - about["conf"]), SCORE),
        Row("score", f"{case}: Sync-D", abs(score.distance - about["min_dist"]), SCORE),
    ]


def check_geometry(name: str, case: dict[str, Any]) -> Iterator[Row]:
    """Detections -> tracks, and the reference's tracks -> crop windows."""
    boxes = [np.array(one, float).reshape(-1, 5) for one in case["detections"]]
    found = find_tracks(boxes, case["scenes"], "mochabench")
    expected = case["tracks"]
    yield Row("tracks", f"{name}: how many", abs(len(found) - len(expected)), 0, EXACT)
    for number, (track, about) in enumerate(zip(found, expected, strict=False)):
        label = f"{name}[{number}]"
        frames = abs(track.first - about["frames"][0]) + abs(track.last - about["frames"][1])
        yield Row("tracks", f"{label} frames", frames, 0, EXACT)
        yield Row("tracks", f"{label} boxes", gap(track.boxes, about["bbox"]), BOXES)
    for number, about in enumerate(expected):
        yield from check_windows(f"{name}[{number}]", about)


def check_windows(case: str, about: dict[str, Any]) -> Iterator[Row]:
    boxes = np.array(about["bbox"], float)
    windows = np.array(crop_windows(Track(about["frames"][0], boxes)))
    size = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]) / 2
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = {"smoothed_half_size": size, "smoothed_cx": middles[:, 0], "smoothed_cy": middles[:, 1]}
    for name, values in found.items():
        yield Row("crop windows", f"{case} {name}", gap(smoothed(values), about[name]), BOXES)
    expected = about["crop_window_in_padded_y1y2x1x2"]
    yield Row("crop windows", f"{case} pad", gap(windows[:, 4], about["pad"]), 0, EXACT)
    yield Row("crop windows", f"{case} windows", gap(windows[:, :4], expected), 0, EXACT)


def check_aggregation(
    name: str, expected: dict[str, Any], scores: list[SyncScore]
) -> Iterator[Row]:
    best, nearest, has_face = aggregate(scores)
    yield Row("aggregation", f"{name} has_face", has_face != expected["has_face"], 0, EXACT)
    yield Row("aggregation", f"{name} best_conf", abs(best - expected["best_conf"]), SCORE)
    yield Row("aggregation", f"{name} min_dist", abs(nearest - expected["min_dist"]), SCORE)
    offsets = [s.offset for s in scores] != list(expected["offsets"])
    yield Row("aggregation", f"{name} offsets", offsets, 0, EXACT)


def check_trackers(vectors: dict[str, Any]) -> Iterator[Row]:
    """Both trackers; keys VARIANT_min_trackN hold the tracks that each found."""
    for name, case in vectors.items():
        boxes = [
            np.array([[*face["bbox"], face["conf"]] for face in faces]).reshape(-1, 5)
            for faces in case["detections"]
        ]
        for key, expected in case.items():
            if "_min_track" not in key:
                continue
            variant, _, shortest = key.partition("_min_track")
            scenes = [(0, len(boxes))]
            found = find_tracks(boxes, scenes, variant, min_track=int(shortest))  # type: ignore[arg-type]
            error = abs(len(found) - len(expected))
            yield Row("tracks", f"{name} {variant}: how many", error, 0, EXACT)
            for track, about in zip(found, expected, strict=False):
                yield check_track_vector(f"{name} {variant}", track, about)


def check_track_vector(case: str, track: Track, about: dict[str, Any]) -> Row:
    if (track.first, track.last) != (about["first"], about["last"]):
        return Row("tracks", f"{case} frames", float("inf"), 0, EXACT)
    boxes = {
        "bbox_first": track.boxes[0],
        "bbox_mid": track.boxes[len(track.boxes) // 2],
        "bbox_last": track.boxes[-1],
    }
    # means are listed to four decimals
    mean_gap = gap(track.boxes.mean(0), about["bbox_mean"])
    error = max(gap(found, about[key]) for key, found in boxes.items())
    return Row("tracks", case, max(error, mean_gap - 5e-5), BOXES)


def check_faces(given: dict[str, np.ndarray]) -> Iterator[Row]:
    """S3FD without its network's weights: priors, decoding, suppression, the detections of one
    picture, and the sizes of the maps."""
    sizes = map_sizes(*S3FD_SIZE)
    prior = priors(*S3FD_SIZE, sizes)
    key = f"prior_{S3FD_SIZE[0]}x{S3FD_SIZE[1]}"
    yield Row("S3FD", "priors", gap(prior, given[key]), BOXES)
    offsets, classes = torch.from_numpy(given["loc"]), torch.from_numpy(given["conf"])
    yield Row("S3FD", "decode", gap(decode(offsets[0], prior), given["decode_out"]), FACES)
    boxes = given["nms_in"]
    kept = suppress(boxes[:, :4], boxes[:, 4], 0.1)
    yield Row("S3FD", "suppression", gap(kept, given["nms_keep_thr0p1"]), 0, EXACT)
    expected = given["detect_out"][0, 1]
    found = np.zeros_like(expected)
    rows = detections(offsets[0], classes[0], prior)
    found[: len(rows)] = rows
    yield Row("S3FD", "detections", gap(found, expected), FACES)


@torch.inference_mode()
def map_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the network's maps, from the network itself."""
    with torch.device("meta"):
        _, _, sizes = S3FDNet()(torch.zeros(1, 3, height, width))
    return tuple(sizes)


def gap(found: Any, expected: Any) -> float:
    """Largest absolute difference; infinite where shapes differ."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float("inf") if a.shape != b.shape else float(np.abs(a - b).max(initial=0.0))


def relative(found: Any, expected: Any) -> float:
    """The same, in shares of the largest expected value."""
    return gap(found, expected) / float(np.abs(expected).max())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    if not (folder / "cases.json").is_file():
        print(f"{folder} holds no cases.json; expected a folder of reference values")
        return 2
    failed = 0
    for row in check(folder):
        verdict = "pass" if row.passed else "FAIL"
        allowed = row.kind if row.kind == EXACT else f"<= {row.tolerance:7.1e} {row.kind}"
        print(f"{row.stage:13s} {row.case:52s} {row.error:9.2e}  {verdict}  {allowed}")
        failed += not row.passed
    for words in absent(folder):
        print(f"not checked: {words}")
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
