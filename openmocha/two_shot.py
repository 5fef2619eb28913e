"""Two people in one shot of a script: who stands where, who speaks, what is said of each.

    A medium shot of Person1 and Person2 in a park. Person2 smiles.
    -> Person1 on the left, Person2 on the right; of the second alone:
    A medium shot of an elderly man in a park. The elderly man smiles.

Clips name people who are not seen, too ("Person1, who talks to Person2"): two are shown only where
the first sentence sees them together or says where they stand. What is named decides, for the
caption reader was taught with prompts that describe people instead.
"""

import re
from dataclasses import replace

from openmocha.prompt import TAG, Clip, Script
from openmocha.rewording import SENTENCE, clip_alone

_WHO = r"(Person\d+)\b"
_IS = r"(?: (?:is|stands|sits|appears))?"
_SIDE = (  # "a badge on the right shoulder" is no place to stand
    r"\b(?:on|to|at) the (left|right)\b(?! (?:hand|arm|shoulder|ear|eye|leg|foot|wrist|cheek)\b)"
    r"(?: side)?(?: of the (?:frame|picture|image|shot))?"
)
_STANDS = re.compile(rf"{_WHO},?{_IS} {_SIDE}", re.I)
_THERE_STANDS = re.compile(rf"{_SIDE},?{_IS} {_WHO}", re.I)
_PAIR = re.compile(
    rf"{_WHO}(?: {_SIDE})?,?{_IS} (?:and|beside|next to|opposite) (?:{_SIDE},?{_IS} )?{_WHO}"
    rf"(?: {_SIDE})?",
    re.I,
)
_SPEAKS = re.compile(
    rf"{_WHO}(?:(?!Person\d)[^.!?;]){{0,40}}?"
    r"\b(?:(?:speak|talk|say|answer|ask|tell|shout|whisper)s|replies"
    r"|is (?!not )(?:\w+ )?(?:speak|talk|say|answer|ask|tell|reply)ing)\b",
    re.I,
)


def two_shown(clip: Clip) -> tuple[str, ...]:
    """The tags of two people whom a clip shows together, from left to right: as they are named,
    unless it is said otherwise. () where there are not two."""
    sentence = first_sentence(clip)
    named = tuple(dict.fromkeys(TAG.findall(sentence)))
    if len(named) != 2 or set(TAG.findall(clip.text)) != set(named):
        return ()
    sides = sides_in(sentence)
    if not sides and not _PAIR.search(sentence):
        return ()
    swapped = sides.get(named[0]) == "right" or sides.get(named[1]) == "left"
    return named[::-1] if swapped else named


def sides_in(sentence: str) -> dict[str, str]:
    """Who stands left and who stands right, by tag, as far as it is said."""
    person_first, side_first = _STANDS.search(sentence), _THERE_STANDS.search(sentence)
    if side_first and (person_first is None or side_first.start() < person_first.start()):
        return {tag: side.lower() for side, tag in _THERE_STANDS.findall(sentence)}
    return {tag: side.lower() for tag, side in _STANDS.findall(sentence)}


def speaker_of_two(clip: Clip, who: tuple[str, ...]) -> int:
    """Which of two people speaks: whom the clip names as its speaker; else the only one of whom its
    text says so; else the one who is named first."""
    if clip.speaker in who:
        return who.index(clip.speaker)
    speaking = set(_SPEAKS.findall(clip.text))
    return who.index(speaking.pop() if len(speaking) == 1 else TAG.findall(clip.text)[0])


def said_of_one(script: Script, number: int, tag: str) -> str:
    """Clip `number` as if it showed one of its two people only: its first sentence, and those that
    begin with them or go on about them ("She laughs.")."""
    first, *others = SENTENCE.split(script.clips[number].text.strip())
    joined = _PAIR.search(first) and not _THERE_STANDS.search(first)
    said, about = [_PAIR.sub(tag, first) if joined else f"A shot of {tag}."], tag
    for sentence in others:
        about = next(iter(TAG.findall(sentence)), about)
        said += [sentence] if about == tag else []
    alone = TAG.sub(lambda found: tag if found[0] == tag else "another person", " ".join(said))
    return clip_alone(replace(script, clips=(Clip(alone),)), 0)


def first_sentence(clip: Clip) -> str:
    """What says which shot a clip is."""
    return SENTENCE.split(clip.text.strip(), maxsplit=1)[0]
