"""Pixels <-> latents: a small video VAE that encodes every group of four frames on its own.

    video (B, T, 3, H, W) --encode--> latents (B, C, F, H/p, W/p) --decode--> video

The four frames of a group are the channels of a 2-D convolution network, so a latent frame depends
on its own four frames and on nothing else: single latents are exact, and an image is a frame
repeated four times. The decoder sees one latent frame to either side (the edge frame repeated), so
a film can be decoded while it is being made.

Dimension letters:
    B batch, T video frames, F latent frames, r frames per latent, C latent channels, H W pixels,
    h w latent rows/cols, p pixels of a latent's side
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Self

import torch
from einops import rearrange, repeat
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openmocha.models.eight_bits import restored


@dataclass(frozen=True)
class VideoVAEConfig:
    """Sizes of a VideoVAE: widths and residual blocks at 1/2, 1/4, 1/8, ... of the pixel grid.

    The encoder starts at 1/4: its number of blocks at 1/2 is not used.
    """

    latent_channels: int = 32
    frames_per_latent: int = 4
    widths: tuple[int, ...] = (48, 96, 128, 128)
    encoder_blocks: tuple[int, ...] = (0, 1, 1, 1)
    decoder_blocks: tuple[int, ...] = (1, 2, 2, 2)

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        levels = {len(self.widths), len(self.encoder_blocks), len(self.decoder_blocks)}
        if len(levels) != 1 or min(levels) < 2:
            raise ValueError(
                f"widths {self.widths}, encoder_blocks {self.encoder_blocks} and decoder_blocks "
                f"{self.decoder_blocks}; expected one number for each of two or more levels"
            )

    @property
    def pixels_per_latent(self) -> int:
        return int(2 ** len(self.widths))


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))); the last convolution starts at zero, instead of normalisation.

    Without normalisation over space, a pixel does not depend on the size of the frame around it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv_out(torch.relu(self.conv_in(torch.relu(x))))
        return x + change


def residual_blocks(num_blocks: int, width: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(num_blocks)]


def make_encoder(config: VideoVAEConfig) -> nn.Sequential:
    """(BF, r*3, H, W) -> latents before normalisation (BF, C, h, w)."""
    widths, blocks = config.widths, config.encoder_blocks
    layers = [
        nn.PixelUnshuffle(4),
        nn.Conv2d(config.frames_per_latent * 3 * 16, widths[1], 3, padding=1),
        *residual_blocks(blocks[1], widths[1]),
    ]
    for level in range(2, len(widths)):
        layers += [nn.PixelUnshuffle(2), nn.Conv2d(widths[level - 1] * 4, widths[level], 1)]
        layers += residual_blocks(blocks[level], widths[level])
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], config.latent_channels, 1))


def make_decoder(config: VideoVAEConfig) -> nn.Sequential:
    """(BF, 3*C, h, w), a latent frame between its neighbours -> (BF, r*3, H, W)."""
    widths, blocks = config.widths, config.decoder_blocks
    layers = [
        nn.Conv2d(config.latent_channels * 3, widths[-1], 3, padding=1),
        *residual_blocks(blocks[-1], widths[-1]),
    ]
    for level in reversed(range(len(widths) - 1)):
        layers += [nn.Conv2d(widths[level + 1], widths[level] * 4, 1), nn.PixelShuffle(2)]
        layers += residual_blocks(blocks[level], widths[level])
    layers += [nn.Conv2d(widths[0], config.frames_per_latent * 3 * 4, 3, padding=1)]
    return nn.Sequential(*layers, nn.PixelShuffle(2))


class VideoVAE(nn.Module):
    """The toon VAE: p x p pixels by 4 frames per latent, latents of zero mean and mean variance 1.

    `latent_mean` and `latent_scale` (C,) are measured on films and stored with the weights.
    """

    latent_mean: Tensor
    latent_scale: Tensor

    def __init__(self, config: VideoVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config or VideoVAEConfig()
        self.encoder = make_encoder(self.config)
        self.decoder = make_decoder(self.config)
        self.register_buffer("latent_mean", torch.zeros(self.config.latent_channels))
        self.register_buffer("latent_scale", torch.ones(self.config.latent_channels))
        for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            conv.weight.data = conv.weight.contiguous(memory_format=torch.channels_last)

    def encode_raw(self, video: Tensor) -> Tensor:
        """Video (B, T, 3, H, W) -> latents before normalisation (B*F, C, h, w)."""
        self._check_video(video)
        r = self.config.frames_per_latent
        groups = rearrange(video, "b (f r) c h w -> (b f) (r c) h w", r=r)
        raw: Tensor = self.encoder(groups.contiguous(memory_format=torch.channels_last))
        return raw.float()

    def encode(self, video: Tensor) -> Tensor:
        """Encode groups of four frames, each on its own.

        Args:
            video: (B, T, 3, H, W) float in [-1, 1]; T a multiple of 4, H and W multiples of p.
        Returns:
            Latents (B, C, F, h, w) with F = T/4, h = H/p, w = W/p, about zero mean; the
            variances of the channels are 1 on average.
        Raises:
            ValueError: a wrong number of dimensions or colours, or a size not such a multiple.
        """
        raw = self.encode_raw(video)
        mean, scale = (rearrange(s, "c -> c 1 1") for s in (self.latent_mean, self.latent_scale))
        return rearrange((raw - mean) / scale, "(b f) c h w -> b c f h w", b=video.shape[0])

    def encode_image(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [-1, 1] -> latents (B, C, 1, h, w): a film of four equal frames."""
        return self.encode(repeat(image, "b c h w -> b r c h w", r=self.config.frames_per_latent))

    def decode_group(self, left: Tensor, latent: Tensor, right: Tensor) -> Tensor:
        """A latent frame (B, C, h, w) between its neighbours -> (B, r, 3, H, W), not clamped."""
        three = torch.cat([left, latent, right], dim=1)
        group: Tensor = self.decoder(three.contiguous(memory_format=torch.channels_last))
        return rearrange(group.float(), "b (r c) h w -> b r c h w", c=3)

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Latents (B, C, F, h, w) -> video (B, T, 3, H, W), not clamped, all groups at once."""
        padded = torch.cat([latents[:, :, :1], latents, latents[:, :, -1:]], dim=2)
        three = (padded[:, :, :-2], latents, padded[:, :, 2:])
        groups = self.decode_group(*(rearrange(x, "b c f h w -> (b f) c h w") for x in three))
        return rearrange(groups, "(b f) r c h w -> b (f r) c h w", b=latents.shape[0])

    def decode_stream(self, latent_frames: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
        """Decode latent frames as they come, one latent frame late.

        Args:
            latent_frames: (B, C, F, h, w), or an iterable of F latent frames (B, C, h, w).
        Yields:
            F groups of video (B, 4, 3, H, W), clamped to [-1, 1].
        """
        if isinstance(latent_frames, Tensor):
            self._check_latents(latent_frames)
            latent_frames = latent_frames.unbind(2)
        previous, current = None, None
        # The last frame is its own right neighbour, as the first is its own left one.
        for following in chain(latent_frames, [None]):
            if current is not None:
                left = current if previous is None else previous
                right = current if following is None else following
                yield self.decode_group(left, current, right).clamp(-1, 1)
            previous, current = current, following

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, F, h, w) -> video (B, T, 3, H, W) in [-1, 1], group by group.

        Raises:
            ValueError: latents of another number of dimensions or channels.
        """
        return torch.cat(list(self.decode_stream(latents)), dim=1)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors; weights in `dtype`, statistics in float32."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"_class_name": type(self).__name__, **asdict(self.config)}
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        statistics = ("latent_mean", "latent_scale")
        state = {
            name: tensor.detach().to(torch.float32 if name in statistics else dtype).contiguous()
            for name, tensor in self.state_dict().items()
        }
        save_file(state, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what `save_pretrained` wrote; weights become float32 whatever they were stored in.

        Raises:
            ValueError: unknown settings in config.json.
            FileNotFoundError: a missing file.
        """
        settings = json.loads((Path(folder) / "config.json").read_text())
        settings.pop("_class_name", None)
        unknown = settings.keys() - {field.name for field in fields(VideoVAEConfig)}
        if unknown:
            raise ValueError(f"{folder}/config.json: VideoVAE does not know {sorted(unknown)}")
        vae = cls(VideoVAEConfig(**settings))
        vae.load_state_dict(restored(load_file(Path(folder) / "model.safetensors")))
        return vae.eval()

    def _check_video(self, video: Tensor) -> None:
        if video.ndim != 5 or video.shape[2] != 3:
            raise ValueError(f"video must be (B, T, 3, H, W), got {tuple(video.shape)}")
        num_frames, height, width = video.shape[1], video.shape[3], video.shape[4]
        r, p = self.config.frames_per_latent, self.config.pixels_per_latent
        if num_frames == 0 or num_frames % r:
            raise ValueError(f"got {num_frames} frames, expected a multiple of {r}: add copies")
        if height % p or width % p:
            raise ValueError(f"got {width}x{height} pixels, expected multiples of {p}: crop or pad")

    def _check_latents(self, latents: Tensor) -> None:
        if latents.ndim != 5 or latents.shape[1] != self.config.latent_channels:
            expected = f"(B, {self.config.latent_channels}, F, h, w)"
            raise ValueError(f"latents must be {expected}, got {tuple(latents.shape)}")
