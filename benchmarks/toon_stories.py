"""How well a model tells unseen toon stories: lip-sync, attributes, cuts, speakers.

    python -m benchmarks.toon_stories --model toon --count 200 --out runs/toon_stories

Several processes share the work: each makes a part of the films (--part 1/2 --threads 1, and 2/2),
then a run without --part judges them all.

Stories of the test split (unseen seeds, sentences and voices) -> films by the model, kept in --out
so that a second run goes on where the first stopped -> the judge -> a table, and
benchmarks/results/toon_stories.json. The judge reads the true films too, and their reconstructions
by the model's VAE: no model can be measured better than its judge.

The captions tell all that is asked about. Training captions leave out a fifth of their clauses;
--drop 0.2 asks with such ones, and then films are also asked for what nobody told them.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import loudness
from benchmarks.intervals import mean, share
from benchmarks.machine import keep
from openmocha.evaluation.toon_scores import cut_right, pearson, score_film, speaker_opening
from openmocha.models.store import identity, model_folder
from openmocha.sampling import SETTINGS_FILE, Sampling
from openmocha.toon.captions import caption_of
from openmocha.toon.films import Film, make_film
from openmocha.toon.judge import Judge, load_judge
from openmocha.training.shards import FRAMES_PER_LATENT

JUDGE = Path(__file__).parents[1] / "openmocha/weights/toon/judge"
# Of every 20 stories: 6 close-ups, 5 medium close-ups, 4 medium or wide, 5 dialogues.
SOURCES = ("close-up",) * 6 + ("medium close-up",) * 5 + ("medium",) * 4 + ("dialogue",) * 5
REQUIRED = ("hair_colour", "skin", "clothes_colour", "background_colour", "shot", "species")
# what films of one folder share
FILMS_OF = (
    "model", "quality", "steps", "from_image", "split", "drop", "verbatim", "together", "guided_to",
)  # fmt: skip
ENVELOPE_FILMS = 60  # training films that the loudness predictor is fitted on


def main() -> None:
    """Generate, judge, print and save."""
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    check_kept_films(options)
    stories = [(options.first_seed + i, SOURCES[i % len(SOURCES)]) for i in range(options.count)]
    if options.part:
        return generate_part(options, stories)
    judge = load_judge(options.judge)
    settings = fit_envelope()
    rows: dict[str, list[dict[str, Any]]] = {"generated": [], "true": [], "reconstructed": []}
    pipeline = None
    for seed, source in stories:
        film = asked_film(seed, source, options)
        path = film_path(options.out, seed, source)
        rows["true"].append(judged_row(judge, film, film.frames, settings))
        if options.model is None:
            continue
        if not path.exists() or len(rows["reconstructed"]) < options.reconstruct:
            pipeline = pipeline or load_pipeline(options.model, options.guided_to)
        if not path.exists():
            generate(pipeline, film, seed, options, path)
        with np.load(path) as kept:
            rows["generated"].append(judged_row(judge, film, kept["frames"], settings))
        if len(rows["reconstructed"]) < options.reconstruct:
            frames = reconstruct(pipeline, film.frames)
            rows["reconstructed"].append(judged_row(judge, film, frames, settings))
        print(progress_line(rows["generated"]), flush=True)
    report = {name: summary(part) for name, part in rows.items() if part}
    finish(options, report, rows)


def check_kept_films(options: argparse.Namespace) -> None:
    """Note how the films of --out are made. Raises SystemExit where those there are others."""
    asked = {name: str(getattr(options, name)) for name in FILMS_OF}
    asked["weights"] = "none" if options.model is None else str(identity(options.model))
    note = options.out / "made.json"
    kept = json.loads(note.read_text()) if note.exists() else None
    if kept is None and any(options.out.glob("*.npz")):
        kept = "another version of this script"
    if kept not in (None, asked):
        raise SystemExit(f"{options.out} holds films of {kept}, not {asked}; name another --out")
    note.write_text(json.dumps(asked, indent=1) + "\n")


def generate_part(options: argparse.Namespace, stories: list[tuple[int, str]]) -> None:
    """Make every N-th film, from the K-th on, for --part K/N."""
    import torch

    torch.set_num_threads(options.threads)
    first, step = map(int, options.part.split("/"))
    pipeline = load_pipeline(options.model, options.guided_to)
    for seed, source in stories[first - 1 :: step]:
        path = film_path(options.out, seed, source)
        if not path.exists():
            generate(pipeline, asked_film(seed, source, options), seed, options, path)
            print(path, flush=True)


def asked_film(seed: int, source: str, options: argparse.Namespace) -> Film:
    """The true film of a story, with the caption that the model is given."""
    film = make_film(seed, source, split=options.split)
    return replace(film, caption=caption_of(film.truth.story, options.drop))


def film_path(folder: Path, seed: int, source: str) -> Path:
    """Where a generated film is kept."""
    return folder / f"{source.replace(' ', '_')}-{seed:05d}.npz"


def parse_options() -> argparse.Namespace:
    """The command line; --model none measures the judge alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon", help="name or folder; 'none': true films only")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument("--drop", type=float, default=0.0, help="of the captions' clauses")
    parser.add_argument("--steps", type=int, help="the model's own number of steps if not given")
    parser.add_argument("--quality", choices=("fast", "high"), help="the default if not given")
    parser.add_argument("--guided-to", type=float, help="noise level at which guidance ends")
    parser.add_argument("--from-image", action="store_true", help="give the true first frame")
    parser.add_argument("--verbatim", action="store_true", help="captions are not retold")
    parser.add_argument("--together", action="store_true", help="two clips in one take")
    parser.add_argument("--out", type=Path, default=Path("runs/toon_stories"))
    parser.add_argument("--judge", type=Path, default=JUDGE)
    parser.add_argument("--part", help="K/N: only make part K of N of the films, judge nothing")
    parser.add_argument("--threads", type=int, default=2, help="of each process with --part")
    parser.add_argument("--reconstruct", type=int, default=40, help="films put through the VAE")
    parser.add_argument("--name", default="toon_stories", help="of the file in benchmarks/results")
    options = parser.parse_args()
    options.model = None if options.model == "none" else options.model
    if options.quality == "fast" and options.guided_to is not None:
        parser.error('--guided-to is of quality "high"; "fast" has its own guidance')
    if options.model is not None:
        options.quality = quality_of(options)
    return options


def quality_of(options: argparse.Namespace) -> str:
    """The quality of the films: the model's own where none is asked for."""
    if options.quality is None and options.guided_to is not None:
        return "high"  # the steps of quality "fast" have their own guidance
    folder = model_folder(options.model)
    by_hand = [] if options.steps is None else ["steps"]
    sampling = Sampling.from_file(folder / "scheduler" / SETTINGS_FILE)
    return sampling.of_quality(options.quality, by_hand).quality


def load_pipeline(model: str, guided_to: float | None = None) -> Any:
    """The model, on a GPU where there is one; no shot is added to captions that name none."""
    import torch

    from openmocha.pipeline import MoChaPipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = MoChaPipeline.from_pretrained(model, device)
    pipeline.sampling = pipeline.sampling.with_given(default_shot="", guided_to=guided_to)
    return pipeline


def generate(pipeline: Any, film: Film, seed: int, options: argparse.Namespace, path: Path) -> None:
    """One film from the story's own caption and speech; written aside, then renamed."""
    started = time.monotonic()
    made = pipeline(
        prompt=film.caption,
        speech=film.speech,
        image=film.frames[0] if options.from_image else None,
        num_inference_steps=options.steps,
        quality=options.quality,
        verbatim=options.verbatim,
        together=options.together,
        seed=seed,
    )
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, frames=made.frames, seconds=time.monotonic() - started)
    os.replace(temporary, path)


def reconstruct(pipeline: Any, frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) through the model's VAE and back."""
    import torch
    from einops import rearrange

    video = rearrange(torch.from_numpy(frames), "T H W C -> 1 T C H W").float() / 127.5 - 1
    with torch.inference_mode():
        decoded = pipeline.backbone.vae.decode(
            pipeline.backbone.vae.encode(video.to(pipeline.backbone.device))
        )
    pixels = ((decoded[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return np.asarray(rearrange(pixels, "T C H W -> T H W C").numpy())


def fit_envelope() -> tuple[float, float, int]:
    """The loudness predictor's settings, from close films of the training split."""
    films = []
    for seed in range(ENVELOPE_FILMS):
        film = make_film(seed, ("close-up", "medium close-up")[seed % 2], frames=range(1))
        films.append((film.speech, film.truth.mouth[:, 0]))
    return loudness.fit(films)


def judged_row(
    judge: Judge, film: Film, frames: np.ndarray, settings: tuple[float, float, int]
) -> dict[str, Any]:
    """score_film's row, with the loudness predictor's r and what R2 of opening needs."""
    judged = judge.read(frames)
    row = score_film(judge, judged, frames, film.truth)
    row["evenness"] = evenness(frames)
    if row["r"] is not None and film.speech is not None:
        opening = film.truth.mouth[: len(frames), 0]
        row["r_loudness"] = pearson(loudness.predict(film.speech, len(frames), settings), opening)
        error = speaker_opening(judged, film.truth) - opening
        row["squared_error"] = float(np.square(error).mean())
        row["opening_mean"] = float(opening.mean())
        row["opening_square"] = float(np.square(opening).mean())
    return row


def evenness(frames: np.ndarray) -> float:
    """How much a picture changes between the four frames of a latent, over how much from the last
    of them to the next latent's first: about 1 where motion is even, 0 in a film of stills."""
    changes = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3))
    to_next = np.arange(1, len(frames)) % FRAMES_PER_LATENT == 0
    # medians: a cut is no motion
    return float(np.median(changes[~to_next]) / max(np.median(changes[to_next]), 0.01))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All figures of one set of films, each with its 95% interval."""
    close = [row for row in rows if row["r"] is not None]
    result: dict[str, Any] = {"opening r": mean([row["r"] for row in close])}
    result["loudness alone r"] = mean([row["r_loudness"] for row in close])
    result["gain over loudness"] = mean([row["r"] - row["r_loudness"] for row in close])
    result["opening R2, close-up"] = opening_r2(close, "close-up")
    result["opening R2, medium close-up"] = opening_r2(close, "medium close-up")
    result["lips closed on p, b, m"] = mean(
        [float(np.mean(row["closed"])) for row in close if row["closed"]]
    )
    gestures = [row["gestures"] for row in rows if row["gestures"] is not None]
    result["gestures on stressed words, r"] = mean([on for on, _ in gestures])
    result["the same, less that with words moved"] = mean([on - off for on, off in gestures])
    for shot in ("medium", "wide"):
        far = [row["far_r"] for row in rows if set(row["shots"]) == {shot}]
        result[f"opening r, {shot}"] = mean([r for r in far if r is not None])
    result["evenness of motion"] = mean([row["evenness"] for row in rows])
    names = dict.fromkeys(name for row in rows for name, _, _ in row["attributes"])
    for name in (*REQUIRED, *(n for n in names if n not in REQUIRED)):
        answers = [a for row in rows for a in row["attributes"] if a[0] == name]
        result[name] = share([truth == judged for _, truth, judged in answers])
    result["number of people"] = share([hit for row in rows for hit in row["people_right"]])
    two_clips = [row for row in rows if row["cut_true"] is not None]
    result["cut within 1 frame"] = share([cut_right(row, tolerance=1) for row in two_clips])
    result["cut within 3 frames"] = share([cut_right(row) for row in two_clips])
    single = [row for row in rows if row["cut_true"] is None]
    result["no cut where none is"] = share([row["cut_judged"] is None for row in single])
    speakers = [hit for row in rows for hit in row["speaker"] if hit is not None]
    result["right one of two talks"] = share(speakers)
    result["right one in each clip"] = share([all(row["identity"]) for row in two_clips])
    return result


def opening_r2(rows: list[dict[str, Any]], shot: str) -> dict[str, Any]:
    """R2 of opening over all frames of the films whose every shot is `shot`."""
    chosen = [row for row in rows if set(row["shots"]) == {shot}]
    if not chosen:
        return {"value": float("nan"), "n": 0}
    error = np.mean([row["squared_error"] for row in chosen])
    average = np.mean([row["opening_mean"] for row in chosen])
    variance = np.mean([row["opening_square"] for row in chosen]) - average**2
    return {"value": float(1 - error / variance), "n": len(chosen)}


def progress_line(rows: list[dict[str, Any]]) -> str:
    """One line while films are made."""
    correlations = [row["r"] for row in rows if row["r"] is not None]
    return f"{len(rows)} films, opening r {np.mean(correlations) if correlations else 0:.3f}"


def table(report: dict[str, Any]) -> str:
    """A markdown table: one line per figure, one column per set of films."""
    sets = list(report)
    lines = ["| | " + " | ".join(f"{name} films" for name in sets) + " |"]
    lines.append("|---|" + "---|" * len(sets))
    for figure in next(iter(report.values())):
        cells = [cell(report[name][figure]) for name in sets]
        lines.append(f"| {figure.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(figure: dict[str, Any]) -> str:
    """Value, interval and number of films or answers."""
    if not figure["n"]:
        return "none"
    if "low" not in figure:
        return f"{figure['value']:.3f} (n {figure['n']})"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}] (n {figure['n']})"


def finish(
    options: argparse.Namespace, report: dict[str, Any], rows: dict[str, list[dict[str, Any]]]
) -> None:
    """Print the table; save figures with what made them, and every film's row beside the films."""
    print(table(report))
    made = {name: getattr(options, name) for name in ("count", "first_seed", *FILMS_OF)}
    made["model"] = Path(str(options.model)).name  # where it lies is nobody else's business
    content = {**made, "figures": report}
    keep(options.name, content)
    (options.out / "rows.json").write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
