"""What the pipeline gives back: a finished film, or one whose frames come as they are made."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import openmocha
from openmocha import media

PROVENANCE: dict[str, Any] = {  # every film says so in its metadata
    "made_by": "a model: this film was generated, nobody was recorded in it",
    "versions": {
        "openmocha": openmocha.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    },
}


@dataclass(frozen=True)
class MoChaOutput:
    """A finished film: frames uint8 (T, H, W, 3), its speech, and what made it."""

    frames: media.Frames
    speech: media.Speech | None
    fps: float
    settings: dict[str, Any]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an mp4 with the settings in its metadata; raises what `media.FilmWriter` raises."""
        media.write_film(path, self.frames, self.speech, self.fps, self.settings)


@dataclass
class MoChaStream:
    """A film in the making: `pieces` yields frames uint8 (t, H, W, 3), once, in their order.

    However long the film, the pictures of one pass are in memory, not those of all.
    """

    pieces: Iterator[media.Frames]
    num_frames: int
    height: int
    width: int
    speech: media.Speech | None
    fps: float
    settings: dict[str, Any]
    taken: bool = False

    def save(
        self, path: str | os.PathLike[str], watch: Callable[[media.Frames], None] | None = None
    ) -> None:
        """Make the film and write each piece into an mp4 as it comes; `watch` sees each, too.

        Raises what `media.FilmWriter` and the pipeline raise, and ValueError where the film was
        made before; the file appears when all is well.
        """
        with media.FilmWriter(
            path, self.width, self.height, self.speech, fps=self.fps, metadata=self.settings
        ) as film:
            for frames in self._once():
                film.write(frames)
                if watch is not None:
                    watch(frames)

    def finish(self) -> MoChaOutput:
        """Make the film and keep it in memory. Raises ValueError where it was made before."""
        frames = np.concatenate(list(self._once()))
        return MoChaOutput(frames, self.speech, self.fps, self.settings)

    def _once(self) -> Iterator[media.Frames]:
        if self.taken:
            raise ValueError("this film has been made already; ask the pipeline for another")
        self.taken = True
        return self.pieces
