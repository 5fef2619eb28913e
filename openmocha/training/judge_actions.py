"""Teach the judge what people do from how it reads them, after everything else in it is learnt.

stories -> clips, drawn -> blurred, as generated films are -> the judge's own poses and boxes ->
crops in time, mirrored and held -> action

    python -m openmocha.training.judge_actions runs/judge/final --stories 600 --workers 2
"""

import argparse
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat

from openmocha.toon.judge import Judge, load_judge
from openmocha.toon.judge_motion import ActionReader, movement
from openmocha.toon.labels import POSE, clip_labels
from openmocha.toon.stories import make_story
from openmocha.training.judge_losses import blurred, normalised
from openmocha.training.judge_pool import SOURCES, random_mouths

CROP = 48  # frames that are learnt from at once; the clips of conversations are about as short
HELD = 4  # frames of a latent: a decoder that misses motion holds them
# Channels whose sign turns in a mirror, and those of the left arm and the right one.
TURNED = [POSE.index(name) for name in ("yaw", "roll", "sway x")] + [len(POSE)]
LEFT = [POSE.index(f"left {name}") for name in ("lift", "reach", "bend")]
RIGHT = [POSE.index(f"right {name}") for name in ("lift", "reach", "bend")]

Row = tuple[np.ndarray, int]  # movement (T, M) of one person, and their action


def train_actions(
    judge: Judge, *, num_stories: int = 600, steps: int = 2500, seed: int = 0, workers: int = 1
) -> float:
    """Train `judge.action` in place; returns its accuracy on a tenth of the stories kept apart."""
    rows = read_stories(judge, range(num_stories), workers)
    apart = max(1, len(rows) // 10)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    reader = ActionReader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        picks = rng.integers(apart, len(rows), 96)
        moved = torch.from_numpy(np.stack([varied(rng, rows[pick][0]) for pick in picks]))
        actions = torch.tensor([rows[pick][1] for pick in picks])
        loss = F.cross_entropy(reader(moved), actions, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    judge.action.load_state_dict(reader.state_dict())
    return accuracy(reader.eval(), rows[:apart])


@torch.no_grad()
def accuracy(reader: ActionReader, rows: Sequence[Row]) -> float:
    """Share of the people whose action is read from all of their clip."""
    right = [int(reader(torch.from_numpy(moved[None])).argmax()) == act for moved, act in rows]
    return float(np.mean(right))


def read_stories(judge: Judge, numbers: Sequence[int], workers: int) -> list[Row]:
    """What the judge reads of training stories, in their order."""
    if workers == 1:
        return [row for number in numbers for row in story_rows(judge, number)]
    with get_context("forkserver").Pool(workers, torch.set_num_threads, (1,)) as pool:
        parts = pool.imap(partial(story_rows, judge), numbers, chunksize=4)
        return [row for part in parts for row in part]


def story_rows(judge: Judge, number: int) -> list[Row]:
    """The movement and the action of everybody in the first clip of a training story."""
    from openmocha.toon.camera import clip_views
    from openmocha.toon.drawing import draw_frame
    from openmocha.toon.motion import clip_motion

    rng = np.random.default_rng(number)
    story = make_story(number, SOURCES[number % len(SOURCES)])
    clip = story.clips[0]
    num_frames = int(rng.integers(64, 129))
    stresses = np.sort(rng.uniform(0.3, num_frames / 24, int(rng.integers(2, 8))))
    mouths = random_mouths(rng, num_frames)
    poses = clip_motion(
        story, clip, num_frames, mouths, list(stresses), (0.2, num_frames / 24)
    ).poses
    views = clip_views(story, clip, num_frames)
    drawn = [
        draw_frame(story, clip, pose, view, 128, 128)[0]
        for pose, view in zip(poses, views, strict=True)
    ]
    frames = np.stack(drawn)
    if rng.random() < 0.5:
        soft = blurred(normalised(torch.from_numpy(frames)), sigma=rng.uniform(0.4, 1.1))
        soft = ((soft + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        frames = rearrange(soft, "T C H W -> T H W C").numpy()
    read = judge.read(frames)
    actions = clip_labels(story, clip)["action"]
    return [
        (movement(read.pose[:, person], read.boxes[:, person]), int(actions[person]))
        for person in range(len(clip.cast))
    ]


def varied(rng: np.random.Generator, moved: np.ndarray) -> np.ndarray:
    """CROP frames of a movement (T, M), half of them mirrored, a third held as a decoder holds
    what it misses."""
    start = int(rng.integers(len(moved) - CROP + 1))
    crop = moved[start : start + CROP].copy()
    if rng.random() < 0.5:
        crop = mirrored(crop)
    if rng.random() < 1 / 3:
        means = reduce(crop, "(T held) M -> T M", "mean", held=HELD)
        share = rng.uniform(0.3, 1.0)
        crop = (1 - share) * crop + share * repeat(means, "T M -> (T held) M", held=HELD)
    return (crop + rng.normal(0, 0.02, crop.shape)).astype(np.float32)


def mirrored(moved: np.ndarray) -> np.ndarray:
    """A movement (T, M) as a mirror shows it."""
    turned = moved.copy()
    turned[:, TURNED] *= -1
    turned[:, LEFT], turned[:, RIGHT] = moved[:, RIGHT], moved[:, LEFT]
    return turned


def main() -> None:
    """Command line: the judge's folder, changed in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stories", type=int, default=600)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = load_judge(options.folder)
    right = train_actions(judge, num_stories=options.stories, workers=options.workers)
    print(f"actions right: {right:.3f}")
    judge.save_pretrained(options.folder)


if __name__ == "__main__":
    main()
