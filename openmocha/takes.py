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
from dataclasses import dataclass

from openmocha import media
from openmocha.backbones.backbone import Alone
from openmocha.prompt import TAG, Clip, Script
from openmocha.rewording import SENTENCE, clip_alone, one_alone
from openmocha.turns import NoTurnsError, starts_of_turns

GAP_S = 0.2  # between the recordings of two clips
HEARD_FIRST = 2  # frames that a voice is heard before the picture cuts to it, as in toon's films


@dataclass(frozen=True)
class Take:
    """`words` tell the model what is seen in `num_frames` frames (whole latent frames); `after` is
    the number of the take that it goes on from, if any; `who` the tags of the people shown, from
    left to right; `each` what is said of each of two, and `speaker` who of them speaks, where the
    script says it beside the text;
    `calm` the words without feelings, where a model retold them, and `apart` two people in one
    shot, each told alone; `one_shot` whether its scene stays the same throughout."""

    words: str
    num_frames: int
    after: int | None = None
    who: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    speaker: int | None = None
    calm: str | None = None
    apart: tuple[Alone, ...] = ()
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
        cuts = cuts_within(speeches[0], len(script.clips), fps, step)
    ends = [*cuts, num_frames]
    lengths = [end - start for start, end in zip([0, *cuts], ends, strict=True)]
    if min(lengths) < step:  # not of several recordings, which media.MIN_SPEECH_S keeps longer
        raise NoTurnsError(f"turns of the recording are too short: cuts at frames {cuts}")
    views = [view_of(clip) for clip in script.clips]
    takes = []
    for number, length in enumerate(lengths):
        before = [k for k in range(number) if views[k] == views[number]]
        after = before[-1] if before else None
        clip = script.clips[number]
        who = from_left(clip)
        both = len(who) == 2
        each = tuple(one_alone(script, number, tag) for tag in who) if both else ()
        speaker = who.index(clip.speaker) if both and clip.speaker in who else None
        takes.append(Take(clip_alone(script, number), length, after, who, each, speaker))
    return takes


def cuts_between(speeches: Sequence[media.Speech], fps: int, step: int) -> list[int]:
    """The frames at which a film of several recordings cuts: amid the pauses between them."""
    cuts, spoken_s = [], 0.0
    for speech in speeches[:-1]:
        spoken_s += len(speech) / media.SPEECH_RATE_HZ + GAP_S
        cuts.append(step * round((spoken_s - GAP_S / 2) * fps / step))
    return cuts


def cuts_within(speech: media.Speech, num_clips: int, fps: int, step: int) -> list[int]:
    """The same for one recording of a conversation: just after another voice begins."""
    starts = starts_of_turns(speech, num_clips)
    return [step * math.ceil((start * fps + HEARD_FIRST) / step) for start in starts]


def from_left(clip: Clip) -> tuple[str, ...]:
    """The tags of the people of a clip as they are first named, which is from left to right, unless
    the first of two is said to be on the right."""
    tags = tuple(dict.fromkeys(TAG.findall(clip.text)))
    own = re.compile(rf"{tags[0]}\b(?:(?!Person)[^.])*?\bon the right") if len(tags) == 2 else None
    return tags[::-1] if own and own.search(clip.text) else tags


def view_of(clip: Clip) -> tuple[frozenset[str], str]:
    """Who is seen (who speaks, where nobody is named), and the clip's first sentence: clips that
    agree in both show the same shot, whoever of several people speaks in it."""
    named = from_left(clip) or ((clip.speaker,) if clip.speaker else ())
    sentence = SENTENCE.split(clip.text.strip(), maxsplit=1)[0]
    return frozenset(named), " ".join(re.findall(r"\w+", sentence.lower()))
