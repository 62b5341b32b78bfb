"""How many seeds it takes to decide a claim: with n seeds, no p of sign flips falls below 2^(1-n), and Holm's
correction over the claims that are asked makes it larger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bnsweep.inference import ALPHA, ENOUGH, least_p
from bnsweep.report.claims.verdicts import Evidence
from bnsweep.report.stats import resample

MOST = 64
"""Seeds looked at: 2^(1-64) is enough for any number of claims."""


def deciding(found: Sequence[Evidence]) -> list[Evidence]:
    """The comparisons that have a say in their claim's verdict."""
    return [e for e in found if e.measured and not e.note]


def most(found: Sequence[Evidence]) -> tuple[float, int]:
    """A claim's p by rule 2 of `claims`, and the direction that it is of; NaN where nothing decides. A comparison of
    too few seeds counts as one and says nothing."""
    items = deciding(found)
    if all(math.isnan(e.p) for e in items):
        return math.nan, 0
    k = len(items) // 2 + 1
    found_p = {1: 1.0, -1: 1.0}
    for way in found_p:
        p = sorted(e.p for e in items if way * e.effect > 0 and not math.isnan(e.p))
        if len(p) >= k:
            found_p[way] = min(1.0, p[k - 1] * len(items) / k)
    way = min(found_p, key=lambda way: found_p[way])
    return found_p[way], way


def least_p_holm(claims: Sequence[Sequence[Evidence]], n: int | None = None) -> NDArray[np.float64]:
    """The least that each claim's adjusted p could have been, with every seed on one side: of the seeds that its
    comparisons have, or of n; NaN where nothing decides. Holm's p falls with every other p of the family, so that all
    claims are taken at their least."""
    return resample.holm(np.array([most([at_its_least(e, n or e.n) for e in deciding(found)])[0] for found in claims]))


def at_its_least(one: Evidence, n: int) -> Evidence:
    return replace(one, effect=1.0, p=least_p(n) if n >= ENOUGH else math.nan)


def seeds_needed(claims: Sequence[Sequence[Evidence]]) -> list[int | None]:
    """Of each claim: the least number of seeds at which `least_p_holm` falls to ALPHA; None where nothing decides."""
    needed: list[int | None] = [None] * len(claims)
    for n in range(MOST, ENOUGH - 1, -1):
        for i, p in enumerate(least_p_holm(claims, n)):
            needed[i] = n if p <= ALPHA else needed[i]
    return needed
