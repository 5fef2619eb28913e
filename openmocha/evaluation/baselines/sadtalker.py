"""SadTalker: a portrait and a voice -> a film of 25 frames a second.

Whole frame, face enhanced (which doubles the size): what the films released with MoChaBench show.
Whether they were made with --still is not known.
"""

from pathlib import Path

from openmocha.evaluation.baselines.first_frame import Crop
from openmocha.evaluation.baselines.program import Call, Inputs, System


def weights(repo: Path) -> list[Path]:
    """What --preprocess full at --size 256 reads."""
    names = ("mapping_00109-model.pth.tar", "SadTalker_V0.0.2_256.safetensors")
    return [repo / "checkpoints" / name for name in names]


def crop(width: int, height: int) -> Crop:
    """It finds and crops the face itself, and pastes it back."""
    return "full"


def call(repo: Path, inputs: Inputs) -> Call:
    """Its film is named after the second it was begun in, so every item has a folder of its own."""
    results = inputs.work / "results"
    results.mkdir()
    arguments = (
        "inference.py", "--driven_audio", str(inputs.speech), "--source_image", str(inputs.image),
        "--result_dir", str(results), "--preprocess", "full", "--still", "--enhancer", "gfpgan",
    )  # fmt: skip
    return Call(arguments, results, "*.mp4")


SADTALKER = System(
    name="sadtalker",
    title="SadTalker",
    url="https://github.com/OpenTalker/SadTalker",
    entry="inference.py",
    weights=weights,
    crop=crop,
    call=call,
)
