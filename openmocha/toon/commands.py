"""The commands `openmocha toon ...`: the procedural film set.

openmocha toon render --seed 7 --output story.mp4
openmocha toon programme --seed 1 --output programme.mp4
"""

from pathlib import Path
from typing import Annotated

import typer

from openmocha.terminal import Json, parse_size, plain_errors, report

toon = typer.Typer(help="The procedural film set.", no_args_is_help=True)


@toon.command()
def programme(
    seed: Annotated[int, typer.Option(min=0, help="Which of the endless programmes.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many, good and bad.")] = 13,
    output: Annotated[Path, typer.Option("--output", "-o", help="The film.")] = Path(
        "programme.mp4"
    ),
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels, multiples of 16.")] = "128x128",
    as_json: Json = False,
) -> None:
    """Draw raw footage with known faults, to try `curate` on; the truth goes into a JSON file."""
    with plain_errors(as_json):
        from openmocha.sampling import check_size
        from openmocha.toon.programmes import render_programme

        width, height = parse_size(size)
        assert width is not None and height is not None
        check_size(width, height)
        kinds = [t.kind for t in render_programme(seed, scenes, output, width=width, height=height)]
        result = {"output": str(output), "truth": str(output.with_suffix(".json")), "kinds": kinds}
        report(result, f"{output}: {', '.join(kinds)}", as_json)


@toon.command()
def render(
    seed: Annotated[int, typer.Option(min=0, help="Which of the endless films.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The film.")] = Path("story.mp4"),
    source: Annotated[
        str, typer.Option(help="close-up, medium close-up, medium, dialogue or text.")
    ] = "close-up",
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels, multiples of 16.")] = "128x128",
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also a PNG beside the film, a frame per half second.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw a film of the procedural set; its caption and truth go into a JSON file beside it."""
    with plain_errors(as_json):
        from openmocha import contact_sheet
        from openmocha.sampling import check_size
        from openmocha.toon.films import render_to_file

        sheet_file = contact_sheet.sheet_file(output, sheet)
        width, height = parse_size(size)
        assert width is not None and height is not None
        check_size(width, height)
        film = render_to_file(seed, source, output, width, height)
        shown = contact_sheet.SheetFrames()
        shown(film.frames)
        contact_sheet.write_sheet(sheet_file, shown)
        truth = str(output.with_suffix(".json"))
        result = {"output": str(output), "truth": truth, "seed": seed, "caption": film.caption}
        report(result, f"{output} and {truth}\n{film.caption}", as_json)
