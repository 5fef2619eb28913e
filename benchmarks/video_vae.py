"""How faithful the video VAE is on unseen toon films, and how fast.

    python -m benchmarks.video_vae runs/video_vae/final --films 100 [--judge FOLDER]

PSNR in dB of whole frames and of mouth crops (a mouth's box and a quarter of its width around it),
and how much of what moves there within the four frames of a latent is missed (1 where they are all
alike), the mean over films of the test split with 95% bootstrap intervals; with a judge also how
well mouth opening can be read from reconstructed close-ups. Results go to
benchmarks/results/video_vae.json.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from benchmarks.intervals import bootstrap_mean
from benchmarks.machine import keep
from openmocha.evaluation.toon_scores import clip_ranges, speaker_opening
from openmocha.models.video_vae import VideoVAE
from openmocha.toon.films import Film, Request, film_stream
from openmocha.toon.judge import Judge, load_judge
from openmocha.toon.stories import SOURCES
from openmocha.training.film_crops import mouth_mask, to_video
from openmocha.training.video_vae import motion_missed, psnr

CLOSE = ("close-up", "medium close-up")
SIZES = ((128, 128), (128, 128), (160, 96), (96, 160))  # (width, height), in turn


def main() -> None:
    """Measure, print the table, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="folder of a VideoVAE")
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--judge", type=Path, help="folder of a judge, to read mouths")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vae = VideoVAE.from_pretrained(options.model)
    judge = load_judge(options.judge) if options.judge else None
    requests = [film_request(number) for number in range(options.films)]
    rows = [film_row(vae, film, judge) for film in film_stream(requests, workers=1)]
    content = {
        "threads": options.threads,
        "model": str(options.model),
        "films": options.films,
        "figures": figures(rows),
        "speed": speed(vae),
        "rows": [{k: v for k, v in row.items() if k not in ("asked", "read")} for row in rows],
    }
    keep("video_vae", content)
    print_table(content)


def film_request(number: int) -> Request:
    width, height = SIZES[number // len(SOURCES) % len(SIZES)]
    seed = 90_000 + number
    return Request(seed, SOURCES[number % len(SOURCES)], "test", width=width, height=height)


@torch.inference_mode()
def film_row(vae: VideoVAE, film: Film, judge: Judge | None) -> dict[str, Any]:
    """PSNR of one film, and (close shots with a speaker) true opening next to what is read."""
    video = to_video(film.frames[None])
    decoded = vae.decode(vae.encode(video))
    height, width = film.frames.shape[1:3]
    mask = torch.from_numpy(mouth_mask(film.truth.mouth_boxes, height, width))[None]
    missed = motion_missed(decoded, video, mask)
    row: dict[str, Any] = {
        "seed": film.truth.story.seed,
        "source": film.truth.story.source,
        "size": f"{width}x{height}",
        "psnr": psnr(decoded, video),
        "mouth_psnr": psnr(decoded, video, mask) if mask.any() else None,
        "mouth_motion_missed": None if np.isnan(missed) else missed,
    }
    shots = [clip for clip, _ in clip_ranges(film.truth)]
    if judge is not None and all(c.shot in CLOSE and c.speaker is not None for c in shots):
        frames = rearrange(((decoded[0] + 1) * 127.5).round().byte(), "t c h w -> t h w c").numpy()
        row["asked"] = film.truth.mouth[:, 0]
        row["read"] = speaker_opening(judge.read(frames), film.truth)
    return row


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with their intervals: all films, close shots alone, and each size."""
    close = [row for row in rows if row["source"] in CLOSE]
    groups = {"all": rows, "close": close}
    groups |= {size: [r for r in rows if r["size"] == size] for size in {r["size"] for r in rows}}
    content: dict[str, Any] = {}
    for name, group in groups.items():
        for measure in ("psnr", "mouth_psnr", "mouth_motion_missed"):
            values = [row[measure] for row in group if row[measure] is not None]
            content[f"{measure}_{name}"] = [round(v, 2) for v in bootstrap_mean(values)]
    read = [row for row in rows if "read" in row]
    if read:
        content["opening_r2"] = opening_r2(read)
        content["opening_films"] = len(read)
    return content


def opening_r2(rows: list[dict[str, Any]]) -> list[float]:
    """R2 of read against true mouth opening over all frames; the interval resamples films."""
    errors = np.array([((row["read"] - row["asked"]) ** 2).sum() for row in rows])
    sums = np.array([row["asked"].sum() for row in rows])
    squares = np.array([(row["asked"] ** 2).sum() for row in rows])
    counts = np.array([len(row["asked"]) for row in rows])

    def r2(chosen: np.ndarray) -> float:
        spread = squares[chosen].sum() - sums[chosen].sum() ** 2 / counts[chosen].sum()
        return float(1 - errors[chosen].sum() / spread)

    rng = np.random.default_rng(0)
    drawn = [r2(rng.integers(len(rows), size=len(rows))) for _ in range(2000)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return [round(v, 4) for v in (r2(np.arange(len(rows))), float(low), float(high))]


@torch.inference_mode()
def speed(vae: VideoVAE, runs: int = 5) -> dict[str, float]:
    """Median seconds for 128 frames at 128x128."""
    video = torch.rand(1, 128, 3, 128, 128) * 2 - 1
    seconds: dict[str, list[float]] = {"encode_s": [], "decode_s": []}
    for _ in range(runs + 1):
        started = time.perf_counter()
        latents = vae.encode(video)
        encoded = time.perf_counter()
        vae.decode(latents)
        seconds["encode_s"].append(encoded - started)
        seconds["decode_s"].append(time.perf_counter() - encoded)
    return {name: round(statistics.median(values[1:]), 3) for name, values in seconds.items()}


def print_table(content: dict[str, Any]) -> None:
    print(f"| video VAE, {content['films']} unseen films | mean | 95% interval |\n|---|---|---|")
    for name, value in content["figures"].items():
        if isinstance(value, list):
            print(f"| {name.replace('_', ' ')} | {value[0]} | {value[1]} to {value[2]} |")
    for name, value in content["speed"].items():
        print(f"| {name.replace('_s', ', s')} | {value} | |")


if __name__ == "__main__":
    main()
