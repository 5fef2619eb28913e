"""What SyncNet scoring costs on its fast path and on the compatible one: everything but the two
networks, the whole, what both answer, and memory as films grow longer.

    python -m benchmarks.syncnet_speed FILM SPEECH --boxes 500,100,720,400

The face is where --boxes says, in every frame: S3FD runs for its time only, with random weights.
SyncNet's weights are those of --weights (a safetensors file with the public names), else random.
results/syncnet_speed.json.
"""

import argparse
import multiprocessing
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import keep
from openmocha.evaluation.syncnet import SyncScorer, score_film
from openmocha.evaluation.syncnet.network import NUM_FEATURES, WINDOW, Embedder, Folded, SyncNet
from openmocha.evaluation.syncnet.s3fd import FaceDetector, S3FDNet, s3fd_detector
from openmocha.evaluation.syncnet.score import NUM_SHIFTS
from openmocha.evaluation.syncnet.scoring import WINDOWS_AT_ONCE
from openmocha.evaluation.syncnet.weights import unpacked
from openmocha.models.weights import read_weights

PATHS = ("fast", "compatible")


@dataclass
class Timed:
    """Networks that count the seconds they take; wall and CPU."""

    network: Embedder
    detector: FaceDetector
    box: np.ndarray
    seconds: dict[str, float] = field(default_factory=lambda: {"syncnet": 0.0, "s3fd": 0.0})

    def embed_lips(self, crops: torch.Tensor) -> torch.Tensor:
        return self._count("syncnet", lambda: self.network.embed_lips(crops))

    def embed_speech(self, mfcc: torch.Tensor, num_windows: int) -> torch.Tensor:
        return self._count("syncnet", lambda: self.network.embed_speech(mfcc, num_windows))

    def find_faces(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        self._count("s3fd", lambda: self.detector(frames))
        return [self.box] * len(frames)

    def _count(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        self.seconds[name] += time.perf_counter() - started
        return result


class NoNetwork:
    """Answers at once."""

    answers = torch.ones(WINDOWS_AT_ONCE + NUM_SHIFTS, NUM_FEATURES)

    def embed_lips(self, crops: torch.Tensor) -> torch.Tensor:
        return self.answers[: len(crops) - WINDOW + 1]

    def embed_speech(self, mfcc: torch.Tensor, num_windows: int) -> torch.Tensor:
        return self.answers[:num_windows]


def syncnet(weights: Path | None) -> SyncNet:
    torch.manual_seed(0)
    network = SyncNet()
    if weights is not None:
        network.load_state_dict(unpacked(read_weights(weights)))
    return network.eval().requires_grad_(False)


def s3fd() -> S3FDNet:
    """Random, and blind: real weights see a face or two, where unaided random ones see thousands
    and suppressing them would be what is timed."""
    torch.manual_seed(0)
    network = S3FDNet()
    for conf in network.conf:
        torch.nn.init.constant_(conf.bias, 0.0)
        conf.bias.data[-1] = -20.0
    return network.eval().requires_grad_(False)


def scorers(weights: Path | None, box: np.ndarray) -> dict[str, tuple[SyncScorer, Timed]]:
    """Per path, with the networks as that path runs them."""
    plain, made = syncnet(weights), {}
    networks: dict[str, Embedder] = {"fast": Folded(plain), "compatible": plain}
    detectors = {
        "fast": s3fd_detector(s3fd()),
        "compatible": s3fd_detector(s3fd(), batch=1, channels_last=False),
    }
    for path in PATHS:
        timed = Timed(networks[path], detectors[path], box)
        made[path] = SyncScorer(timed, timed.find_faces, path=path), timed  # type: ignore[arg-type]
    return made


def seconds_of(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds, and what the work gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def without_networks(film: Path, speech: Path, box: np.ndarray, runs: int) -> dict[str, Any]:
    """Least seconds of `runs`, in turns, so that a busy moment of the machine hits both."""
    found: dict[str, list[tuple[float, float]]] = {path: [] for path in PATHS}
    for _ in range(runs):
        for path in PATHS:
            scorer = SyncScorer(NoNetwork(), lambda frames: [box] * len(frames), path=path)  # type: ignore[arg-type]
            wall, cpu, _ = seconds_of(lambda s=scorer: score_film(film, speech, s))
            found[path].append((wall, cpu))
    return least(found)


def with_networks(
    film: Path, speech: Path, box: np.ndarray, weights: Path | None, runs: int
) -> dict[str, Any]:
    found: dict[str, list[tuple[float, float]]] = {path: [] for path in PATHS}
    both, parts, scores = scorers(weights, box), {}, {}
    for _ in range(runs):
        for path in PATHS:
            scorer, timed = both[path]
            timed.seconds.update(syncnet=0.0, s3fd=0.0)
            wall, cpu, score = seconds_of(lambda s=scorer: score_film(film, speech, s))
            found[path].append((wall, cpu))
            if wall == min(found[path])[0]:
                parts[path] = dict(timed.seconds)
            scores[path] = asdict(score)
    return least(found) | {"networks_s": parts, "scores": scores}


def least(found: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    wall = {path: min(w for w, _ in rows) for path, rows in found.items()}
    cpu = {path: min(c for _, c in rows) for path, rows in found.items()}
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "times_faster": wall["compatible"] / wall["fast"],
        "times_less_cpu": cpu["compatible"] / cpu["fast"],
    }


def silent_copies(film: Path, path: Path, repeats: int = 1) -> Path:
    """The film's pictures again and again, without encoding them anew and without its sound: the
    scripts show a film with sound one frame late, so only silent ones give both paths the same
    windows."""
    import av

    with av.open(str(path), "w") as made:
        target: Any = None
        for number in range(repeats):
            with av.open(str(film)) as given:
                stream = given.streams.video[0]
                target = target or made.add_stream_from_template(stream)
                late = round(number * (stream.duration or 0))
                for packet in given.demux(stream):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + late, packet.dts + late
                        packet.stream = target
                        made.mux(packet)
    return path


def write_noise(path: Path, seconds: float) -> Path:
    samples = np.random.default_rng(0).integers(-9999, 9999, round(16_000 * seconds), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


def memory_of(film: Path, speech: Path, box: np.ndarray, weights: Path | None, pipe: Any) -> None:
    """In a process of its own: the largest memory while a film is scored on the fast path. S3FD's
    time is spared: it holds four small frames at once."""
    torch.set_num_threads(1)
    looks = 0

    def find_faces(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        nonlocal looks
        looks += len(frames)
        return [box] * len(frames)

    scorer = SyncScorer(Folded(syncnet(weights)), find_faces)
    found = score_film(film, speech, scorer)
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak
    pipe.send((1024 * int(status.split("VmHWM:")[1].split()[0]), looks, found.num_tracks))


def grown(source: Path, repeats: int, box: np.ndarray, weights: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        film = silent_copies(source, Path(folder) / "long.mp4", repeats)
        speech = write_noise(Path(folder) / "speech.wav", 5.5 * repeats)
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=memory_of, args=(film, speech, box, weights, theirs))
        process.start()
        theirs.close()  # else a child that dies would be waited for
        peak, num_frames, num_tracks = ours.recv()
        process.join()
    return {"seconds": num_frames / 25, "tracks": num_tracks, "peak_mib": round(peak / 2**20)}


def table(result: dict[str, Any]) -> str:
    alone, whole = result["without_networks"], result["whole"]
    lines = ["| | fast | compatible | ratio | target |", "|---|---|---|---|---|"]
    for name, one, target in (
        ("everything but the networks, s", alone, 5), ("the whole, s", whole, 1.3),
    ):  # fmt: skip
        wall = one["wall_s"]
        lines.append(
            f"| {name} | {wall['fast']:.2f} | {wall['compatible']:.2f} "
            f"| {one['times_faster']:.1f} | {target} |"
        )
        cpu = one["cpu_s"]
        lines.append(
            f"| in CPU seconds | {cpu['fast']:.2f} | {cpu['compatible']:.2f} "
            f"| {one['times_less_cpu']:.1f} | |"
        )
    for network in ("s3fd", "syncnet"):
        parts = [whole["networks_s"][path][network] for path in PATHS]
        lines.append(
            f"| {network}, s | {parts[0]:.2f} | {parts[1]:.2f} | {parts[1] / parts[0]:.1f} | |"
        )
    for key in ("sync_c", "sync_d", "offsets"):
        values = [whole["scores"][path][key] for path in PATHS]
        lines.append(f"| {key} | {values[0]} | {values[1]} | | |")
    lines += ["", "| film, s | tracks | peak memory, MiB |", "|---|---|---|"]
    lines += [f"| {r['seconds']:.0f} | {r['tracks']} | {r['peak_mib']} |" for r in result["memory"]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("film", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument(
        "--boxes", required=True, help="left,top,right,bottom of the face in pixels"
    )
    parser.add_argument("--weights", type=Path, help="a safetensors file; else random")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, nargs="*", default=[1, 4, 12])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    box = np.array([[*map(float, given.boxes.split(",")), 0.99]])
    with tempfile.TemporaryDirectory() as folder:
        film = silent_copies(given.film, Path(folder) / "silent.mp4")
        result = {
            "threads": given.threads,
            "film": given.film.name,
            "weights": "random" if given.weights is None else given.weights.name,
            "runs": given.runs,
            "without_networks": without_networks(film, given.speech, box, given.runs),
            "whole": with_networks(film, given.speech, box, given.weights, given.runs),
            "memory": [grown(given.film, n, box, given.weights) for n in given.repeats],
        }
    keep("syncnet_speed", result)
    print(table(result))


if __name__ == "__main__":
    main()
