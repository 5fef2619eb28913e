"""Prompts reworded for models that need it: one clip of a script alone, a shot where none is named.

Person1 answers.  ->  A medium shot of Person1 answers.  ->  A medium shot of a man answers.
"""

import re
import warnings
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from openmocha.prompt import TAG, Character, Clip, Script

SENTENCE = re.compile(r"(?<=[.!?])\s+")
# what a clip's sentences may say of where it is, and of its light
_SETTING = re.compile(r"\b(background|backdrop|behind|setting|set in|takes place)\b", re.I)
_LIGHT = re.compile(
    r"\b((sun|moon|day|candle|lamp|fire|star|twi)(light|lit)|(dimly|softly|warmly|brightly)[ -]lit"
    r"|lit (by|with)|lighting(?! (an?|the|his|her)\b)|glow of|bathed in [^.]*(light|glow|sun)"
    # "a soft light blue sweater" is no light
    r"|(natural|evening|night|sunset|golden|neon|warm|soft|cool|bright|dim) lights?"
    r"(?! (blue|brown|gr[ae]y|green|pink|yellow|purple|red|orange|skin|hair|colou?red)))\b",
    re.IGNORECASE,
)
_SAME = re.compile(r"\bsame\b", re.I)
# "long hair" and "a wide grin" are no shots
_SHOT = re.compile(
    r"\b(shots?|close[- ]?ups?|portrait|full[- ]body|head[- ]and[- ]shoulders)\b", re.IGNORECASE
)


def clip_alone(script: Script, number: int) -> str:
    """Clip `number` (from 0) as a prompt of its own: where a tag is first used, its character
    is described; later it is "the young woman", as the description begins. Who of several people
    speaks is said, where the script names them. Where the clip is set is said by an earlier one,
    if not by itself. What a description says in further sentences comes last."""
    people = {c.tag: _told(c) for c in script.characters}
    seen: list[str] = []

    def words_for(found: re.Match[str]) -> str:
        told = people.get(found[0])
        if told is None:
            return found[0]
        first = found[0] not in seen
        seen.extend([found[0]] if first else [])
        return _in_place(told.whole if first else f"the {told.noun}", found)

    told = _with_speaker(_set_somewhere(script, number), script.clips[number])
    text = TAG.sub(words_for, told)
    rest = " ".join(people[tag].rest for tag in seen if people[tag].rest)
    return f"{text} {rest}".strip()


def _with_speaker(told: str, clip: Clip) -> str:
    """What is told of a clip and who of several people speaks in it, where the script names them
    beside the text."""
    tags = set(TAG.findall(clip.text))
    if len(tags) < 2 or clip.speaker not in tags:
        return told
    return f"{told}{'' if told[-1] in '.!?' else '.'} {clip.speaker} speaks."


def _set_somewhere(script: Script, number: int) -> str:
    """The text of a clip with the sentences that say where it is and in what light, if need be an
    earlier clip's."""
    told = [SENTENCE.split(clip.text.strip()) for clip in script.clips[: number + 1]]
    own = told[-1]
    for about in (_SETTING, _LIGHT):
        if found := _latest(told, about):
            own = [s for s in own if not (about.search(s) and _SAME.search(s))]
            own = [*own, *(s for s in found if s not in own)]
    return " ".join(own)


def _latest(told: list[list[str]], about: re.Pattern[str]) -> list[str]:
    """The sentences about something, of the last clip that has any; of an earlier one those that
    name nobody, for who is seen there is not seen here."""
    for sentences in reversed(told):
        found = [s for s in sentences if about.search(s) and not _SAME.search(s)]
        if found:
            return found if sentences is told[-1] else [s for s in found if not TAG.search(s)]
    return []


class _Told(NamedTuple):
    """A description without tags: its first sentence, the noun that begins it, all further ones."""

    whole: str
    noun: str
    rest: str


def _told(character: Character) -> _Told:
    own = re.compile(rf"\s*\({character.tag}\)")
    before = own.split(character.description, maxsplit=1)[0]
    noun = re.sub(r"^(an?|the)\s+", "", re.split(r"[.!?]\s+", before)[-1], flags=re.I)
    plain = re.sub(r"\s*\(Person\d+\)", "", character.description)
    first, _, rest = re.sub(r"(?<=[.!?])\s+", "\n", plain, count=1).partition("\n")
    others = partial(TAG.sub, "another person")
    return _Told(others(first.rstrip(".! ?")), others(noun), others(rest))


def _in_place(words: str, found: re.Match[str]) -> str:
    """Words for a tag: capital at the start of a sentence; a comma closes a list of features."""
    starts = re.search(r"(^|[.!?:]\s+)$", found.string[: found.start()]) is not None
    goes_on = re.match(r"\s+\w", found.string[found.end() :]) is not None
    first = words[0].upper() if starts else words[0].lower()
    return first + words[1:] + ("," if "," in words and goes_on else "")


class PromptWarning(UserWarning):
    """A prompt was completed: the film may not be what was wanted."""


def names_shot(text: str) -> bool:
    """Whether a text says how near the camera is."""
    return _SHOT.search(text) is not None


def with_shot(script: Script, shot: str) -> Script:
    """The script, with `shot` for every clip that names none; warns where it was needed.

    "A cat talks." becomes "A medium close-up shot of a cat talks."
    """
    missing = [number for number, clip in enumerate(script.clips) if not names_shot(clip.text)]
    if not missing:
        return script
    clips = list(script.clips)
    for number in missing:
        clips[number] = replace(clips[number], text=_shown(clips[number].text, shot))
    which = "the prompt" if len(clips) == 1 else f"clip {', '.join(str(n + 1) for n in missing)}"
    message = f"{which} names no shot size: a {shot} shot is made"
    warnings.warn(message, PromptWarning, stacklevel=4)
    return replace(script, clips=tuple(clips))


def _shown(text: str, shot: str) -> str:
    somebody = re.match(r"\s*(?!The camera)(An?|The|Two|Three|Person\d+)\b", text)
    if somebody is None:
        return f"A {shot} shot. {text}"
    first = somebody[1] if somebody[1].startswith("Person") else somebody[1].lower()
    return f"A {shot} shot of {first}{text[somebody.end() :]}"
