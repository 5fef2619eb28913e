"""Teach the judge what people do from how they move: poses of stories, without drawing them.

story -> poses of a clip -> blurred as the judge reads them -> statistics -> action. A minute on one
core; run after training/judge.py, on the judge it saved:

    python -m openmocha.training.judge_actions runs/judge/final
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from openmocha.toon.judge import Judge, load_judge
from openmocha.toon.judge_motion import ActionReader, pose_statistics
from openmocha.toon.labels import POSE, clip_labels, pose_labels
from openmocha.toon.motion import clip_poses
from openmocha.toon.stories import make_story

SOURCES = ("close-up", "medium close-up", "medium", "text")
ARMS_HIDDEN = ("close-up",)
FIRST_ARM = POSE.index("left lift")
READING_NOISE = (0.04, 0.06)  # of one frame, and constant over the clip


def train_actions(
    judge: Judge, *, num_stories: int = 3000, steps: int = 1500, seed: int = 0
) -> float:
    """Train `judge.action` in place; returns its accuracy on a tenth of the stories kept apart."""
    rng = np.random.default_rng(seed)
    rows = [row for number in range(num_stories) for row in story_rows(rng, number)]
    statistics = torch.from_numpy(np.stack([row[0] for row in rows]))
    actions = torch.tensor([row[1] for row in rows])
    apart = len(rows) // 10
    torch.manual_seed(seed)
    reader = ActionReader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=5e-3, weight_decay=1e-2)
    for _ in range(steps):
        picks = torch.randint(apart, len(rows), (128,))
        loss = F.cross_entropy(reader(statistics[picks]), actions[picks])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    judge.action.load_state_dict(reader.state_dict())
    right = reader(statistics[:apart]).argmax(-1) == actions[:apart]
    return float(right.float().mean())


def story_rows(rng: np.random.Generator, number: int) -> list[tuple[np.ndarray, int]]:
    """(statistics, action) of every person in the first clip of a training story."""
    story = make_story(number, SOURCES[number % len(SOURCES)])
    clip = story.clips[0]
    num_frames = int(rng.integers(64, 129))
    stresses = np.sort(rng.uniform(0.3, num_frames / 24, int(rng.integers(2, 8))))
    mouth = np.zeros((num_frames, 4), np.float32)
    poses = clip_poses(story, clip, num_frames, mouth, list(stresses), (0.2, num_frames / 24))
    channels = np.stack([pose_labels(frame) for frame in poses])  # (T, P, len(POSE))
    actions = clip_labels(story, clip)["action"]
    rows = []
    for person in range(len(clip.cast)):
        pose = channels[:, person]
        if clip.shot in ARMS_HIDDEN:
            pose[:, FIRST_ARM:] = pose[:, FIRST_ARM:].mean(0)
        pose = pose + rng.normal(0, READING_NOISE[0], pose.shape)
        pose = pose + rng.normal(0, READING_NOISE[1], len(POSE))
        rows.append((pose_statistics(pose), int(actions[person])))
    return rows


def main() -> None:
    """Command line: the judge's folder, changed in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stories", type=int, default=3000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = load_judge(options.folder)
    print(f"actions right: {train_actions(judge, num_stories=options.stories):.3f}")
    judge.save_pretrained(options.folder)


if __name__ == "__main__":
    main()
