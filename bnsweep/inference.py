"""What so many seeds can show: how small a p can get. The plan says it before training, the report after."""

from __future__ import annotations

ALPHA = 0.05
ENOUGH = 5
"""Fewer seeds than this allow no inference: means are shown, nothing is called tied or apart."""
CLAIMS = 10
"""Claims that a report asks at the most."""


def least_p(n: int, family: int = 1) -> float:
    """The least two-sided p that n pairs can give under sign flips, after Holm over a family of so many questions."""
    return min(1.0, 2.0 ** (1 - n) * family)


MANY = 100
"""Seeds beyond which every number of claims that there could be is decidable."""


def decidable(n: int) -> int:
    """The most claims that may be asked together for n seeds to decide one of them, were all seeds on one side."""
    return int(ALPHA / least_p(min(n, MANY))) if n >= ENOUGH else 0


def least_seeds(claims: int) -> int:
    """The least number of seeds that can decide one of so many claims."""
    return next(n for n in range(ENOUGH, 1000) if decidable(n) >= claims)


def seeds_text(n: int) -> str:
    """What n seeds cannot decide; empty where they can decide whatever a report asks."""
    most, enough = decidable(n), least_seeds(CLAIMS)
    if n >= enough:
        return ""
    more = f"up to {decidable(enough)} take {enough}"
    if most:
        return f"{n} seeds can decide a claim of the report only where at most {most} are asked: {more}"
    return f"{n} seed{'s' * (n > 1)} can decide no claim of the report: one claim takes {least_seeds(1)}, {more}"
