"""Several processes that train one network: each takes its share of every step's structures, gradients are summed.

torchrun starts them (torchrun --nproc-per-node 2 training/train.py CONFIG); gloo carries the sums of a CPU, nccl those
of graphics cards. One flat sum per optimiser step takes the place of DistributedDataParallel: the parameters receive
gradients of any number of structures before it, also of none, and the sum is the single process's own.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """rank: number of this process, from 0; size: how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, items: Sequence) -> Sequence:
        """The items this process works on: every size-th."""
        return items[self.rank :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        """The sum of every process's tensor, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]):
        """Make every gradient the sum of the gradients of all processes; one that is missing in all of them stays so.

        A parameter without a use (of a part that is switched off) must not be seen by the optimizer: its weight decays otherwise.
        """
        if self.size == 1:
            return
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        used = torch.tensor([p.grad is not None for p in parameters]).to(gradients[0])
        flat = self.sum(torch.cat([used, *(g.flatten() for g in gradients)]))
        used, *summed = flat.split([len(parameters), *(p.numel() for p in parameters)])
        for p, n_users, gradient in zip(parameters, used.tolist(), summed, strict=True):
            p.grad = gradient.view_as(p) if n_users else None

    def copy_from_leader(self, module: nn.Module):
        """Give every process the leader's parameters and buffers, so that rounding elsewhere cannot part them."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def wait(self):
        """Go on when all processes are here: what the leader has written is then there."""
        if self.size > 1:
            dist.barrier()

    def leave(self):
        """Leave the group."""
        if self.size > 1:
            dist.destroy_process_group()


def join_processes() -> Processes:
    """The processes torchrun started together with this one, or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size())
