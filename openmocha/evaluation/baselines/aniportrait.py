"""AniPortrait: a square portrait and a WAV -> a strip of three panels, the third of them the film.

It is configured by a YAML file, and splits its audio into pieces of 5 s unless that file names a
sequence of head poses.
"""

import glob
import math
from pathlib import Path
from typing import Any

from openmocha.evaluation.baselines.first_frame import Crop
from openmocha.evaluation.baselines.program import Call, Inputs, System
from openmocha.evaluation.baselines.wav import seconds_of, wav_file
from openmocha.whole_file import write_text

SIDE = 512
FPS = 30
PIECE_S = 5
SPARE_S = 0.1  # of silence beyond a whole number of pieces
CONFIG = "configs/prompts/animation_audio.yaml"


def weights(repo: Path) -> list[Path]:
    """The files and folders that its own configuration names (its README and its code do not agree
    on the name of the folder)."""
    config = read_config(repo)
    names = [config[key] for key in sorted(config) if key.endswith("_path")]
    return [repo / name for name in names if isinstance(name, str)]


def read_config(repo: Path) -> dict[str, Any]:
    """AniPortrait's own configuration. Raises ValueError where it is not there or is no mapping."""
    import yaml

    try:
        config = yaml.safe_load((repo / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(
            f"{repo / CONFIG} cannot be read ({error}); check out AniPortrait again"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"{repo / CONFIG} is no list of settings; check out AniPortrait again")
    return config


def crop(width: int, height: int) -> Crop:
    """It resizes to a square without keeping the aspect, so it is given one."""
    return "person-square"


def missing_silence_s(seconds: float) -> float:
    """Silence that a speech needs at its end: pieces of 5 s are joined, the last to the one before
    it, which fails for a single piece and for a last piece of no frames."""
    frames = math.ceil(round(seconds * FPS, 6))
    if seconds > PIECE_S and frames % (PIECE_S * FPS):
        return 0.0
    pieces = max(1, math.ceil(frames / (PIECE_S * FPS)))
    return pieces * PIECE_S + SPARE_S - seconds


def call(repo: Path, inputs: Inputs) -> Call:
    import yaml

    config = read_config(repo)
    seconds = seconds_of(inputs.speech)
    silence_s = 0.0 if config.get("pose_temp") else missing_silence_s(seconds)
    speech = wav_file(inputs.speech, inputs.work, silence_s)
    config["test_cases"] = {str(inputs.image): [str(speech)]}
    file = inputs.work / "aniportrait.yaml"
    write_text(file, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    arguments = (
        "-m", "scripts.audio2vid", "--config", str(file), "-W", str(SIDE), "-H", str(SIDE), "-acc",
    )  # fmt: skip
    names = glob.escape(f"{inputs.image.stem}_{speech.stem}")
    return Call(
        arguments,
        repo / "output",
        # a film without sound lies beside it until the sound is added
        f"*/*/{names}_{SIDE}x{SIDE}_*[!o].mp4",
        strip_end_s=seconds,
        notes={"silence_added_s": round(silence_s, 3)} if silence_s else {},
    )


ANIPORTRAIT = System(
    name="aniportrait",
    title="AniPortrait",
    url="https://github.com/Zejun-Yang/AniPortrait",
    entry="scripts/audio2vid.py",
    weights=weights,
    crop=crop,
    call=call,
)
