"""What so many seeds can show: how small a p can get. The plan says it before training, the report after."""

from __future__ import annotations

import math

ALPHA = 0.05
ENOUGH = 5
"""Fewer seeds than this allow no inference: means are shown, nothing is called tied or apart."""


def least_p(n: int, family: int = 1) -> float:
    """The least two-sided p that n pairs can give under sign flips, after Holm over a family of so many questions."""
    return min(1.0, 2.0 ** (1 - n) * family)


def least_seeds(level: float = ALPHA) -> int:
    """The least number of seeds that can decide a claim of the report, were all of them on one side. Claims are judged
    under joint flips of whole seeds, so that it does not matter how many are asked."""
    return max(ENOUGH, math.ceil(1 - math.log2(level)))


def seeds_text(n: int) -> str:
    """What n seeds cannot decide; empty where they can decide whatever a report asks."""
    if n >= least_seeds():
        return ""
    return f"{n} seed{'s' * (n > 1)} can decide no claim of the report: it takes {least_seeds()} at the least"
