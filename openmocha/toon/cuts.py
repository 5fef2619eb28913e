"""Where a film cuts: one change of everything at once, which zooms, pans and gestures are not."""

import numpy as np
from einops import reduce

GROUP = 4  # frames: a cut may be smeared over one latent group
SMALLEST_CHANGE = 0.04  # of the full range of brightness; motion alone stays well below it
LEAST_CONTRAST = 2.5  # how far a cut must stand above the film's usual change


def find_cut(frames: np.ndarray) -> int | None:
    """The first frame of the second shot of `frames` uint8 (T, H, W, 3), or None without a cut.

    The mean of the four frames from t on is compared with the mean of the four before, on a
    coarse grid, so that a cut stands out even where a generator melts it over a few frames.
    Only the largest change of the film is considered.
    """
    num_frames = len(frames)
    if num_frames < 2 * GROUP:
        return None
    small = coarse(frames)
    change = np.array(
        [
            np.abs(small[t : t + GROUP].mean(0) - small[t - GROUP : t].mean(0)).mean()
            for t in range(GROUP, num_frames - GROUP + 1)
        ]
    )
    peak = int(change.argmax())
    far = np.abs(np.arange(len(change)) - peak) >= 2 * GROUP
    usual = np.percentile(change[far], 90) if far.any() else 0.0
    if change[peak] < max(SMALLEST_CHANGE, LEAST_CONTRAST * usual):
        return None
    # The sharpest single step near the broad peak is the cut itself.
    centre = peak + GROUP
    near = range(max(1, centre - GROUP + 1), min(num_frames, centre + GROUP))
    steps = [np.abs(small[t] - small[t - 1]).mean() for t in near]
    return near[int(np.argmax(steps))]


def coarse(frames: np.ndarray) -> np.ndarray:
    """Frames as float (T, 16, 16, 3) in 0..1: the means of cells; what does not fit is cut off."""
    rows, columns = frames.shape[1] // 16, frames.shape[2] // 16
    kept = frames[:, : rows * 16, : columns * 16].astype(np.float32) / 255
    return np.asarray(reduce(kept, "T (h a) (w b) C -> T h w C", "mean", h=16, w=16))
