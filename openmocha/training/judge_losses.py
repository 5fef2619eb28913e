"""What the judge is taught by: losses on frames that look as generated ones do.

frames + truth of a batch -> degraded frames -> the network of one stage -> loss. The scene is read
from whole frames, people and mouths from crops around the true boxes, a little off.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from openmocha.precision import mixed_precision
from openmocha.toon.judge import FRAME_SIZE, Judge, longer_side
from openmocha.toon.labels import FRAME_ATTRIBUTES, NO_ANSWER, PERSON_ATTRIBUTES, POSE

Batch = dict[str, Tensor]

FOUND_ERRORS = (0.05, 0.2)  # of the longer side: most boxes, and the others
CORRECTED_ERRORS = (0.01, 0.03)
MOUTH_WEIGHTS = (4.0, 1.5, 1.5, 1.0)  # open counts most: it is what lip-sync is measured by
ATTRIBUTE_WEIGHT = 0.3
POSE_WEIGHT = 1.2
# How far each channel of POSE is from its mean in the stories: without it, the turn of heads would
# be all that is learnt.
POSE_SPREAD = {
    "yaw": 0.39, "pitch": 0.12, "roll": 0.09, "sway x": 0.023, "sway y": 0.014, "shrug": 0.16,
    "left lift": 0.18, "left reach": 0.22, "left bend": 0.25,
    "right lift": 0.18, "right reach": 0.22, "right bend": 0.25,
}  # fmt: skip


def scene_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Losses of what is read from whole frames: where mouths are, who is there, the scene."""
    assert isinstance(model, Judge)
    frames = degrade(normalised(batch["frames"]))
    present = batch["mouth"].isfinite().all(-1)  # (B, P)
    with mixed_precision():
        read = model.look_around(frames)
    box = (read["found"].float() - batch["boxes"].float())[present].abs().mean()
    second = F.binary_cross_entropy_with_logits(read["second_person"], present[:, 1].float())
    attributes = attribute_losses(read, batch, tuple(FRAME_ATTRIBUTES))
    loss = 10 * box + 0.2 * second + ATTRIBUTE_WEIGHT * attributes
    measures = {"box": box, "second": second, "attributes": attributes}
    return loss, {name: value.item() for name, value in measures.items()}


def attribute_losses(read: dict[str, Tensor], batch: Batch, names: tuple[str, ...]) -> Tensor:
    """Sum of the cross-entropies of the attributes `names`, where they have an answer."""
    total = torch.zeros(())
    for name in names:
        logits, labels = read[name].float().flatten(0, -2), batch[name].long().flatten()
        if (labels != NO_ANSWER).any():
            total = total + F.cross_entropy(logits, labels, ignore_index=NO_ANSWER)
    return total


def finder_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """How far corrected boxes are off, in shares of their longer side."""
    batch = one_person(batch)
    boxes = batch["boxes"].float()
    frames = degrade(normalised(batch["frames"]))
    with mixed_precision():
        corrected = model(frames, displaced(boxes, FOUND_ERRORS))
    loss = ((corrected - boxes).abs() / longer_side(boxes)[..., None]).mean()
    return loss, {"box": loss.item()}


def person_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Losses of what is read of one person per frame: attributes and pose."""
    batch = one_person(batch)
    boxes = batch["boxes"].float()
    frames = degrade(normalised(batch["frames"]))
    with mixed_precision():
        read = model(frames, displaced(boxes, CORRECTED_ERRORS))
    attributes = attribute_losses(read, batch, tuple(PERSON_ATTRIBUTES))
    spread = torch.tensor([POSE_SPREAD[name] for name in POSE], device=frames.device)
    pose = ((read["pose"].float() - batch["pose"].float()) / spread).square().mean()
    loss = ATTRIBUTE_WEIGHT * attributes + POSE_WEIGHT * pose
    measures = {"attributes": attributes, "pose": pose}
    return loss, {name: value.item() for name, value in measures.items()}


def mouth_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Weighted squared errors of the mouth of one person per frame."""
    batch = one_person(batch)
    frames = degrade(normalised(batch["frames"]))
    with mixed_precision():
        shapes = model(frames, displaced(batch["boxes"].float(), CORRECTED_ERRORS))
    errors = (shapes.float() - batch["mouth"].float()).square() * torch.tensor(MOUTH_WEIGHTS)
    loss = (errors.sum(-1) * legibility(batch["boxes"])).mean()
    return loss, {"opening": errors[..., 0].mean().item() / MOUTH_WEIGHTS[0]}


def one_person(batch: Batch) -> Batch:
    """The batch with one person per frame: either of two, at random; P becomes 1."""
    second = batch["mouth"][:, 1].isfinite().all(-1) & (torch.rand(len(batch["mouth"])) < 0.5)
    rows, chosen = torch.arange(len(second)), second.long()
    kept = ("boxes", "mouth", "pose", *PERSON_ATTRIBUTES)
    people = {name: batch[name][rows, chosen][:, None] for name in kept}
    return {"frames": batch["frames"], **people}


def displaced(boxes: Tensor, errors: tuple[float, float]) -> Tensor:
    """Boxes (B, P, 4), shifted and scaled by as much as the judge's own are off, some by more."""
    usual, large = errors
    size = torch.where(torch.rand(len(boxes), 1, 1) < 0.6, usual, large)
    shift = torch.randn_like(boxes[..., :2]) * size * longer_side(boxes)[..., None]
    half = (boxes[..., 2:] - boxes[..., :2]) / 2 * torch.exp(torch.randn_like(size) * size)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + shift
    return torch.cat([centre - half, centre + half], dim=-1)


def legibility(boxes: Tensor) -> Tensor:
    """Weights (B, P) of mouths by the size of their boxes: one of 4 pixels cannot be read well."""
    width_px = (boxes[..., 2] - boxes[..., 0]).float().nan_to_num() * FRAME_SIZE
    return (width_px / 20).clamp(0.15, 1.0)


def normalised(frames: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in [-1, 1], channels last in memory."""
    return rearrange(frames, "B H W C -> B C H W").float() / 127.5 - 1


def degrade(frames: Tensor) -> Tensor:
    """Frames as a generator might give them: tinted, then blurred, compressed, shrunk or noisy.

    Colours move by 4% at most, less than the palette keeps apart. Half of a batch stays sharp;
    the other half is changed in place, in four parts.
    """
    batch = len(frames)
    gain = 1 + 0.04 * (torch.rand(batch, 1, 1, 1) * 2 - 1)
    tint = 0.03 * (torch.rand(batch, 3, 1, 1) * 2 - 1)
    frames.mul_(gain).add_(tint).clamp_(-1, 1)
    blurry, coded, shrunk, noisy = frames[batch // 2 :].tensor_split(4)
    blurry.copy_(blurred(blurry, sigma=_uniform(0.4, 1.1)))
    coded.copy_(compressed(coded, threshold=_uniform(0.05, 0.3)))
    small = F.interpolate(shrunk, scale_factor=_uniform(0.5, 0.9), mode="bilinear", antialias=True)
    shrunk.copy_(F.interpolate(small, size=frames.shape[-2:], mode="bilinear"))
    noisy.copy_(blurred(noisy, sigma=0.5)).add_(torch.randn_like(noisy), alpha=_uniform(0, 0.08))
    return frames


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of 7 taps, rows then columns."""
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, 7)
    padded = F.pad(frames, (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, taps, groups=3)
    return F.conv2d(rows, taps.transpose(2, 3), groups=3)


def compressed(frames: Tensor, threshold: float) -> Tensor:
    """Small 8x8 DCT coefficients set to zero: the blocks, ringing and lost detail of JPEG."""
    k = torch.arange(8)
    basis = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * math.sqrt(2 / 8)
    basis[0] = math.sqrt(1 / 8)
    blocks = rearrange(frames, "B C (h a) (w b) -> B C h w a b", a=8, b=8)
    spectrum = basis @ blocks @ basis.T
    kept = spectrum * (spectrum.abs() > threshold)
    kept[..., 0, 0] = spectrum[..., 0, 0]
    return rearrange(basis.T @ kept @ basis, "B C h w a b -> B C (h a) (w b)")
