"""What an arm is: one way to train the members of a Work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bnsweep.runs.machine import cores
from tests.benchmarks.work import Work


class NotRun(Exception):
    """An arm cannot run here; the message says why."""


class Arm:
    """Made of a Work (cold: import, compile, capture), then trained pass by pass."""

    label = ""
    optimizer = "sgd"
    most: int | None = None
    """Members it trains at most; costs of more are extrapolated from these. None: all of them."""
    fewest = 1
    """Members with which it is something else than another arm."""
    once = False
    """A member costs the same however many there are: timed for one K, the largest."""
    tuned_as = ""
    """The arm that has tried out for it how to run; empty: none has."""
    note = ""
    """What it chose for itself, in words."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.configs = work.configs[: self.most]
        self.settings: dict[str, Any] = {}
        """What it chose by trial, as further arguments that make the same arm elsewhere."""

    def epoch(self, number: int) -> None:
        """One pass of every member over its training rows; returns when it is done, on the device too."""
        raise NotImplementedError

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        """These members as plain networks on the CPU; None where the arm itself says that it has diverged."""
        raise NotImplementedError

    @property
    def pids(self) -> list[int]:
        """Processes of its own."""
        return []

    @property
    def device_bytes(self) -> int:
        """Most that it has had on a GPU so far."""
        return int(torch.cuda.max_memory_allocated())

    def close(self) -> None:
        """Gives back what must not outlive the arm."""


def fastest_threads(call: Callable[[], object]) -> int:
    """1 or all cores, whichever makes a call faster by the median of five, taking turns."""
    seconds: dict[int, list[float]] = {1: [], cores(): []}
    for turn in range(6):
        for threads, taken in seconds.items():
            torch.set_num_threads(threads)
            started = time.perf_counter()
            call()
            if turn > 0:
                taken.append(time.perf_counter() - started)
    return min(seconds, key=lambda threads: statistics.median(seconds[threads]))
