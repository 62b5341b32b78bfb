"""What stacks train on: this machine's cores or GPUs, or the workers of a cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bnsweep.runs.machine import free_bytes, gpus, worker_count


@dataclass(frozen=True)
class Resources:
    """What a plan is made for."""

    device: torch.device
    """The kind that each worker trains on."""
    workers: int
    """Stacks trained at a time at most."""
    free: int
    """Bytes of each of the memories."""
    memories: int = 1
    """Memories that the workers are spread over: one of a machine's cores, one a GPU, one a worker of a cluster."""
    where: str = ""
    """In words, where it is not this machine."""

    @property
    def each(self) -> float:
        """Bytes for each worker while all train."""
        return self.free / math.ceil(self.workers / self.memories)

    def holds(self, size: float) -> int:
        """Workers that can take so many bytes at a time."""
        return self.memories * int(self.free // size)


def this_machine(device: torch.device, workers: int | None = None, free: int | None = None) -> Resources:
    """`workers`: at most, by default one a core or a GPU; `free`: bytes, by default what is free now on the device, of
    several on the one that has least."""
    free = min(map(free_bytes, gpus(device))) if free is None else free
    return Resources(device, worker_count(device) if workers is None else workers, free, len(gpus(device)))
