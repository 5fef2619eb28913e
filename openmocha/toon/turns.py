"""Who speaks when: a story's words, spoken and placed on the film's time line.

A story's clips, each with its words -> turns, each a stretch of speech with phone and word times in
seconds from the start of the film, and the frame where the picture cuts to the second clip.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from openmocha.toon.stories import Story, story_rng
from openmocha.toon.voices import Phone, Utterance, Voice, Word, make_voice, speak

SAMPLE_RATE_HZ = 16_000
CUT_DELAY_FRAMES = 2
FADE_SAMPLES = 96
SHORTEST_PAUSE_S = 0.25


@dataclass(frozen=True)
class Turn:
    """What one character says. `spans` are the stretches of speech without a pause between."""

    character: int
    speech: np.ndarray  # (samples of the film,) float32
    phones: tuple[Phone, ...]
    words: tuple[Word, ...]
    spans: tuple[tuple[float, float], ...]


def spoken_turns(story: Story, num_frames: int, fps: float) -> tuple[Turn, ...]:
    """The turns of a story in order of time; () where nobody speaks.

    A single clip's speech starts within 0.8 s and, where it is longer than the film, runs on past
    its end, as when a shot is taken out of a longer scene. In a dialogue the first turn ends with
    a word, at 62% of the film at the latest, before the second starts.
    """
    rng = story_rng("turns", story.split, story.source, story.seed)
    duration_s = num_frames / fps
    voices = story_voices(story)
    turns: list[Turn] = []
    for index, clip in enumerate(story.clips):
        if clip.speaker is None:
            continue
        start_s = rng.uniform(0.0, 0.8)
        latest_s = duration_s
        if len(story.clips) == 2:
            start_s = rng.uniform(0.0, 0.4) if index == 0 else pause_after(turns, rng)
            latest_s = duration_s if index == 1 else duration_s * rng.uniform(0.4, 0.62)
        character = clip.cast[clip.speaker].character
        pause_s = rng.uniform(0.2, 0.8) if rng.random() < 0.4 else 0.0
        pieces = say(clip.words, voices[character], start_s, pause_s, latest_s)
        if len(story.clips) == 2 and index == 0:
            pieces = stop_before(pieces, latest_s)
        turns.append(make_turn(character, pieces, num_frames, fps))
    return tuple(turns)


def story_voices(story: Story) -> list[Voice]:
    """A voice for each character, told from those before it."""
    voices: list[Voice] = []
    for c in story.characters:
        voices.append(make_voice(c.voice_seed, c.age, c.gender, story.split, unlike=voices))
    return voices


def pause_after(turns: list[Turn], rng: np.random.Generator) -> float:
    return turns[-1].spans[-1][1] + float(rng.uniform(0.15, 0.5))


def say(
    words: str, voice: Voice, start_s: float, pause_s: float, latest_s: float
) -> list[Utterance]:
    """Speak `words`, first phone at `start_s`, with a pause between sentences if `pause_s` > 0.

    Returns utterances with film times whose speech starts with their first phone; sentences that
    would start after `latest_s` are left out.
    """
    sentences = re.split(r"(?<=[.!?])\s+", words.strip()) if pause_s else [words]
    pieces: list[Utterance] = []
    for sentence in sentences:
        if start_s >= latest_s:
            break
        piece = at_time(trim(speak(sentence, voice)), start_s)
        pieces.append(piece)
        start_s = piece.phones[-1].end_s + pause_s
    return pieces


def trim(piece: Utterance) -> Utterance:
    """Cut the silence before the first phone and after the last."""
    first, last = piece.phones[0].start_s, piece.phones[-1].end_s
    samples = slice(round(first * SAMPLE_RATE_HZ), round(last * SAMPLE_RATE_HZ))
    return at_time(replace(piece, speech=piece.speech[samples]), -first)


def at_time(piece: Utterance, shift_s: float) -> Utterance:
    """The same utterance with all its times `shift_s` later; its speech is left alone."""
    return replace(
        piece,
        phones=tuple(
            replace(p, start_s=p.start_s + shift_s, end_s=p.end_s + shift_s) for p in piece.phones
        ),
        words=tuple(
            replace(w, start_s=w.start_s + shift_s, end_s=w.end_s + shift_s) for w in piece.words
        ),
    )


def stop_before(pieces: list[Utterance], latest_s: float) -> list[Utterance]:
    """End with the last whole word that ends before `latest_s` (at least one word is kept)."""
    kept: list[Utterance] = []
    for piece in pieces:
        words = tuple(w for w in piece.words if w.end_s <= latest_s)
        if not words and kept:
            break
        end_s = max([w.end_s for w in words], default=piece.words[0].end_s)
        start_s = piece.phones[0].start_s
        kept.append(
            Utterance(
                piece.speech[: round((end_s - start_s) * SAMPLE_RATE_HZ)],
                tuple(p for p in piece.phones if p.end_s <= end_s + 1e-6),
                words or piece.words[:1],
            )
        )
    return kept


def make_turn(character: int, pieces: list[Utterance], num_frames: int, fps: float) -> Turn:
    """Lay utterances on a silent track of the film's length; what is past its end is left out."""
    speech = np.zeros(num_samples(num_frames, fps), np.float32)
    duration_s = num_frames / fps
    for piece in pieces:
        first = round(piece.phones[0].start_s * SAMPLE_RATE_HZ)
        sound = faded(piece.speech)[: max(len(speech) - first, 0)]
        speech[first : first + len(sound)] = sound
    phones = tuple(p for piece in pieces for p in piece.phones if p.start_s < duration_s)
    words = tuple(w for piece in pieces for w in piece.words if w.start_s < duration_s)
    return Turn(character, speech, phones, words, speech_spans(phones, duration_s))


def speech_spans(phones: tuple[Phone, ...], end_s: float) -> tuple[tuple[float, float], ...]:
    """Stretches of speech without a pause of SHORTEST_PAUSE_S or more, none beyond `end_s`."""
    spans: list[tuple[float, float]] = []
    for phone in phones:
        if spans and phone.start_s - spans[-1][1] < SHORTEST_PAUSE_S:
            spans[-1] = (spans[-1][0], min(phone.end_s, end_s))
        else:
            spans.append((phone.start_s, min(phone.end_s, end_s)))
    return tuple(spans)


def faded(speech: np.ndarray) -> np.ndarray:
    """A few milliseconds of fade at both ends, so that a cut in the sound does not click."""
    length = min(FADE_SAMPLES, len(speech) // 2)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    faded = speech.copy()
    faded[:length] *= ramp
    faded[len(speech) - length :] *= ramp[::-1]
    return faded


def num_samples(num_frames: int, fps: float) -> int:
    return round(num_frames / fps * SAMPLE_RATE_HZ)


def cut_frame(start_s: float, fps: float) -> int:
    """Where to cut to a speaker who starts at `start_s`: the first multiple of 4 frames at or
    after two frames later, so that the speech alone tells where the cut is."""
    return 4 * int(np.ceil((start_s * fps + CUT_DELAY_FRAMES) / 4))


def speaker_track(turns: tuple[Turn, ...], num_frames: int, fps: float) -> np.ndarray:
    """(num_frames,) int8: the character heard at the middle of each frame, or -1."""
    middle_s = (np.arange(num_frames) + 0.5) / fps
    track = np.full(num_frames, -1, np.int8)
    for turn in turns:
        for start_s, end_s in turn.spans:
            track[(middle_s >= start_s) & (middle_s < end_s)] = turn.character
    return track
