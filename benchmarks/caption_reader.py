"""What the caption reader understands of captions that it never saw.

    python -m benchmarks.caption_reader --reader openmocha/weights/toon/caption_reader

Stories of the test split -> captions that leave nothing out, captions as training has them, a fifth
of their clauses left out, and captions in other words, which were kept from training too -> the
share of right answers to each question, with 95% intervals -> a table and
benchmarks/results/caption_reader.json.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.intervals import share
from benchmarks.machine import keep
from openmocha.models.text_encoder import TextEncoder
from openmocha.toon.caption_reader import CaptionReader
from openmocha.toon.labels import NO_ANSWER
from openmocha.toon.other_words import in_other_words
from openmocha.toon.stories import SOURCES, make_story
from openmocha.training.caption_reader import Lesson, lessons, read

# how many clauses are left out, and whether other words are used
KINDS = {"all told": (0.0, False), "as in training": (0.2, False), "other words": (0.0, True)}
BATCH = 25


def main() -> None:
    """Read, print and save."""
    parser = argparse.ArgumentParser(description="How well captions are read.")
    parser.add_argument(
        "--reader", type=Path, default=Path("openmocha/weights/toon/caption_reader")
    )
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    encoder, reader = TextEncoder.from_pretrained(), CaptionReader.from_pretrained(options.reader)
    figures = {
        name: accuracy(encoder, reader, options.count, drop, reword)
        for name, (drop, reword) in KINDS.items()
    }
    print(table(figures))
    content = {"captions": options.count, "figures": figures}
    keep("caption_reader", content)


def accuracy(
    encoder: TextEncoder, reader: CaptionReader, count: int, drop: float, reword: bool
) -> dict[str, dict[str, Any]]:
    """The share of right answers to each question."""
    hits: dict[str, list[bool]] = {}
    for first in range(0, count, BATCH):
        with torch.inference_mode():
            logits, right = read(reader, unseen(encoder, range(first, first + BATCH), drop, reword))
        for name, value in logits.items():
            asked = right[name] != NO_ANSWER
            hits.setdefault(name, []).extend((value.argmax(-1) == right[name])[asked].tolist())
    return {name: share(found) for name, found in hits.items()}


def unseen(encoder: TextEncoder, seeds: range, drop: float, reword: bool) -> list[Lesson]:
    """Captions of the test split, in the test's words if asked."""
    stories = [make_story(seed, SOURCES[seed % len(SOURCES)], "test") for seed in seeds]
    rng = np.random.default_rng(seeds.start)
    other = partial(in_other_words, rng, split="test")
    return lessons(encoder, stories, drop, other if reword else str)


def table(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One line for each question."""
    lines = ["| | " + " | ".join(figures) + " | answers |", "|---|" + "---|" * (len(figures) + 1)]
    for name in figures["all told"]:
        found = [part[name] for part in figures.values()]
        cells = [f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}]" for f in found]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + f" | {found[0]['n']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
