"""Two sides compared, each arm at its own best learning rate.

Shapes: P pairs, L learning-rate settings, N bundles, R draws or flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnsweep.inference import ENOUGH
from bnsweep.report.claims.contrasts import Measured, Unmeasured
from bnsweep.report.claims.flips import draws_for, p_of, studentized
from bnsweep.report.stats import resample
from bnsweep.report.stats.ranking import common_bundles

Array = NDArray[np.float64]
TwoSides = tuple[Array, Array]


@dataclass(frozen=True)
class AtRates:
    """What two sides have at every rate, [P, L, N] each; NaN where there is no run."""

    choose: TwoSides
    """By which the rate is chosen, more is better."""
    value: TwoSides
    beside: Sequence[TwoSides]
    """Further numbers, whose means at the chosen rates are told."""


def at_best(planned: tuple[NDArray[np.bool_], NDArray[np.bool_]], sign: int, at: AtRates, sign_RN: Array) -> Measured:
    """Each arm in each seed at the learning rate that the other seeds choose. `planned`: whether there were to be runs.

    Seeds that choose for each other are not independent, so no sign of a finished difference is flipped: in a seed that
    is flipped the two sides change places at every learning rate, and all choices are made anew. That is exact where
    the sides are alike at every rate. Where one has a single good rate and the other several, the luck of the choice is
    shared by all seeds of the other, and their differences do not show it: p is then at most .05 in 8 to 12 % of sweeps
    without a difference. A claim needs a second comparison as well, and comes out falsely in 5 % of such sweeps
    (tests/simulations, half-true); the larger of this p and a bootstrap's would hold 3 % and halve the power.
    """
    pairs, bundles = common_bundles(complete(planned, at))
    if not bundles:
        raise Unmeasured("no seed has both sides at every learning rate")
    place, n = np.ix_(pairs, range(at.value[0].shape[1]), bundles), len(bundles)
    choose = [c[place] for c in at.choose]
    never = min(np.nanmin(c) for c in choose) - 1  # where no rate was given; a sum with an infinity has no difference
    choose = [np.where(np.isnan(c), never, c) for c in choose]
    value, *beside = [[np.where(np.isnan(v[place]), 0, v[place]) for v in sides] for sides in (at.value, *at.beside)]
    taken_PN = taken(choose, value)
    difference_PN = sign * (taken_PN[0] - taken_PN[1])
    difference_N = difference_PN.mean(axis=0)
    draw_R = sign * bootstrap_best(choose, value)
    low, high = resample.mean_interval(draw_R[:, None], n)
    effect = float(difference_N.mean())
    t_R = sign * studentized(swapped(choose, value, sign_RN[:, bundles])) if n >= ENOUGH else None
    return Measured(
        effect,
        float(low[0]),
        float(high[0]),
        np.nan if t_R is None else p_of(t_R, t_R[0]),
        means_of(taken_PN),
        difference_N,
        len(pairs),
        t_R,
        [means_of(taken(choose, sides)) for sides in beside],
        difference_PN.mean(axis=1).tolist(),
    )


def complete(planned: tuple[NDArray[np.bool_], NDArray[np.bool_]], at: AtRates) -> NDArray[np.bool_]:
    """Whether a pair has both sides in a seed at every rate, [P, N]."""
    rates = [np.any(p, axis=2, keepdims=True) for p in planned]
    there = [(np.isfinite(c) & np.isfinite(v)) | ~r for c, v, r in zip(at.choose, at.value, rates, strict=True)]
    return np.asarray(there[0].all(axis=1) & there[1].all(axis=1))


def means_of(sides: Sequence[Array]) -> tuple[float, float]:
    return float(sides[0].mean()), float(sides[1].mean())


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


def swapped(choose: list[Array], value: list[Array], sign_RN: Array) -> Array:
    """Difference of the sides in every seed, mean over pairs, with the sides of a seed exchanged where its sign is
    negative, [R, N]."""
    pairs, rates, n = choose[0].shape
    out_RN = np.zeros(sign_RN.shape)
    for rows in resample.blocks(len(sign_RN), rates * n):
        swap_RN = sign_RN[rows] < 0
        for side in (0, 1):
            for p in range(pairs):
                own, other = ((choose[s][p], value[s][p]) for s in (side, 1 - side))
                both = [np.where(swap_RN[:, None], b, a) for a, b in zip(own, other, strict=True)]
                out_RN[rows] += (1 - 2 * side) * value_of_choice(*both)
    return np.asarray(out_RN / pairs)
