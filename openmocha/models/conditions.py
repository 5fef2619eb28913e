"""Noise level, place and text, made ready for all blocks of the transformer at once.

Dimension letters: B batch, F latent frames, h w rows and columns of tokens, P = h w, L text tokens,
D width, R rows of modulation, K features of a place.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as nnf
from einops import rearrange, repeat
from torch import Tensor, nn

from openmocha.models.attention import rotary_angles
from openmocha.models.config import MoChaConfig
from openmocha.models.places import AT_REST, places

SIGMA_FEATURES = 256  # sinusoidal features of the noise level
PLACE_OCTAVES = 4
TIME_SPAN = 32  # latent frames of a whole film; later ones are taken for its end
TEXT_MULTIPLE = 32  # text is padded to a multiple of this: whole tiles for the matrix units

# One (tokens (B, L, D_i), mask (B, L) bool, True = valid) for each text encoder.
Text = Sequence[tuple[Tensor, Tensor]]


class SigmaEmbedding(nn.Module):
    """Noise level -> rows of modulation, shared by all blocks, and two for the final layer."""

    def __init__(self, config: MoChaConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(SIGMA_FEATURES, config.sigma_width)
        self.output = nn.Linear(config.sigma_width, config.sigma_width)
        self.rows = config.modulation_rows + 2
        self.modulation = nn.Linear(config.sigma_width, self.rows * config.width)

    def forward(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """sigma (B, F) -> modulation (B, F, R, D) of blocks and (B, F, 2, D) of the final layer."""
        angles = rotary_angles(1000 * sigma, SIGMA_FEATURES, theta=10000.0)
        features = torch.cat((angles.cos(), angles.sin()), dim=-1).to(self.hidden.weight.dtype)
        embedding = nnf.silu(self.output(nnf.silu(self.hidden(features))))
        rows = rearrange(self.modulation(embedding), "B F (R D) -> B F R D", R=self.rows)
        return rows[:, :, :-2], rows[:, :, -2:]


class PlaceEmbedding(nn.Module):
    """Where in the picture a token is (in the scene, where the camera moves), from sinusoids of its
    height and width; with `times`, how late in what the network sees at once (a whole film, a
    crop, a take); with `zooms`, how large the scene is seen, which no token's place shows.

    Rotary positions tell tokens apart only by how far they are from each other; a small network
    that trains for an hour learns sooner what belongs at the top and in the middle, and which of
    two people comes first, if it is told.
    """

    def __init__(self, width: int, times: bool = False, zooms: bool = False) -> None:
        super().__init__()
        self.times, self.zooms = times, zooms
        self.linear = nn.Linear((4 + 2 * times + 2 * zooms) * PLACE_OCTAVES, width)

    def forward(self, frames: int, rows: int, cols: int, views: Tensor | None = None) -> Tensor:
        """Embeddings (B, F, P, D); without `views` (places.py) B is 1, and so is F without times.

        At rest the picture spans -1 to 1 whatever its shape, and TIME_SPAN latent frames do; zooms
        are counted in octaves, 0 at rest.
        """
        device = self.linear.weight.device
        views = torch.tensor([[AT_REST]], device=device) if views is None else views
        down, across = places(rows, cols, views)
        waves = [
            repeat(self._waves(down), "B F h K -> B F (h w) K", w=cols),
            repeat(self._waves(across), "B F w K -> B F (h w) K", h=rows),
        ]
        if self.times:
            now = torch.arange(frames, device=device).clamp(max=TIME_SPAN - 1)
            late = self._waves((now + 0.5) * 2 / TIME_SPAN - 1)
            waves = [wave.expand(-1, frames, -1, -1) for wave in waves]
            waves.append(repeat(late, "F K -> B F P K", B=len(down), P=rows * cols))
        if self.zooms:
            large = self._waves(views[..., 0].log2())
            waves.append(repeat(large, "B F K -> B F P K", P=rows * cols).expand_as(waves[0]))
        embedding: Tensor = self.linear(torch.cat(waves, dim=-1).to(self.linear.weight.dtype))
        return embedding

    @staticmethod
    def _waves(at: Tensor) -> Tensor:
        """Sines and cosines (..., K) of places, times or octaves of zoom (...)."""
        octaves = torch.pi / 2 * 2 ** torch.arange(PLACE_OCTAVES, device=at.device)
        angles = at[..., None] * octaves
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class TextProjector(nn.Module):
    """One linear + LayerNorm for each text encoder's stream; the streams are concatenated."""

    def __init__(self, text_widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.text_widths = tuple(text_widths)
        self.linears = nn.ModuleList(nn.Linear(text_width, width) for text_width in text_widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in text_widths)

    def forward(self, text: Text) -> tuple[Tensor, Tensor]:
        """[(tokens (B, L_i, D_i), mask (B, L_i)), ...] -> (B, L, D) and a bias (B, 1, 1, L).

        A sample without any valid token attends to all of its tokens: null text is tokens of zeros.
        Raises ValueError where number or widths of the streams differ from the config.
        """
        widths = tuple(tokens.shape[-1] for tokens, _ in text)
        if widths != self.text_widths:
            raise ValueError(
                f"text streams of widths {widths}; this model takes {self.text_widths}"
            )
        streams = [
            norm(linear(tokens))
            for (tokens, _), linear, norm in zip(text, self.linears, self.norms, strict=True)
        ]
        tokens, mask = torch.cat(streams, dim=1), torch.cat([mask for _, mask in text], dim=1)
        padding = -mask.shape[1] % TEXT_MULTIPLE
        tokens, mask = nnf.pad(tokens, (0, 0, 0, padding)), nnf.pad(mask, (0, padding))
        mask = mask | ~mask.any(1, keepdim=True)
        bias = torch.zeros(mask.shape, dtype=tokens.dtype, device=mask.device)
        return tokens, rearrange(bias.masked_fill(~mask, float("-inf")), "B L -> B 1 1 L")
