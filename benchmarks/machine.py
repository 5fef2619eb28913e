"""Results of benchmarks, with the machine that they were measured on: results/NAME.json."""

import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Write what a benchmark found, with this machine unless it names another."""
    RESULTS.mkdir(exist_ok=True)
    found = without_nan({"machine": machine(), **content})
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """The same with null for each NaN, which JSON does not know."""
    if isinstance(value, Mapping):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, accelerator, and the versions that matter."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    has_gpu = torch.cuda.is_available()
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_gb),
        "accelerator": torch.cuda.get_device_name() if has_gpu else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """The processor's own name, with its family and model where the name says little."""
    rows = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    facts = {key.strip(): value.strip() for key, _, value in rows}
    amx = " with AMX" if "amx_bf16" in facts.get("flags", "") else ""
    name = facts.get("model name", platform.machine())
    return f"{name} (family {facts.get('cpu family')}, model {facts.get('model')}){amx}"
