"""What a film is made of: one take, or a take for each clip of a script that names its recordings.

    clip texts + recordings -> words, length, and which earlier take each goes on from

A take starts from noise, or from the end of an earlier one whose text begins with the same
sentence: after a shot of somebody else the first one is seen again as they were. The paper makes
all clips in one take instead, which a model must have learnt.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from openmocha import media
from openmocha.prompt import Clip, Script
from openmocha.rewording import SENTENCE, clip_alone

GAP_S = 0.2  # between the recordings of two clips


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
    views = [view_of(clip) for clip in script.clips]
    takes = []
    for number, (start, stop, view) in enumerate(zip(cuts, cuts[1:], views, strict=False)):
        assert stop - start >= step  # media.MIN_SPEECH_S and the pause are longer than a cut needs
        before = [k for k in range(number) if views[k] == view]
        takes.append(Take(clip_alone(script, number), stop - start, before[-1] if before else None))
    return takes


def view_of(clip: Clip) -> tuple[str | None, str]:
    """Who speaks, and the clip's first sentence: clips that agree in both show the same shot."""
    sentence = SENTENCE.split(clip.text.strip(), maxsplit=1)[0]
    return clip.speaker, " ".join(re.findall(r"\w+", sentence.lower()))
