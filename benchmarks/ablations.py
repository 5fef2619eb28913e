"""The paper's ablations in the toon domain, and their table as results/ablations.json.

python -m benchmarks.ablations runs/ablation --seeds 2 --variant window --variant "global, none"
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.machine import keep
from openmocha.evaluation.ablations import ablate, markdown, table, trained
from openmocha.training.ablations import VARIANTS, AblationBudget


def main() -> None:
    """Train what is not trained yet, score, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    parser.add_argument("--trained", action="store_true", help="train nothing: what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = AblationBudget()
    variants = options.variant or list(VARIANTS)
    seeds = range(options.seeds)
    if options.trained:
        rows = table(options.folder, trained(options.folder, seeds))
    else:
        rows = ablate(options.folder, variants, seeds, budget, 1, print)
    print(markdown(rows))
    content = {"budget": asdict(budget), "table": rows}
    keep("ablations", content)


if __name__ == "__main__":
    main()
