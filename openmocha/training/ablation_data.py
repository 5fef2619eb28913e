"""Small films for the ablations: 64x64 pixels, 64 frames, each a film in its own right.

    story -> film of 128 frames -> its two halves, or 64 frames around the cut -> clip -> shard

A half is spoken, drawn and captioned as the whole film is; its speech is cut with it, so training
and generation hear the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from openmocha.toon.captions import without_tags
from openmocha.toon.films import FPS, Film, make_film
from openmocha.toon.voices import SAMPLE_RATE_HZ
from openmocha.training.shards import TrainingClip
from openmocha.training.toon_clips import mouth_cells

SIDE, NUM_FRAMES = 64, 64
PIXELS_PER_CELL = 16  # of the embedded VAE
FILM_FRAMES = 128
SAMPLES = round(NUM_FRAMES / FPS * SAMPLE_RATE_HZ)
UNTAGGED = "dialogue without tags"
FIRST_SEED = 70_000_000  # of the training split; no other recipe draws these


@dataclass(frozen=True)
class SmallFilm:
    """64 frames of a film: `first` is their first one in `film`, whose pixels are all drawn."""

    film: Film
    first: int
    caption: str

    @property
    def frames(self) -> np.ndarray:
        """uint8 (64, 64, 64, 3)."""
        return self.film.frames[self.first : self.first + NUM_FRAMES]

    @property
    def speech(self) -> np.ndarray | None:
        """(samples,) at 16 kHz."""
        if self.film.speech is None:
            return None
        start = round(self.first / FPS * SAMPLE_RATE_HZ)
        return self.film.speech[start : start + SAMPLES]

    @property
    def cut(self) -> int | None:
        """The first of the 64 frames that shows the second clip."""
        cut = self.film.truth.cut_frame
        return None if cut is None else cut - self.first


def small_films(seed: int, source: str, split: str = "train") -> list[SmallFilm]:
    """The small films of one story: two halves, or for a dialogue the 64 frames around the cut."""
    drawn = "dialogue" if source == UNTAGGED else source
    film = make_film(seed, drawn, split=split, width=SIDE, height=SIDE)
    caption = film.caption
    if source == UNTAGGED:
        caption = without_tags(caption, film.truth.story)
    cut = film.truth.cut_frame
    if cut is None:
        return [SmallFilm(film, first, caption) for first in (0, FILM_FRAMES - NUM_FRAMES)]
    first = min(max(0, cut - NUM_FRAMES // 2), FILM_FRAMES - NUM_FRAMES)
    return [SmallFilm(film, first, caption)]


def training_clip(small: SmallFilm, source: str) -> TrainingClip:
    """A small film as the shards want it."""
    boxes = small.film.truth.mouth_boxes[small.first : small.first + NUM_FRAMES]
    return TrainingClip(
        source=source,
        seed=small.film.truth.story.seed,
        caption=small.caption,
        num_frames=NUM_FRAMES,
        crops=small.frames[None],
        starts=[0],
        speech=small.speech,
        mouth_cells=mouth_cells(boxes, SIDE, SIDE, PIXELS_PER_CELL)[None],
    )


@dataclass(frozen=True)
class SmallShard:
    """`num_stories` stories of a source from `first_seed` on."""

    name: str
    source: str
    first_seed: int
    num_stories: int

    def clips(self) -> Iterator[TrainingClip]:
        """Its small films, drawn as they are asked for."""
        for seed in range(self.first_seed, self.first_seed + self.num_stories):
            for small in small_films(seed, self.source):
                yield training_clip(small, self.source)


def small_plan(num_stories: int, stories_a_shard: int = 64) -> list[SmallShard]:
    """Shards of every source in turn; `num_stories` is that of close-ups, others follow from it.

    The dialogues without tags are the same stories as those with.
    """
    parts = {"text": 0.9, "close-up": 1.0, "dialogue": 1.0, UNTAGGED: 1.0, "medium": 0.7}
    lanes = []
    for number, (source, part) in enumerate(parts.items()):
        total = max(1, round(num_stories * part))
        first_seed = FIRST_SEED + 100_000 * (2 if source == UNTAGGED else number)
        lanes += [
            SmallShard(
                f"{source.replace(' ', '-')}-{done // stories_a_shard:03d}",
                source,
                first_seed + done,
                min(stories_a_shard, total - done),
            )
            for done in range(0, total, stories_a_shard)
        ]
    return sorted(lanes, key=lambda shard: shard.name.rsplit("-", 1)[1])
