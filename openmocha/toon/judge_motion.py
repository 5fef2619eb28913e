"""What the judge sees only over time: camera moves, and what people do.

The judge's boxes and poses, frame by frame -> the trend of the boxes says how the camera moves;
poses and boxes over time say what a person does. Legend: B clips, T frames of a clip, M channels of
movement, D width.
"""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from openmocha.toon.labels import POSE, SEQUENCE_ATTRIBUTES

ZOOM_TREND = 0.09  # change of the logarithm of the mouth box's width over the clip
PAN_TREND = 0.075  # movement of the mouth over the clip, over the frame's short side
MOVEMENT = len(POSE) + 3  # and the mouth's place, x and y, and its size
SHORTEST = 16  # frames that an action is read from; a shorter clip's last frame is repeated


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
    """A person's movement over a clip (B, T, M) -> logits of actions (B, classes)."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(MOVEMENT, affine=False)
        self.first = nn.Conv1d(MOVEMENT, width, 9, stride=2, padding=4)
        self.second = nn.Conv1d(width, width, 7, padding=3)
        self.action = nn.Linear(3 * width, len(SEQUENCE_ATTRIBUTES["action"]))

    def forward(self, movement: Tensor) -> Tensor:
        x = self.scale(rearrange(movement, "B T M -> B M T"))
        x = torch.relu(self.second(torch.relu(self.first(x))))  # (B, D, T / 2)
        seen = torch.cat([x.mean(-1), x.amax(-1), x.std(-1)], dim=-1)
        logits: Tensor = self.action(seen)
        return logits

    @torch.no_grad()
    def read(self, pose: np.ndarray, boxes: np.ndarray) -> str:
        """The action of one person from poses (T, len(POSE)) and mouth boxes (T, 4) of a clip."""
        moved = torch.from_numpy(movement(pose, boxes)[None])
        return SEQUENCE_ATTRIBUTES["action"][int(self(moved).argmax())]


def movement(pose: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """float32 (T, M) of poses (T, len(POSE)) and mouth boxes (T, 4), with T of at least SHORTEST.

    Where the mouth is tells more finely than a pose how the head moves: its place is counted from
    its median over the clip, in mouths, and its size as a logarithm from its median.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = np.maximum(boxes[:, 2] - boxes[:, 0], 1.0)  # a mouth that is not there is a pixel wide
    place = (centre - np.median(centre, 0)) / np.median(size)
    width = np.log(size / np.median(size))
    moved = np.concatenate([pose, place, width[:, None]], axis=1)
    missing = max(0, SHORTEST - len(moved))
    return np.pad(moved, ((0, missing), (0, 0)), mode="edge").astype(np.float32)
