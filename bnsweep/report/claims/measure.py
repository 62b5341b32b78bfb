"""A comparison's effect, interval and p, over seeds. Every p is of one null hypothesis: within a seed, the two sides
could change places. Whole seeds are flipped or swapped, so that it does not matter what the pairs of a seed share.

Shapes: P pairs, L learning-rate settings, N bundles, R resamples or swaps, K levels of a further factor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ENOUGH
from bnsweep.report.claims.best_rate import at_best
from bnsweep.report.claims.contrasts import (
    BEST,
    Contrast,
    Measured,
    Rows,
    Sides,
    Unasked,
    Unmeasured,
    Unreached,
)
from bnsweep.report.claims.quantities import RunValues, quantities
from bnsweep.report.frame.formats import tau
from bnsweep.report.frame.grid import Grid
from bnsweep.report.stats import resample
from bnsweep.report.stats.between_seeds import shared_variance
from bnsweep.report.stats.ranking import common_bundles
from bnsweep.report.stats.sensitivity import deviation, p_apart, variance_steps

Array = NDArray[np.float64]
HALF = 0.5
"""Share of a side's runs that must get to τ for their steps to be compared."""


def measure(grid: Grid, readings: RunValues, metric: Metric, contrast: Contrast, found: Sides) -> Measured:
    """Effect and differences are positive where the claim expects it. Raises Unasked where nothing was recorded,
    Unreached, and Unmeasured."""
    more = readings.values(contrast.quantity, found.more)
    less = readings.values(contrast.quantity, found.less) if len(found.less) else np.zeros_like(more)
    quantity = quantities(grid.task)[contrast.quantity]
    if not np.isfinite(more).any() or not np.isfinite(less).any():
        raise Unasked(quantity.needs)
    if quantity.censored:
        return steps(grid, readings, metric, contrast, found, (more, less))
    if contrast.at == BEST and more.shape[1] > 1:
        return at_best(grid, metric, contrast.sign, (more, less), found)
    if contrast.at == BEST:
        more, less = more[:, 0], less[:, 0]
    if contrast.across is not None:
        of_levels = gain_contrast if contrast.gain else deviation_contrast
        return of_levels(contrast.sign, more, less)
    if contrast.learned:
        keep = learned(grid, readings, found.more) & learned(grid, readings, found.less)
        more, less = (np.asarray(np.where(keep, x, np.nan), dtype=np.float64) for x in (more, less))
        if not np.isfinite(more - less).any():
            raise Unmeasured(f"there is no pair of runs that both reached {tau(grid)}")
        return replace(paired(contrast, more, less), beside=beside(readings, contrast, found, more - less))
    at = without_holes(more, less)
    return paired(contrast, more[at], less[at])


def steps(
    grid: Grid, readings: RunValues, metric: Metric, contrast: Contrast, found: Sides, values: tuple[Array, Array]
) -> Measured:
    """Of steps to τ: a run that never gets there counts with its whole budget (a restricted mean). Raises Unreached
    where fewer than half of a side's runs get there, as the budget is then most of what the mean tells."""
    got = (readings.reached(found.more), readings.reached(found.less))
    if contrast.at == BEST and values[0].shape[1] > 1:
        measured = at_best(grid, metric, contrast.sign, values, found, got)
    else:
        if contrast.at == BEST:
            values, got = ((x[:, 0], y[:, 0]) for x, y in (values, got))
        at = without_holes(*values)
        shares = (float(got[0][at].mean()), float(got[1][at].mean()))
        measured = replace(paired(contrast, values[0][at], values[1][at]), reached=shares)
    runs = measured.pairs * len(measured.difference_N)
    what = "seeds" if measured.pairs == 1 else "runs"
    few = [
        f"{name} reached {tau(grid)} in {round(share * runs)} of {runs} {what}"
        for name, share in zip(found.names, measured.reached, strict=True)
        if share < HALF
    ]
    if few:
        raise Unreached(f"{' and '.join(few)}, fewer than half: their steps are not compared")
    return measured


def learned(grid: Grid, readings: RunValues, rows: Rows) -> NDArray[np.bool_]:
    """Whether a run reached τ and did not diverge after it."""
    return np.asarray((rows >= 0) & grid.finished[rows] & (readings.summary("tau_reached", rows) == 1))


def beside(readings: RunValues, contrast: Contrast, found: Sides, counted_PN: Array) -> tuple[float, float] | None:
    """Means of the quantity `beside` on the two sides, over the pairs whose `counted_PN` is a number."""
    if not contrast.beside:
        return None
    both = (readings.values(contrast.beside, rows) + 0 * counted_PN for rows in (found.more, found.less))
    return paired(replace(contrast, beside="", least=None), *both).means


def without_holes(more_PN: Array, less_PN: Array) -> tuple[NDArray[np.intp], ...]:
    """The place of pairs and bundles without holes; one broken pair must not take the seeds away from the others."""
    pairs, bundles = common_bundles(np.isfinite(more_PN) & np.isfinite(less_PN))
    if not bundles:
        raise Unmeasured("no seed has both sides")
    return np.ix_(pairs, bundles)


def paired(contrast: Contrast, more_PN: Array, less_PN: Array) -> Measured:
    """Differences within pairs, averaged over a seed's pairs (those it has), then over seeds."""
    there = np.isfinite(more_PN) & np.isfinite(less_PN)
    bundles = there.any(axis=0)
    count = there.sum(axis=0)[bundles]
    sums = [np.where(there, x, 0).sum(axis=0)[bundles] / count for x in (more_PN, less_PN)]
    means = (float(sums[0].mean()), float(sums[1].mean()))
    difference_N = contrast.sign * (sums[0] - sums[1])
    note = ""
    if contrast.least is not None and sum(means) / 2 < contrast.least:
        note = "too little of it on both sides for the question to arise"
    return of_differences(difference_N, means, int(there.any(axis=1).sum()), note)


def of_differences(difference_N: Array, means: tuple[float, float], pairs: int, note: str = "") -> Measured:
    """Sign flips and a bootstrap of one number a seed."""
    n = len(difference_N)
    low, high = resample.mean_interval(resample.bootstrap_means(difference_N[None], resample.bundle_counts(n)), n)
    p = float(resample.sign_flip_p(difference_N[None])[0]) if n >= ENOUGH else np.nan
    return Measured(float(difference_N.mean()), float(low[0]), float(high[0]), p, means, difference_N, pairs, note)


def gain_contrast(sign: int, more_PKN: Array, less_PKN: Array) -> Measured:
    """What the further factor's largest level adds to its smallest one: the first side against the second."""
    more, less = more_PKN[:, 1] - more_PKN[:, 0], less_PKN[:, 1] - less_PKN[:, 0]
    at = without_holes(more, less)
    more, less = more[at], less[at]
    means = (float(more.mean()), float(less.mean()))
    return of_differences(sign * (more - less).mean(axis=0), means, len(more))


def deviation_contrast(sign: int, more_PKN: Array, less_PKN: Array) -> Measured:
    """Standard deviation of the scores across K levels, without seed noise: first side against second.

    A seed's difference is its part of the difference of variances (see `sensitivity`), scaled so that their mean is the
    difference of the deviations; swapping the sides in a seed turns the sign of that one alone.
    """
    pairs, bundles = common_bundles(np.asarray(np.isfinite(more_PKN + less_PKN).all(axis=1)))
    n = len(bundles)
    if n < 2:
        raise Unmeasured("fewer than two seeds have every level")
    both = (x[pairs][..., bundles] for x in (more_PKN, less_PKN))
    tables = [(x - x.mean(axis=1, keepdims=True)).reshape(-1, n) for x in both]
    means = [float(deviation(shared_variance(x_CN))[0]) for x_CN in tables]
    step_N = sign * variance_steps(tables[1], tables[0])
    effect = sign * (means[0] - means[1])
    difference_N = step_N * (effect / step_N.mean()) if effect else np.zeros(n)
    draws = [shared_variance(x_CN, resample.bundle_counts(n)) for x_CN in tables]
    low, high = resample.interval_of(sign * (deviation(draws[0]) - deviation(draws[1])), n)
    p = p_apart(step_N, sign * (draws[0] - draws[1])) if n >= ENOUGH else np.nan
    return Measured(effect, low, high, p, (means[0], means[1]), difference_N, len(pairs))
