"""Train the caption reader on captions written meanwhile.

story -> caption -> text encoder (frozen) -> slots -> answers; the truth is the story's
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from openmocha.models.text_encoder import TextEncoder
from openmocha.precision import mixed_precision
from openmocha.toon.caption_reader import CaptionReader, CaptionReaderConfig, story_answers
from openmocha.toon.captions import DROP, caption_of
from openmocha.toon.labels import NO_ANSWER
from openmocha.toon.stories import SOURCES, Story, make_story
from openmocha.training.fit import FitConfig, fit

BATCH_SIZE, FRESH = 128, 16  # captions of a step, and how many of them were never seen
POOL_SIZE = 8_192
DIALOGUES = 0.4  # share of batches
HELD_OUT = 320  # stories of the test split


@dataclass(frozen=True)
class Lesson:
    """One caption's token states (L, D) and what they should be answered with."""

    states: Tensor
    answers: dict[str, np.ndarray]


def lessons(encoder: TextEncoder, stories: Sequence[Story], drop: float = DROP) -> list[Lesson]:
    """A lesson of each story, encoded as one batch; `drop` of a caption's clauses are left out."""
    with mixed_precision():
        states, mask = encoder.encode([caption_of(story, drop) for story in stories])
    return [
        Lesson(states[i][mask[i]].half(), story_answers(story)) for i, story in enumerate(stories)
    ]


def batches(encoder: TextEncoder, seed: int) -> Iterator[list[Lesson]]:
    """Endless batches from a pool in which new captions take the places of old ones.

    Captions of conversations are twice as long as others: they make batches of their own.
    """
    rng = np.random.default_rng(seed)
    pools: dict[bool, list[Lesson]] = {True: [], False: []}
    others = [source for source in SOURCES if source != "dialogue"]
    while True:
        long = bool(rng.random() < DIALOGUES)
        sources = ["dialogue"] if long else others
        stories = [
            make_story(int(rng.integers(2**31)), sources[int(rng.integers(len(sources)))])
            for _ in range(FRESH)
        ]
        pool, fresh = pools[long], lessons(encoder, stories)
        number = BATCH_SIZE // 2 if long else BATCH_SIZE
        pool.extend(fresh)
        yield fresh + [pool[i] for i in rng.integers(len(pool), size=number - FRESH)]
        if len(pool) > POOL_SIZE:
            del pool[:FRESH]


def read(reader: CaptionReader, batch: Sequence[Lesson]) -> tuple[dict[str, Tensor], ...]:
    """Logits (B, slots, answers) and right answers (B, slots) of every question."""
    states = nn.utils.rnn.pad_sequence([lesson.states.float() for lesson in batch], True)
    lengths = torch.tensor([len(lesson.states) for lesson in batch])
    mask = torch.arange(states.shape[1]) < lengths[:, None]
    with mixed_precision():
        logits = reader.answers(reader(states, mask))
    right = {
        name: torch.from_numpy(np.stack([lesson.answers[name] for lesson in batch]))
        for name in logits
    }
    return {name: value.float() for name, value in logits.items()}, right


def loss_of(reader: nn.Module, batch: Sequence[Lesson]) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of every answer, all answers alike."""
    assert isinstance(reader, CaptionReader)
    logits, right = read(reader, batch)
    total = torch.zeros(())
    for name, value in logits.items():
        total = total + nnf.cross_entropy(
            value.flatten(0, 1), right[name].flatten(), ignore_index=NO_ANSWER, reduction="sum"
        )
    return total / sum(int((answer != NO_ANSWER).sum()) for answer in right.values()), {}


@torch.no_grad()
def accuracy(reader: nn.Module, held_out: Sequence[Lesson]) -> dict[str, float]:
    """Share of right answers for every question."""
    assert isinstance(reader, CaptionReader)
    logits, right = read(reader, held_out)
    shares = {}
    for name, value in logits.items():
        asked = right[name] != NO_ANSWER
        shares[name] = float((value.argmax(-1) == right[name])[asked].float().mean())
    return shares


def train_caption_reader(
    folder: Path, *, time_budget_s: float, seed: int = 0, encoder: TextEncoder | None = None
) -> CaptionReader:
    """Train for a time and save to `folder`/final. Measured on unseen stories meanwhile."""
    torch.manual_seed(seed)
    encoder = (encoder or TextEncoder.from_pretrained()).without_reader()
    reader = CaptionReader(CaptionReaderConfig(text_width=encoder.width))
    unseen = [make_story(i, SOURCES[i % len(SOURCES)], "test") for i in range(HELD_OUT)]
    held_out = [
        lesson for i in range(0, HELD_OUT, FRESH) for lesson in lessons(encoder, unseen[i:][:FRESH])
    ]
    trained = fit(
        reader,
        batches(encoder, seed),
        loss_of,
        folder,
        FitConfig(time_budget_s=time_budget_s, learning_rate=1.5e-3, evaluate_every_s=120.0),
        evaluate=lambda network: accuracy(network, held_out),
    )
    assert isinstance(trained, CaptionReader)
    trained.save_pretrained(folder / "final")
    return trained
