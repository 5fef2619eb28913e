"""Raw "programmes" with known truth, to score the curation pipeline: scenes good and bad, one after
the other, as they come from a camera and not from a film set.

seed -> kinds in random order -> a story, sound and picture for each -> mp4 + truth
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.toon.augment import coloured_noise, music
from openmocha.toon.films import FPS, Scene, film_scenes
from openmocha.toon.stories import Cast, Clip, Story, make_character, make_story, story_rng
from openmocha.toon.turns import SAMPLE_RATE_HZ, Turn, cut_frame, num_samples, spoken_turns

GOOD = ("talk", "pair", "dialogue")
# What is wrong with a scene -> why it has to be dropped, in the words of curation/filters.py.
FAULTS = {
    "music": "music without speech",
    "noise": "noise without speech",
    "loud background": "background too loud",
    "nobody": "no face",
    "crowd": "crowd",
    "far": "face too small",
    "frozen": "frozen picture",
    "voice-over": "lips at rest",
    "shifted": "sound shifted",
    "swapped": "lips do not match",
}
KINDS = (*GOOD, *FAULTS)
SPEECH_LEVEL = 0.08  # RMS of the speech while somebody talks
CROWDS = {"medium": ("left", "center", "right"), "wide": ("far left", "left", "right", "far right")}


@dataclass(frozen=True)
class SceneTruth:
    """One scene of a programme, from frame `first_frame` on.

    kind: one of KINDS.  shot: of its (first) clip.  num_people: visible at once.  speaker: index
    from left to right of who is seen to speak, or None.  speech_s: spans heard, in seconds of the
    programme.  cut_frames: cuts within the scene.  shift_s: by how much the sound is late.
    """

    kind: str
    first_frame: int
    num_frames: int
    shot: str
    num_people: int
    speaker: int | None
    speech_s: tuple[tuple[float, float], ...]
    cut_frames: tuple[int, ...] = ()
    shift_s: float = 0.0


@dataclass(frozen=True)
class PlannedScene:
    """A scene before it is drawn: its story in motion, its sound, and what is true of it."""

    story: Story
    scenes: list[Scene]
    sound: np.ndarray  # (samples,) float32
    truth: SceneTruth


def plan_programme(seed: int, num_scenes: int, split: str = "train") -> list[PlannedScene]:
    """The scenes of programme `seed`: every kind about equally often, in random order."""
    rng = story_rng("programme", split, seed)
    kinds = [KINDS[i % len(KINDS)] for i in range(num_scenes)]
    planned: list[PlannedScene] = []
    first = 0
    for number in rng.permutation(num_scenes):
        planned.append(plan_scene(rng, kinds[number], first, split))
        first += planned[-1].truth.num_frames
    return planned


def plan_scene(rng: np.random.Generator, kind: str, first: int, split: str) -> PlannedScene:
    """A scene of one kind that starts at frame `first` of its programme."""
    num_frames = int(rng.integers(100, 168)) if kind != "dialogue" else int(rng.integers(130, 168))
    story = scene_story(rng, kind, split)
    while not talkative(story, num_frames):
        story = scene_story(rng, kind, split)
    turns = spoken_turns(story, num_frames, FPS)
    cut = cut_frame(turns[1].spans[0][0], FPS) if kind == "dialogue" else None
    heard = turns
    if kind == "swapped":
        heard = spoken_turns(scene_story(rng, "talk", split), num_frames, FPS)
    if kind in ("voice-over", "music", "noise"):
        clip = dataclasses.replace(story.clips[0], speaker=None)
        story = dataclasses.replace(story, clips=(clip,))
        turns = ()
    scenes = film_scenes(story, turns, cut, num_frames)
    if kind == "frozen":
        scenes = [still(scene) for scene in scenes]
    if kind == "nobody":
        scenes = [emptied(scene) for scene in scenes]
    shift_s = float(rng.uniform(0.2, 1.0) * rng.choice([-1, 1])) if kind == "shifted" else 0.0
    spans = heard_spans(heard, shift_s, num_frames) if kind not in ("music", "noise") else ()
    seen = kind in ("talk", "pair", "dialogue", "crowd", "far", "shifted", "loud background")
    truth = SceneTruth(
        kind=kind,
        first_frame=first,
        num_frames=num_frames,
        shot=story.clips[0].shot,
        num_people=len(scenes[0].clip.cast),
        speaker=story.clips[0].speaker if seen else None,
        speech_s=tuple((a + first / FPS, b + first / FPS) for a, b in spans),
        cut_frames=() if cut is None else (first + cut,),
        shift_s=shift_s,
    )
    return PlannedScene(story, scenes, scene_sound(rng, kind, heard, shift_s, num_frames), truth)


def talkative(story: Story, num_frames: int) -> bool:
    """Whether somebody speaks for at least half of the story's time: silence is no fault here."""
    turns = spoken_turns(story, num_frames, FPS)
    spoken_s = sum(b - a for turn in turns for a, b in turn.spans)
    return spoken_s >= 0.5 * num_frames / FPS


def scene_story(rng: np.random.Generator, kind: str, split: str) -> Story:
    """A random story that suits the kind: its shot, and how many people it shows."""
    source = "dialogue" if kind == "dialogue" else "medium"
    if kind not in ("dialogue", "pair", "far", "crowd", "nobody"):
        source = ("close-up", "medium close-up", "medium")[int(rng.integers(3))]
    wanted_people = 2 if kind == "pair" else 1
    while True:
        story = make_story(int(rng.integers(2**31)), source, split)
        clip = story.clips[0]
        far = clip.shot == "wide"
        if kind == "dialogue" or (len(clip.cast) == wanted_people and far == (kind == "far")):
            break
    return with_crowd(rng, story) if kind == "crowd" else story


def with_crowd(rng: np.random.Generator, story: Story) -> Story:
    """The same story among more people."""
    shot = ("medium", "wide")[int(rng.integers(2))]
    places = CROWDS[shot]
    clip, speaker = story.clips[0], int(rng.integers(len(places)))
    people = [make_character(rng, story.background_colour) for _ in places]
    people[speaker] = story.characters[0]
    cast = tuple(
        Cast(i, "camera", place, clip.cast[0].emotion, "none") for i, place in enumerate(places)
    )
    crowd = Clip(shot, clip.camera, cast, speaker, clip.words)
    return dataclasses.replace(story, characters=tuple(people), clips=(crowd,))


def still(scene: Scene) -> Scene:
    """The scene with its first picture for all of its length."""
    length = len(scene.poses)
    return dataclasses.replace(
        scene, poses=scene.poses[:1] * length, views=scene.views[:1] * length
    )


def emptied(scene: Scene) -> Scene:
    """The scene's place with nobody in it."""
    clip = dataclasses.replace(scene.clip, cast=())
    return dataclasses.replace(scene, clip=clip, poses=[()] * len(scene.poses))


def heard_spans(
    turns: Sequence[Turn], shift_s: float, num_frames: int
) -> tuple[tuple[float, float], ...]:
    """Spans of speech after the sound was moved, cut at the scene's ends."""
    spans = [(a + shift_s, b + shift_s) for turn in turns for a, b in turn.spans]
    end_s = num_frames / FPS
    return tuple((max(a, 0.0), min(b, end_s)) for a, b in spans if b > 0 and a < end_s)


def scene_sound(
    rng: np.random.Generator, kind: str, turns: Sequence[Turn], shift_s: float, num_frames: int
) -> np.ndarray:
    """What is heard: speech, and behind it (or instead) music or noise."""
    length = num_samples(num_frames, FPS)
    sound = np.zeros(length, np.float32)
    if kind not in ("music", "noise"):
        speech = np.sum([turn.speech for turn in turns], axis=0)
        loud = np.abs(speech) > 0.02 * np.abs(speech).max()
        speech = speech * SPEECH_LEVEL / np.sqrt(np.square(speech[loud]).mean())
        sound += moved(speech.astype(np.float32), round(shift_s * SAMPLE_RATE_HZ))
    noisy = kind == "noise" or (kind == "loud background" and rng.random() < 0.5)
    behind = coloured_noise(length, rng) if noisy else music(length, rng)
    level_db = {"music": -3, "noise": -6, "loud background": rng.uniform(-1, 4)}.get(
        kind, -rng.uniform(28, 45)
    )
    return np.asarray(sound + SPEECH_LEVEL * 10 ** (level_db / 20) * behind, np.float32)


def moved(sound: np.ndarray, samples: int) -> np.ndarray:
    """The sound `samples` later (earlier if negative), silence where there is none."""
    late = np.zeros_like(sound)
    if samples >= 0:
        late[samples:] = sound[: len(sound) - samples]
    else:
        late[:samples] = sound[-samples:]
    return late


def draw_scene(planned: PlannedScene, width: int, height: int) -> Iterator[np.ndarray]:
    """The frames of a scene, uint8 (height, width, 3), one after the other."""
    from openmocha.toon.drawing import draw_frame

    for scene in planned.scenes:
        for poses, view in zip(scene.poses, scene.views, strict=True):
            yield draw_frame(planned.story, scene.clip, poses, view, width, height).pixels


def render_programme(
    seed: int,
    num_scenes: int,
    output: Path,
    *,
    split: str = "train",
    width: int = 128,
    height: int = 128,
) -> list[SceneTruth]:
    """Write programme `seed` as mp4 to `output` and its truth beside it as .json.

    Raises ValueError or OSError for an output that cannot be written.
    """
    from openmocha.media import FilmWriter
    from openmocha.whole_file import check_output, write_text

    output = check_output(output, ".mp4")
    planned = plan_programme(seed, num_scenes, split)
    sound = np.concatenate([scene.sound for scene in planned])
    with FilmWriter(output, width, height, sound, fps=FPS) as film:
        for scene in planned:
            for pixels in draw_scene(scene, width, height):
                film.write(pixels[None])
    truths = [scene.truth for scene in planned]
    content: dict[str, Any] = {"fps": FPS, "scenes": [dataclasses.asdict(t) for t in truths]}
    write_text(output.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    return truths
