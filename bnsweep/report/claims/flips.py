"""The test of all claims at once: signs of whole seeds are flipped jointly, and the largest statistic judges them all.

A comparison's statistic is its signed t: mean difference over seeds, as claimed, over its standard error. That of a
claim is the k-th largest of the t that point one way, k the majority of its comparisons, and the larger of both ways.
The adjusted p of a claim is the share of flips in which the largest statistic among the claims that are not yet
decided reaches its own (step-down max-T: Westfall & Young 1993, Resampling-Based Multiple Testing, algorithm 2.8;
Romano & Wolf 2005, Econometrica 73, 1237). Claims that hang together share their flips, and so cost each other little;
no p falls below 2^(1-n), however many are asked.

Shapes: C claims, M comparisons, N bundles, R flips, the observed signs first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnsweep.report.stats import resample

Array = NDArray[np.float64]
EXACT = 14
"""Up to so many bundles all flips are enumerated; the mirror image of a flip has the same statistics."""
WORK = 10**8
"""Numbers that the flips or draws of one comparison may touch before they are thinned, to 1,000 at the least."""
SIGNS = 2 * 10**6
"""Numbers that the signs may have before they are thinned, to 1,000 flips at the least: 16 MB."""
CLOSE = 1 - 1e-9
"""Statistics that differ by rounding alone are equal: of lumpy scores many are."""


def draws_for(numbers: int) -> int:
    """Flips or draws that touch about WORK numbers."""
    return int(np.clip(WORK // max(numbers, 1), 1_000, resample.RESAMPLES))


def joint_signs(n: int, numbers: int) -> Array:
    """Signs of n bundles, [R, N], the observed ones first: all of them up to N = 14, else drawn (the observed ones
    count among them: Phipson & Smyth 2010). `numbers`: that the largest comparison has."""
    most = min(draws_for(numbers), max(SIGNS // n, 1_000))
    if n <= EXACT and 2 ** max(n - 1, 0) <= most:
        bits = np.arange(2 ** max(n - 1, 0))[:, None] >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, size=(most, n))
        bits[0] = 0
    return 1 - 2 * bits.astype(np.float64)


def flipped(difference_N: Array, sign_RN: Array) -> Array:
    """t of the differences under each flip, [R]. A flip leaves the sum of squares as it is."""
    n = len(difference_N)
    mean_R = sign_RN @ difference_N / n
    square = float(difference_N @ difference_N)
    return t_of(mean_R, np.maximum(square - n * mean_R**2, 0) / max(n - 1, 1), n, np.sqrt(square / n))


def studentized(difference_RN: Array) -> Array:
    """t of each row, [R]."""
    n = difference_RN.shape[1]
    size = float(np.abs(difference_RN).max(initial=0))
    return t_of(difference_RN.mean(axis=1), difference_RN.var(axis=1, ddof=1), n, size)


def t_of(mean_R: Array, variance_R: Array, n: int, size: float) -> Array:
    """0 where all differences are 0, infinite where they are one other number. `size`: of the differences, against
    which rounding is told from a difference."""
    small = 1e-7 * size  # of a sum of squares the 16th digit is rounding
    still_R = variance_R <= small**2
    alike_R = np.where(np.abs(mean_R) > small, np.copysign(np.inf, mean_R), 0.0)
    return np.asarray(np.where(still_R, alike_R, mean_R * np.sqrt(n) / np.sqrt(np.where(still_R, 1, variance_R))))


def share_reaching(statistic_R: Array, observed: float) -> float:
    """Share of flips whose statistic is at least the observed one."""
    return float((statistic_R >= observed * CLOSE).mean())


def p_of(t_R: Array, observed: float) -> float:
    """Two-sided p of one comparison. `observed`: its t, which may be less than that of the first flip."""
    return share_reaching(np.abs(t_R), abs(observed))


def majority(m: int) -> int:
    """How many of m comparisons must agree."""
    return m // 2 + 1


def claim_statistic(t_MR: Sequence[Array], m: int) -> tuple[Array, NDArray[np.int64]]:
    """The k-th largest t of either way, the larger of both ways, and which way that is; [R]. `m`: comparisons of the
    claim, those among them that say nothing."""
    k, ordered_MR = majority(m), np.sort(np.stack(t_MR), axis=0)
    if len(t_MR) < k:
        return np.zeros(len(t_MR[0])), np.zeros(len(t_MR[0]), dtype=np.int64)
    ahead_R, behind_R = ordered_MR[len(t_MR) - k], -ordered_MR[k - 1]
    return np.maximum(np.maximum(ahead_R, behind_R), 0), np.where(ahead_R >= behind_R, 1, -1)


def step_down(statistic_CR: Array) -> Array:
    """Adjusted p of each claim, [C]; column 0 is what was observed."""
    observed_C = statistic_CR[:, 0]
    order = np.argsort(-observed_C, kind="stable")
    largest_CR = np.maximum.accumulate(statistic_CR[order][::-1], axis=0)[::-1]
    found = [share_reaching(row_R, observed_C[c]) for row_R, c in zip(largest_CR, order, strict=True)]
    p_C = np.empty(len(order))
    p_C[order] = np.maximum.accumulate(found) if found else []
    return p_C
