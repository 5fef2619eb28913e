"""Ranks: joining the process group, sharding a model over it, agreeing on a number.

One process needs none of it: every function here is then free. With more (torchrun sets
WORLD_SIZE), parameters, gradients and optimizer state of a large model are sharded by FSDP2; a
small one is copied to every rank and its gradients are averaged. FSDP2 would compile each block
anew, minutes each on a CPU, and save memory that a small model does not need:

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


def local_device() -> torch.device:
    """The accelerator of this process (torchrun's LOCAL_RANK), or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the group that torchrun describes; without one, or in one already, say where we are."""
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    # Decisions are CPU tensors, so a GPU's group needs gloo beside nccl.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
        # Gloo aborts at exit in about one run of eight where a rank leaves before the others are
        # done.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def shard(model: nn.Module, ranks: Ranks, shard_from: int) -> nn.Module:
    """Shard parameters over all ranks (FSDP2): each of `model.blocks` alone, then the rest.

    A model of less than `shard_from` parameters stays whole, a copy on each rank.
    """
    large = sum(parameter.numel() for parameter in model.parameters()) >= shard_from
    if ranks.world > 1 and large:
        for block in getattr(model, "blocks", ()):
            fully_shard(block)
        fully_shard(model)
    return model


def average_gradients(model: nn.Module, ranks: Ranks) -> None:
    """Replace the gradients of a model that is not sharded by their mean over ranks."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if ranks.world == 1 or any(isinstance(gradient, DTensor) for gradient in gradients):
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat / ranks.world, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


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
