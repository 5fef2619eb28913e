"""A vision-language model as judge: the paper's four aspects that pictures can show, 1 to 4 each.

film -> a few frames -> one question per aspect -> reasoning and score
film, speech -> frames at loud and quiet moments -> where is the mouth open? -> lip advice, no score

Lip-sync gets no score here: the judge hears nothing, and lips are out of time by a few hundredths
of a second, while its pictures lie a sixth of a second apart. Against people, judges of this kind
are far too lenient: MoChaBench's gave SadTalker's actions 3.55 where people gave 1.00. Use the
scores to rank systems, and measure your judge with `openmocha bench alignment`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openmocha.curation.caption import question, text_schema
from openmocha.curation.endpoint import (
    Endpoint,
    EndpointError,
    Messages,
    Schema,
    ask_all,
    check,
    estimate,
    object_of,
)
from openmocha.evaluation.mochabench import Item
from openmocha.media import SPEECH_RATE_HZ, Speech, load_speech

Frame = NDArray[np.uint8]

NUM_FRAMES = 32
ADVICE_FRAMES = 6  # at loud moments, and as many at quiet ones
ADVICE_GAP_S = 0.25  # between two of them
LOUDNESS_S = 0.12  # of speech, around a frame: a syllable

OPENING = (
    "These {count} pictures are from one film of {seconds:.1f} seconds, in their order and evenly "
    "spaced. A model generated it; judge it strictly, as a viewer would who compares it with "
    "filmed people. You see no sound. "
)
CLOSING = (
    " First give your reasons in one or two sentences that name what you see, then the score, a "
    "whole number from 1 to 4:\n{anchors}"
)
NATURAL = (
    "1: completely unnatural\n2: noticeably synthetic\n3: mostly natural\n"
    "4: not to be told from real footage"
)
# aspect -> (what is asked, what the scores mean): the rubric of the paper's study
ASPECTS = {
    "expression": (
        "Judge the facial expressions of the character who speaks: do eyes, brows, cheeks and "
        "mouth work together as in a living face, with a feeling that suits the moment, or is the "
        "face stiff, repetitive or distorted?",
        NATURAL,
    ),
    "action": (
        "Judge the movements of the character who speaks: are head, hands and body moved as people "
        "(or such beings) move, with weight and purpose, or frozen, floating, jerking or bent in "
        "ways that are not possible? Standing still throughout is not natural.",
        NATURAL,
    ),
    "text": (
        "Judge how well the film follows its description: the characters and their looks, what "
        "they do and feel, the place, the camera. If no character is seen, the score is 1. The "
        "description:\n{prompt}\n",
        "1: does not follow it at all\n2: follows parts of it\n3: follows most of it\n"
        "4: follows it perfectly",
    ),
    "visual": (
        "Judge the quality of the picture alone: sharpness, steady shapes and colours, hands and "
        "faces without defects, nothing that flickers, melts or appears from nowhere.",
        "1: severe artifacts\n2: noticeable artifacts\n3: mostly free of artifacts\n4: flawless",
    ),
}
ANSWER = object_of({"reasoning": text_schema(400), "score": {"enum": [1, 2, 3, 4]}}, "judgement")
ASK_MOUTHS = (
    "These {count} pictures are single moments of one film, in their order. For each, say how the "
    "mouth of the main character is: open (lips apart), closed, or hidden (no face, turned away, "
    "covered, or too small to tell). One answer per picture."
)


@dataclass
class Judged:
    """What the judge says of one film: whatever was answered, and the error of what was not."""

    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    advice: str = ""
    error: EndpointError | None = None
    damage: str = ""  # why the film cannot be read: it was not asked about


def judge_films(
    films: Sequence[tuple[Item, Path]],
    endpoint: Endpoint,
    cache: Path,
    num_frames: int = NUM_FRAMES,
    lip_advice: bool = True,
) -> Iterator[tuple[int, Judged]]:
    """(index of the film, what was said of it), as films are finished. Answers are kept in `cache`,
    so that what was answered once costs nothing in the next run.

    Raises what `endpoint.check` raises, before anything else is asked.
    """
    check(endpoint)
    judged = [Judged() for _ in films]
    asked: list[tuple[int, str, Any]] = []  # of every request: film, aspect, what to know of it
    open_questions = [0] * len(films)

    def requests() -> Iterator[tuple[Messages, Schema]]:
        for index, (item, film) in enumerate(films):
            try:
                questions = film_questions(item, film, num_frames, lip_advice)
            except (ValueError, OSError) as error:
                judged[index].damage = str(error)
                continue
            open_questions[index] = len(questions)
            for aspect, messages, schema, known in questions:
                asked.append((index, aspect, known))
                yield messages, schema

    for number, answer in ask_all(endpoint, requests(), cache):
        index, aspect, known = asked[number]
        take_answer(judged[index], aspect, answer, known)
        open_questions[index] -= 1
        if not open_questions[index]:
            yield index, judged[index]
    yield from ((index, found) for index, found in enumerate(judged) if found.damage)


def take_answer(
    judged: Judged, aspect: str, answer: dict[str, Any] | EndpointError, loud: Sequence[bool]
) -> None:
    """Add one answer to what is known of a film."""
    if isinstance(answer, EndpointError) and aspect == "lips" and answer.kind == "answer":
        judged.advice = f"no advice ({answer})"  # the scores are worth keeping without it
    elif isinstance(answer, EndpointError):
        judged.error = answer
    elif aspect == "lips":
        judged.advice = advice_of(answer["mouths"], loud)
    else:
        judged.scores[aspect] = float(answer["score"])
        judged.reasons[aspect] = answer["reasoning"]


def cost(num_films: int, endpoint: Endpoint, num_frames: int, lip_advice: bool) -> dict[str, Any]:
    """What judging will cost at most, as `endpoint.estimate` counts."""
    told = estimate(num_films * len(ASPECTS), num_frames, endpoint)
    if lip_advice:
        more = estimate(num_films, 2 * ADVICE_FRAMES, endpoint)
        told = {name: told[name] + more[name] for name in told if name != "seconds"}
    return {name: value for name, value in told.items() if name != "seconds"}


# --- questions -----------------------------------------------------------------------------------


def film_questions(
    item: Item, film: Path, num_frames: int, lip_advice: bool
) -> list[tuple[str, Messages, Schema, Sequence[bool]]]:
    """(aspect, messages, schema, which pictures are loud) of all questions on one film."""
    total, seconds = film_length(film)
    chosen = evenly_spaced(total, num_frames)
    frames = frames_at(film, chosen)
    questions: list[tuple[str, Messages, Schema, Sequence[bool]]] = [
        (aspect, question(aspect_words(aspect, item, len(frames), seconds), frames), ANSWER, ())
        for aspect in ASPECTS
    ]
    if lip_advice and item.speech.is_file():
        moments, loud = loud_and_quiet(load_speech(item.speech), total, total / seconds)
        if moments:
            words = ASK_MOUTHS.format(count=len(moments))
            mouths = {"enum": ["open", "closed", "hidden"]}
            size = {"minItems": len(moments), "maxItems": len(moments)}
            schema = object_of({"mouths": {"type": "array", "items": mouths, **size}}, "mouths")
            questions.append(("lips", question(words, frames_at(film, moments)), schema, loud))
    return questions


def aspect_words(aspect: str, item: Item, count: int, seconds: float) -> str:
    ask, anchors = ASPECTS[aspect]
    words = OPENING.format(count=count, seconds=seconds) + ask.replace("{prompt}", item.prompt)
    return words + CLOSING.format(anchors=anchors)


def evenly_spaced(total: int, count: int) -> list[int]:
    """Numbers of the frames that are shown: a linspace over the film, cut to whole numbers, as
    MoChaBench's judge takes them; all frames of a shorter film."""
    if total <= count:
        return list(range(total))
    return [int(number) for number in np.linspace(0, total - 1, count)]


def film_length(film: Path) -> tuple[int, float]:
    """Frames that can be decoded, and seconds. Raises ValueError for what is no film."""
    import av

    try:
        with av.open(str(film)) as container:
            if not container.streams.video:
                raise ValueError(f"film {film} has no picture")
            stream = container.streams.video[0]
            total = sum(1 for _ in container.decode(stream))
            fps = float(stream.average_rate or 0)
    except av.error.FFmpegError as error:
        raise ValueError(f"film {film} cannot be decoded ({error.strerror})") from error
    if not total or not fps:
        raise ValueError(f"film {film} holds no frames")
    return total, total / fps


def frames_at(film: Path, numbers: Sequence[int]) -> list[Frame]:
    """Frames by their number (ascending), uint8 (H, W, 3); only these are held in memory."""
    import av

    wanted, found = set(numbers), []
    with av.open(str(film)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if number >= max(wanted):
                break
    return found


# --- lip advice ----------------------------------------------------------------------------------


def loud_and_quiet(speech: Speech, total: int, fps: float) -> tuple[list[int], list[bool]]:
    """Frames at the loudest and at the quietest moments of the speech, in order of time, and which
    are loud; ([], []) for a speech or film too short for it."""
    half = round(LOUDNESS_S / 2 * SPEECH_RATE_HZ)
    centres = ((np.arange(total) + 0.5) / fps * SPEECH_RATE_HZ).astype(int)
    heard = np.flatnonzero((centres >= half) & (centres < len(speech) - half))
    levels = np.array([np.square(speech[c - half : c + half]).mean() for c in centres[heard]])
    gap = max(1, round(ADVICE_GAP_S * fps))
    loud = _apart(np.argsort(-levels, kind="stable"), gap)
    quiet = _apart(np.argsort(levels, kind="stable"), gap)
    if min(len(loud), len(quiet)) < ADVICE_FRAMES or set(loud) & set(quiet):
        return [], []
    moments = sorted([*loud, *quiet])
    return [int(heard[moment]) for moment in moments], [moment in loud for moment in moments]


def _apart(order: NDArray[np.intp], gap: int) -> list[int]:
    """The first few of an order that are at least `gap` apart."""
    chosen: list[int] = []
    for number in order:
        if all(abs(number - other) >= gap for other in chosen):
            chosen.append(int(number))
        if len(chosen) == ADVICE_FRAMES:
            break
    return chosen


def advice_of(mouths: Sequence[str], loud: Sequence[bool]) -> str:
    """The judge did not know which pictures are loud: the comparison is made here."""
    opened = [sum(m == "open" for m, is_loud in zip(mouths, loud, strict=True) if is_loud == which)
              for which in (True, False)]  # fmt: skip
    counts = (sum(loud), len(loud) - sum(loud))
    hidden = sum(mouth == "hidden" for mouth in mouths)
    told = (
        f"mouth open in {opened[0]} of {counts[0]} loud and {opened[1]} of {counts[1]} quiet "
        f"pictures, hidden in {hidden} of {len(mouths)}"
    )
    if hidden > len(mouths) / 2:
        return f"{told}: the mouth is too seldom seen to say more"
    if opened[0] / counts[0] - opened[1] / counts[1] >= 0.5:
        return f"{told}: it moves with the loudness; whether it is in time, pictures cannot show"
    return f"{told}: it does not follow the loudness; have a look, and see the Sync scores"
