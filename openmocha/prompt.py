"""The prompt's two faces: free text, and a Script that converts to the paper's template and back.

    Two video clips.

    Characters: A woman (Person1) with red hair. A man (Person2) in a suit.

    First clip: Person1 speaks to the camera.

    Second clip: Person2 answers.

A tag stands in brackets where its character is described, and bare wherever it is used. Free text
is a Script of one clip without characters.
"""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NUMBERS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
ORDINALS = (
    *("First", "Second", "Third", "Fourth", "Fifth"),
    *("Sixth", "Seventh", "Eighth", "Ninth", "Tenth"),
)
TAG = re.compile(r"\bPerson\d+\b", re.IGNORECASE)
_HEADING = re.compile(rf"\s*({'|'.join(NUMBERS)})\s+video\s+clips?\s*[.:]\s*", re.IGNORECASE)
_CHARACTERS = re.compile(r"Characters\s*:\s*", re.IGNORECASE)
_CLIP = re.compile(rf"^[ \t]*({'|'.join(ORDINALS)})[ \t]+clip[ \t]*:[ \t]*", re.I | re.M)
# where one character's description ends: at a sentence, else at a line, else at a comma
_ENDS = (re.compile(r"(?<=[.!?])\s*"), re.compile(r"\s*\n\s*"), re.compile(r"(?<=[,;])\s*"))
# what follows the noun in "a young woman with ...": the tag is put in front of it
_AFTER_NOUN = re.compile(
    r"\s+(?:with|in|wearing|who|whose|has|holding|of|and|is|on|at)\b|\s*[,.;:!?]|\s*$"
)


@dataclass(frozen=True)
class Character:
    """Somebody in the film: a tag such as "Person1" and a description that carries it in brackets.

    Where the description lacks "(Person1)", it is put behind its first noun, and the sentence is
    ended. Raises ValueError for a malformed tag or an empty description.
    """

    tag: str
    description: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"Person[1-9]\d*", self.tag):
            raise ValueError(f"character tag {self.tag!r} must be Person1, Person2, ...")
        description = self.description.strip()
        if not description:
            raise ValueError(f"{self.tag} has an empty description; say how the character looks")
        if f"({self.tag})" not in description:
            noun = _AFTER_NOUN.search(description)
            assert noun is not None
            at = noun.start()
            description = f"{description[:at]} ({self.tag}){description[at:]}"
            description = description[0].upper() + description[1:]
            description += "" if description[-1] in ".!?" else "."
        object.__setattr__(self, "description", description)


@dataclass(frozen=True)
class Clip:
    """One shot: text that uses only tags, and optionally who speaks and the recording of it."""

    text: str
    speaker: str | None = None
    speech: Path | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a clip has no text; say what happens in it")


@dataclass(frozen=True)
class Script:
    """Characters and clips. `gaps` is the text between them as first written, kept for `prompt`."""

    characters: tuple[Character, ...]
    clips: tuple[Clip, ...]
    gaps: tuple[str, ...] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.clips) <= len(NUMBERS):
            raise ValueError(f"a script has 1 to {len(NUMBERS)} clips, got {len(self.clips)}")
        if not self.characters and len(self.clips) > 1:
            raise ValueError(f"a script of {len(self.clips)} clips must describe its characters")
        tags = [character.tag for character in self.characters]
        twice = sorted({tag for tag in tags if tags.count(tag) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is described twice; give each character one tag")
        for clip in self.clips:
            if clip.speaker is not None and clip.speaker not in tags:
                raise ValueError(_undescribed(clip.speaker, tags, "as speaker"))

    @property
    def prompt(self) -> str:
        """The text that the model is given: the paper's template, or the free text."""
        parts = [character.description for character in self.characters]
        parts += [clip.text for clip in self.clips]
        gaps = self.gaps
        if gaps is None or len(gaps) != len(parts) + 1:
            gaps = _template_gaps(self)
        text = gaps[0] + "".join(part + gap for part, gap in zip(parts, gaps[1:], strict=True))
        if _parts(parse_prompt(text)) != _parts(self):
            raise ValueError(
                "this script cannot be told apart from its template: a description or a clip holds "
                'a line such as "First clip:", or describes two characters; reword it'
            )
        return text

    @property
    def speech_files(self) -> tuple[Path, ...]:
        """The clips' recordings in order, () if there are none; ValueError if some lack one."""
        files = tuple(clip.speech for clip in self.clips if clip.speech is not None)
        if files and len(files) < len(self.clips):
            without = next(i for i, clip in enumerate(self.clips) if clip.speech is None)
            raise ValueError(
                f"clip {without + 1} of {len(self.clips)} has no speech file; give one for every "
                "clip, or none and the whole conversation as one recording"
            )
        return files


def _parts(script: Script) -> tuple[tuple[Character, ...], tuple[str, ...]]:
    return script.characters, tuple(clip.text for clip in script.clips)


def _template_gaps(script: Script) -> tuple[str, ...]:
    if not script.characters:
        return ("", "")
    num = len(script.clips)
    gaps = [f"{NUMBERS[num - 1]} video clip{'s' if num > 1 else ''}.\n\nCharacters: "]
    for character in script.characters[:-1]:
        gaps.append(" " if character.description[-1] in ".!?" else "\n")
    gaps += [f"\n\n{ordinal} clip: " for ordinal in ORDINALS[:num]]
    return (*gaps, "")


# --- text -> Script ------------------------------------------------------------------------------


def parse_prompt(text: str) -> Script:
    """Free or template text -> Script, whose `prompt` is the text again, byte for byte.

    Raises ValueError for an empty prompt, a template with a part missing or out of order, and a tag
    that is used but never described (with its line).
    """
    if not text.strip():
        raise ValueError("the prompt is empty; describe who is seen, where, and what they do")
    heading = _HEADING.match(text)
    if heading is None:
        described = re.findall(r"\((Person\d+)\)", text)
        _check_tags(text, described, "the prompt")
        return Script((), (Clip(text),))
    clip_heads = list(_CLIP.finditer(text))
    _check_clip_heads(heading[1], [head[1] for head in clip_heads])
    start = _CHARACTERS.match(text, heading.end())
    if start is None:
        raise ValueError('"Characters:" is missing after the number of clips in the prompt')
    people = _character_spans(text, start.end(), clip_heads[0].start())
    ends = [head.start() for head in clip_heads[1:]] + [len(text)]
    shots = [(head.end(), end) for head, end in zip(clip_heads, ends, strict=True)]
    spans = [_strip_span(text, *span) for span in people + shots]
    parts = [text[begin:end] for begin, end in spans]
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    gaps = tuple(text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))
    tags = [re.findall(r"\((Person\d+)\)", part) for part in parts[: len(people)]]
    _check_tags(text, [tag for found in tags for tag in found], "the prompt")
    characters = tuple(
        Character(found[0], part) for found, part in zip(tags, parts[: len(people)], strict=True)
    )
    return Script(characters, tuple(Clip(part) for part in parts[len(people) :]), gaps)


def _check_clip_heads(number: str, ordinals: Sequence[str]) -> None:
    num = NUMBERS.index(number.capitalize()) + 1
    expected = ORDINALS[:num]
    if [ordinal.capitalize() for ordinal in ordinals] != list(expected):
        found = ", ".join(f'"{ordinal} clip:"' for ordinal in ordinals) or "none"
        wanted = ", ".join(f'"{ordinal} clip:"' for ordinal in expected)
        raise ValueError(
            f'the prompt says "{number} video clip{"s" if num > 1 else ""}": expected lines that '
            f"begin with {wanted}, in this order; found {found}"
        )


def _character_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where each description lies: from the end of the sentence before its "(PersonN)"."""
    marks = list(re.finditer(r"\(Person\d+\)", text[start:end]))
    if not marks:
        raise ValueError(
            '"Characters:" describes nobody; write for example "A woman (Person1) with red hair."'
        )
    starts = [start]
    for before, mark in zip(marks, marks[1:], strict=False):
        between = text[start + before.end() : start + mark.start()]
        ends = next((found for rule in _ENDS if (found := list(rule.finditer(between)))), None)
        starts.append(start + before.end() + (ends[-1].start() if ends else 0))
    return list(zip(starts, [*starts[1:], end], strict=True))


def _strip_span(text: str, begin: int, end: int) -> tuple[int, int]:
    inside = text[begin:end]
    return begin + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())


def _check_tags(source: str, described: Sequence[str], name: str) -> None:
    """Every tag in `source` must be described; the error says in which line it is used."""
    for number, line in enumerate(source.splitlines(), 1):
        for tag in TAG.findall(line):
            if tag not in described:
                where = f"in line {number} of {name}, {line.strip()[:80]!r},"
                raise ValueError(_undescribed(tag, described, where))


def _undescribed(tag: str, described: Sequence[str], where: str) -> str:
    known = ", ".join(described) or "nobody"
    return (
        f"{tag} is used {where} but never described (described: {known}); "
        f'add a description that carries the tag, such as "A woman ({tag}) with red hair"'
    )


# --- script files --------------------------------------------------------------------------------


def load_script(path: str | os.PathLike[str]) -> Script:
    """Read a YAML script; speech files are looked up beside it.

        characters:
          Person1: A young woman with red hair in a green coat
        clips:
          - text: Person1 speaks to the camera.
            speaker: Person1        # optional
            speech: talk.wav        # optional, one per clip

    Raises FileNotFoundError, or ValueError with the line or the name of what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"script {path} does not exist; expected a YAML file")
    content = _read_yaml(path)
    _check_keys(content, ("characters", "clips"), f"script {path}")
    characters, clips = content.get("characters") or {}, content.get("clips")
    if not isinstance(characters, dict):
        raise ValueError(f"script {path}: characters must be lines of tag: description")
    if not isinstance(clips, list) or not clips:
        raise ValueError(f"script {path} has no clips; give a list under clips:")
    people = tuple(
        Character(str(tag), _text(words, f"script {path}: {tag}"))
        for tag, words in characters.items()
    )
    shots = [_clip(clip, f"script {path}: clip {i}", path) for i, clip in enumerate(clips, 1)]
    told = [person.description for person in people]
    told += [words for shot in shots for words in (shot.text, shot.speaker or "")]
    _check_tags_of_file(path, told, [person.tag for person in people])
    return Script(people, tuple(shots))


def _check_tags_of_file(path: Path, told: Sequence[str], described: Sequence[str]) -> None:
    """Tags in what is `told` must be described; the error says in which line of the file one is
    used."""
    used = {tag for words in told for tag in TAG.findall(words)}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0]
        if re.match(r"\s*(- )?\s*speech\s*:", words):
            continue
        for tag in TAG.findall(words):
            if tag in used and tag not in described:
                where = f"in line {number} of script {path}, {line.strip()[:80]!r},"
                raise ValueError(_undescribed(tag, described, where))


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """As yaml's own, but nobody is described twice: the second would replace the first."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    problem = f"{key.value} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except RecursionError as error:
        raise ValueError(f"script {path} is nested too deeply; expected a YAML file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"script {path} is not UTF-8 text; expected a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = f"{where}{getattr(error, 'problem', None) or error}"
        raise ValueError(f"script {path} is not YAML ({reason})") from error
    if not isinstance(content, dict):
        raise ValueError(f"script {path} must have the keys characters: and clips:")
    return content


def _clip(content: Any, name: str, path: Path) -> Clip:
    if not isinstance(content, dict):
        raise ValueError(f"{name} must have the key text:, and may have speaker: and speech:")
    _check_keys(content, ("text", "speaker", "speech"), name)
    speaker, speech = content.get("speaker"), content.get("speech")
    return Clip(
        _text(content.get("text"), f"{name}: text"),
        None if speaker is None else _text(speaker, f"{name}: speaker"),
        None if speech is None else path.parent / _text(speech, f"{name}: speech"),
    )


def _text(value: Any, name: str) -> str:
    """A YAML string on one line; line breaks and indents of block text are only its layout."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text, got {value!r}")
    return " ".join(value.split())


def _check_keys(content: dict[str, Any], known: Sequence[str], name: str) -> None:
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{name} has an unknown key {key!r}{hint}; known: {', '.join(known)}")
