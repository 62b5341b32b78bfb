"""A comparison's effect, interval and p, over seeds. Every p is of one null hypothesis: within a seed, the two sides
could change places. Whole seeds are flipped or swapped, so that it does not matter what the pairs of a seed share.

Shapes: P pairs, L learning-rate settings, N bundles, R draws or flips, K levels of a further factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ENOUGH
from bnsweep.report.claims.among import fitting, learning, needing, overfitting
from bnsweep.report.claims.best_rate import AtRates, TwoSides, at_best, complete, means_of
from bnsweep.report.claims.contrasts import (
    ALL,
    BEST,
    GAIN,
    LARGEST,
    LEARNING,
    OVERFITTING,
    Contrast,
    LeftOut,
    Measured,
    Sides,
    Unasked,
    Unmeasured,
)
from bnsweep.report.claims.flips import flipped, p_of, studentized
from bnsweep.report.claims.quantities import RunValues, quantities
from bnsweep.report.stats import resample
from bnsweep.report.stats.between_seeds import shared_variance
from bnsweep.report.stats.ranking import common_bundles
from bnsweep.report.stats.sensitivity import deviation, variance_steps

Array = NDArray[np.float64]


def measure(readings: RunValues, metric: Metric, contrast: Contrast, found: Sides, sign_RN: Array) -> Measured:
    """Effect, differences and t are positive where the claim expects it. `sign_RN`: the joint flips of all bundles, see
    `flips`. Raises Unasked where nothing was recorded or no pair is asked, and Unmeasured."""
    if contrast.among == LEARNING:
        kept = learning(readings, found)
        measured = measure(readings, metric, replace(contrast, among=ALL), found.among(kept), sign_RN)
        return replace(measured, left_out=left_out(readings, metric, found, kept))
    if contrast.among == OVERFITTING:
        found = found.among(fitting(readings, found))
        rise = (readings.values("rise", found.more), readings.values("rise", found.less))
        value = values_of(readings, contrast, found)
        return where_the_other(contrast.sign, value, rise, sign_RN, partial(overfitting, name=found.names[1]))
    if contrast.across is not None:
        return across_levels(readings, contrast, found, sign_RN)
    if contrast.moderators:
        return moderated(readings, metric, contrast, found, sign_RN)
    of = partial(of_sides, readings, metric, contrast, found, values_of(readings, contrast, found), sign_RN)
    return of() if contrast.sign else as_much(of, contrast.margin)


def of_sides(
    readings: RunValues,
    metric: Metric,
    contrast: Contrast,
    found: Sides,
    value: TwoSides,
    sign_RN: Array,
    ahead: float = 0.0,
) -> Measured:
    """`ahead`: added to all values of the first side."""
    sign, beside, value = contrast.sign or 1, told_beside(readings, contrast, found), (value[0] + ahead, value[1])
    if contrast.at == BEST and found.more.shape[1] > 1:
        return at_best(planned(found), sign, at_rates(readings, metric, found, value, beside), sign_RN)
    if contrast.at == BEST:  # of one rate
        value, *beside = [(more[:, 0], less[:, 0]) for more, less in (value, *beside)]
    return paired(sign, value, beside, sign_RN, contrast.margin if contrast.sign else 0.0)


def planned(found: Sides) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return found.more >= 0, found.less >= 0


def at_rates(
    readings: RunValues, metric: Metric, found: Sides, value: TwoSides, beside: Sequence[TwoSides] = ()
) -> AtRates:
    more, less = (metric.sign * readings.grid.scores(metric, rows) for rows in (found.more, found.less))
    return AtRates((more, less), value, beside)


def as_much(of: Callable[..., Measured], margin: float) -> Measured:
    """Whether the sides differ by less than the margin: t is positive within it and negative beyond. `of`: measures
    them with so much added to the first side.

    These are two one-sided tests (Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657), of which the one of the nearer
    end decides. Its null hypothesis is that the first side is the margin ahead (or behind): taken off, the sides could
    change places within a seed as in any other comparison.
    """
    plain = of()
    way = 1.0 if plain.effect >= 0 else -1.0
    t_R = of(ahead=-way * margin).t_R
    return plain if t_R is None else replace(plain, t_R=-way * t_R, p=p_of(t_R, t_R[0]))


def moderated(readings: RunValues, metric: Metric, contrast: Contrast, found: Sides, sign_RN: Array) -> Measured:
    """Differences of differences, as one comparison: where the difference is to be taken off, the sides of a pair have
    changed places, and the mean over pairs is the sum over combinations over their number. Means are the differences
    at the two levels of the first moderator."""
    combinations = 2 ** len(contrast.moderators)
    value = values_of(readings, contrast, found)
    if contrast.at == BEST:
        there_PN = complete(planned(found), at_rates(readings, metric, found, value))
    else:
        there_PN = np.isfinite(value[0]) & np.isfinite(value[1])
    found = in_all(combinations, found, there_PN)
    more, less = (combinations * side for side in values_of(readings, contrast, found))
    measured = of_sides(readings, metric, contrast, found, (more, less), sign_RN)
    first, second = np.split(contrast.sign * np.asarray(measured.mean_P) / 2, 2)
    pairs = measured.pairs // combinations
    return replace(measured, means=(float(first.mean()), -float(second.mean())), pairs=pairs)


def in_all(combinations: int, found: Sides, there_PN: NDArray[np.bool_]) -> Sides:
    """The pairs and seeds that every combination has: where one lacks a run, the others say nothing without it."""
    cells_CPN = there_PN.reshape(combinations, -1, there_PN.shape[1])
    pairs, bundles = common_bundles(np.asarray(cells_CPN.all(axis=0), dtype=bool))
    if not bundles:
        raise Unmeasured("no seed has all combinations")
    kept = np.tile(np.isin(np.arange(len(there_PN) // combinations), pairs), combinations)
    seeds = np.isin(np.arange(there_PN.shape[1]), bundles)
    return Sides(found.names, *(np.where(seeds, rows[kept], -1) for rows in (found.more, found.less)))


def across_levels(readings: RunValues, contrast: Contrast, found: Sides, sign_RN: Array) -> Measured:
    """The sides by what they have at the levels of a further factor, [P, K, N]."""
    value = values_of(readings, contrast, found)
    if contrast.by == LARGEST:
        if not (value[0] > 0).any() and not (value[1] > 0).any():
            raise Unasked("a learning rate at which any network trains")
        levels = np.log10(readings.grid.runs[contrast.across].to_numpy(float))
        reach = [largest(levels[rows], x) for rows, x in zip((found.more, found.less), value, strict=True)]
        return paired(contrast.sign, (reach[0], reach[1]), (), sign_RN)
    if contrast.by == GAIN:
        gain = (gains(value[0]), gains(value[1]))
        chosen = partial(needing, name=found.names[1], of=(contrast.across or "").rpartition(".")[2])
        return where_the_other(contrast.sign, gain, gain, sign_RN, chosen)
    return deviation_contrast(contrast.sign, *value, sign_RN)


def largest(level_PKN: Array, holds_PKN: Array) -> Array:
    """The largest level at which the value is 1, [P, N]; one step below the smallest where it is 1 at none. NaN where
    a value is missing."""
    low, second = np.sort(level_PKN, axis=1)[:, 0], np.sort(level_PKN, axis=1)[:, 1]
    found = np.where(holds_PKN > 0, level_PKN, -np.inf).max(axis=1)
    found = np.where(np.isneginf(found), 2 * low - second, found)
    return np.asarray(np.where(np.isfinite(holds_PKN).all(axis=1), found, np.nan))


def left_out(readings: RunValues, metric: Metric, found: Sides, kept: NDArray[np.bool_]) -> LeftOut | None:
    rest = found.among(~kept)
    scores = [readings.grid.scores(metric, rows) for rows in (rest.more, rest.less)]
    if not all(np.isfinite(x).any() for x in scores):
        return None
    more, less = (float(np.nanmean(x)) for x in scores)
    return LeftOut(int((~kept).sum()), len(kept), (more, less))


def values_of(readings: RunValues, contrast: Contrast, found: Sides) -> TwoSides:
    """What the comparison is about, in the shape of its runs."""
    quantity = quantities(readings.grid.task)[contrast.quantity]
    if quantity.of_pairs is not None:
        more, less = quantity.of_pairs(readings, found.more, found.less)
    else:
        more = readings.values(contrast.quantity, found.more)
        less = readings.values(contrast.quantity, found.less) if len(found.less) else np.zeros_like(more)
    if not np.isfinite(more).any() or not np.isfinite(less).any():
        raise Unasked(quantity.needs)
    return more, less


def told_beside(readings: RunValues, contrast: Contrast, found: Sides) -> list[TwoSides]:
    """What is quoted over the same runs: the quantity `beside`, and whether the runs got to τ."""
    if not contrast.beside:
        return []
    both = [(readings.values(contrast.beside, rows), readings.reached(rows)) for rows in (found.more, found.less)]
    return [(both[0][i], both[1][i]) for i in (0, 1)]


def without_holes(more_PN: Array, less_PN: Array) -> tuple[list[int], list[int]]:
    """The pairs and bundles without holes; one broken pair must not take the seeds away from the others."""
    pairs, bundles = common_bundles(np.isfinite(more_PN) & np.isfinite(less_PN))
    if not bundles:
        raise Unmeasured("no seed has both sides")
    return pairs, bundles


def paired(sign: int, value: TwoSides, beside: Sequence[TwoSides], sign_RN: Array, margin: float = 0.0) -> Measured:
    """Differences within pairs, averaged over a seed's pairs, then over seeds."""
    pairs, bundles = without_holes(*value)
    at = np.ix_(pairs, bundles)
    more, less = (x[at] for x in value)
    told = [means_of([x[at] for x in sides]) for sides in beside]
    difference_PN = sign * (more - less)
    measured = of_differences(
        difference_PN.mean(axis=0), means_of([more, less]), len(pairs), sign_RN[:, bundles], told, margin
    )
    return replace(measured, mean_P=difference_PN.mean(axis=1).tolist())


def of_differences(
    difference_N: Array,
    means: tuple[float, float],
    pairs: int,
    sign_RN: Array,
    beside: Sequence[tuple[float, float]] = (),
    margin: float = 0.0,
) -> Measured:
    """Sign flips and a bootstrap of one number a seed. Flips judge how far the mean lies beyond the margin."""
    n = len(difference_N)
    low, high = resample.mean_interval(resample.bootstrap_means(difference_N[None], resample.bundle_counts(n)), n)
    effect = float(difference_N.mean())
    t_R = flipped(difference_N - np.clip(effect, -margin, margin), sign_RN) if n >= ENOUGH else None
    p = np.nan if t_R is None else p_of(t_R, t_R[0])
    return Measured(effect, float(low[0]), float(high[0]), p, means, difference_N, pairs, t_R, beside)


def where_the_other(
    sign: int, value: TwoSides, by: TwoSides, sign_RN: Array, chosen: Callable[[TwoSides, Array], NDArray[np.bool_]]
) -> Measured:
    """The pairs that are chosen by what the second side shows. In each flip they are chosen anew: who is chosen for
    overfitting by luck would else look better wherever the luck does not hold."""
    pairs, bundles = without_holes(value[0] + by[0], value[1] + by[1])
    at = np.ix_(pairs, bundles)
    more, less = (x[at] for x in value)
    sign_RN = sign_RN[:, bundles]
    kept_RP = chosen((by[0][at], by[1][at]), sign_RN)
    kept = kept_RP[0]
    difference_PN = sign * (more - less)
    measured = of_differences(
        difference_PN[kept].mean(axis=0), means_of([more[kept], less[kept]]), int(kept.sum()), sign_RN
    )
    if measured.t_R is None:
        return measured
    count_R = np.maximum(kept_RP.sum(axis=1), 1)[:, None]
    t_R = studentized(sign_RN * (kept_RP @ difference_PN) / count_R)
    return replace(measured, t_R=t_R, p=p_of(t_R, t_R[0]))


def nearer_zero(t: float, effect: float, draw_R: Array, n: int) -> float:
    """t, or, where it is less, the effect over its standard error in bootstrap draws (times sqrt(n / (n - 1)), as of
    plain means)."""
    error = float(np.nanstd(draw_R)) * np.sqrt(n / (n - 1))
    return t if error == 0 else float(np.sign(t) * min(abs(t), abs(effect) / error))


def gains(value_PKN: Array) -> Array:
    """What each level adds to the first one, [P (K - 1), N]."""
    return np.asarray((value_PKN[:, 1:] - value_PKN[:, :1]).reshape(-1, value_PKN.shape[2]))


def deviation_contrast(sign: int, more_PKN: Array, less_PKN: Array, sign_RN: Array) -> Measured:
    """Standard deviation of the scores across K levels, without seed noise: first side against second.

    A seed's difference is its part of the difference of variances (see `sensitivity`), scaled so that their mean is the
    difference of the deviations; swapping the sides in a seed turns the sign of that one alone. Sides that depend alike
    on the levels and have unequal noise cannot be swapped, though: swaps alone reject 8 % where one side has five times
    the other's. So what was observed counts with the larger of two standard errors, the seeds' and a bootstrap's.
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
    t_R = None
    if n >= ENOUGH:
        t_R = flipped(step_N, sign_RN[:, bundles])
        t_R[0] = nearer_zero(t_R[0], step_N.mean(), draws[0] - draws[1], n)
    p = np.nan if t_R is None else p_of(t_R, t_R[0])
    return Measured(effect, low, high, p, (means[0], means[1]), difference_N, len(pairs), t_R)
