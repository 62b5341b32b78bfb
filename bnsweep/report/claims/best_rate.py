"""Two sides compared, each arm at its own best learning rate.

Shapes: P pairs, L learning-rate settings, N bundles, R resamples or swaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ENOUGH
from bnsweep.report.claims.contrasts import Measured, Sides, Unmeasured
from bnsweep.report.frame.grid import Grid
from bnsweep.report.stats import resample
from bnsweep.report.stats.ranking import common_bundles

Array = NDArray[np.float64]
WORK = 10**8
"""Numbers that the swaps of one comparison may touch before they are thinned, to 1,000 at the least."""


def at_best(
    grid: Grid,
    metric: Metric,
    sign: int,
    values: tuple[Array, Array],
    found: Sides,
    reached: tuple[Array, Array] | None = None,
) -> Measured:
    """Each arm in each seed at the learning rate that the other seeds choose on the ranking's metric.

    Seeds that choose for each other are not independent, so no sign of a finished difference is flipped: the two sides
    change places in a seed at every learning rate, and all choices are made anew. That is exact where the sides are
    alike at every rate. Where one has a single good rate and the other several, choosing among these adds variance that
    the seeds' differences do not show (5 % become 11 %); bootstrap draws that choose anew do show it. So p is the
    larger of the two: at most 2.5 % at a nominal 5 % in nine simulated cases, crossing profiles and unequal noise among
    them.

    `reached`: whether each run got to τ, in the shape of `values`.
    """
    chooser = [metric.sign * grid.scores(metric, rows) for rows in (found.more, found.less)]
    planned = [np.any(rows >= 0, axis=2, keepdims=True) for rows in (found.more, found.less)]
    there = [(np.isfinite(c) & np.isfinite(v)) | ~p for c, v, p in zip(chooser, values, planned, strict=True)]
    pairs, bundles = common_bundles(there[0].all(axis=1) & there[1].all(axis=1))
    if not bundles:
        raise Unmeasured("no seed has both sides at every learning rate")
    at = np.ix_(pairs, range(values[0].shape[1]), bundles)
    chooser = [c[at] for c in chooser]
    never = min(np.nanmin(c) for c in chooser) - 1  # where no rate was given; a sum with an infinity has no difference
    choose = [np.where(np.isnan(c), never, c) for c in chooser]
    value = [np.where(np.isnan(v[at]), 0, v[at]) for v in values]
    n = len(bundles)
    taken_PN = taken(choose, value)
    got = taken(choose, [r[at] for r in reached]) if reached else [np.array(np.nan)] * 2
    difference_N = sign * (taken_PN[0] - taken_PN[1]).mean(axis=0)
    draw_R = sign * bootstrap_best(choose, value)
    low, high = resample.mean_interval(draw_R[:, None], n)
    means, shares = ((float(a.mean()), float(b.mean())) for a, b in (taken_PN, got))
    effect = float(difference_N.mean())
    p = max(swap_p(choose, value), resample.bootstrap_p(effect, draw_R, n)) if n >= ENOUGH else np.nan
    return Measured(effect, float(low[0]), float(high[0]), p, means, difference_N, len(pairs), reached=shares)


def taken(choose: list[Array], value: list[Array]) -> list[Array]:
    """Of both sides: what each pair has in each seed at the rate that the other seeds choose, [P, N]."""
    once = np.ones((1, choose[0].shape[2]))
    return [
        np.stack([resample.goodness_of_choice(c, once, v)[0] for c, v in zip(*side, strict=True)])
        for side in zip(choose, value, strict=True)
    ]


def value_of_choice(choose_RLN: Array, value_RLN: Array) -> Array:
    """What each bundle has at the rate that the other bundles choose, [R, N]."""
    others_RLN = (choose_RLN.sum(axis=2, keepdims=True) - choose_RLN) / (choose_RLN.shape[2] - 1)
    best_RN = resample.best_rate(others_RLN, axis=1)
    return np.take_along_axis(value_RLN, best_RN[:, None], axis=1)[:, 0]


def bootstrap_best(choose: list[Array], value: list[Array]) -> Array:
    """[R]: mean difference of the sides over pairs in every bootstrap draw, choices made anew."""
    pairs, rates, n = choose[0].shape
    count_RN = resample.bundle_counts(n)[: draws_for(pairs * rates * n)].astype(float)
    out_R = np.zeros(len(count_RN))
    for rows in resample.blocks(len(count_RN), rates * n):
        count = count_RN[rows]
        for side, factor in ((0, 1), (1, -1)):
            for choose_LN, value_LN in zip(choose[side], value[side], strict=True):
                out_R[rows] += factor * (count * resample.goodness_of_choice(choose_LN, count, value_LN)).sum(axis=1)
    return np.asarray(out_R / (n * pairs))


def swap_p(choose: list[Array], value: list[Array]) -> float:
    """Two-sided p of the mean difference over its standard error, under swaps of the two sides within seeds: every one
    of them up to N = 12, else drawn, the observed one counted.

    Over its standard error, because sides with different profiles make swapped data more scattered than the real ones,
    where no difference could then stand out (Chung & Romano 2013, arXiv 1304.5939).
    """
    pairs, rates, n = choose[0].shape
    exact = n <= resample.EXACT
    total = 2 ** (n - 1) if exact else draws_for(pairs * rates * n)  # a swap of every seed turns the sign alone
    random = np.random.default_rng(0)
    statistic_R = np.empty(total)
    for rows in resample.blocks(total, rates * n):
        at = np.arange(rows.start, rows.stop)[:, None]
        swap_RN = (at >> np.arange(n) & 1 if exact else random.integers(0, 2, size=(len(at), n))).astype(bool)
        swap_RN[at[:, 0] == 0] = False
        difference_RN = np.zeros(swap_RN.shape)
        for side in (0, 1):
            for p in range(pairs):
                own, other = ((choose[s][p], value[s][p]) for s in (side, 1 - side))
                swapped = [np.where(swap_RN[:, None], b, a) for a, b in zip(own, other, strict=True)]
                difference_RN += (1 - 2 * side) * value_of_choice(*swapped)
        statistic_R[rows] = studentized(difference_RN)
    return float((statistic_R >= statistic_R[0] * (1 - 1e-9)).mean())


def studentized(difference_RN: Array) -> Array:
    """|mean| over standard deviation; 0 where all differences are 0, infinite where they are one other number."""
    mean_R = np.abs(difference_RN.mean(axis=1))
    deviation_R = difference_RN.std(axis=1, ddof=1)
    still = deviation_R <= 1e-9 * mean_R
    return np.asarray(np.where(still, np.where(mean_R > 0, np.inf, 0), mean_R / np.where(still, 1, deviation_R)))


def draws_for(numbers: int) -> int:
    """Draws that touch about WORK numbers, from 1,000 to all of them."""
    return int(np.clip(WORK // max(numbers, 1), 1_000, resample.RESAMPLES))
