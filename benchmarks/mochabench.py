"""The embedded model's films of MoChaBench's items whose speech is at hand, scored and reported.

    python -m benchmarks.mochabench MoChaBench/benchmark runs/mochabench

`openmocha bench run`, `score` and `report` as a user types them: the run is in OUT/films, the page
in OUT/report, Toon-Sync and the free measures in benchmarks/results/mochabench.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import keep
from openmocha.models.store import identity

MEASURES = ("toon_sync_c", "toon_sync_d")


def main() -> None:
    """Run, score, report, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    films = options.out / "films"
    bench("run", "--benchmark", options.benchmark, "--output", films)
    bench("score", films, "--metrics", "toon-sync,free", "--faces", "toon")
    bench("report", films, "--output", options.out / "report")
    summary = json.loads((films / "summary.json").read_text())["summary"]
    rows = [row for row in summary["toon-sync"] if row["measure"] in MEASURES and row["scored"]]
    content = {"weights": identity("toon"), "toon-sync": rows}
    content["free"] = [row for row in summary["free"] if row["scored"]]
    keep("mochabench", content)
    print(table(rows))


def bench(*arguments: Any) -> None:
    """One `openmocha bench` command; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "openmocha", "bench", *map(str, arguments)]
    subprocess.run(command, check=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Group, measure, mean with its interval, films."""
    lines = ["| group | measure | mean | films |", "|---|---|---|---|"]
    for row in rows:
        mean = f"{row['mean']:.3f}"
        if row["low"] is not None:
            mean += f" [{row['low']:.3f}, {row['high']:.3f}]"
        lines.append(f"| {row['group']} | {row['measure']} | {mean} | {row['scored']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
