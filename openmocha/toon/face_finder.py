"""Finds the faces of drawn characters, however many a frame shows: none, one, or a crowd.

frames (any size, letterboxed to 128x128) -> a map of how likely each cell is a face's centre, and
from each centre the box of the face and of its mouth. Heatmaps of centres are those of "Objects as
Points" (arXiv 1904.07850, section 3).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openmocha.toon.judge import FRAME_SIZE, ResidualBlock, convolution, letterbox

# Shapes: B frames, C channels, H W pixels, h w cells (a quarter of the pixels each way), N faces.

CELL = 4
WIDTHS = (48, 64, 96)
FACE_CELLS = 4.0  # a face of this many cells has box logarithms of 0


@dataclass(frozen=True)
class FoundFaces:
    """Faces of one frame from the most certain on: certainty (N,), and boxes of faces and mouths
    (N, 4), x0 y0 x1 y1 in pixels of the frame given."""

    certainty: np.ndarray
    faces: np.ndarray
    mouths: np.ndarray


class FaceFinder(nn.Module):
    """Frames (B, 3, 128, 128) in [-1, 1] -> centres (B, h, w) logits and boxes (B, 8, h, w).

    The eight are x, y of the centre within its cell, log width and height, of face and then mouth.
    """

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = WIDTHS
        self.fine = convolution(3 * CELL**2, fine)
        self.middle = nn.Sequential(convolution(fine, middle, stride=2), ResidualBlock(middle))
        self.coarse = nn.Sequential(
            convolution(middle, coarse, stride=2), ResidualBlock(coarse), ResidualBlock(coarse)
        )
        self.up_middle = nn.Conv2d(coarse, middle, 1)
        self.up_fine = nn.Conv2d(middle, fine, 1)
        self.joined = nn.Sequential(convolution(fine, fine), convolution(fine, fine))
        self.centres = nn.Conv2d(fine, 1, 1)
        self.boxes = nn.Conv2d(fine, 8, 1)
        nn.init.constant_(self.centres.bias, -4.0)  # type: ignore[arg-type]  # faces are rare

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(F.pixel_unshuffle(frames, CELL))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = middle + F.interpolate(self.up_middle(coarse), scale_factor=2.0)
        fine = self.joined(fine + F.interpolate(self.up_fine(middle), scale_factor=2.0))
        return self.centres(fine)[:, 0], self.boxes(fine)

    @torch.no_grad()
    def find(self, frames: np.ndarray, least_certainty: float = 0.3) -> list[FoundFaces]:
        """The faces of each of the frames uint8 (T, H, W, 3)."""
        images, offset, scale = letterbox(frames)
        centres, boxes = self(images)
        certainty = centres.sigmoid()
        peak = F.max_pool2d(certainty[:, None], 3, stride=1, padding=1)[:, 0] == certainty
        found = []
        for b in range(len(frames)):
            rows, columns = torch.nonzero(peak[b] & (certainty[b] > least_certainty), as_tuple=True)
            order = certainty[b, rows, columns].argsort(descending=True, stable=True)
            rows, columns = rows[order], columns[order]
            pixels = corners(boxes[b, :, rows, columns].T, rows, columns)
            single = apart(pixels[:, :4])
            pixels = (pixels[single] - torch.tensor(offset).repeat(4)) / scale
            likely = certainty[b, rows, columns][single].numpy()
            found.append(FoundFaces(likely, pixels[:, :4].numpy(), pixels[:, 4:].numpy()))
        return found

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors; weights are rounded to bfloat16."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.state_dict().items()
        kept = {k: v.contiguous() for k, v in state if not k.endswith("num_batches_tracked")}
        save_file({k: v.to(torch.bfloat16) for k, v in kept.items()}, folder / "model.safetensors")


def load_face_finder(folder: str | Path) -> FaceFinder:
    """The finder saved in `folder`, float32, eval mode. Raises ValueError for other weights."""
    finder = FaceFinder()
    tensors = {k: v.float() for k, v in load_file(Path(folder) / "model.safetensors").items()}
    fit = finder.load_state_dict(tensors, strict=False)
    missing = [k for k in fit.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or fit.unexpected_keys:
        raise ValueError(
            f"{folder} does not fit the face finder: missing {missing}, unexpected "
            f"{fit.unexpected_keys}; train it again with this version of the package"
        )
    return finder.eval()


def apart(boxes: Tensor, most: float = 0.3) -> list[int]:
    """Which of the boxes (N, 4), the most certain first, share at most `most` of their area (over
    that of the two together) with one before them: a large face may have two peaks."""
    kept: list[int] = []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)
    for i, box in enumerate(boxes):
        corner = torch.minimum(box[2:], boxes[kept, 2:]) - torch.maximum(box[:2], boxes[kept, :2])
        shared = corner.clamp(min=0).prod(dim=-1)
        if not (shared > most * (area[i] + area[kept] - shared)).any():
            kept.append(i)
    return kept


def corners(boxes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Boxes as the network gives them (N, 8) at cells (N,) -> (N, 8) two x0 y0 x1 y1 in pixels of
    the letterboxed frame."""
    centre = torch.stack([columns, rows], dim=-1).repeat(1, 2) + 0.5
    parts = rearrange(boxes, "N (box part xy) -> part N (box xy)", box=2, part=2)
    middle, half = centre + parts[0] * FACE_CELLS, parts[1].exp() * FACE_CELLS / 2
    edges = torch.stack([middle - half, middle + half]) * CELL
    return rearrange(edges, "side N (box xy) -> N (box side xy)", box=2).clamp(0, FRAME_SIZE)


def targets(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The inverse of `corners`: two boxes (N, 8) in pixels -> what the network should give."""
    centre = torch.stack([columns, rows], dim=-1).repeat(1, 2) + 0.5
    edges = rearrange(pixels / CELL, "N (box side xy) -> side N (box xy)", box=2, side=2)
    middle = (edges.sum(0) / 2 - centre) / FACE_CELLS
    size = ((edges[1] - edges[0]).clamp(min=0.05) / FACE_CELLS).log()
    parts = torch.stack([middle, size])
    return rearrange(parts, "part N (box xy) -> N (box part xy)", box=2)
