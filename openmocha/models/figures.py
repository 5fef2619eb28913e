"""Stick figures: what whoever is seen does in each latent frame, and where in the picture.

    figures (B, F, MOMENTS K) -> for each cell: how near is it to the head, to an elbow, to a hand?
        on which side of it? near the head: how is it turned, which face does it make?
        -> embeddings (B, F, P, D)

A network that is told in words that a hand waves has to find out which arm does it, when, and where
that arm is in this shot; next to a figure only the drawing is left to learn.

Dimension letters: B batch, F latent frames, h w rows and columns of tokens, P = h w, D width, K
numbers of a figure, J joints, n features of a token.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from openmocha.models.places import AT_REST, places

FACE = ("yaw", "pitch", "shrug", "brow", "frown", "smile")
JOINTS = ("left elbow", "left hand", "right elbow", "right hand")
# Sizes and places are half short sides of the picture; places are x and y from the middle of the
# scene, as in places.py. The size is half a head's.
FIGURE = ("size", "head x", "head y", *FACE, *(f"{joint} {xy}" for joint in JOINTS for xy in "xy"))
MOMENTS = 2  # of each latent frame
NUM_FIGURE = MOMENTS * len(FIGURE)  # of a latent frame
HEAD_REACH = 1.2  # sizes of a head: shoulders hear of it too
JOINT_REACH, LEAST_REACH = 0.6, 0.15  # sizes of a head; and a cell in a wide shot is larger
GAIN = 40.0  # of features: few tokens are near a hand, and what they tell is to be learnt soon
BUMP = 3  # features of a bump: how near, and the way in x and y
NUM_FEATURES = BUMP + len(FACE) + BUMP * len(JOINTS)  # of a moment


class FigureEmbedding(nn.Module):
    """Nothing at first, so that a model which has learnt without goes on as it was."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(MOMENTS * NUM_FEATURES + 1, width)

    def forward(self, figures: Tensor, rows: int, cols: int, views: Tensor | None = None) -> Tensor:
        """Embeddings (B, F, P, D) of figures (B, F, MOMENTS K), NaN where there are none, which
        stand still in the scene that a camera sees (`views`, places.py; None: at rest)."""
        views = torch.tensor([[AT_REST]], device=figures.device) if views is None else views
        told, parts = seen_figures(figures, rows, cols, views)
        seen = torch.cat([*parts, torch.ones_like(parts[0][..., :1])], dim=-1)
        embedding: Tensor = self.linear(GAIN * seen.to(self.linear.weight.dtype))
        return embedding * told


def limb_cells(figures: Tensor, rows: int, cols: int, views: Tensor) -> Tensor:
    """(B, F, h, w), how near each cell is to an elbow or a hand in any moment, 0 to 1; 0 where
    there are no figures."""
    told, seen = seen_figures(figures, rows, cols, views)
    near = torch.cat([moment[..., BUMP + len(FACE) :: BUMP] for moment in seen], dim=-1).amax(-1)
    return rearrange(told[..., 0] * near, "B F (h w) -> B F h w", h=rows)


def seen_figures(
    figures: Tensor, rows: int, cols: int, views: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Where there are figures (B, F, 1, 1), and features (B, F, P, n) of each of their moments."""
    told = ~figures.isnan().any(-1)[..., None, None]
    moments = rearrange(figures.nan_to_num(1.0).float(), "B F (m K) -> m B F K", m=MOMENTS)
    down, across = places(rows, cols, views.float())
    short = min(rows, cols)
    down, across = down * rows / short, across * cols / short
    return told, [features(moment, down, across) for moment in moments]


def features(moment: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Of each token (B, F, P, n) from figures (B, F, K) and places of rows (B, F, h) and columns
    (B, F, w) in half short sides: bumps around head and joints, each alone, times the way to it,
    and that of the head times the face."""
    size, head, rest = moment[..., :1], moment[..., 1:3], moment[..., 3:]
    face, joints = rest[..., : len(FACE)], rest[..., len(FACE) :]
    near, way = bumps(head, HEAD_REACH * size, down, across)
    faces = near * face[:, :, None]
    reach = (JOINT_REACH * size).clamp(min=LEAST_REACH)
    places_of = rearrange(joints, "B F (J xy) -> J B F xy", xy=2)
    limbs = [part for at in places_of for part in bumps(at, reach, down, across)]
    return torch.cat([near, way, faces, *limbs], dim=-1)


def bumps(at: Tensor, reach: Tensor, down: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """(B, F, P, 1), 1 where a token is at a point (B, F, 2), falling off over `reach` (B, F, 1);
    and the same times the way to the point (B, F, P, 2), in reaches."""
    x = repeat((at[..., :1] - across) / reach, "B F w -> B F (h w)", h=down.shape[-1])
    y = repeat((at[..., 1:] - down) / reach, "B F h -> B F (h w)", w=across.shape[-1])
    way = torch.stack([x, y], dim=-1)
    near = (-way.square().sum(-1, keepdim=True) / 2).exp()
    return near, near * way
