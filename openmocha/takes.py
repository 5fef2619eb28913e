"""What a film is made of: one take, or a take for each clip of a script that names its recordings.

    clip texts + recordings -> words, length, and which earlier take each goes on from

A take starts from noise, or from the end of an earlier one with the same people in the same shot:
after a shot of somebody else the first one is seen again as they were. The paper makes all clips in
one pass instead, which a model must have learnt.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from openmocha import media
from openmocha.prompt import Script

GAP_S = 0.2  # between the recordings of two clips
SHOT = re.compile(r"close[- ]?up|medium|mid[- ]shot|wide|long shot|full[- ]body|portrait", re.I)
TAG = re.compile(r"Person\d+")


@dataclass(frozen=True)
class Take:
    """`words` tell the model what is seen in `num_frames` frames (whole latent frames); `after` is
    the number of the take that it goes on from, if any."""

    words: str
    num_frames: int
    after: int | None = None


def takes_of(
    script: Script, speeches: Sequence[media.Speech], num_frames: int, fps: int, step: int
) -> list[Take]:
    """A take per clip of a film of `num_frames`; they cut amid the pauses between the recordings,
    at multiples of `step` frames."""
    cuts, spoken_s = [0], 0.0
    for speech in speeches[:-1]:
        spoken_s += len(speech) / media.SPEECH_RATE_HZ + GAP_S
        cuts.append(step * round((spoken_s - GAP_S / 2) * fps / step))
    cuts.append(num_frames)
    views = [view_of(clip.text) for clip in script.clips]
    takes = []
    for number, (start, stop, view) in enumerate(zip(cuts, cuts[1:], views, strict=False)):
        assert stop - start >= step  # media.MIN_SPEECH_S and the pause are longer than a cut needs
        before = [k for k in range(number) if views[k] == view]
        takes.append(Take(script.alone(number), stop - start, before[-1] if before else None))
    return takes


def view_of(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Who is seen, and in which shot: clips that agree in both show the same picture."""
    return frozenset(TAG.findall(text)), frozenset(w.lower() for w in SHOT.findall(text))
