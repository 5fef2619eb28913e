"""Hallo3: a picture, a WAV of English speech and a prompt -> a film of 25 frames a second.

It crops the middle of the picture to 3:2 itself; a square is kept whole.
"""

import glob
from pathlib import Path

from openmocha.evaluation.baselines.first_frame import Crop
from openmocha.evaluation.baselines.program import Call, Failed, Inputs, System
from openmocha.evaluation.baselines.wav import wav_file
from openmocha.whole_file import write_text

SEED = 42
BETWEEN = "@@"  # what its input file has between prompt, picture and audio
ONE_PROCESS = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


def weights(repo: Path) -> list[Path]:
    parts = (
        "hallo3", "cogvideox-5b-i2v-sat", "t5-v1_1-xxl", "wav2vec", "audio_separator",
        "face_analysis",
    )  # fmt: skip
    return [repo / "pretrained_models" / part for part in parts]


def crop(width: int, height: int) -> Crop:
    """Its own crop of an upright picture would cut heads off."""
    return "person-square" if height > width else "full"


def one_line(prompt: str) -> str:
    """A prompt as its input file can hold it. Raises Failed for one that holds the separator."""
    if BETWEEN in prompt:
        raise Failed(f'the prompt holds "{BETWEEN}", which separates the parts of its input file')
    return " ".join(prompt.split())


def call(repo: Path, inputs: Inputs) -> Call:
    prompt = one_line(inputs.prompt)
    speech = wav_file(inputs.speech, inputs.work, 0.0)
    for path in (inputs.image, speech):
        if BETWEEN in str(path):
            raise Failed(f'the path {path} holds "{BETWEEN}"; give another --output')
    file, results = inputs.work / "in.txt", inputs.work / "results"
    results.mkdir()
    write_text(file, f"{prompt}{BETWEEN}{inputs.image}{BETWEEN}{speech}\n")
    arguments = (
        "hallo3/sample_video.py",
        "--base", "./configs/cogvideox_5b_i2v_s2.yaml", "./configs/inference.yaml",
        "--seed", str(SEED), "--input-file", str(file), "--output-dir", str(results),
    )  # fmt: skip
    names = glob.escape(f"{inputs.image.stem}-{speech.stem}")
    return Call(
        arguments,
        results,
        f"{names}-seed_*/000000_with_audio.mp4",
        environment=ONE_PROCESS,
        notes={"prompt_on_one_line": prompt} if prompt != inputs.prompt else {},
    )


HALLO3 = System(
    name="hallo3",
    title="Hallo3",
    url="https://github.com/fudan-generative-vision/hallo3",
    entry="hallo3/sample_video.py",
    weights=weights,
    crop=crop,
    call=call,
)
