"""The learning-rate schedules: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol


class Given(Protocol):
    """What schedules ask of a run, the group `lr`."""

    @property
    def warmup(self) -> float: ...

    @property
    def milestones(self) -> tuple[float, ...]: ...

    @property
    def factor(self) -> float: ...


def stepwise(step: int, total: int, lr: Given) -> float:
    """As torch's MultiStepLR."""
    return math.prod(lr.factor for share in lr.milestones if step >= round(share * total))


SCHEDULES: dict[str, Callable[[int, int, Given], float]] = {
    "constant": lambda step, total, lr: 1.0,
    "cosine": lambda step, total, lr: 0.5 * (1 + math.cos(math.pi * step / max(1, total))),
    "warmup": lambda step, total, lr: min(1.0, (step + 1) / max(1, round(lr.warmup * total))),
    "step": stepwise,
}
"""Name -> factor on the peak rate, of the 0-based step, of all steps, and of the run's `lr`."""
