"""Records to batches: which film, which crop, which condition, all a function of (seed, stage,
step).

    manifest -> pools (source, length, size) -> Grain mix by shares -> samples -> Batch

Nothing is remembered between batches, so training resumes from one integer, the step. Ranks take
every world-th sample of the same global batch.

Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols, L text tokens,
S speech tokens of the slice, W speech window, T video frames of the whole film.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openmocha.models.config import MoChaConfig
from openmocha.models.figures import NUM_FIGURE
from openmocha.models.places import AT_REST
from openmocha.toon.labels import NO_ANSWER
from openmocha.training.latent_truth import ANSWERS, CHANNELS, NUM_LIPS
from openmocha.training.parallel import Ranks
from openmocha.training.shards import (
    finished_shards,
    read_empty_prompt,
    read_manifest,
    read_record,
    record_path,
    shown_text,
)
from openmocha.training.stages import Crop, Stage, crop_order

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CausalLayout:
    """Speech of a model with a causal VAE: F latent frames stand for 1 + r (F - 1) video frames,
    and the model itself says which of them each sees."""

    frames_per_latent: int = 4

    def num_tokens(self, latent_frames: int) -> int:
        return 1 + self.frames_per_latent * (latent_frames - 1)


@dataclass(frozen=True)
class Dropout:
    """How often a sample loses a condition, so that guidance has something to steer away from.

    `words`: how often only what a reader sums up of a prompt is left of it (caption_reader.py).
    `figures`: how often a sample with a prompt has none; one without never has.
    """

    text: float = 0.1
    speech: float = 0.1
    both: float = 0.05
    words: float = 0.0
    figures: float = 0.1


@dataclass(frozen=True)
class Sample:
    """One crop of one film with its conditions."""

    latents: Array  # (C, F, h, w)
    mouth_cells: Array  # (F, h, w)
    text: tuple[Array, ...]  # streams (L, D)
    speech: Array | None  # (S, layers, width); None = no speech
    windows: Array  # (F, W) rows of the slice
    views: Array  # (F, 3) where the camera is (models/places.py)
    answers: Array  # (F, A) what is to be read from it (latent_truth.py)
    poses: Array  # (F, K)
    figures: Array  # (F, K) what is done where (models/figures.py); NaN = not told
    seed: int  # of the sample's noise


@dataclass(frozen=True)
class Batch:
    """What one rank trains on in one step. Without any speech in it, `speech` is None."""

    latents: Tensor  # (B, C, F, h, w) float32
    mouth_cells: Tensor  # (B, F, h, w) float32
    text: list[tuple[Tensor, Tensor]]  # streams ((B, L, D), (B, L) bool)
    speech: Tensor | None  # (B, S, layers, width) float32
    speech_windows: Tensor  # (B, F, W) int64
    views: Tensor  # (B, F, 3) float32
    answers: Tensor  # (B, F, A) int64
    poses: Tensor  # (B, F, K) float32
    figures: Tensor  # (B, F, K) float32
    seeds: tuple[int, ...]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        parts = vars(self).items()
        moved: dict[str, Any] = {name: x.to(device) for name, x in parts if isinstance(x, Tensor)}
        moved["text"] = [(tokens.to(device), mask.to(device)) for tokens, mask in self.text]
        return replace(self, **moved)


class Records:
    """All finished shards of a folder (or those named), read at random."""

    def __init__(self, folder: Path, shards: Sequence[str] | None = None) -> None:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self.shards = tuple(finished_shards(folder) if shards is None else shards)
        table = read_manifest(folder, self.shards)
        columns = ("source", "height", "width", "crops", "latent_frames", "num_frames")
        self.rows = {name: table[name].to_numpy(zero_copy_only=False) for name in columns}
        self.empty_prompt = read_empty_prompt(folder)
        self.files = ArrayRecordDataSource([str(record_path(folder / s)) for s in self.shards])
        assert len(self.files) == len(table), "a manifest disagrees with its shard"

    @property
    def sources(self) -> set[str]:
        """The kinds of films that the shards hold."""
        return set(self.rows["source"])

    def read(self, index: int) -> dict[str, Array]:
        """The tensors of record `index` (module shards)."""
        return read_record(self.files[index])

    def pool(self, source: str, crop: Crop, causal: bool = False) -> Array:
        """All (record, crop, first latent frame within it) of a source that serve `crop`: int32 (n,
        3).

        A longer stored crop serves as several short ones, side by side; a causal VAE's only by its
        beginning.
        Raises ValueError where there is none.
        """
        rows = self.rows
        fits = (rows["source"] == source) & (rows["latent_frames"] >= crop.latent_frames)
        fits &= (rows["height"] == crop.height) & (rows["width"] == crop.width)
        items = [
            (record, k, part * crop.latent_frames)
            for record in np.flatnonzero(fits)
            for k in range(rows["crops"][record])
            for part in range(1 if causal else rows["latent_frames"][record] // crop.latent_frames)
        ]
        if not items:
            raise ValueError(
                f"no {source!r} films of {crop.latent_frames} or more latent frames at "
                f"{crop.width}x{crop.height} in the {len(self.shards)} finished shards; "
                "write such shards, or leave the source out of the stage"
            )
        return np.array(items, np.int32)


class Batches:
    """The batches of one stage for one rank; batches[step] depends on nothing but (seed, stage,
    step).

    Sources keep their shares exactly: within each batch where its size allows, else over a few
    batches. Every film of a source comes once before any comes twice, in another order each time.
    """

    def __init__(
        self,
        records: Records,
        stage: Stage,
        stage_index: int,
        seed: int,
        dropout: Dropout,
        ranks: Ranks,
        model: MoChaConfig | CausalLayout,
    ) -> None:
        import grain

        for crop in stage.crops:
            if crop.batch_size % ranks.world:
                raise ValueError(
                    f"stage {stage.name!r}: a batch of {crop.batch_size} cannot be shared "
                    f"equally by {ranks.world} ranks"
                )
        self.records, self.stage, self.ranks, self.dropout = records, stage, ranks, dropout
        self.model = model
        self.order = crop_order(stage.crops)
        self.seed, self.stage_index = seed, stage_index
        self.mixes = []
        for crop_index, crop in enumerate(stage.crops):
            pools = [
                grain.MapDataset.source(records.pool(source, crop, isinstance(model, CausalLayout)))
                .seed(derived_seed(seed, stage_index, crop_index, source_index))
                .shuffle()
                .repeat()
                for source_index, source in enumerate(stage.shares)
            ]
            self.mixes.append(grain.MapDataset.mix(pools, weights=list(stage.shares.values())))

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        cycles, place = divmod(step, len(self.order))
        crop_index = self.order[place]
        before = cycles * self.order.count(crop_index) + self.order[:place].count(crop_index)
        crop = self.stage.crops[crop_index]
        first = before * crop.batch_size
        numbers = range(first + self.ranks.rank, first + crop.batch_size, self.ranks.world)
        return collate([self.sample(crop_index, number) for number in numbers])

    def sample(self, crop_index: int, number: int) -> Sample:
        """Sample `number` of all that the stage draws with one of its crops."""
        record_index, k, first = (int(i) for i in self.mixes[crop_index][number])
        seed = derived_seed(self.seed, self.stage_index, crop_index, number)
        record = self.records.read(record_index)
        rng = np.random.default_rng(seed)
        drop_text, drop_speech = drop_conditions(rng, self.dropout)
        return cut(
            record,
            k,
            first,
            self.stage.crops[crop_index].latent_frames,
            text=self.records.empty_prompt if drop_text else None,
            with_speech=not drop_speech,
            with_words=bool(rng.random() >= self.dropout.words),
            with_figures=bool(rng.random() >= self.dropout.figures),
            num_frames=int(self.records.rows["num_frames"][record_index]),
            seed=seed,
            model=self.model,
        )


def cut(
    record: dict[str, Array],
    k: int,
    first: int,
    latent_frames: int,
    *,
    text: tuple[Array, ...] | None,
    with_speech: bool,
    with_words: bool = True,
    with_figures: bool = True,
    num_frames: int,
    seed: int,
    model: MoChaConfig | CausalLayout,
) -> Sample:
    """Some latent frames, from `first` on, of the k-th crop of a record, with their speech.

    `text` stands in for the record's own, of which without `with_words` only slots are left.
    """
    part = slice(first, first + latent_frames)
    heard = with_speech and "speech_tokens" in record
    start = int(record["start"][k]) + first
    speech_start, num_tokens, windows = speech_slice(start, latent_frames, num_frames, model)
    speech = record["speech_tokens"] if heard else None
    answers, poses = to_be_read(record, start, latent_frames, told=text is None, heard=heard)
    return Sample(
        latents=record["latents"][k][:, part],
        mouth_cells=record["mouth_cells"][k][part],
        text=shown_text(record, start, latent_frames, with_words) if text is None else text,
        speech=None if speech is None else speech[speech_start : speech_start + num_tokens],
        windows=windows,
        views=seen_views(record, start, latent_frames),
        answers=answers,
        poses=poses,
        figures=figures_of(record, start, latent_frames, with_figures and text is None),
        seed=seed,
    )


def seen_views(record: dict[str, Array], start: int, latent_frames: int) -> Array:
    """Where the camera is (F, 3) in a part of a record's film; at rest, where nobody knows."""
    if "views" not in record:
        return np.tile(np.array(AT_REST, np.float32), (latent_frames, 1))
    return record["views"][start : start + latent_frames]


def figures_of(
    record: dict[str, Array], start: int, latent_frames: int, with_figures: bool
) -> Array:
    """Figures (F, K) of a part of a record's film; NaN where nobody knows them, or is told."""
    if not with_figures or "figures" not in record:
        return np.full((latent_frames, NUM_FIGURE), np.nan, np.float32)
    return record["figures"][start : start + latent_frames]


def to_be_read(
    record: dict[str, Array], start: int, latent_frames: int, *, told: bool, heard: bool
) -> tuple[Array, Array]:
    """Answers (F, A) and poses (F, K) in a part of a record's film, as far as prompt and speech say
    them: nothing without a prompt, lips without speech; nothing where nobody knows."""
    if not told or "answers" not in record:
        answers = np.full((latent_frames, len(ANSWERS)), NO_ANSWER, np.int8)
        return answers, np.full((latent_frames, len(CHANNELS)), np.nan, np.float32)
    part = slice(start, start + latent_frames)
    poses = record["poses"][part].copy()
    if not heard:
        poses[:, -NUM_LIPS:] = np.nan
    return record["answers"][part], poses


def speech_slice(
    start: int, latent_frames: int, num_frames: int, model: MoChaConfig | CausalLayout
) -> tuple[int, int, Array]:
    """Which speech tokens a crop needs: (first token, how many, windows (F, W) into them).

    `start` is the crop's first latent frame in a film of `num_frames`. Raises ValueError for a crop
    that a causal VAE did not make from its film's beginning.
    """
    if isinstance(model, CausalLayout):
        if start:
            raise ValueError(
                f"a crop starts at latent frame {start}; this model's VAE is causal, so its crops "
                "start with their film: write other shards"
            )
        return 0, model.num_tokens(latent_frames), np.zeros((latent_frames, 0), np.int64)
    tokens, windows = model.heard_by(start, start + latent_frames, num_frames)
    return tokens.start, tokens.stop - tokens.start, windows.numpy()


def drop_conditions(rng: np.random.Generator, dropout: Dropout) -> tuple[bool, bool]:
    """Whether a sample loses its text and its speech. Three exclusive cases: text, speech, both."""
    draw = rng.random()
    both = draw < dropout.both
    text = draw < dropout.both + dropout.text
    return text, both or (not text and draw < dropout.both + dropout.text + dropout.speech)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; captions are padded to the longest, missing speech is zeros."""
    return Batch(
        latents=torch.from_numpy(np.stack([s.latents for s in samples]).astype(np.float32)),
        mouth_cells=torch.from_numpy(np.stack([s.mouth_cells for s in samples])).float(),
        text=[_stack_text(stream) for stream in zip(*(s.text for s in samples), strict=True)],
        speech=_stack_speech([s.speech for s in samples]),
        speech_windows=torch.from_numpy(np.stack([s.windows for s in samples])),
        views=torch.from_numpy(np.stack([s.views for s in samples])),
        answers=torch.from_numpy(np.stack([s.answers for s in samples])).long(),
        poses=torch.from_numpy(np.stack([s.poses for s in samples])),
        figures=torch.from_numpy(np.stack([s.figures for s in samples])),
        seeds=tuple(s.seed for s in samples),
    )


def _stack_text(stream: Sequence[Array]) -> tuple[Tensor, Tensor]:
    lengths = [len(tokens) for tokens in stream]
    text = np.zeros((len(stream), max(lengths), stream[0].shape[1]), np.float32)
    for row, tokens in zip(text, stream, strict=True):
        row[: len(tokens)] = tokens
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return torch.from_numpy(text), torch.from_numpy(mask)


def _stack_speech(speech: Sequence[Array | None]) -> Tensor | None:
    given = next((tokens for tokens in speech if tokens is not None), None)
    if given is None:
        return None
    stacked = np.zeros((len(speech), *given.shape), np.float32)
    for row, tokens in zip(stacked, speech, strict=True):
        if tokens is not None:
            row[:] = tokens
    return torch.from_numpy(stacked)


def derived_seed(*numbers: int) -> int:
    """A 63-bit seed that depends on all of `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def prefetch(batches: Batches, first_step: int, num_threads: int = 2) -> Iterator[Batch]:
    """Batches from `first_step` on, in order, made by threads while the model computes.

    Threads, not processes: the records sit in the page cache, and forking beside torch's threads
    can hang.
    """
    import grain

    dataset = grain.MapDataset.source(batches)[first_step:]
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return iter(dataset.to_iter_dataset(options))
