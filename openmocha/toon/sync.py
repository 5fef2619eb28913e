"""Toon-Sync: does this mouth say this speech, and how many frames apart? For drawn films only.

    frames + mouth boxes -> crops -> five frames at a time -> lip embedding   --+
    speech -> mel bands -> 0.24 s at a time -> speech embedding               --+-> distances by lag

The score is SyncNet's (Chung & Zisserman 2016, section 4): distances of lips at a time to speech at
that time plus a lag are averaged over the film; the lowest is Toon-Sync-D, the median over lags
less the lowest Toon-Sync-C. Embeddings lie on the unit sphere, so neither can be compared with
Sync-D or Sync-C of photographed films.

Dimension letters: T frames, W windows of five frames, L lags, M mel bands, S mel frames, D width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openmocha.toon.judge import FRAME_SIZE, Window, convolution, crop_around, letterbox

FPS = 24.0
SAMPLE_RATE_HZ = 16_000
LIP_FRAMES = 5
MEL_BANDS, MEL_FRAMES, MEL_RATE_HZ = 40, 24, 100
MAX_LAG = 15  # frames, as SyncNet
SIZE = 32  # pixels of a crop
LIPS_WINDOW = Window(size=SIZE, side=1.5)


@dataclass(frozen=True)
class SyncScore:
    """offset: lips of frame i fit the speech of frame i - offset, SyncNet's sign (0 = in sync).
    distance: Toon-Sync-D, 0..2; confidence: Toon-Sync-C; by_lag: (2 MAX_LAG + 1,) distances."""

    offset: int
    confidence: float
    distance: float
    by_lag: np.ndarray


class ToonSync(nn.Module):
    """Two small networks into one space; about 1.2 million parameters."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.lips = nn.Sequential(
            convolution(3 * LIP_FRAMES, 48),
            convolution(48, 64, stride=2),
            convolution(64, 96, stride=2),
            convolution(96, 128, stride=2),
            nn.Flatten(),
            nn.Linear(128 * (SIZE // 8) ** 2, 256),
            nn.ReLU(),
            nn.Linear(256, width),
        )
        self.speech = nn.Sequential(
            convolution(1, 32, stride=2),
            convolution(32, 64),
            convolution(64, 96, stride=2),
            convolution(96, 96, stride=2),
            nn.Flatten(),
            nn.Linear(96 * (MEL_BANDS // 8) * (MEL_FRAMES // 8), 256),
            nn.ReLU(),
            nn.Linear(256, width),
        )
        self.sharpness = nn.Parameter(torch.tensor(2.6))  # log of what distances are scaled by

    def embed_lips(self, windows: Tensor) -> Tensor:
        """Five crops in [-1, 1], (B, 15, size, size) -> unit vectors (B, D)."""
        return F.normalize(self.lips(windows), dim=-1)

    def embed_speech(self, windows: Tensor) -> Tensor:
        """Mel windows (B, M, 24) -> unit vectors (B, D)."""
        return F.normalize(self.speech(windows[:, None]), dim=-1)

    @torch.no_grad()
    def embed_crops(self, crops: Tensor) -> Tensor:
        """Crops (T, 3, size, size) of one mouth -> unit vectors (T - 4, D), one for every five."""
        windows = crops.unfold(0, LIP_FRAMES, 1)
        return self.embed_lips(rearrange(windows, "W C h w f -> W (f C) h w"))

    @torch.no_grad()
    def score(self, lips: Tensor, speech: np.ndarray, first_frame: int = 0) -> SyncScore:
        """Score a mouth's embeddings (W, D), the first of them of five frames from `first_frame` of
        the film on, at 24 frames a second, against the film's speech (samples,) at 16 kHz."""
        first, last = first_frame - MAX_LAG, first_frame + len(lips) + MAX_LAG
        mel, heard = mel_windows(log_mel(speech), np.arange(first, last))
        said = self.embed_speech(mel)
        by_lag = torch.stack(
            [
                mean_distance(lips, said[lag : lag + len(lips)], heard[lag : lag + len(lips)])
                for lag in range(2 * MAX_LAG + 1)
            ]
        )
        best = int(by_lag.argmin())
        return SyncScore(
            offset=MAX_LAG - best,
            confidence=float(by_lag.median() - by_lag[best]),
            distance=float(by_lag[best]),
            by_lag=by_lag.numpy(),
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors; weights are rounded to bfloat16."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        state = self.state_dict().items()
        kept = {k: v.contiguous() for k, v in state if not k.endswith("num_batches_tracked")}
        rounded = {k: v.to(torch.bfloat16) for k, v in kept.items()}
        save_file(rounded, Path(folder) / "model.safetensors")


def load_toon_sync(folder: str | Path) -> ToonSync:
    """The network saved in `folder`, float32, eval mode. Raises ValueError where there is none, or
    for other weights."""
    network = ToonSync()
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{folder} holds no model.safetensors; expected a network of Toon-Sync")
    tensors = {k: v.float() for k, v in load_file(path).items()}
    fit = network.load_state_dict(tensors, strict=False)
    missing = [k for k in fit.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or fit.unexpected_keys:
        raise ValueError(
            f"{folder} does not fit Toon-Sync: missing {missing}, unexpected "
            f"{fit.unexpected_keys}; train it again with this version of the package"
        )
    return network.eval()


def mean_distance(lips: Tensor, speech: Tensor, heard: Tensor) -> Tensor:
    """Mean distance of embeddings (W, D) where the film has sound for the window, else infinite."""
    if not heard.any():
        return torch.tensor(float("inf"))
    distances: Tensor = (lips - speech)[heard].norm(dim=-1)
    return distances.mean()


def lip_crops(frames: np.ndarray, boxes: np.ndarray) -> Tensor:
    """Crops (T, 3, size, size) in [-1, 1] of frames uint8 (T, H, W, 3), by the boxes (T, 4) of one
    mouth, x0 y0 x1 y1 in pixels, `smoothed`."""
    images, offset, scale = letterbox(frames)
    placed = torch.from_numpy(boxes) * scale + torch.tensor(offset).repeat(2)
    return crop_around(images, (placed / FRAME_SIZE).float()[:, None], LIPS_WINDOW)


def smoothed(boxes: np.ndarray, reach: int = 4) -> np.ndarray:
    """Median over 2 `reach` + 1 frames (a third of a second) of boxes (T, 4); the first and last
    stand in beyond."""
    padded = np.pad(boxes, ((reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return np.asarray(np.median(windows, axis=-1))


def log_mel(speech: np.ndarray) -> Tensor:
    """Speech (samples,) at 16 kHz -> log mel bands (M, S), 100 a second, mean 0 and deviation 1.

    Mel frame s is centred at s / 100 seconds.
    """
    samples = torch.from_numpy(np.ascontiguousarray(speech)).float()
    hop = SAMPLE_RATE_HZ // MEL_RATE_HZ
    window = torch.hann_window(400)
    padded = F.pad(samples[None], (256, 256), mode="constant")[0]
    spectrum = torch.stft(
        padded, 512, hop, win_length=400, window=window, center=False, return_complex=True
    )
    bands = (mel_filters() @ spectrum.abs().square() + 1e-8).log()
    floor = bands.amax() - 14.0  # 60 dB below the loudest: digital silence says no more than that
    bands = bands.clamp(min=float(floor))
    even: Tensor = (bands - bands.mean()) / (bands.std() + 1e-5)
    return even


def mel_filters() -> Tensor:
    """Triangles (M, 257) evenly spaced in mel from 80 to 7600 Hz."""

    def mel(hz: float) -> float:
        return float(2595 * np.log10(1 + hz / 700))

    edges = 700 * (10 ** (torch.linspace(mel(80), mel(7600), MEL_BANDS + 2) / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE_HZ / 2, 257)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


def mel_windows(bands: Tensor, frames: np.ndarray) -> tuple[Tensor, Tensor]:
    """The mel window of the five video frames from each of `frames` (W,) on: (W, M, 24), and
    whether the sound covers its middle (W,). What lies beyond the sound is its quietest value."""
    middles = (frames + LIP_FRAMES / 2) / FPS * MEL_RATE_HZ
    first = np.round(middles).astype(int) - MEL_FRAMES // 2
    index = torch.from_numpy(first[:, None] + np.arange(MEL_FRAMES))
    beyond = (index < 0) | (index >= bands.shape[1])
    windows = bands[:, index.clamp(0, bands.shape[1] - 1)]
    windows = torch.where(beyond, bands.min(), windows)
    heard = torch.from_numpy((middles >= 0) & (middles < bands.shape[1]))
    return rearrange(windows, "M W s -> W M s").contiguous(), heard
