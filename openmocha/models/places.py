"""Where rows and columns of a picture are in the scene, which a moving camera changes.

A view (zoom, x, y) says how large the scene is seen and which place of it is in the middle of the
picture, in half short sides of the picture; a camera at rest is (1, 0, 0). A network that is told
where in the scene each of its tokens is need not find out how the camera moves.

Dimension letters: B batch, F latent frames, h w rows and columns, n any of these two.
"""

import torch
from torch import Tensor

SceneView = tuple[float, float, float]  # zoom, x, y
AT_REST: SceneView = (1.0, 0.0, 0.0)


def places(rows: int, cols: int, views: Tensor) -> tuple[Tensor, Tensor]:
    """Middles of rows (B, F, h) and columns (B, F, w) in the scene that `views` (B, F, 3) show,
    which spans -1 to 1 for a camera at rest."""
    zoom, x, y = views[..., None].unbind(-2)
    short = min(rows, cols)
    down = y * short / rows + middles(rows, views.device) / zoom
    across = x * short / cols + middles(cols, views.device) / zoom
    return down, across


def middles(count: int, device: torch.device) -> Tensor:
    """Middles (n,) of so many rows or columns, seen by a camera at rest."""
    return (torch.arange(count, device=device) + 0.5) * 2 / count - 1


def zooming(view: SceneView, size: float) -> SceneView:
    """The view of a camera that has come `size` times as near, to the same place.

    >>> zooming((1.25, 0.0, -0.1), 4.0)
    (2.0, 0.0, -0.25)
    """
    zoom, x, y = view
    nearer = 1 + size * (zoom - 1)
    if zoom == 1:
        return view
    further = (1 - 1 / nearer) / (1 - 1 / zoom)  # what it closes in on stays where it is seen
    return nearer, further * x, further * y


def on_the_way(first: SceneView, last: SceneView, frames: int, moving: int) -> Tensor:
    """Views (1, F, 3) of a camera that moves evenly in the first `moving` latent frames, then
    rests.

    >>> on_the_way((1.0, 0.0, 0.0), (2.0, 0.0, 0.0), 4, 2)[0, :, 0].tolist()
    [1.25, 1.75, 2.0, 2.0]
    """
    along = ((torch.arange(frames) + 0.5) / moving).clamp(max=1)[:, None]
    return torch.lerp(torch.tensor(first), torch.tensor(last), along)[None]
