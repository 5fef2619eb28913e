"""The model that ships in the package: that it is whole, and that it does as it is told."""

import wave
from pathlib import Path

import numpy as np
import pytest

import openmocha
from openmocha.pipeline import MoChaPipeline

PACKAGE = Path(openmocha.__file__).parent
WEIGHTS = PACKAGE / "weights" / "toon"
PROMPT = (
    "A close-up shot of a young woman with black hair in a white shirt. She speaks to the camera. "
    "The background is a {} wall."
)


@pytest.fixture(scope="module")
def toon() -> MoChaPipeline:
    return MoChaPipeline.from_pretrained("toon")


def hello() -> np.ndarray:
    with wave.open(str(PACKAGE / "assets" / "hello.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def test_all_weights_fit_into_32_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 32e6


def test_the_demo_speech_fits_into_one_clip() -> None:
    assert len(hello()) / 16000 <= 128 / 24


def test_the_text_decides_on_the_colour_of_the_wall(toon: MoChaPipeline) -> None:
    corners = {}
    for colour in ("green", "purple"):
        film = toon(PROMPT.format(colour), hello()[:8000], num_inference_steps=6, seed=0)
        corners[colour] = film.frames[:, :24, :16].reshape(-1, 3).mean(0)
    green, purple = (corners[c][1] - corners[c][[0, 2]].mean() for c in ("green", "purple"))
    assert green > purple + 20  # how much greener than red and blue, of 255
