"""The commands `openmocha curate ...`: thin, every one is one call into this folder.

openmocha curate VIDEOS... --output dataset/
openmocha curate report dataset/
openmocha curate tune dataset/
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from openmocha.terminal import Json, plain_errors, report


class VideosByDefault(TyperGroup):
    """`curate VIDEOS...` is `curate videos VIDEOS...`: the usual case needs no further word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["videos", *args]
        return super().parse_args(ctx, args)


curate = typer.Typer(
    cls=VideosByDefault,
    help="Raw videos in, training shards out, a reason for every rejection: "
    "openmocha curate VIDEOS... --output dataset/",
    no_args_is_help=True,
)


@curate.command("videos")
def videos(
    places: Annotated[list[Path], typer.Argument(metavar="VIDEOS...", help="Files or folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder.")],
    config: Annotated[Path | None, typer.Option(help="Settings in YAML.")] = None,
    faces: Annotated[
        str | None, typer.Option(help="photo (real people), toon (drawn), or auto.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; local starts one here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; all cores if not given.")
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0.0, help="Of each worker of a cluster, or a share of one.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Curate videos into a dataset; goes on where it was stopped."""
    with plain_errors(as_json):
        from openmocha.curation.engines import Engine
        from openmocha.curation.pipeline import curate as run
        from openmocha.curation.report import write_report
        from openmocha.curation.settings import load_settings, settings_for

        if config is not None and faces is not None:
            raise ValueError("give either --config or --faces; a config says faces: toon itself")
        settings = settings_for(faces or "photo") if config is None else load_settings(config)
        num = workers or os.cpu_count() or 1
        engine = Engine("one" if num == 1 else "cores", num)
        if cluster is not None:
            engine = Engine("ray", num, None if cluster == "local" else cluster, gpus)
        elif gpus:
            raise ValueError("--gpus is for workers of a cluster; add --cluster local for one here")
        found = run(places, output, settings, engine, lambda words: typer.echo(words, err=True))
        page = write_report(output)
        hours = sum(row["duration_s"] for row in found.kept) / 3600
        result = {
            "dataset": str(output),
            "report": str(page),
            "rows": len(found.rows),
            "kept": len(found.kept),
            "kept_hours": round(hours, 4),
            "set_aside": found.set_aside,
        }
        words = f"{output}: {len(found.kept)} clips kept ({hours:.2f} hours); {page} says why"
        report(result, words, as_json)


@curate.command("report")
def report_page(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")], as_json: Json = False
) -> None:
    """Write the page that shows what came in, what was dropped where and why."""
    with plain_errors(as_json):
        from openmocha.curation.report import write_report

        page = write_report(dataset)
        report({"report": str(page)}, f"{page}: open it in a browser", as_json)


@curate.command("tune")
def tune_thresholds(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV with the columns path, start_s, end_s, reason.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sweep thresholds against labelled clips, or the films' own sound moved and swapped."""
    with plain_errors(as_json):
        from openmocha.curation.tune import tune

        result = tune(dataset, labels)
        report(result, result["table"], as_json)
