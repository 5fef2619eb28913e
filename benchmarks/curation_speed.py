"""What curation costs: each step alone, all fused, memory and time as films grow longer, and from
these the cost of 300 hours and of 100 million clips.

    python -m benchmarks.curation_speed ../shared/mochabench/mocha-generation
    python -m benchmarks.curation_speed FILMS --only-lengths --lengths 120     # two hours: slow

Steps are timed on one core over all films of the folder; "x real time" is seconds of film per
second. results/curation_speed.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, keep
from openmocha.curation.engines import Engine, run
from openmocha.curation.faces import Face, photo_faces
from openmocha.curation.judge import Judged, judge
from openmocha.curation.lips import SHIPPED, LipReader
from openmocha.curation.listen import listen
from openmocha.curation.measure import measure, read_probe
from openmocha.curation.pipeline import list_sources
from openmocha.curation.settings import settings_for
from openmocha.curation.watch import (
    MotionMeter,
    decoded,
    picture,
    scene_scorer,
    small_picture,
    watch,
)

LOOKS_PER_S = 12.0
CLIP_S, ANSWER_TOKENS = 5.0, 350  # of the 100 million


def nobody(frames: list[Any]) -> list[list[Face]]:
    return [[] for _ in frames]


def decode_alone(path: Path) -> None:
    for _ in decoded(path):
        pass


def scenes_alone(path: Path) -> None:
    """Decoding, shrinking and scoring every frame."""
    score = scene_scorer()
    for number, (_, frame) in enumerate(decoded(path), 1):
        score(small_picture(frame), number)


def looks(path: Path) -> list[Any]:
    """The frames that faces and motion are looked for in."""
    chosen: list[Any] = []
    for time_s, frame in decoded(path):
        if time_s >= len(chosen) / LOOKS_PER_S:
            chosen.append(frame)
    return chosen


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def steps(films: list[Path]) -> dict[str, float]:
    """Core-seconds per second of film: of each step alone, and of the fused pass."""
    finder = photo_faces()
    seconds = sum(float(watch(f, nobody, LOOKS_PER_S).end_s) for f in films)
    totals = dict.fromkeys(("decode", "scenes", "faces", "motion", "listen", "fused"), 0.0)
    for film in films:
        decode = timed(lambda f=film: decode_alone(f))
        totals["decode"] += decode
        totals["scenes"] += timed(lambda f=film: scenes_alone(f)) - decode
        frames = looks(film)
        pictures = [picture(frame) for frame in frames]
        totals["faces"] += timed(lambda p=pictures: finder(p))
        totals["faces"] += timed(lambda fs=frames: [picture(frame) for frame in fs])
        meter, small = MotionMeter(LOOKS_PER_S), [small_picture(frame) for frame in frames]
        totals["motion"] += timed(lambda m=meter, s=small: [m.add(one) for one in s])
        totals["listen"] += timed(lambda f=film: listen(f))
        totals["fused"] += timed(lambda f=film: watch(f, finder, LOOKS_PER_S))
    totals["fused"] += totals["listen"]
    return {name: total / seconds for name, total in totals.items()}


def both_cores(films: Path, folder: Path) -> dict[str, float]:
    """Seconds of film per second for measuring and judging, on all cores, as a user runs it."""
    settings = settings_for("photo")
    sources = list_sources([films], folder, settings)
    engine = Engine("cores", os.cpu_count() or 1)
    started = time.perf_counter()
    for _ in run(engine, measure, sources):
        pass
    measured_s = time.perf_counter() - started
    reader = LipReader.load(SHIPPED)
    judged_s = timed(lambda: [judge(Judged(source, reader)) for source in sources])
    seconds = sum(read_probe(source)["duration_s"] for source in sources)
    return {"film_s": seconds, "measured_s": measured_s, "judged_s": judged_s,
            "x_real_time": seconds / (measured_s + judged_s)}  # fmt: skip


def same_kind(films: list[Path]) -> list[Path]:
    """Those that can follow the first one in one file without being encoded anew."""
    import av

    def kind(film: Path) -> tuple[Any, ...]:
        with av.open(str(film)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            return (video.codec_context.extradata, video.average_rate, audio.rate, audio.layout)

    first = kind(films[0])
    return [film for film in films if kind(film) == first]


def joined_film(path: Path, sources: list[Path], minutes: float, first: int = 0) -> float:
    """A film of some minutes: `sources` in turn from number `first` on, again and again, none
    encoded anew. Returns its seconds."""
    import av

    end_s, number = 0.0, first
    with av.open(str(path), "w") as made:
        targets: dict[str, Any] = {}
        while end_s < 60 * minutes:
            with av.open(str(sources[number % len(sources)])) as given:
                streams = [given.streams.video[0], given.streams.audio[0]]
                for stream in streams:
                    if stream.type not in targets:
                        targets[stream.type] = made.add_stream_from_template(stream)
                for packet in given.demux(streams):
                    if packet.dts is None:
                        continue
                    late = round(end_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + late, packet.dts + late
                    packet.stream = targets[packet.stream.type]
                    made.mux(packet)
                end_s += max(float(s.duration * s.time_base) for s in streams) + 0.2
            number += 1
    return end_s


def curated(films: list[Path], folder: Path) -> dict[str, Any]:
    """What the command itself needs for some films with one worker: core-seconds, the peak of the
    memory of all its processes, and what came of it."""
    import psutil

    command = [sys.executable, "-m", "openmocha", "curate", *map(str, films), "-o", str(folder),
               "--workers", "1", "--json"]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of(process))
        time.sleep(0.2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    told = json.loads(process.stdout.read().splitlines()[-1])
    core_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"core_s": round(core_s, 1), "peak_mib": round(peak / 2**20), "rows": told["rows"],
            "kept": told["kept"], "set_aside": told["set_aside"]}  # fmt: skip


def memory_of(process: Any) -> int:
    """Bytes resident in a process and its children."""
    import psutil

    found = 0
    for one in (process, *process.children(recursive=True)):
        try:
            found += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found


def grown(sources: list[Path], minutes: float) -> dict[str, Any]:
    """Memory and time of a film of some minutes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        seconds = joined_film(path, sources, minutes)
        return {"minutes": round(seconds / 60, 1), **curated([path], Path(folder) / "dataset")}


def doubled(sources: list[Path], minutes: float) -> dict[str, Any]:
    """One film, and two of that length of which neither is a part of the other."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.mp4" for number in range(2)]
        for number, path in enumerate(paths):
            joined_film(path, sources, minutes, first=number * len(sources) // 2)
        one = curated(paths[:1], Path(folder) / "one")
        two = curated(paths, Path(folder) / "two")
    return {"minutes": minutes, "one": one, "two": two,
            "ratio": round(two["core_s"] / one["core_s"], 2)}  # fmt: skip


def costs(core_s: float, encode_core_s: float, bytes_per_s: dict[str, float]) -> dict[str, Any]:
    """Core-hours, tokens, GPU-hours and storage of two corpora, everything kept. Captioning is
    counted at 500 written tokens per GPU and second, a round figure for a model of 7B that was not
    measured here; everything else was."""
    corpora = {"300 h": 300 * 3600.0, "100 M clips": 1e8 * CLIP_S}
    return {
        name: {
            "film_hours": round(seconds / 3600),
            "core_hours_measuring": round(core_s * seconds / 3600),
            "core_hours_encoding_toon": round(encode_core_s * seconds / 3600),
            "caption_tokens_read": round(seconds / CLIP_S * (700 + 4 * 350)),
            "caption_tokens_written": round(seconds / CLIP_S * ANSWER_TOKENS),
            "gpu_hours_captions": round(seconds / CLIP_S * ANSWER_TOKENS / 500 / 3600),
            **{f"{what}_gb": round(size * seconds / 1e9, 1) for what, size in bytes_per_s.items()},
        }
        for name, seconds in corpora.items()
    }


def stored(folder: Path) -> float:
    return float(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()))


def encoding(films: list[Path]) -> tuple[float, float]:
    """Core-seconds and bytes per second of film for latents, speech and text of the embedded
    model."""
    from openmocha.curation.settings import Shards
    from openmocha.curation.shards import training_clip
    from openmocha.training.encoders import load_encoders
    from openmocha.training.shards import encode_clips

    rows = [
        {"path": str(f), "clip_id": "0" * 24, "start_s": 0.0, "end_s": 5.0, "shot": "close-up",
         "speaker": 0, "face_boxes": [[0.3, 0.2, 0.6, 0.7]], "caption": "A close-up of a person."}
        for f in films[:4]
    ]  # fmt: skip
    encoders = load_encoders("toon")
    started = time.perf_counter()
    records = encode_clips([training_clip(r, Shards(), Path()) for r in rows], encoders)
    seconds, film_s = time.perf_counter() - started, 5.0 * len(rows)
    return seconds / film_s, sum(map(len, records)) / film_s


def add_lengths(sources: list[Path], lengths: list[float]) -> None:
    """Measure films of more lengths and write them beside those that are there."""
    result = json.loads((RESULTS / "curation_speed.json").read_text())
    for minutes in lengths:
        longer = grown(sources, minutes)
        print(json.dumps(longer))
        others = [one for one in result["long_films"] if one["minutes"] != longer["minutes"]]
        result["long_films"] = sorted([*others, longer], key=lambda one: float(one["minutes"]))
        keep("curation_speed", result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", type=Path)
    parser.add_argument("--lengths", type=float, nargs="*", default=[1, 4, 16], help="minutes")
    parser.add_argument("--only-lengths", action="store_true", help="add these to the results")
    given = parser.parse_args()
    if given.only_lengths:
        add_lengths(same_kind(sorted(given.films.rglob("*.mp4"))), given.lengths)
        return
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    films = sorted(given.films.rglob("*.mp4"))
    per_s = steps(films)
    alone = sum(value for name, value in per_s.items() if name != "fused")
    with tempfile.TemporaryDirectory() as folder:
        together = both_cores(given.films, Path(folder))
        together["stored_bytes_per_film_s"] = stored(Path(folder)) / together["film_s"]
    encode_s, record_bytes = encoding(films)
    result = {
        "films": len(films),
        "core_s_per_film_s": {k: round(v, 4) for k, v in per_s.items()},
        "fused_over_sum": round(per_s["fused"] / alone, 3),
        "all_cores": {k: round(v, 2) for k, v in together.items()},
        "encoding_core_s_per_film_s": round(encode_s, 3),
        "long_films": [grown(same_kind(films), minutes) for minutes in given.lengths],
        "doubled": doubled(same_kind(films), 4.0),
        "costs": costs(
            per_s["fused"],
            encode_s,
            {"measurements": together["stored_bytes_per_film_s"], "shards": record_bytes},
        ),
    }
    print(json.dumps(result, indent=1))
    keep("curation_speed", result)


if __name__ == "__main__":
    main()
