"""The `openmocha` command: thin, every command is one call into the package.

Nothing heavy is imported before a command needs it, so `openmocha --help` answers at once.
A user's mistake is one sentence and exit code 2, an interrupt is exit code 130.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import openmocha
from openmocha.curation.commands import curate
from openmocha.evaluation.commands import bench
from openmocha.evaluation.study.commands import study
from openmocha.terminal import (
    AllowCut,
    DeviceName,
    Json,
    MemoryName,
    QualityName,
    heed_interrupts,
    own_warnings,
    parse_size,
    plain_errors,
    progress_bar,
    report,
)
from openmocha.toon.commands import toon

app = typer.Typer(
    help="Speech and a prompt in, a film of talking characters out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(toon, name="toon")
app.add_typer(curate, name="curate")
app.add_typer(bench, name="bench")
app.add_typer(study, name="study")


def main() -> None:
    """Entry point of the `openmocha` script."""
    heed_interrupts()
    try:
        app()
    except KeyboardInterrupt:  # before or after the command itself
        typer.echo("interrupted; no half-written file was left behind", err=True)
        raise SystemExit(130) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openmocha {openmocha.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Speech and a prompt in, a film of talking characters out."""


@app.command()
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="Who is seen, where, what they do. Or --script.")
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(help="What is said: any audio or video file.")
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="YAML with characters and clips, which may name a speech file each."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The film.")] = Path("film.mp4"),
    model: Annotated[str, typer.Option(help="Name (see `models`) or model folder.")] = "toon",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Pixels, multiples of 16, e.g. 192x128.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The film's first frame, stretched to its size.")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the film shall not be.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    text_guidance: Annotated[float | None, typer.Option(help="How closely to obey.")] = None,
    speech_guidance: Annotated[float | None, typer.Option(help="How much to act.")] = None,
    feeling_guidance: Annotated[float | None, typer.Option(help="How much to feel.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Same seed, same film.")
    ] = None,
    quality: QualityName = None,
    allow_cut: AllowCut = False,
    together: Annotated[
        bool, typer.Option("--together", help="All clips of a script in one take, as the paper.")
    ] = False,
    verbatim: Annotated[
        bool, typer.Option("--verbatim", help="The prompt as it is, what it leaves open left open.")
    ] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also a PNG beside the film, a frame per half second.")
    ] = False,
    device: DeviceName = "cpu",
    memory: MemoryName = None,
    lora: Annotated[Path | None, typer.Option(help="A LoRA for a large model.")] = None,
    as_json: Json = False,
) -> None:
    """Make a film from a prompt (or a script) and a speech recording."""
    with plain_errors(as_json), own_warnings() as notes:
        from openmocha import contact_sheet, media
        from openmocha.sampling import checked_quality

        started = time.monotonic()
        request = _request(prompt, script)
        width, height = parse_size(size)
        wanted_quality = checked_quality(quality)
        sheet_file = contact_sheet.sheet_file(output, sheet)
        recording = None if speech is None else media.load_speech(speech)

        from transformers.utils import logging

        from openmocha.memory import checked_memory
        from openmocha.pipeline import MoChaPipeline

        logging.disable_progress_bar()  # of transformers, one for each network it loads
        pipeline = MoChaPipeline.from_pretrained(
            model,
            device=device,
            memory=checked_memory(memory),
            lora=lora,
            say=lambda text: typer.echo(text, err=True),
        )
        with progress_bar("denoising", hidden=as_json) as progress:
            film = pipeline.stream(
                request,
                recording,
                image,
                negative_prompt=negative_prompt,
                width=width,
                height=height,
                num_inference_steps=steps,
                text_guidance_scale=text_guidance,
                speech_guidance_scale=speech_guidance,
                feeling_guidance_scale=feeling_guidance,
                seed=seed,
                quality=wanted_quality,
                allow_cut=allow_cut,
                together=together,
                verbatim=verbatim,
                progress=progress,
            )
            shown = None if sheet_file is None else contact_sheet.SheetFrames(film.fps)
            film.save(output, watch=shown)
        contact_sheet.write_sheet(sheet_file, shown)
        result = {
            "output": str(output),
            "sheet": None if sheet_file is None else str(sheet_file),
            "seconds": round(time.monotonic() - started, 2),
            "warnings": notes,
            **film.settings,
        }
        report(result, _made(result), as_json)


def _made(result: dict[str, Any]) -> str:
    """What was made, and what the model was told where that is not the prompt itself."""
    told = [take["words"] for take in result["takes"] if take["words"] != result["prompt"]]
    made = f"{result['output']}: {result['num_frames']} frames, seed {result['seed']}"
    return "\n".join([made, *(f"told: {words}" for words in told)])


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that can be named: licence, size, GPU memory, what they accept."""
    from openmocha.models.hub import model_rows

    rows = model_rows()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        missing = "" if row["installed"] else " (its weights are missing)"
        typer.echo(f"{row['name']}{missing}: {row['summary']}")
        typer.echo(f"    from {row['accepts']}; licence: {row['licence']}")
        if row["memory_gib"]:
            needed = ", ".join(f"{name} {gib}" for name, gib in row["memory_gib"].items())
            typer.echo(f"    {row['weights_gib']} GiB to download; GPU memory, GiB: {needed}")


@app.command()
def init(
    base: Annotated[
        Path, typer.Option(help="A diffusers folder of Wan or HunyuanVideo, text to video.")
    ],
    speech_encoder: Annotated[
        Path, typer.Option(help="A Wav2Vec2 folder; for HuMo's weights, whisper-large-v3's.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new model folder.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="MoCha-Demo's model.ckpt, or HuMo's weights.")
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Base weights where the checkpoint has none.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give a text-to-video model speech: public weights, or attention that is silent until it is
    trained."""
    with plain_errors(as_json):
        from openmocha.backbones.assemble import Pieces
        from openmocha.backbones.assemble import init as assemble

        notes: list[str] = []
        pieces = Pieces(base, speech_encoder, checkpoint)
        assemble(pieces, output, allow_partial, report=lambda fitted: notes.append(str(fitted)))
        use = "be trained" if checkpoint is None else "make films"
        told = "".join(f"; checkpoint: {note}" for note in notes)
        result = {"output": str(output), "checkpoint": notes[0] if notes else None}
        report(result, f"{output} is ready to {use}{told}", as_json)


@app.command()
def train(
    model: Annotated[
        str, typer.Argument(help="toon (from nothing, or with --data), or a folder of `init`.")
    ],
    folder: Annotated[Path, typer.Argument(help="Of the run; goes on where it stopped.")],
    scale: Annotated[
        float, typer.Option(help="toon: of all budgets and film counts; 0.001 is a smoke run.")
    ] = 1.0,
    batch_scale: Annotated[int, typer.Option(min=1, help="toon: of all batches; 16 on a GPU.")] = 1,
    data: Annotated[
        Path | None, typer.Option(help="A dataset of `openmocha curate`, by this model's encoders.")
    ] = None,
    films: Annotated[int, typer.Option(min=1, help="Toon films to draw of each kind.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Of all stages together.")] = 1000,
    minutes: Annotated[float, typer.Option(help="Of all stages together.")] = float("inf"),
    batch_size: Annotated[int, typer.Option(min=1, help="Clips of a step, of all ranks.")] = 1,
    latent_frames: Annotated[int, typer.Option(min=1, help="Of a clip; 21 are 81 frames.")] = 21,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the clips, pixels.")] = "832x480",
    learning_rate: Annotated[
        float, typer.Option(help="The paper's if not given; small models take ten times that.")
    ] = 1e-5,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of weights and batches.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that draw films.")] = None,
    as_json: Json = False,
) -> None:
    """Make a toon model from nothing, train one on your data, or teach a large model of
    `init` to hear."""
    with plain_errors(as_json):
        shards = None
        if data is not None:
            from openmocha.training.finetune import data_folder

            shards = data_folder(data)
        if model == "toon" and shards is None:
            result = _train_toon(folder, scale, batch_scale, seed, workers)
        elif shards is not None and _is_embedded(model):
            from openmocha.training.finetune import Finetuning, finetune

            few = Finetuning(steps, minutes, batch_size, 10 * learning_rate, seed)
            result = {"model": str(finetune(model, folder, shards, few))}
        else:
            from openmocha.sampling import check_size
            from openmocha.training.large import LargeTraining, train_folder

            width, height = parse_size(size)
            assert width is not None and height is not None
            check_size(width, height, largest=1280)
            given = LargeTraining(
                steps, minutes, batch_size, latent_frames, height, width, learning_rate, films,
                seed, workers or 1,
            )  # fmt: skip
            result = {"model": str(train_folder(model, folder, given, shards))}
        report(result, f"{result['model']} is ready", as_json)


def _is_embedded(model: str) -> bool:
    from openmocha.models.store import model_folder
    from openmocha.training.encoders import is_embedded

    return is_embedded(model_folder(model))


def _train_toon(
    folder: Path, scale: float, batch_scale: int, seed: int, workers: int | None
) -> dict[str, Any]:
    if not scale > 0:
        raise ValueError(f"scale is {scale}; expected a number above 0")
    from openmocha.training import recipes

    model = recipes.train_toon(
        folder, scale=scale, seed=seed, workers=workers, batch_scale=batch_scale
    )
    costs = json.loads((folder / "costs.json").read_text(encoding="utf-8"))
    return {"model": str(model), "costs": costs}


@app.command()
def enrich(
    prompt: Annotated[str, typer.Argument(help="A short prompt.")],
    endpoint: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server, as far as /v1.")
    ] = None,
    llm: Annotated[str | None, typer.Option(help="The model's name on that server.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a short prompt into a full one, and say what it leaves out."""
    with plain_errors(as_json):
        from openmocha import enrich as enriching
        from openmocha.curation.endpoint import Endpoint, EndpointError

        if (endpoint is None) != (llm is None):
            raise ValueError("--endpoint and --llm go together: a server, and a model's name on it")
        notes = enriching.missing(prompt)
        for note in notes:
            typer.echo(f"warning: {note}", err=True)
        full = prompt
        if endpoint is not None and llm is not None:
            try:
                full = enriching.enrich(prompt, Endpoint(endpoint, llm, images=False))
            except EndpointError as error:
                raise ValueError(f"no answer: {error}") from error
        report({"prompt": full, "warnings": notes}, full, as_json)


@app.command()
def ablate(
    domain: Annotated[str, typer.Argument(help="toon: where the truth is known.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Goes on where it stopped.")
    ] = Path("runs/ablation"),
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this one; repeatable. All of them take hours.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    stories: Annotated[
        int | None, typer.Option(min=1, help="Close-ups to draw; others follow.")
    ] = None,
    base_steps: Annotated[
        int | None, typer.Option(min=1, help="Of what all variants start from.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=3, help="Of each variant.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw films.")] = 1,
    as_json: Json = False,
) -> None:
    """Repeat the paper's ablations with small models: tables 3 to 6. What is not given is as in
    docs/benchmark.md."""
    with plain_errors(as_json):
        if domain != "toon":
            raise ValueError(f"the ablations are of toon, not {domain!r}: their truth is known")
        from openmocha.evaluation import ablations
        from openmocha.training.ablations import VARIANTS, AblationBudget

        given = {"stories": stories, "base_steps": base_steps, "steps": steps}
        budget = AblationBudget(**{k: v for k, v in given.items() if v is not None})
        rows = ablations.ablate(
            output,
            variant or list(VARIANTS),
            range(seeds),
            budget,
            workers,
            lambda words: typer.echo(words, err=True),
        )
        report({"table": rows}, ablations.markdown(rows), as_json)


# --- what several commands need -------------------------------------------------------------------


def _request(prompt: str | None, script: Path | None) -> Any:
    """The Script to film, or nothing: some models need no words."""
    from openmocha.prompt import load_script, parse_prompt

    if prompt is not None and script is not None:
        raise ValueError("give either a prompt or --script, and not both")
    if script is not None:
        return load_script(script)
    # Some models need no prompt; the pipeline knows.
    return parse_prompt(prompt) if prompt and prompt.strip() else ""
