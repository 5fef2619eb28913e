"""`openmocha ablate toon`: the paper's tables 3 to 6 in the toon domain, from nothing to a table.

    shards and base -> variants x seeds trained -> films of unseen stories -> Toon-Sync, lips
    against the truth, attributes -> means, differences to the full model on the same films

Everything goes on where it stopped. Interval: films are drawn with replacement, with the mean over
seeds of each, so it says how sure the difference is on other stories, for these trainings.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from openmocha.backbones.folder import load_paper
from openmocha.backbones.paper import PaperBackbone
from openmocha.evaluation.summary import interval
from openmocha.evaluation.toon_scores import CLOSE, cut_right, score_film
from openmocha.evaluation.toon_sync import ToonSyncScorer, load_toon_sync, score_frames
from openmocha.models.store import model_folder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.pipeline import MoChaPipeline
from openmocha.prompt import Clip, Script
from openmocha.sampling import Sampling
from openmocha.toon.judge import Judge, load_judge
from openmocha.training.ablation_data import NUM_FRAMES, SIDE, UNTAGGED, SmallFilm, small_films
from openmocha.training.ablations import (
    VARIANTS,
    AblationBudget,
    Say,
    prepare,
    run_folder,
    train_variant,
)
from openmocha.whole_file import write_text

SAMPLING = Sampling(
    num_frames=NUM_FRAMES,
    height=SIDE,
    width=SIDE,
    num_inference_steps=8,
    text_guidance_scale=2.5,
    speech_guidance_scale=4.0,
)
TEST_FILMS = {"close-up": 24, "medium": 8, "dialogue": 16}
FULL = "window"
TRUE, THROUGH_VAE = "true films", "through the VAE"
MEASURES = ("sync_c", "sync_d", "r", "attributes", "clips_right", "cut_right")
# Sync-C of the paper, full model and variant: tables 3, 5 and 6 at 30B (dialogues in table 6), and
# table 4 at 4B. "No window" of table 3 is "global + RoPE" of table 4.
PUBLISHED = {
    "no curriculum": ((6.333, 5.659),),
    "speech data only": ((6.333, 5.798),),
    "no tags": ((4.951, 4.465),),
    "window + RoPE": ((5.692, 5.027),),
    "global + RoPE": ((5.692, 4.872), (6.333, 5.103)),
    "global + sinusoidal": ((5.692, 4.747),),
    "global + learnable": ((5.692, 2.540),),
    "global, none": ((5.692, 2.364),),
}
Row = dict[str, Any]


def ablate(
    folder: Path,
    variants: Sequence[str],
    seeds: Sequence[int],
    budget: AblationBudget,
    workers: int,
    say: Say,
) -> list[Row]:
    """Train and score all variants, one seed after the other; returns the table's rows.

    Raises ValueError for a variant that there is not.
    """
    for name in variants:
        if name not in VARIANTS:
            raise ValueError(f"variant is {name!r}; choose of: {'; '.join(VARIANTS)}")
    prepare(folder, budget, workers, say)
    for seed in seeds:
        for name in variants:
            train_variant(folder, name, seed, budget)
            rows = score_variant(folder, name, seed)
            say(f"{name}, seed {seed}: Toon-Sync-C {mean_of([rows], 'sync_c'):.3f}")
    return table(folder, dict.fromkeys(variants, seeds))


def trained(folder: Path, seeds: Sequence[int]) -> dict[str, list[int]]:
    """The variants that have runs, and the seeds of these: a table needs not have all of them."""
    done = {
        name: [seed for seed in seeds if (run_folder(folder, name, seed) / "model").exists()]
        for name in VARIANTS
    }
    return {name: found for name, found in done.items() if found}


def test_films(untagged: bool = False) -> Iterator[SmallFilm]:
    """Unseen stories and voices, always the same; the dialogues with or without tags."""
    for source, count in TEST_FILMS.items():
        asked = UNTAGGED if untagged and source == "dialogue" else source
        for seed in range(count):
            yield small_films(seed, asked, split="test")[0]


def score_limits(folder: Path) -> None:
    """The same measures of the true films, and of those through the VAE: what can be reached."""
    path = folder / "scores" / "limits.json"
    if path.exists():
        return
    vae = load_paper(model_folder("toon"), "toon").vae
    rows: dict[str, list[Row]] = {TRUE: [], THROUGH_VAE: []}
    for small in test_films():
        video = rearrange(torch.from_numpy(small.frames), "T H W C -> 1 T C H W").float()
        with torch.inference_mode():
            seen = vae.decode(vae.encode(video / 127.5 - 1))[0].clamp(-1, 1)
        pixels = rearrange(((seen + 1) * 127.5).round().to(torch.uint8), "T C H W -> T H W C")
        rows[TRUE].append(score(small.frames, small))
        rows[THROUGH_VAE].append(score(pixels.numpy(), small))
    write_json(path, rows)


def score_variant(folder: Path, name: str, seed: int) -> list[Row]:
    """Films of all test stories and their scores; done before: read."""
    run = run_folder(folder, name, seed)
    path = folder / "scores" / f"{run.name}.json"
    if not path.exists():
        pipeline = pipeline_of(run / "model")
        rows = []
        for number, small in enumerate(test_films(untagged=not VARIANTS[name].tags)):
            words = AsItStands((), (Clip(small.caption),))
            film = pipeline(words, small.speech, seed=number)
            rows.append(score(film.frames, small))
        write_json(path, rows)
    found: list[Row] = json.loads(path.read_text())
    return found


class AsItStands(Script):
    """A caption whose characters may lack their tags, which no prompt may."""

    @property
    def prompt(self) -> str:
        """The caption, unchecked."""
        return self.clips[0].text


def pipeline_of(transformer: Path) -> MoChaPipeline:
    """A variant's transformer with the embedded model's encoders and VAE."""
    toon = load_paper(model_folder("toon"), "toon")
    network = MoChaTransformer3DModel.from_pretrained(transformer)
    words = toon.text_encoder.without_reader()
    backbone = PaperBackbone(network, toon.vae, toon.speech_encoder, words)
    return MoChaPipeline(backbone, SAMPLING)


@lru_cache(1)
def scorers() -> tuple[ToonSyncScorer, Judge]:
    """Toon-Sync and the judge of the package."""
    return load_toon_sync(), load_judge(model_folder("toon") / "judge")


def score(frames: np.ndarray, small: SmallFilm) -> Row:
    """One film: None where a measure does not apply, or nobody's face was found."""
    sync, judge = scorers()
    assert small.speech is not None
    heard = score_frames(frames, small.speech, sync)
    truth = small.film.truth
    shown = slice(small.first, small.first + NUM_FRAMES)
    part = replace(truth, mouth=truth.mouth[shown], cut_frame=small.cut)
    judged = score_film(judge, judge.read(frames), frames, part)
    steady = [a for a in judged["attributes"] if a[0] not in ("camera", "action")]
    two = small.cut is not None
    return {
        "source": truth.story.source,
        "seed": truth.story.seed,
        "sync_c": heard.toon_sync_c if heard.has_face else None,
        "sync_d": heard.toon_sync_d if heard.has_face else None,
        "offset": heard.offsets[0] if heard.has_face else None,
        "r": judged["r"] if set(judged["shots"]) <= set(CLOSE) else None,
        "attributes": float(np.mean([asked == seen for _, asked, seen in steady])),
        "clips_right": float(np.mean(judged["identity"])) if two else None,
        "cut_right": float(cut_right(judged)) if two else None,
    }


def table(folder: Path, runs_of: Mapping[str, Sequence[int]]) -> list[Row]:
    """A row per variant: means over films and seeds, differences to the full model, the paper's.

    Runs that were not scored yet are scored.
    """
    score_limits(folder)
    runs = {
        name: [score_variant(folder, name, seed) for seed in seeds]
        for name, seeds in runs_of.items()
    }
    rows = []
    for name in runs:
        row: Row = {"variant": name, "seeds": len(runs[name])}
        films = only_dialogues(runs[name]) if name == "no tags" else runs[name]
        row |= {measure: mean_of(films, measure) for measure in MEASURES}
        row["by_seed"] = [mean_of([run], "sync_c") for run in films]
        if name != FULL and FULL in runs:
            full = only_dialogues(runs[FULL]) if name == "no tags" else runs[FULL]
            row["less"] = {m: paired(films, full, m) for m in MEASURES}
            row["ratio"] = row["sync_c"] / mean_of(full, "sync_c")
            row["published_ratios"] = [after / before for before, after in PUBLISHED[name]]
        rows.append(row)
    limits = json.loads((folder / "scores" / "limits.json").read_text())
    for name, scored in limits.items():
        rows.append({"variant": name} | {m: mean_of([scored], m) for m in MEASURES})
    return rows


def only_dialogues(runs: Iterable[Sequence[Row]]) -> list[list[Row]]:
    """The two-clip films of each run: where tags matter."""
    return [[row for row in run if row["source"] == "dialogue"] for run in runs]


def by_film(runs: Iterable[Sequence[Row]], measure: str) -> dict[str, float]:
    """The mean over seeds of each film that has a value."""
    values: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for row in run:
            if row[measure] is not None:
                values[f"{row['source']} {row['seed']}"].append(row[measure])
    return {film: float(np.mean(found)) for film, found in values.items()}


def mean_of(runs: Iterable[Sequence[Row]], measure: str) -> float:
    """Over films, of means over seeds; nan without any."""
    values = list(by_film(runs, measure).values())
    return float(np.mean(values)) if values else float("nan")


def paired(runs: Iterable[Sequence[Row]], full: Iterable[Sequence[Row]], measure: str) -> Row:
    """Variant minus full model on the films that both have a value for, with its 95% interval."""
    first, second = by_film(runs, measure), by_film(full, measure)
    films = [film for film in first if film in second]
    gaps = np.array([first[film] - second[film] for film in films])
    low, high = interval(gaps, films)
    mean = float(gaps.mean()) if films else None
    return {"mean": mean, "low": low, "high": high, "films": len(films)}


def markdown(rows: Sequence[Row]) -> str:
    """The table for people; a difference is in bold where its interval excludes 0."""
    lines = [
        "| variant (seeds) | Toon-Sync-C | Toon-Sync-D | difference in C | ratio (paper's) "
        "| lips r | attributes | right person in clip |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gap, ratio = "", ""
        if "less" in row:
            less = row["less"]["sync_c"]
            sure = less["low"] is not None and (less["low"] > 0 or less["high"] < 0)
            gap = "none" if less["mean"] is None else f"{less['mean']:+.3f}"
            gap += "" if less["low"] is None else f" [{less['low']:.3f}, {less['high']:.3f}]"
            gap = f"**{gap}**" if sure else gap
            published = ", ".join(f"{ratio:.2f}" for ratio in row["published_ratios"])
            ratio = f"{row['ratio']:.2f} ({published})"
        numbers = [row[m] for m in ("sync_c", "sync_d", "r", "attributes", "clips_right")]
        c, d, r, attributes, clips = (f"{n:.3f}" for n in numbers)
        named = f"{row['variant']} ({row['seeds']})" if "seeds" in row else row["variant"]
        cells = (named, c, d, gap, ratio, r, attributes, clips)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_json(path: Path, content: object) -> None:
    """Whole or not at all, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=1))
