"""The command line of the steps that train a finished model on: which model, for how long."""

import argparse
import os
from pathlib import Path

import torch

from openmocha.backbones.paper import PaperBackbone
from openmocha.pipeline import MoChaPipeline
from openmocha.sampling import Sampling
from openmocha.training.parallel import local_device


def step_parser(description: str) -> argparse.ArgumentParser:
    """Folder, model, minutes, seed and threads."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="toon", help="name or folder of a toon model")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser


def model_of(options: argparse.Namespace) -> tuple[PaperBackbone, Sampling]:
    """The model that a step_parser's options name, on this process's device.

    Raises ValueError for one that is not of the paper's own kind, besides what loading raises.
    """
    torch.set_num_threads(options.threads)
    pipeline = MoChaPipeline.from_pretrained(options.model, local_device())
    if not isinstance(pipeline.backbone, PaperBackbone):
        raise ValueError(f"{options.model} is not a toon model, which is what this step trains on")
    return pipeline.backbone, pipeline.sampling
