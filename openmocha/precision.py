"""Devices, and in which precision they multiply: bfloat16 where the hardware does it, else float32.

On a CPU without bfloat16 instructions torch emulates them, two hundred times slower than float32.
"""

from contextlib import AbstractContextManager

import torch


def matrix_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 on a GPU and on a CPU with AMX or AVX512-BF16, else float32."""
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # private, so they may go
    fast = any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return torch.bfloat16 if fast else torch.float32


def mixed_precision(
    device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> AbstractContextManager[None]:
    """Autocast to `dtype`, by default the device's matrix_dtype; nothing where that is float32."""
    dtype = dtype or matrix_dtype(device)
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)


def usable_device(device: str | torch.device) -> torch.device:
    """The torch device of a name. Raises ValueError for one that is unknown or not there."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device {str(device)!r} cannot be used ({reason}); try cpu, or cuda with a GPU"
        ) from error
