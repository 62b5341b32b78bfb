"""What so many seeds can show: how small a p can get. The plan says it before training, the report after."""

from __future__ import annotations

import math
from typing import NamedTuple

from bnsweep.config.checks import check

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


class Look(NamedTuple):
    """One at the claims of a sweep that adds seeds until they are decided."""

    seeds: int
    """Made when so many are over, of which it takes no more and no less."""
    level: float
    """The share of sweeps in which nothing matters and this look supports or contradicts any claim, at the most."""


FIRST_LOOK = 8
"""Seeds: with fewer only very large effects are found at the level of a first look."""
MOST_LOOKS = 4
"""More of them find no effect earlier in the mean, and leave less of ALPHA to the last."""


def spent(share: float) -> float:
    """How much of ALPHA is spent when this share of the most seeds is over, by the function of Lan & DeMets (1983,
    Biometrika 70:659) that comes near Pocock's boundaries: early looks can decide."""
    return ALPHA * math.log(1 + (math.e - 1) * share)


def looks_until(most: int) -> tuple[Look, ...]:
    """The looks of a sweep of at most so many seeds, at about equal ratios of seeds, the last with all of them.

    Their levels sum to ALPHA. So whatever the looks have in common, and whenever the sweep stops, one in twenty sweeps
    at most in which nothing matters has any claim supported or contradicted. The first look is the least one at which
    two of all sign flips may be as large as what was found.
    """
    check(most >= least_seeds(), "sweep.max_seeds", most, f"{least_seeds()} or more: fewer seeds decide no claim")
    first = next((n for n in range(FIRST_LOOK, most) if spent(n / most) >= 2 * least_p(n)), most)
    steps = min(MOST_LOOKS - 1, int(math.log(most / first) / math.log(1.2)))
    seeds = [round(first * (most / first) ** (step / steps)) for step in range(steps + 1)] if steps else [most]
    before = [0.0, *(spent(n / most) for n in seeds)]
    return tuple(Look(n, spent(n / most) - gone) for n, gone in zip(seeds, before, strict=False))
