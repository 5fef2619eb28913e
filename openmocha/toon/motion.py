"""How characters move through one clip: a pose per frame, from the story and the speech.

Every channel (head yaw, brow, left arm ...) is first a curve over the clip's frames and only then
cut into poses. Legend: T frames of the clip; times are seconds from the start of the clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openmocha.toon.acts import MOODS, acted, directions, drawn_act
from openmocha.toon.curves import Curve, Curves, bump, drift, hold
from openmocha.toon.poses import Arm, Pose
from openmocha.toon.stories import Cast, Clip, Story, story_rng

BEAT_LAG_S, BEAT_WIDTH_S = 0.08, 0.1  # of a head's beat after its stressed word begins
STILL = (0.0, 0.0, 0.0, 0.0)
FACING_YAW = {"camera": 0.0, "left": -0.5, "right": 0.5}


@dataclass(frozen=True)
class Motion:
    """Of every visible character: `poses` in each frame, and `directions` (T, K) as acts.py has
    them."""

    poses: list[tuple[Pose, ...]]
    directions: list[NDArray[np.float32]]


def clip_motion(
    story: Story,
    clip: Clip,
    num_frames: int,
    mouth: np.ndarray,
    stresses_s: Sequence[float],
    speech_s: tuple[float, float],
    fps: float = 24.0,
) -> Motion:
    """How every visible character moves in a clip.

    mouth: (num_frames, 4) of the clip's speaker; all others keep their mouth closed.  stresses_s:
    times of the stressed words.  speech_s: when the speaker starts and ends.  Depends on the
    story and these arguments alone.
    """
    assert mouth.shape == (num_frames, 4)
    times = np.arange(num_frames) / fps
    per_character, directed = [], []
    for index, cast in enumerate(clip.cast):
        speaking = index == clip.speaker
        rng = motion_rng(story, clip, index)
        curves = idle(rng, times, cast)
        if speaking:
            curves = accent(rng, times, cast, curves, stresses_s)
        elif len(clip.cast) == 2 and clip.speaker is not None:
            curves = listen(rng, times, curves, speech_s, towards=1 if index == 0 else -1)
        act = drawn_act(rng, times, cast)
        curves = acted(curves, cast.action, act)
        per_character.append(poses_of(curves, mouth if speaking else None))
        directed.append(directions(cast, act))
    return Motion(list(zip(*per_character, strict=True)), directed)


def motion_rng(story: Story, clip: Clip, index: int) -> np.random.Generator:
    character = story.characters[clip.cast[index].character]
    order = story.clips.index(clip)
    return story_rng("motion", story.split, story.source, story.seed, character.voice_seed, order)


def idle(rng: np.random.Generator, times: Curve, cast: Cast) -> Curves:
    """Breathing, swaying, looking about and blinking, in a mood."""
    mood = MOODS[cast.emotion]
    strength = rng.uniform(0.8, 1.0)
    energy = mood.liveliness * rng.uniform(0.7, 1.2)
    breath = np.sin(2 * np.pi * (rng.uniform(0.22, 0.32) * times + rng.random()))
    yaw = FACING_YAW[cast.facing] + rng.uniform(-0.06, 0.06)
    head = np.stack(
        [
            yaw + 0.09 * energy * drift(rng, times, 1.8),
            mood.pitch * strength + 0.07 * energy * drift(rng, times, 1.5) + 0.01 * breath,
            mood.roll * strength * rng.choice([-1, 1]) + 0.08 * energy * drift(rng, times, 2.2),
        ],
        axis=1,
    )
    sway = np.stack([0.05 * energy * drift(rng, times, 3.0), 0.02 * breath], axis=1)
    left, right = (resting_arm(rng, times) for _ in range(2))
    return Curves(
        blink=blinks(rng, times),
        gaze=saccades(rng, times, cast.facing),
        brow=mood.brow * strength + 0.05 * drift(rng, times, 1.2),
        frown=mood.frown * strength + 0.04 * drift(rng, times, 1.5),
        smile=mood.smile * strength + 0.05 * drift(rng, times, 1.7),
        head=head,
        sway=sway,
        lean=0.12 * energy * drift(rng, times, 3.5),
        left_arm=left,
        right_arm=right,
        shrug=np.full_like(times, mood.shrug * strength) + 0.05 * np.maximum(breath, 0),
    )


def resting_arm(rng: np.random.Generator, times: Curve) -> np.ndarray:
    rest = [rng.uniform(0, 0.05), rng.uniform(-0.05, 0.15), rng.uniform(0.05, 0.3)]
    return np.array(rest) + 0.02 * np.stack([drift(rng, times, 2.5) for _ in range(3)], axis=1)


def blinks(rng: np.random.Generator, times: Curve) -> Curve:
    """Blinks every 2-5 s: fast down, a moment closed, slower up."""
    lids = np.zeros_like(times)
    centre = rng.uniform(0.2, 3.0)
    while centre < times[-1] + 0.2:
        since = times - centre
        down = np.clip(1 + (since + 0.02) / 0.07, 0, 1)
        up = np.clip(1 - (since - 0.03) / 0.13, 0, 1)
        lids = np.maximum(lids, np.minimum(down, up))
        centre += rng.uniform(2.0, 5.0) if rng.random() < 0.9 else 0.35
    return lids


def saccades(rng: np.random.Generator, times: Curve, facing: str) -> np.ndarray:
    """(T, 2) gaze that jumps between points; eyes facing the camera mostly meet it."""
    gaze = np.zeros((len(times), 2))
    ahead = {"camera": 0.0, "left": -0.25, "right": 0.25}[facing]
    start = 0.0
    while start < times[-1] + 0.1:
        home = rng.random() < 0.65
        spread = 0.06 if home else 0.4
        point = [ahead + rng.normal(0, spread), rng.normal(0, spread * 0.6)]
        gaze[times >= start] = np.clip(point, -0.8, 0.8)
        start += rng.uniform(0.6, 2.2) if home else rng.uniform(0.25, 0.8)
    return gaze


def accent(
    rng: np.random.Generator, times: Curve, cast: Cast, curves: Curves, stresses_s: Sequence[float]
) -> Curves:
    """Brow raises, head beats and hand beats on the stressed words of the speaker."""
    energy = MOODS[cast.emotion].liveliness * rng.uniform(0.6, 1.2)
    brow, pitch, roll, lift = (np.zeros_like(times) for _ in range(4))
    for at in stresses_s:
        kind, size, side = rng.random(3)
        if kind < 0.45:
            brow += (0.3 + 0.4 * size) * bump(times, at + 0.05, 0.11)
        if 0.25 < kind < 0.8:
            pitch -= (0.1 + 0.16 * size) * energy * bump(times, at + BEAT_LAG_S, BEAT_WIDTH_S)
        if kind > 0.65:
            roll += np.sign(side - 0.5) * (0.06 + 0.1 * size) * bump(times, at + 0.1, 0.25)
        lift += (0.1 + 0.2 * size) * bump(times, at + 0.02, 0.16)
    head = curves.head + np.stack([0.0 * pitch, pitch, roll], axis=1)
    left, right = curves.left_arm, curves.right_arm
    if rng.random() < 0.5:
        # Talking with the hands: the forearms come up for the turn and beat with the words.
        raised = np.stack([0.12 + lift, 0.1 + 0.3 * lift, 0.55 + 0 * lift], axis=1)
        amount = energy * rng.uniform(0.4, 1.0, 2)
        left, right = left + raised * amount[0], right + raised * amount[1]
    brow = np.clip(curves.brow + brow, -1, 1)
    return replace(curves, head=head, brow=brow, left_arm=left, right_arm=right)


def listen(
    rng: np.random.Generator,
    times: Curve,
    curves: Curves,
    speech_s: tuple[float, float],
    towards: int,
) -> Curves:
    """A listener glances at the speaker and nods now and then."""
    start, end = speech_s
    pitch = np.zeros_like(times)
    at = start + rng.uniform(0.4, 1.2)
    while at < end:
        for beat in range(int(rng.integers(1, 4))):
            pitch -= rng.uniform(0.12, 0.22) * bump(times, at + 0.32 * beat, 0.09)
        at += rng.uniform(1.2, 2.8)
    attention = hold(times, start, end + 0.4, 0.35) * rng.uniform(0.1, 0.3)
    head = curves.head + np.stack([towards * attention, pitch, 0 * pitch], axis=1)
    gaze = curves.gaze + np.stack([towards * attention, 0 * pitch], axis=1)
    return replace(curves, head=head, gaze=np.clip(gaze, -1, 1))


def poses_of(curves: Curves, mouth: np.ndarray | None) -> list[Pose]:
    head = np.clip(curves.head, -1, 1).tolist()
    gaze, sway = curves.gaze.tolist(), curves.sway.tolist()
    mouths = [STILL] * len(head) if mouth is None else [tuple(m) for m in mouth.tolist()]
    faces = [np.clip(c, -1, 1).tolist() for c in (curves.brow, curves.frown, curves.smile)]
    blink, lean = curves.blink.tolist(), curves.lean.tolist()
    lifted = np.clip(curves.shrug, 0, 1).tolist()
    low, high = np.array([0.0, -1.0, 0.0]), np.ones(3)
    left = np.clip(curves.left_arm, low, high).tolist()
    right = np.clip(curves.right_arm, low, high).tolist()
    return [
        Pose(
            mouth=mouths[t],
            blink=blink[t],
            gaze=tuple(gaze[t]),
            brow=faces[0][t],
            frown=faces[1][t],
            smile=faces[2][t],
            head=tuple(head[t]),
            sway=tuple(sway[t]),
            lean=lean[t],
            left_arm=Arm(left[t][0], left[t][1], left[t][2], curves.hands[0]),
            right_arm=Arm(right[t][0], right[t][1], right[t][2], curves.hands[1]),
            shrug=lifted[t],
        )
        for t in range(len(head))
    ]
