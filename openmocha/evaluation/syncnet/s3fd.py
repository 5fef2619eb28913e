"""S3FD (Zhang et al. 2017), the face detector of the public SyncNet scripts: frames -> boxes.

frame -> a quarter of its size -> six maps of classes and offsets -> boxes -> the best of them

State-dict names are those of sfd_face.pth.   P priors, one per cell of the six maps
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from openmocha.evaluation.syncnet.frames import Frame

Array = np.ndarray[Any, Any]
FaceDetector = Callable[[Sequence[Frame]], list[Array]]
"""Consecutive frames, uint8 (H, W, 3) RGB -> per frame float (n, 5): left, top, right, bottom in
pixels, and how certain it is."""

STRIDES = (4, 8, 16, 32, 64, 128)
ANCHORS = (16, 32, 64, 128, 256, 512)  # pixels; one square per cell
VARIANCES = (0.1, 0.2)
MEAN_RGB = (123.0, 117.0, 104.0)
SCALE, CERTAIN, LEAST_OVERLAP = 0.25, 0.9, 0.1  # of the scripts' call
SMALLEST = 128  # pixels of a frame's shorter side: the network halves a quarter of it five times
_LEAST_SCORE, _INNER_OVERLAP, _MOST_LOOKED_AT, _MOST_KEPT = 0.05, 0.3, 5000, 750


class L2Norm(nn.Module):
    """Each cell's features scaled to unit length, then by learned factors."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        length = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        return rearrange(self.weight, "C -> 1 C 1 1") * (x / length)


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU()]
    return [*layers, nn.Conv2d(1024, 1024, 1), nn.ReLU()]


class S3FDNet(nn.Module):
    """Pixels less their mean (B, 3, H, W), RGB -> offsets (B, P, 4), classes (B, P, 2) softmaxed,
    and the maps' (rows, columns)."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = nn.ModuleList(_vgg())
        self.L2Norm3_3, self.L2Norm4_3 = L2Norm(256, 10), L2Norm(512, 8)
        self.L2Norm5_3 = L2Norm(512, 5)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, 2, 1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, 2, 1),
            ]
        )
        widths = (256, 512, 512, 1024, 512, 256)
        classes = (4, 2, 2, 2, 2, 2)  # the finest map has three backgrounds
        self.loc = nn.ModuleList([nn.Conv2d(w, 4, 3, padding=1) for w in widths])
        self.conf = nn.ModuleList(
            [nn.Conv2d(w, c, 3, padding=1) for w, c in zip(widths, classes, strict=True)]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        offsets, classes, sizes = [], [], []
        for found, loc, conf in zip(self._maps(x), self.loc, self.conf, strict=True):
            scores = conf(found)
            if scores.shape[1] == 4:
                background = scores[:, :3].max(dim=1, keepdim=True).values
                scores = torch.cat([background, scores[:, 3:]], dim=1)
            offsets.append(rearrange(loc(found), "B C H W -> B (H W) C"))
            classes.append(rearrange(scores, "B C H W -> B (H W) C"))
            sizes.append((found.shape[2], found.shape[3]))
        return torch.cat(offsets, 1), torch.cat(classes, 1).softmax(-1), sizes

    def _maps(self, x: Tensor) -> list[Tensor]:
        norms = {15: self.L2Norm3_3, 22: self.L2Norm4_3, 29: self.L2Norm5_3}  # after these layers
        maps = []
        for number, layer in enumerate(self.vgg):
            x = layer(x)
            if number in norms:
                maps.append(norms[number](x))
        maps.append(x)
        for number, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if number % 2:
                maps.append(x)
        return maps


@lru_cache(maxsize=8)
def priors(height: int, width: int, sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """(P, 4): centre x, y, width, height of each cell's square, in shares of the picture."""
    boxes = []
    for (rows, columns), stride, anchor in zip(sizes, STRIDES, ANCHORS, strict=True):
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        sides = np.broadcast_to([[anchor / width], [anchor / height]], (2, len(x)))
        boxes.append(np.stack([x * stride / width, y * stride / height, *sides], axis=1))
    return torch.from_numpy(np.concatenate(boxes).astype(np.float32))


def decode(offsets: Tensor, prior: Tensor) -> Tensor:
    """Offsets (..., P, 4) from the priors -> left, top, right, bottom in shares of the picture."""
    centre = prior[:, :2] + offsets[..., :2] * VARIANCES[0] * prior[:, 2:]
    size = prior[:, 2:] * torch.exp(offsets[..., 2:] * VARIANCES[1])
    corner = centre - size / 2
    return torch.cat([corner, corner + size], dim=-1)


def suppress(boxes: Array, scores: Array, overlap: float) -> Array:
    """Greedy non-maximum suppression: indices of the kept boxes (n, 4), best first. A box falls
    where it shares more than `overlap` (intersection over union) with a better kept one."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(scores)[::-1]
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:4], boxes[rest, 2:4])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= overlap]
    return np.array(kept, dtype=int)


def detections(offsets: Tensor, classes: Tensor, prior: Tensor) -> Array:
    """(n, 5): score, left, top, right, bottom of one picture's faces, best first, at most 750."""
    scores, boxes = classes[:, 1].numpy(), decode(offsets, prior).numpy()
    likely = np.flatnonzero(scores > _LEAST_SCORE)
    likely = likely[np.argsort(scores[likely], kind="stable")[-_MOST_LOOKED_AT:]]
    kept = likely[suppress(boxes[likely], scores[likely], _INNER_OVERLAP)[:_MOST_KEPT]]
    return np.concatenate([scores[kept, None], boxes[kept]], axis=1)


def s3fd_detector(
    network: S3FDNet, device: str = "cpu", batch: int = 4, channels_last: bool = True
) -> FaceDetector:
    """The network as a FaceDetector: at a quarter of the size, certain by more than 0.9.

    A frame that is the same object as the one before is not looked at again. The detector raises
    ValueError for frames that are under 128 pixels wide or high.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.eval().to(device, memory_format=layout)  # type: ignore[call-overload]

    def detect(frames: Sequence[Frame]) -> list[Array]:
        fresh = [f for i, f in enumerate(frames) if i == 0 or f is not frames[i - 1]]
        found = [
            boxes
            for start in range(0, len(fresh), batch)
            for boxes in _detect(network, fresh[start : start + batch], device, layout)
        ]
        at, answers = -1, []
        for i, frame in enumerate(frames):
            at += i == 0 or frame is not frames[i - 1]
            answers.append(found[at])
        return answers

    return detect


@torch.inference_mode()
def _detect(
    network: S3FDNet, frames: Sequence[Frame], device: str, layout: torch.memory_format
) -> list[Array]:
    pixels = torch.from_numpy(np.stack([_quarter(frame) for frame in frames]))
    pixels = rearrange(pixels, "B H W C -> B C H W").to(device).contiguous(memory_format=layout)
    offsets, classes, sizes = network(pixels)
    prior = priors(pixels.shape[2], pixels.shape[3], tuple(sizes))
    height, width = frames[0].shape[:2]
    found = []
    for one_offsets, one_classes in zip(offsets.cpu(), classes.cpu(), strict=True):
        rows = detections(one_offsets, one_classes, prior).astype(np.float64)
        certain = rows[rows[:, 0] > CERTAIN]
        boxes = certain[:, 1:] * (width, height, width, height)
        kept = suppress(boxes, certain[:, 0], LEAST_OVERLAP)
        found.append(np.concatenate([boxes[kept], certain[kept, :1]], axis=1))
    return found


def _quarter(frame: Frame) -> Array:
    import cv2

    if min(frame.shape[:2]) < SMALLEST:
        raise ValueError(
            f"frames of {frame.shape[1]}x{frame.shape[0]} are too small for S3FD, which looks at a "
            f"quarter of their size; give films of {SMALLEST} pixels or more, or another detector"
        )
    small = cv2.resize(frame, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.float32) - np.array(MEAN_RGB, np.float32)
