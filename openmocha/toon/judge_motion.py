"""What the judge sees only over time: camera moves, and what people do.

The judge's boxes and poses, frame by frame -> the trend of the boxes says how the camera moves;
statistics of the poses say what a person does. Legend: T frames of a clip, P people.
"""

import numpy as np
import torch
from torch import Tensor, nn

from openmocha.toon.labels import POSE, SEQUENCE_ATTRIBUTES

ZOOM_TREND = 0.09  # change of the logarithm of the mouth box's width over the clip
PAN_TREND = 0.075  # movement of the mouth over the clip, over the frame's short side
SLOW = 13  # frames: what is slower than half a second is posture, what is faster is a gesture


def camera_move(boxes: np.ndarray, short_side: int) -> str:
    """The camera's move in a clip, from the mouth boxes (T, 4) of one person in pixels.

    Robust lines through the box's width and centre: a person sways and nods about a place, a
    camera goes steadily from one end of the clip to the other.
    """
    times = np.linspace(-0.5, 0.5, len(boxes))
    zoom = trend(times, np.log(np.maximum(boxes[:, 2] - boxes[:, 0], 1.0)))
    if abs(zoom) > ZOOM_TREND:
        return "zoom in" if zoom > 0 else "zoom out"
    pan = trend(times, (boxes[:, 0] + boxes[:, 2]) / 2 / short_side)
    if abs(pan) > PAN_TREND:
        # what moves to the left is seen by a camera that goes to the right
        return "pan right" if pan < 0 else "pan left"
    return "static"


def trend(times: np.ndarray, values: np.ndarray) -> float:
    """Slope of the line from the median of the first third to the median of the last third."""
    third = max(1, len(times) // 3)
    rise = np.median(values[-third:]) - np.median(values[:third])
    return float(rise / (times[-third:].mean() - times[:third].mean()))


class ActionReader(nn.Module):
    """Statistics of a person's poses over a clip (B, 4 * len(POSE)) -> logits of actions."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * len(POSE), width)
        self.action = nn.Linear(width, len(SEQUENCE_ATTRIBUTES["action"]))

    def forward(self, statistics: Tensor) -> Tensor:
        logits: Tensor = self.action(torch.relu(self.hidden(statistics)))
        return logits

    @torch.no_grad()
    def read(self, pose: np.ndarray) -> str:
        """The action of one person from their poses (T, len(POSE)) over a clip."""
        statistics = torch.from_numpy(pose_statistics(pose)[None])
        return SEQUENCE_ATTRIBUTES["action"][int(self(statistics).argmax())]


def pose_statistics(pose: np.ndarray) -> np.ndarray:
    """float32 (4 * len(POSE),): level, slow change, quick change and highest point per channel."""
    kernel = np.ones(SLOW) / SLOW
    padded = np.pad(pose, ((SLOW // 2, SLOW // 2), (0, 0)), mode="edge")
    slow = np.stack([np.convolve(channel, kernel, mode="valid") for channel in padded.T], axis=1)
    quick = pose - slow
    parts = [slow.mean(0), slow.std(0), quick.std(0), slow.max(0)]
    return np.concatenate(parts).astype(np.float32)
