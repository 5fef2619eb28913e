"""The commands `openmocha study ...`: thin, every one is one call into this folder.

openmocha study serve --films runs/mocha --films runs/toon --output study/
openmocha study report study/ --output report/
openmocha study export study/ --output ratings.csv
"""

from pathlib import Path
from typing import Annotated

import typer

from openmocha.terminal import Json, plain_errors, report

STUDY = Path("study")

study = typer.Typer(
    help="The human study: blinded films in a browser, the paper's five axes, and its report.",
    no_args_is_help=True,
)


@study.command("serve")
def serve_page(
    films: Annotated[
        list[Path] | None, typer.Option(help="A system's films; once for each system, or several.")
    ] = None,
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUNS...]", help="Further systems.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The study's folder.")] = STUDY,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="With prompts, and who shares a speech; the runs' own if not given."),
    ] = None,
    raters: Annotated[int, typer.Option(min=1, help="Ratings wanted of every film.")] = 5,
    session: Annotated[int, typer.Option(min=1, max=60, help="Films in a session.")] = 12,
    no_text: Annotated[
        list[str] | None, typer.Option(help="A system that was not given the text.")
    ] = None,
    known: Annotated[
        Path | None, typer.Option(help="YAML of gold and training films with known answers.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="So many items, drawn at random; all if not given.")
    ] = None,
    notice: Annotated[
        Path | None, typer.Option(help="Text file: who asks, how to reach them, what is paid.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and of every order.")] = 0,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8010,
) -> None:
    """Serve the rating page. The first start freezes the design; later ones go on with it."""
    with plain_errors(False):
        from openmocha.evaluation.study.freeze import open_or_freeze
        from openmocha.evaluation.study.server import listening, serve

        with listening(host, port) as bound:
            runs = [*(films or []), *(more or [])]
            open_or_freeze(
                output,
                runs,
                benchmark,
                no_text=no_text or (),
                known=known,
                ratings_per_film=raters,
                films_per_session=session,
                sample=sample,
                notice=None if notice is None else notice.read_text(),
                seed=seed,
                tell=lambda words: typer.echo(words, err=True),
            )
            typer.echo(f"http://{host}:{port} is the rating page; Ctrl-C ends, ratings stay")
            serve(output, bound)


@study.command("report")
def write_report(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")] = STUDY,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; STUDY/report if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the page with the paper's table, intervals, tests and agreement; CSV and JSON."""
    with plain_errors(as_json):
        from openmocha.evaluation.study.report import write_report as write

        result = write(folder, output or folder / "report")
        report(result, f"{result['report']}: open it in a browser", as_json)


@study.command("export")
def export_ratings(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .csv file.")],
    as_json: Json = False,
) -> None:
    """Write every rating ever given, with its system, and whether it counts and why not."""
    with plain_errors(as_json):
        from openmocha.evaluation.study.report import export

        num = export(folder, output)
        report({"ratings": num, "file": str(output)}, f"{output}: {num} ratings", as_json)
