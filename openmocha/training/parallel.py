"""Ranks: joining the process group, sharding a model over it, agreeing on a number.

One process needs none of it: every function here is then free. With more (torchrun sets
WORLD_SIZE), parameters, gradients and optimizer state are sharded by FSDP2:

    torchrun --nproc-per-node 2 -m openmocha.training.recipes train ...
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Ranks:
    """This process among all of them."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True on the one process that logs and writes manifests."""
        return self.rank == 0


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the group that torchrun describes; without one, or in one already, say where we are."""
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
        # Gloo aborts at exit in about one run of eight where a rank leaves before the others are
        # done.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def shard(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Shard parameters over all ranks (FSDP2): each of `model.blocks` alone, then the rest."""
    if ranks.world > 1:
        for block in getattr(model, "blocks", ()):
            fully_shard(block)
        fully_shard(model)
    return model


def mean_over_ranks(value: Tensor, ranks: Ranks) -> float:
    """Mean of a scalar over ranks, so that all of them see the same number and decide alike."""
    value = value.detach()
    if isinstance(value, DTensor):
        return value.full_tensor().item()
    if ranks.world > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value.item() / ranks.world


def agree(flag: bool, ranks: Ranks) -> bool:
    """The first rank's decision, on every rank."""
    if ranks.world == 1:
        return flag
    decision = torch.tensor([flag], dtype=torch.int32)
    dist.broadcast(decision, src=0)
    return bool(decision.item())


def wait_for_all(ranks: Ranks) -> None:
    """Return once every rank has come here."""
    if ranks.world > 1:
        dist.barrier()
