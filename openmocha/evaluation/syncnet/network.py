"""SyncNet (Chung and Zisserman 2016), as public weights have it: lips and speech -> embeddings.

crops (N+4, 224, 224, 3) -> N lip embeddings         MFCC (13, 4N+16 or more) -> N speech embeddings

`embed_lips` and `embed_speech` are the networks as published. `Folded` is the same arithmetic for a
CPU: batch normalisation folded into the convolutions, convolutions of single frames done in two
dimensions, channels last. Embeddings are not normalised.

    N windows   T frames   C channels   H W rows and columns
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

WINDOW = 5  # video frames at 25 a second
WINDOW_MFCC = 20  # MFCC frames at 100 a second: the same 0.2 s
MFCC_PER_FRAME = 4
BATCH = 20  # windows at once, as in the public scripts
NUM_FEATURES = 1024


class Embedder(Protocol):
    """Embeds the N lip windows of N+4 crops, and N speech windows of 13 MFCCs."""

    def embed_lips(self, crops: Tensor) -> Tensor:
        """uint8 (N+4, 224, 224, 3) BGR -> (N, 1024)."""

    def embed_speech(self, mfcc: Tensor, num_windows: int) -> Tensor:
        """(13, 4N+16 or more) -> (N, 1024)."""


def _block2d(c_in: int, c_out: int, kernel: Any, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, padding=padding), nn.BatchNorm2d(c_out), nn.ReLU()]


def _block3d(c_in: int, c_out: int, kernel: Any, stride: int = 1, pad: int = 0) -> list[nn.Module]:
    conv = nn.Conv3d(c_in, c_out, kernel, (1, stride, stride), (0, pad, pad))
    return [conv, nn.BatchNorm3d(c_out), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, NUM_FEATURES)
    )


class SyncNet(nn.Module):
    """The two networks; names and shapes of the state dict are those of syncnet_v2.model."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_block2d(1, 64, 3),
            nn.MaxPool2d(1, 1),  # does nothing, but counts in the names
            *_block2d(64, 192, 3),
            nn.MaxPool2d(3, (1, 2)),
            *_block2d(192, 384, 3),
            *_block2d(384, 256, 3),
            *_block2d(256, 256, 3),
            nn.MaxPool2d(3, 2),
            *_block2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _head()
        self.netcnnlip = nn.Sequential(
            *_block3d(3, 96, (5, 7, 7), 2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_block3d(256, 256, (1, 3, 3), 1, 1),
            *_block3d(256, 256, (1, 3, 3), 1, 1),
            *_block3d(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(256, 512, (1, 6, 6)),
        )
        self.netfclip = _head()

    @torch.inference_mode()
    def embed_lips(self, crops: Tensor) -> Tensor:
        device = next(self.parameters()).device
        frames = rearrange(crops, "T H W C -> 1 C T H W")
        embedded = []
        for start in range(0, len(crops) - WINDOW + 1, BATCH):
            last = min(start + BATCH, len(crops) - WINDOW + 1)
            windows = torch.cat([frames[:, :, i : i + WINDOW] for i in range(start, last)])
            found = self.netcnnlip(windows.to(device, torch.float32))
            embedded.append(self.netfclip(rearrange(found, "N D 1 1 1 -> N D")))
        return torch.cat(embedded).cpu()

    @torch.inference_mode()
    def embed_speech(self, mfcc: Tensor, num_windows: int) -> Tensor:
        device = next(self.parameters()).device
        embedded = []
        for windows in mfcc_windows(mfcc, num_windows, BATCH):
            found = self.netcnnaud(windows.to(device, torch.float32))
            embedded.append(self.netfcaud(rearrange(found, "N D 1 1 -> N D")))
        return torch.cat(embedded).cpu()


def mfcc_windows(mfcc: Tensor, num_windows: int, batch: int) -> Iterator[Tensor]:
    """Batches (n, 1, 13, 20): window v holds MFCC frames 4v .. 4v+19."""
    windows = mfcc.unfold(1, WINDOW_MFCC, MFCC_PER_FRAME)[:, :num_windows]
    assert windows.shape[1] == num_windows, (windows.shape, num_windows)
    yield from torch.split(rearrange(windows, "C N T -> N 1 C T"), batch)


class Folded:
    """SyncNet for scoring only: the same embeddings to rounding, in less than half the time.

    The first convolution weighs each of a window's five frames differently, so overlapping windows
    have no products in common; a window is one picture of 15 channels instead.
    """

    def __init__(self, network: SyncNet) -> None:
        self.lips = nn.Sequential(*_fold(network.netcnnlip), nn.Flatten(), *_fold(network.netfclip))
        self.speech = nn.Sequential(
            *_fold(network.netcnnaud), nn.Flatten(), *_fold(network.netfcaud)
        )
        for part in (self.lips, self.speech):
            part.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def embed_lips(self, crops: Tensor) -> Tensor:
        embedded = []
        for start in range(0, len(crops) - WINDOW + 1, BATCH):
            last = min(start + BATCH, len(crops) - WINDOW + 1)
            shifted = [crops[start + i : last + i] for i in range(WINDOW)]
            pictures = torch.cat(shifted, dim=-1).to(self.device, torch.float32)  # (N, H, W, T*C)
            embedded.append(self.lips(rearrange(pictures, "N H W D -> N D H W")))
        return torch.cat(embedded).cpu()

    @torch.inference_mode()
    def embed_speech(self, mfcc: Tensor, num_windows: int) -> Tensor:
        batches = mfcc_windows(mfcc, num_windows, BATCH)
        return torch.cat([self.speech(one.to(self.device, torch.float32)) for one in batches]).cpu()


def _fold(layers: nn.Sequential) -> list[nn.Module]:
    """The layers without batch normalisation and without a dimension of time."""
    folded: list[nn.Module] = []
    for layer, following in zip(layers, [*list(layers)[1:], None], strict=True):
        if isinstance(layer, nn.Linear):
            norm = isinstance(following, nn.BatchNorm1d)
            folded.append(fuse_linear_bn_eval(layer, following) if norm else layer)  # type: ignore[arg-type]
        elif isinstance(layer, nn.Conv2d | nn.Conv3d):
            fused: Any = fuse_conv_bn_eval(layer, following)  # type: ignore[arg-type]
            folded.append(_flat(fused) if isinstance(layer, nn.Conv3d) else fused)
        elif isinstance(layer, nn.MaxPool3d):
            sizes: Any = (layer.kernel_size, layer.stride, layer.padding)
            flat: Any = [size[1:] if isinstance(size, tuple) else size for size in sizes]
            folded.append(nn.MaxPool2d(*flat))
        elif not isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            folded.append(layer)
    return folded


def _flat(conv: nn.Conv3d) -> nn.Conv2d:
    """A convolution over a window's T frames as one over a picture of T*C channels."""
    weight = rearrange(conv.weight, "O C T H W -> O (T C) H W")
    stride, padding = conv.stride[1:], conv.padding[1:]
    flat = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], stride, padding)  # type: ignore[arg-type]
    flat.weight, flat.bias = nn.Parameter(weight.detach()), conv.bias
    return flat
