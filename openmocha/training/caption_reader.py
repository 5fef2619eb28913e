"""Train the caption reader on captions written meanwhile.

story -> caption -> text encoder (frozen) -> slots -> answers; the truth is the story's
caption in other words -> text encoder -> slots; the truth is what is read of the caption as it was

    python -m openmocha.training.caption_reader runs/reader --minutes 45

trains the embedded model's reader on (its second part). What was trained with its slots can use
those of runs/reader/final.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from openmocha.models.text_encoder import MAX_TEXT_TOKENS, TextEncoder
from openmocha.precision import mixed_precision
from openmocha.toon.caption_reader import CaptionReader, CaptionReaderConfig, story_answers
from openmocha.toon.captions import DROP, caption_of
from openmocha.toon.labels import NO_ANSWER
from openmocha.toon.other_words import in_other_words
from openmocha.toon.stories import SOURCES, Story, make_story
from openmocha.training.fit import FitConfig, fit
from openmocha.training.model_step import model_of, step_parser
from openmocha.training.muon import Muon

BATCH_SIZE, FRESH = 128, 16  # captions of a step, and how many of them were never seen
POOL_SIZE = 8_192
DIALOGUES = 0.4  # share of batches
HELD_OUT = 320  # stories of the test split
WIDENING = 0.4  # of the time, for other words
T = TypeVar("T")


@dataclass(frozen=True)
class Lesson:
    """One caption's token states (L, D) and what they should be answered with."""

    states: Tensor
    answers: dict[str, np.ndarray]


def lessons(
    encoder: TextEncoder,
    stories: Sequence[Story],
    drop: float = DROP,
    reword: Callable[[str], str] = str,
) -> list[Lesson]:
    """A lesson of each story, encoded as one batch; `drop` of a caption's clauses are left out,
    then it is reworded."""
    with mixed_precision():
        states, mask = encoder.encode([reword(caption_of(story, drop)) for story in stories])
    return [
        Lesson(states[i][mask[i]].half(), story_answers(story)) for i, story in enumerate(stories)
    ]


def batches(encoder: TextEncoder, seed: int) -> Iterator[list[Lesson]]:
    """Endless batches of lessons."""
    return pooled(np.random.default_rng(seed), lambda stories: lessons(encoder, stories))


def pooled(rng: np.random.Generator, told: Callable[[list[Story]], list[T]]) -> Iterator[list[T]]:
    """Endless batches of what is `told` of stories, from a pool in which new ones take the places
    of old ones.

    Captions of conversations are twice as long as others: they make batches of their own.
    """
    pools: dict[bool, list[T]] = {True: [], False: []}
    others = [source for source in SOURCES if source != "dialogue"]
    while True:
        long = bool(rng.random() < DIALOGUES)
        sources = ["dialogue"] if long else others
        stories = [
            make_story(int(rng.integers(2**31)), sources[int(rng.integers(len(sources)))])
            for _ in range(FRESH)
        ]
        pool, fresh = pools[long], told(stories)
        number = BATCH_SIZE // 2 if long else BATCH_SIZE
        pool.extend(fresh)
        yield fresh + [pool[i] for i in rng.integers(len(pool), size=number - FRESH)]
        if len(pool) > POOL_SIZE:
            del pool[:FRESH]


def padded(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States (L, D) of several captions -> (B, L, D) float32 and their mask (B, L)."""
    lengths = torch.tensor([len(one) for one in states])
    stacked = nn.utils.rnn.pad_sequence([one.float() for one in states], True)
    return stacked, torch.arange(stacked.shape[1]) < lengths[:, None]


def slots_of(reader: CaptionReader, batch: Sequence[Lesson]) -> Tensor:
    """Slots (B, N, D) of the captions."""
    states, mask = padded([lesson.states for lesson in batch])
    with mixed_precision():
        slots: Tensor = reader(states, mask)
    return slots.float()


def read(
    reader: CaptionReader, batch: Sequence[Lesson], slots: Tensor | None = None
) -> tuple[dict[str, Tensor], ...]:
    """Logits (B, slots, answers) and right answers (B, slots) of every question."""
    logits = reader.answers(slots_of(reader, batch) if slots is None else slots)
    right = {
        name: torch.from_numpy(np.stack([lesson.answers[name] for lesson in batch]))
        for name in logits
    }
    return logits, right


def loss_of(reader: nn.Module, batch: Sequence[Lesson]) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of every answer, all answers alike."""
    assert isinstance(reader, CaptionReader)
    return cross_entropy(*read(reader, batch)), {}


def cross_entropy(logits: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> Tensor:
    """Mean over all questions that have an answer."""
    total = torch.zeros(())
    for name, value in logits.items():
        total = total + nnf.cross_entropy(
            value.flatten(0, 1), right[name].flatten(), ignore_index=NO_ANSWER, reduction="sum"
        )
    return total / sum(int((answer != NO_ANSWER).sum()) for answer in right.values())


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
    """Train for a time, first on captions, then on other words, and save to `folder`/final.
    Measured on unseen stories meanwhile."""
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
        FitConfig(
            time_budget_s=(1 - WIDENING) * time_budget_s,
            learning_rate=1.5e-3,
            evaluate_every_s=120.0,
        ),
        evaluate=lambda network: accuracy(network, held_out),
    )
    assert isinstance(trained, CaptionReader)
    return widen_caption_reader(
        folder, trained, time_budget_s=WIDENING * time_budget_s, seed=seed, encoder=encoder
    )


# --- other words ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rewording(Lesson):
    """A lesson in some words, with the slots (N, D) that the teacher gives its plain ones."""

    slots: Tensor


def reworded(
    encoder: TextEncoder,
    teacher: CaptionReader,
    rng: np.random.Generator,
    stories: Sequence[Story],
) -> list[Rewording]:
    """Captions in other words (a quarter stays), where the text encoder can take them."""
    plain = [caption_of(story) for story in stories]
    words = [in_other_words(rng, text) if rng.random() < 0.75 else text for text in plain]
    words = [
        new if encoder.count_tokens(new) <= MAX_TEXT_TOKENS else old
        for new, old in zip(words, plain, strict=True)
    ]
    with torch.no_grad():
        slots = teacher(*encoder.encode(plain))
    with mixed_precision():
        states, mask = encoder.encode(words)
    return [
        Rewording(states[i][mask[i]].half(), story_answers(story), slots[i])
        for i, story in enumerate(stories)
    ]


def widening_loss(reader: nn.Module, batch: Sequence[Rewording]) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the answers, and the squared error of the slots over their variance in the
    batch."""
    assert isinstance(reader, CaptionReader)
    slots = slots_of(reader, batch)
    wanted = torch.stack([lesson.slots for lesson in batch])
    error = (slots - wanted).square().mean() / wanted.var(dim=0).mean()
    return cross_entropy(*read(reader, batch, slots)) + error, {"slots": error.item()}


def widen_caption_reader(
    folder: Path,
    teacher: CaptionReader,
    *,
    time_budget_s: float,
    seed: int = 0,
    encoder: TextEncoder | None = None,
) -> CaptionReader:
    """Teach a reader other words, and save it to `folder`/final.

    Its slots are kept near the teacher's, so that what was trained on those can use the new ones.
    """
    torch.manual_seed(seed)
    encoder = (encoder or TextEncoder.from_pretrained()).without_reader()
    rng = np.random.default_rng(seed)
    reader = copy.deepcopy(teacher).requires_grad_(True)
    widened = fit(
        reader,
        pooled(rng, partial(reworded, encoder, teacher, rng)),
        widening_loss,
        folder / "other_words",
        FitConfig(time_budget_s=time_budget_s, learning_rate=1e-3, warmup_steps=30),
        make_optimizer=lambda parameters, config: Muon(parameters, lr=config.learning_rate),
    )
    assert isinstance(widened, CaptionReader)
    widened.save_pretrained(folder / "final")
    return widened


def main() -> None:
    """Command line; see the module docstring."""
    options = step_parser(__doc__ or "").parse_args()
    backbone, _ = model_of(options)
    encoder = backbone.text_encoder
    if encoder.reader is None:
        raise ValueError(f"{options.model} has no caption reader to train on")
    widen_caption_reader(
        options.folder,
        encoder.reader.requires_grad_(False),
        time_budget_s=60 * options.minutes,
        seed=options.seed,
        encoder=encoder,
    )


if __name__ == "__main__":
    main()
