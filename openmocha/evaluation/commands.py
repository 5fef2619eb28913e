"""The commands `openmocha bench ...`: thin, every one is one call into this folder.

openmocha bench run --model toon --benchmark MoChaBench/benchmark --output runs/toon
openmocha bench score runs/toon --metrics sync,free --weights weights/syncnet
openmocha bench report runs/* --output report/
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmocha.terminal import (
    AllowCut,
    DeviceName,
    Json,
    MemoryName,
    QualityName,
    own_warnings,
    parse_size,
    plain_errors,
    report,
)

if TYPE_CHECKING:
    from openmocha.curation.endpoint import Endpoint

bench = typer.Typer(
    help="MoChaBench: films of its items, their scores, one page that compares systems.",
    no_args_is_help=True,
)

Benchmark = Annotated[
    Path | None, typer.Option("--benchmark", "-b", help="The folder with benchmark.csv.")
]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="Only this category, or group; repeatable.")
]
Names = Annotated[
    list[str] | None, typer.Option("--items", help="Only this category/context_id; repeatable.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many.")]


def _say(words: str) -> None:
    typer.echo(words, err=True)


@bench.command("run")
def run_models(
    benchmark: Annotated[Path, typer.Option("--benchmark", "-b", help="With benchmark.csv.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The run; of several models, a folder of runs.")
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="Name or model folder; repeatable. toon if not given.")
    ] = None,
    category: Categories = None,
    items: Names = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of every film.")] = 0,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Pixels; the model's own if not given.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    text_guidance: Annotated[float | None, typer.Option(help="How closely to obey.")] = None,
    speech_guidance: Annotated[float | None, typer.Option(help="How much to act.")] = None,
    feeling_guidance: Annotated[float | None, typer.Option(help="How much to feel.")] = None,
    quality: QualityName = None,
    allow_cut: AllowCut = False,
    processes: Annotated[
        int, typer.Option(min=1, help="At work at once; each holds the model.")
    ] = 1,
    device: DeviceName = "cpu",
    memory: MemoryName = None,
    as_json: Json = False,
) -> None:
    """Make a model's films of all items; goes on where it stopped."""
    with plain_errors(as_json), own_warnings():
        from openmocha.evaluation.mochabench import benchmark_file, choose_items, read_benchmark
        from openmocha.evaluation.run import Making, make_films
        from openmocha.sampling import checked_quality

        chosen = choose_items(read_benchmark(benchmark), category or (), items or (), limit)
        width, height = parse_size(size)
        folder = benchmark_file(benchmark).parent
        runs = _run_folders(model or ["toon"], output)
        results = {}
        for name, place in runs.items():
            making = Making(
                name, seed, width, height, steps, text_guidance, speech_guidance, feeling_guidance,
                checked_quality(quality), allow_cut, device, memory,
            )  # fmt: skip
            made = make_films(chosen, folder, place, making, processes, _say)
            results[name] = {"output": str(place), **asdict(made)}
            typer.echo(_made_words(place, made), err=as_json)
        if as_json:
            report({"runs": results}, "", as_json)
        if any(told["failed"] or told["elsewhere"] for told in results.values()):
            raise typer.Exit(1)


def _run_folders(models: Sequence[str], output: Path) -> dict[str, Path]:
    """model -> its run: the output folder, or one in it for each of several."""
    if len(models) == 1:
        return {models[0]: output}
    folders = {name: output / Path(name).name for name in models}
    if len(set(folders.values())) < len(models):
        raise ValueError(f"two of the models {', '.join(models)} have one name; run one at a time")
    return folders


def _made_words(place: Path, made: Any) -> str:
    parts = [f"{made.made} films made", f"{made.before} were there"]
    if made.without_speech:
        parts.append(f"{made.without_speech} items have no speech on this disk")
    if made.failed:
        parts.append(f"{made.failed} failed (failures.jsonl says why)")
    if made.elsewhere:
        parts.append(f"{made.elsewhere} left to other processes, or by one that died")
    return f"{place}: {', '.join(parts)}"


@bench.command("score")
def score_run(
    run: Annotated[Path, typer.Argument(help="The run; scores go into it.")],
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "-m", help="Of sync, toon-sync, judge, free; with commas."),
    ] = None,
    benchmark: Benchmark = None,
    films: Annotated[
        Path | None, typer.Option(help="Where the films are, if they are not in the run.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="A sync_scores.csv, instead of the metric sync.")
    ] = None,
    category: Categories = None,
    items: Names = None,
    limit: Limit = None,
    weights: Annotated[
        str | None, typer.Option(help="sync: folder or hub repository of its weights.")
    ] = None,
    variant: Annotated[str, typer.Option(help="sync: mochabench or original.")] = "mochabench",
    path: Annotated[str, typer.Option(help="sync: fast, or compatible (by AVI, JPEG).")] = "fast",
    device: Annotated[str, typer.Option(help="sync: cpu, cuda, ...")] = "cpu",
    faces: Annotated[
        str, typer.Option(help="free: photo (real people) or toon (drawn).")
    ] = "photo",
    endpoint: Annotated[
        str | None, typer.Option(help="judge: an OpenAI-compatible server, as far as /v1.")
    ] = None,
    llm: Annotated[str | None, typer.Option(help="judge: the model's name there.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="judge: pictures of a film.")] = 32,
    lip_advice: Annotated[bool, typer.Option(help="judge: also ask where mouths are open.")] = True,
    usd_in: Annotated[float, typer.Option(help="judge: USD per million tokens in.")] = 0.0,
    usd_out: Annotated[float, typer.Option(help="judge: USD per million tokens out.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Score a run's films, per film and per group; goes on where it stopped."""
    with plain_errors(as_json):
        from openmocha.evaluation.score import Work, score_run
        from openmocha.evaluation.scorers import Settings

        if metrics is None:
            metrics = "free" if published is None else ""
        wanted = [name.strip() for name in metrics.split(",") if name.strip()]
        judge = _judge(endpoint, llm, usd_in, usd_out)
        settings = Settings(weights, variant, path, device, faces, judge, frames, lip_advice)
        work = Work(run, benchmark, films, published, category or (), items or (), limit)
        result = score_run(work, wanted, settings, _say)
        report(result, _scored_words(result), as_json)
        if result["failed"]:
            raise typer.Exit(1)


def _judge(url: str | None, model: str | None, usd_in: float, usd_out: float) -> "Endpoint | None":
    from openmocha.curation.endpoint import Endpoint

    if (url is None) != (model is None):
        raise ValueError("--endpoint and --llm go together: a server, and a model's name on it")
    if url is None or model is None:
        return None
    return Endpoint(url, model, usd_per_million_input=usd_in, usd_per_million_output=usd_out)


def _scored_words(result: dict[str, Any]) -> str:
    parts = [f"{result['scored']} scores made", f"{result['known']} known from before"]
    for name, what in (
        ("unscored", "films could not be scored (scores.csv says why)"),
        ("set_aside", "set aside for the next run"),
        ("missing", "items have no film"),
        ("without_speech", "films have no speech on this disk"),
        ("published", "published scores read"),
    ):
        if result[name]:
            parts.append(f"{result[name]} {what}")
    failed = "".join(f"; no {name}" for name in result["failed"])
    return f"{result['run']}: {', '.join(parts)}{failed}"


@bench.command("report")
def write_page(
    runs: Annotated[list[Path], typer.Argument(help="Scored runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The report's folder.")],
    copy_films: Annotated[
        bool, typer.Option("--copy-films", help="Into the report's folder, to hand it on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write one page that compares runs: tables, intervals, plots, films side by side."""
    with plain_errors(as_json):
        from openmocha.evaluation.report import write_report

        page = write_report(runs, output, copy_films, _say)
        report({"report": str(page)}, f"{page}: open it in a browser", as_json)


@bench.command("baseline")
def run_system(
    system: Annotated[str, typer.Argument(help="sadtalker, aniportrait or hallo3.")],
    repo: Annotated[Path, typer.Option(help="Its repository, with its weights in place.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run.")],
    benchmark: Annotated[
        Path | None,
        typer.Option("--benchmark", "-b", help="With benchmark.csv; --from's own if not given."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="The run whose first frames it gets; the benchmark's if none."),
    ] = None,
    python: Annotated[Path | None, typer.Option(help="The interpreter of its environment.")] = None,
    crop: Annotated[
        str | None, typer.Option(help="Rule of the first frame's crop; as released if not given.")
    ] = None,
    faces: Annotated[str, typer.Option(help="photo (real people) or toon (drawn).")] = "photo",
    limit_s: Annotated[float, typer.Option(help="Seconds a film may take.")] = 3600.0,
    category: Categories = None,
    items: Names = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Make films with another system, by its own command in its own environment."""
    with plain_errors(as_json):
        from openmocha.evaluation.baselines.run import run_baseline
        from openmocha.evaluation.mochabench import benchmark_file, choose_items, read_benchmark
        from openmocha.evaluation.score_table import noted_benchmark, read_run, write_run

        benchmark = benchmark or noted_benchmark([source] if source else [])
        if benchmark is None:
            raise ValueError("which benchmark? --benchmark names its folder; --from's run has none")
        chosen = choose_items(read_benchmark(benchmark), category or (), items or (), limit)
        counts = run_baseline(
            system, repo, chosen, output,
            run=source, python=python, crop=crop, faces=faces, limit_s=limit_s, say=_say,
        )  # fmt: skip
        place = str(benchmark_file(benchmark).parent.resolve())
        write_run(output, {**read_run(output), "benchmark": place, "system": system})
        words = f"{output}: {counts['done']} of {counts['items']} films, {counts['failed']} failed"
        report({"output": str(output), **counts}, words, as_json)
        if counts["failed"]:
            raise typer.Exit(1)


@bench.command("alignment")
def judge_alignment(
    table: Annotated[Path, typer.Argument(help="A table like viescore-alignment.csv.")],
    every: Annotated[
        bool, typer.Option("--all", help="Also the last example, which the published numbers lack.")
    ] = False,
    as_json: Json = False,
) -> None:
    """How well a judge's scores agree with people's, aspect by aspect."""
    with plain_errors(as_json):
        from openmocha.evaluation.viescore import alignment

        rows = alignment(table, leave_out_last=not every)
        lines = [f"{'aspect':32} rho   footrule  QWK    MAE    n (with rho)"]
        lines += [
            f"{r.aspect:32} {r.rho:.3f} {r.footrule:.2f}      {r.kappa:.3f}  {r.mae:.3f}  "
            f"{r.examples} ({r.rho_examples})"
            for r in rows
        ]
        report({"alignment": [r._asdict() for r in rows]}, "\n".join(lines), as_json)
