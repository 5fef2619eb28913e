"""Films of the toon world, with their truth: story -> speech -> motion -> frames and caption.

film = make_film(7, "dialogue")     # always the same film
film.frames, film.speech, film.caption, film.truth.mouth
"""

import dataclasses
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.toon.camera import clip_views
from openmocha.toon.captions import caption_of
from openmocha.toon.motion import clip_motion
from openmocha.toon.mouths import mouth_track
from openmocha.toon.poses import Pose, View
from openmocha.toon.stories import Clip, Story, make_story
from openmocha.toon.turns import Turn, cut_frame, speaker_track, spoken_turns
from openmocha.toon.voices import Phone, Word

FPS = 24.0
NUM_FRAMES = 128


@dataclass(frozen=True)
class Truth:
    """What is certain about a film, for all its T frames even where only a crop is drawn.

    mouth: (T, 4) float32, the mouth of the clip's speaker as drawn (open, spread, pressed, teeth),
    also while no speech is given; closed where the clip has no speaker.  mouth_boxes: (T, n, 4)
    float32 x0, y0, x1, y1 in pixels of the n visible characters from left to right; NaN in frames
    that were not drawn.  speaker: (T,) int8, index of the character heard, or -1; in a dialogue
    the second one is heard a few frames before the cut shows them.  cut_frame: first frame of the
    second clip, a multiple of 4, or None.  phones, words: of all that is heard, with film times.
    """

    mouth: np.ndarray
    mouth_boxes: np.ndarray
    speaker: np.ndarray
    cut_frame: int | None
    phones: tuple[Phone, ...]
    words: tuple[Word, ...]
    story: Story


@dataclass(frozen=True)
class Film:
    """frames: (t, H, W, 3) uint8 from `first_frame` on.  speech: (samples,) float32 at 16 kHz for
    the whole film, or None where it is taken away (source "text")."""

    frames: np.ndarray
    first_frame: int
    speech: np.ndarray | None
    caption: str
    truth: Truth


@dataclass(frozen=True)
class Request:
    """The arguments of make_film, for film_stream."""

    seed: int
    source: str
    split: str = "train"
    width: int = 128
    height: int = 128
    num_frames: int = NUM_FRAMES
    frames: range | None = None


@dataclass(frozen=True)
class Scene:
    """One clip of a film, ready to be drawn: what happens in each of its frames.

    directions: of every visible character (acts.py); none where nobody asks for them."""

    clip: Clip
    first_frame: int
    poses: list[tuple[Pose, ...]]
    views: list[View]
    mouth: np.ndarray
    directions: Sequence[np.ndarray] = ()


def make_film(
    seed: int,
    source: str,
    *,
    split: str = "train",
    width: int = 128,
    height: int = 128,
    num_frames: int = NUM_FRAMES,
    frames: range | None = None,
) -> Film:
    """Film `seed` of a source, the same on every call.

    frames: draw only these (consecutive) frames of the film; the truth is for all of it.
    Raises ValueError as make_story does, and for frames outside the film.
    """
    story = make_story(seed, source, split)
    return film_from_story(story, width=width, height=height, num_frames=num_frames, frames=frames)


def film_from_story(
    story: Story,
    *,
    width: int = 128,
    height: int = 128,
    num_frames: int = NUM_FRAMES,
    frames: range | None = None,
) -> Film:
    """Speak, move and draw a story; arguments as for make_film."""
    shown = range(num_frames) if frames is None else frames
    if len(shown) == 0 or shown.step != 1 or shown.start < 0 or shown.stop > num_frames:
        raise ValueError(f"frames is {shown}; expected consecutive frames of 0..{num_frames}")
    turns = spoken_turns(story, num_frames, FPS)
    cut = cut_frame(turns[1].spans[0][0], FPS) if len(story.clips) == 2 else None
    if cut is not None and cut >= num_frames:
        raise ValueError(f"num_frames is {num_frames}: too short for a dialogue; give 128 or more")
    scenes = film_scenes(story, turns, cut, num_frames)
    pixels, boxes = draw_scenes(story, scenes, shown, num_frames, width, height)
    speech = np.sum([t.speech for t in turns], axis=0) if story.source != "text" else None
    truth = Truth(
        mouth=np.concatenate([scene.mouth for scene in scenes]),
        mouth_boxes=boxes,
        speaker=speaker_track(turns, num_frames, FPS),
        cut_frame=cut,
        phones=tuple(p for turn in turns for p in turn.phones),
        words=tuple(w for turn in turns for w in turn.words),
        story=story,
    )
    return Film(pixels, shown.start, speech, caption_of(story), truth)


def film_scenes(
    story: Story, turns: tuple[Turn, ...], cut: int | None, num_frames: int
) -> list[Scene]:
    """The clips of a film as scenes; clip k is where turn k is spoken."""
    edges = [0, num_frames] if cut is None else [0, cut, num_frames]
    scenes = []
    for index, clip in enumerate(story.clips):
        first, length = edges[index], edges[index + 1] - edges[index]
        mouth = np.zeros((length, 4), np.float32)
        stresses: list[float] = []
        span = (0.0, 0.0)
        if turns:
            turn = turns[index]
            mouth = mouth_track(turn.phones, num_frames, FPS)[first : first + length]
            stresses = [w.start_s - first / FPS for w in turn.words if w.stressed]
            span = (turn.spans[0][0] - first / FPS, turn.spans[-1][1] - first / FPS)
        motion = clip_motion(story, clip, length, mouth, stresses, span, FPS)
        views = clip_views(story, clip, length)
        scenes.append(Scene(clip, first, motion.poses, views, mouth, motion.directions))
    return scenes


def draw_scenes(
    story: Story, scenes: list[Scene], shown: range, num_frames: int, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """The shown frames (t, H, W, 3) uint8, and the mouth boxes (T, n, 4), NaN where not drawn."""
    from openmocha.toon.drawing import draw_frame

    pixels = np.empty((len(shown), height, width, 3), np.uint8)
    boxes = np.full((num_frames, len(scenes[0].clip.cast), 4), np.nan, np.float32)
    for scene in scenes:
        for t, (poses, view) in enumerate(zip(scene.poses, scene.views, strict=True)):
            frame = scene.first_frame + t
            if frame in shown:
                drawn = draw_frame(story, scene.clip, poses, view, width, height)
                pixels[frame - shown.start], boxes[frame] = drawn.pixels, drawn.mouths
    return pixels, boxes


def film_stream(requests: Iterable[Request], workers: int = 2) -> Iterator[Film]:
    """Films of `requests` in their order, made by `workers` processes ahead of need (0: by this
    one). The number of workers does not change the films."""
    if workers == 0:
        yield from map(film_of, requests)
        return
    pending: deque[Future[Film]] = deque()
    context = get_context("forkserver")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=os.nice, initargs=(5,)
    ) as pool:
        for request in requests:
            pending.append(pool.submit(film_of, request))
            if len(pending) >= 3 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def film_of(request: Request) -> Film:
    options = {f.name: getattr(request, f.name) for f in dataclasses.fields(Request)}
    return make_film(options.pop("seed"), options.pop("source"), **options)


def story_json(film: Film) -> dict[str, Any]:
    """Caption and truth of a film as plain values for JSON."""
    truth = film.truth
    return {
        "caption": film.caption,
        "fps": FPS,
        "num_frames": len(truth.mouth),
        "cut_frame": truth.cut_frame,
        "story": dataclasses.asdict(truth.story),
        "words": [dataclasses.asdict(word) for word in truth.words],
        "phones": [dataclasses.asdict(phone) for phone in truth.phones],
        "speaker": truth.speaker.tolist(),
        "mouth": np.round(truth.mouth.astype(float), 4).tolist(),
        "mouth_boxes": [
            None if np.isnan(boxes).any() else np.round(boxes.astype(float), 2).tolist()
            for boxes in truth.mouth_boxes
        ],
    }


def render_to_file(seed: int, source: str, output: Path, width: int, height: int) -> Film:
    """Write film `seed` as mp4 to `output`, and its caption and truth beside it as .json.

    Raises ValueError as make_film does, and as openmocha.media.write_film does for `output`.
    """
    from openmocha.media import write_film
    from openmocha.whole_file import check_output, write_text

    output = check_output(output, ".mp4")
    truth = check_output(output.with_suffix(".json"), ".json")
    film = make_film(seed, source, width=width, height=height)
    metadata = {"prompt": film.caption, "seed": seed, "source": source, "made_by": "openmocha toon"}
    write_film(output, film.frames, film.speech, FPS, metadata)
    write_text(truth, json.dumps(story_json(film), indent=1) + "\n")
    return film
