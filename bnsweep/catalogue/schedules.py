"""The learning-rate schedules: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[int, int, float], float]] = {
    "constant": lambda step, total, warmup: 1.0,
    "cosine": lambda step, total, warmup: 0.5 * (1 + math.cos(math.pi * step / max(1, total))),
    "warmup": lambda step, total, warmup: min(1.0, (step + 1) / max(1, round(warmup * total))),
}
"""Name -> factor on the peak rate, of the 0-based step, of all steps, and of the share of them spent warming up."""
