"""What a film is made of: one take, or a take for each clip of a script.

    clip texts + recordings -> words, length, and which earlier take each goes on from

Where the clips have recordings of their own, those say when each begins; a single recording of a
conversation is parted where the voice changes (turns.py). A take starts from noise, or from the end
of an earlier one whose text begins with the same sentence: after a shot of somebody else the first
one is seen again as they were. The paper makes all clips in one take instead, which a model must
have learnt.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from openmocha import media
from openmocha.backbones.backbone import Alone
from openmocha.models.places import SceneView
from openmocha.prompt import TAG, Clip, Script
from openmocha.rewording import clip_alone
from openmocha.toon.stories import Story
from openmocha.turns import NoTurnsError, starts_of_turns
from openmocha.two_shot import first_sentence, said_of_one, speaker_of_two, two_shown

GAP_S = 0.2  # between the recordings of two clips
HEARD_FIRST = 2  # frames that a voice is heard before the picture cuts to it, as in toon's films


@dataclass(frozen=True)
class Take:
    """`words` tell the model what is seen in `num_frames` frames (whole latent frames); `after` is
    the number of the take that it goes on from, if any; `who` the tags of the one person named, or
    of two who share the shot, from left to right; `each` what is said of each of two alone, and
    `speaker` who of them speaks; `calm` the words without feelings, where a model retold them, and
    `apart` two people in one shot, each told alone; `camera` where one that moves is first and
    last; `story` what the one person who is seen does; `one_shot` whether its scene stays the same
    throughout."""

    words: str
    num_frames: int
    after: int | None = None
    who: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    speaker: int | None = None
    calm: str | None = None
    apart: tuple[Alone, ...] = ()
    camera: tuple[SceneView, SceneView] | None = None
    story: Story | None = None
    one_shot: bool = True


def takes_of(
    script: Script, speeches: Sequence[media.Speech], num_frames: int, fps: int, step: int
) -> list[Take]:
    """A take per clip of a film of `num_frames`, which cuts at multiples of `step` frames.

    Raises NoTurnsError where one recording is given for several clips and no turns are found in it.
    """
    if len(speeches) > 1:
        cuts = cuts_between(speeches, fps, step)
    else:
        cuts = cuts_within(speeches[0], script, fps, step)
    ends = [*cuts, num_frames]
    lengths = [end - start for start, end in zip([0, *cuts], ends, strict=True)]
    if min(lengths) < step:  # not of several recordings, which media.MIN_SPEECH_S keeps longer
        raise NoTurnsError(f"turns of the recording are too short: cuts at frames {cuts}")
    views = [view_of(clip) for clip in script.clips]
    takes = []
    for number, length in enumerate(lengths):
        before = [k for k in range(number) if views[k] == views[number]]
        after = before[-1] if before else None
        take = Take(clip_alone(script, number), length, after)
        takes.append(with_people(take, script, number))
    return takes


def with_people(take: Take, script: Script, number: int) -> Take:
    """The take of clip `number`, with whom it shows."""
    clip = script.clips[number]
    if who := two_shown(clip):
        each = tuple(said_of_one(script, number, tag) for tag in who)
        return replace(take, who=who, each=each, speaker=speaker_of_two(clip, who))
    named = tuple(dict.fromkeys(TAG.findall(clip.text)))
    return replace(take, who=named if len(named) == 1 else ())


def cuts_between(speeches: Sequence[media.Speech], fps: int, step: int) -> list[int]:
    """The frames at which a film of several recordings cuts: amid the pauses between them."""
    cuts, spoken_s = [], 0.0
    for speech in speeches[:-1]:
        spoken_s += len(speech) / media.SPEECH_RATE_HZ + GAP_S
        cuts.append(step * round((spoken_s - GAP_S / 2) * fps / step))
    return cuts


def cuts_within(speech: media.Speech, script: Script, fps: int, step: int) -> list[int]:
    """The same for one recording of a conversation: just after another voice begins; before it, in
    a shot that goes on, where another mouth begins to speak."""
    cuts = []
    for start, (before, after) in zip(
        starts_of_turns(speech, len(script.clips)), pairwise(script.clips), strict=True
    ):
        if view_of(before) == view_of(after):
            cuts.append(step * math.floor(start * fps / step))
        else:
            cuts.append(step * math.ceil((start * fps + HEARD_FIRST) / step))
    return cuts


def view_of(clip: Clip) -> tuple[str | None, str]:
    """Who speaks, and the clip's first sentence: clips that agree in both show the same shot. Of
    two people in one shot it does not matter who speaks."""
    speaker = None if two_shown(clip) else clip.speaker
    return speaker, " ".join(re.findall(r"\w+", first_sentence(clip).lower()))
