"""Resampling over seed bundles: intervals, ranks, ties and paired tests. Arrays in, arrays out.

Shapes: A arms, N bundles, R resamples. Whole bundles are drawn, so that what arms share in a seed stays shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ALPHA, ENOUGH

Array = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 1 - ALPHA
DECIMALS = 12
"""To which scores are compared: equal ones must stay equal when their sums are taken in another order."""
EXACT = 12
"""Up to so many pairs all sign flips are enumerated."""
BLOCK = 2**18
"""Numbers worked on at a time: few enough to stay in the cache, and to bound the memory of the largest sweep."""


def blocks(length: int, each: int) -> Iterator[slice]:
    """Slices of an axis whose entries hold `each` numbers, about BLOCK numbers at a time."""
    step = max(1, BLOCK // max(each, 1))
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


@lru_cache(maxsize=1)  # the views of a sweep mostly share their bundles
def bundle_counts(n: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.unsignedinteger[Any]]:
    """How often each of n bundles is drawn, with replacement, [R, N]; one matrix serves all arms of a comparison.

    One bundle has one draw: there is nothing to resample.
    """
    count_RN = np.empty((resamples if n > 1 else 1, n), dtype=np.min_scalar_type(n))
    random = np.random.default_rng(seed)
    for rows in blocks(len(count_RN), n) if n else ():
        count_RN[rows] = random.multinomial(n, np.full(n, 1 / n), size=rows.stop - rows.start)
    count_RN.flags.writeable = False
    return count_RN


def rounded(x: Array) -> Array:
    """To DECIMALS."""
    return np.round(x, DECIMALS)


def best_rate(goodness: Array, axis: int) -> NDArray[np.int64]:
    """Place of the best learning rate along an axis of mean goodness; of equal ones the first, the smallest rate."""
    return np.asarray(np.argmax(rounded(goodness), axis=axis), dtype=np.int64)


def bootstrap_means(score_AN: Array, count_RN: NDArray[Any]) -> Array:
    """Mean of each arm in each draw, [R, A]."""
    arms, n = score_AN.shape
    draw_RA = np.empty((len(count_RN), arms))
    for rows in blocks(len(count_RN), n):
        draw_RA[rows] = count_RN[rows].astype(np.float64) @ score_AN.T / max(n, 1)
    return draw_RA


def student(level: float, n: int) -> float:
    """Quantile of Student's t with n - 1 degrees of freedom. scipy.stats says the same and takes a second to import."""
    return float(special.stdtrit(n - 1, level))


def tail(n: int, level: float = LEVEL) -> float:
    """Tail of the expanded percentile interval: Phi(-sqrt(n/(n-1)) t_{n-1}), which mends the plain percentile
    interval's known narrowness at small n (Hesterberg 2015, arXiv 1411.5279, section 4.4.1)."""
    return float(special.ndtr(-np.sqrt(n / (n - 1)) * student((1 + level) / 2, n)))


def mean_interval(draw_RA: Array, n: int) -> tuple[Array, Array]:
    """Interval of each column over the draws, [A] and [A]; NaN where there are too few bundles."""
    if n < ENOUGH or draw_RA.shape[1] == 0:
        missing = np.full(draw_RA.shape[1], np.nan)
        return missing, missing
    low_high = np.empty((2, draw_RA.shape[1]))
    for arms in blocks(draw_RA.shape[1], len(draw_RA)):
        low_high[:, arms] = np.quantile(draw_RA[:, arms], [tail(n), 1 - tail(n)], axis=0)
    return low_high[0], low_high[1]


def interval_of(draw_R: Array, n: int) -> tuple[float, float]:
    """Interval of one number, over the draws that could give it; NaN where none could."""
    known_R = draw_R[np.isfinite(draw_R)]
    low, high = mean_interval(known_R[:, None], n if len(known_R) else 0)
    return float(low[0]), float(high[0])


def ranks(goodness: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Best and worst rank of each arm along the last axis, 1 the best; they differ where arms are equal."""
    flat = -rounded(goodness)
    order = np.argsort(flat, axis=-1)
    ordered = np.take_along_axis(flat, order, axis=-1)
    place = np.broadcast_to(np.arange(1, flat.shape[-1] + 1), flat.shape)
    apart = ordered[..., 1:] != ordered[..., :-1]
    best, worst = place.copy(), place.copy()
    if not apart.all():
        best[..., 1:][~apart] = 1
        worst[..., :-1][~apart] = flat.shape[-1]
        best = np.maximum.accumulate(best, axis=-1)
        worst = np.minimum.accumulate(worst[..., ::-1], axis=-1)[..., ::-1]
    out = np.empty((2, *flat.shape), dtype=np.int64)
    for to, ranked in zip(out, (best, worst), strict=True):
        np.put_along_axis(to, order, ranked, axis=-1)
    return out[0], out[1]


def around(difference: Array, half: Array, metric: Metric) -> tuple[Array, Array]:
    """A symmetric interval; two scores cannot be further apart than 1."""
    most = 1 if metric.is_score else np.inf
    return np.clip(difference - half, -most, most), np.clip(difference + half, -most, most)


def rank_interval(goodness_RA: Array, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Interval of each arm's rank over the joint bootstrap of all arms, at the tails of `mean_interval`."""
    draws, arms = goodness_RA.shape
    best_RA, worst_RA = (np.empty((draws, arms), dtype=np.min_scalar_type(arms)) for _ in range(2))
    for rows in blocks(draws, arms):
        best_RA[rows], worst_RA[rows] = ranks(goodness_RA[rows])
    low, high = np.empty(arms, dtype=np.int64), np.empty(arms, dtype=np.int64)
    for some in blocks(arms, draws):
        low[some] = np.quantile(best_RA[:, some], tail(n), axis=0, method="inverted_cdf")
        high[some] = np.quantile(worst_RA[:, some], 1 - tail(n), axis=0, method="inverted_cdf")
    return low, high


def paired_errors(draw_RA: Array, n: int) -> Array:
    """Standard error of each pair's mean difference, [A, A]: its spread over the draws, times sqrt(n/(n-1)), which for
    plain means gives the usual one; so arms are compared within bundles, and a choice made in every draw counts in."""
    arms = draw_RA.shape[1]
    if n < 2 or arms == 0:
        return np.full((arms, arms), np.nan)
    error_AA = np.atleast_2d(np.cov(draw_RA.T, bias=True))
    own = np.diag(error_AA).copy()
    error_AA *= 2  # in place from here on: thousands of arms have tens of millions of pairs
    np.subtract(own[:, None] + own[None, :], error_AA, out=error_AA)
    np.maximum(error_AA, 0, out=error_AA)
    error_AA *= n
    error_AA /= n - 1
    np.sqrt(error_AA, out=error_AA)
    return error_AA


def simultaneous(comparisons: int, n: int) -> float:
    """Standard errors of a half width that holds for so many two-sided comparisons at once: Bonferroni's t."""
    return student(1 - (1 - LEVEL) / (2 * max(comparisons, 1)), n)


def tied_groups(goodness_A: Array, error_AA: Array, n: int) -> NDArray[np.int64]:
    """Group of each arm, 1 the leading one; 0 for all where there are too few bundles.

    The first group has every arm that can be the best: those that no other arm is better than, beyond a one-sided t
    over the A - 1 others (multiple comparisons with the best: Hsu 1984, Annals of Statistics 12, 1136; Bonferroni's t,
    as arms have unequal errors). In 95 % of sweeps or more the best arm is among them, whichever that is. Each further
    group has those that can be the best of the arms that are left.
    """
    group = np.zeros(len(goodness_A), dtype=np.int64)
    if n < ENOUGH:
        return group
    order = np.argsort(-rounded(goodness_A), kind="stable")
    while len(left := order[group[order] == 0]):
        margin = student(1 - (1 - LEVEL) / max(len(left) - 1, 1), n)
        group[left[~beaten(goodness_A, error_AA, left, margin)]] = group.max() + 1
    return group


def beaten(goodness_A: Array, error_AA: Array, left: NDArray[np.int64], margin: float) -> NDArray[np.bool_]:
    """Whether another arm of `left`, the best first, is better by more than so many standard errors; in that order."""
    found = np.zeros(len(left), dtype=bool)
    for place, arm in enumerate(left):  # nothing beats the first of them
        behind = goodness_A[arm] - goodness_A[left[place + 1 :]]
        found[place + 1 :] |= behind > margin * error_AA[arm, left[place + 1 :]] + 1e-12
    return found


def signs(n: int, each: int, seed: int = 0) -> Iterator[Array]:
    """Signs for N pairs in blocks [R, N]: all 2^N up to N = 12, else 10,000 drawn, the observed ones first (Phipson &
    Smyth 2010). `each`: numbers that one row is worked on with."""
    total = 2**n if n <= EXACT else RESAMPLES
    random = np.random.default_rng(seed)
    for rows in blocks(total, each):
        at = np.arange(rows.start, rows.stop)[:, None]
        bits = at >> np.arange(n) & 1 if n <= EXACT else random.integers(0, 2, size=(len(at), n))
        if n > EXACT:
            bits[at[:, 0] == 0] = 1
        yield (2 * bits - 1).astype(np.float64)


def sign_flip_p(difference_AN: Array, seed: int = 0) -> Array:
    """Two-sided p of each row's mean under random signs; its floor is `least_p`. Sums that differ by rounding alone are
    equal: of lumpy scores many are."""
    arms, n = difference_AN.shape
    floor_A = np.abs(difference_AN.sum(axis=1)) - 1e-9 * np.abs(difference_AN).sum(axis=1)
    reached_A, total = np.zeros(arms, dtype=np.int64), 0
    for sign_RN in signs(n, max(n, arms), seed):
        reached_A += (np.abs(sign_RN @ difference_AN.T) >= floor_A).sum(axis=0)
        total += len(sign_RN)
    return reached_A / total


def bootstrap_p(effect: float, draw_R: Array, n: int) -> float:
    """Two-sided p of t = effect over the draws' standard error (times sqrt(n / (n - 1)), as of plain means)."""
    error = float(draw_R.std()) * np.sqrt(n / (n - 1))
    if error == 0:
        return float(effect == 0)
    return float(2 * special.stdtr(n - 1, -abs(effect) / error))


def holm(p: Array) -> Array:
    """Holm's step-down adjusted p-values; NaN stays NaN and is not in the family."""
    out = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return out


def cross_fit(score_LN: Array, sign: int) -> tuple[NDArray[Any], int]:
    """Best learning rate for each bundle, chosen on the mean of the OTHER bundles, and on all of them.

    Rates without runs are NaN throughout and are not chosen. With one bundle there are no others: it chooses for
    itself, and the report says so.
    """
    goodness = np.where(np.isnan(score_LN), -np.inf, sign * score_LN)
    total = goodness.sum(axis=1, keepdims=True)
    n = score_LN.shape[1]
    with np.errstate(invalid="ignore"):  # -inf - -inf where a setting has no runs
        others = total if n == 1 else (total - goodness) / (n - 1)
    others = np.where(np.isnan(others), -np.inf, others)
    return best_rate(others, axis=0), int(best_rate(total[:, 0] / n, axis=0))


def bootstrap_cross_fit(score_ALN: Array, sign: int, count_RN: NDArray[Any]) -> Array:
    """Mean score of each arm's cross-fitted choice, made anew in each draw, [R, A].

    Taking the choices of `cross_fit` as given would not do. Where learning rates are about equal, the folds' choices
    hang together: all seeds' scores fall or rise with them, and a nominal 95 % interval covers about 80 % (n = 10, 3
    equal rates). A drawn bundle's copies are one bundle: its rate is chosen on the draws of the other bundles.
    """
    n = score_ALN.shape[2]
    draw_RA = np.empty((len(count_RN), len(score_ALN)))
    goodness = [sign * score_LN[~np.isnan(score_LN).any(axis=1)] for score_LN in score_ALN]
    for rows in blocks(len(count_RN), n):
        count = count_RN[rows].astype(np.float64)
        for a, goodness_LN in enumerate(goodness):
            taken = goodness_of_choice(goodness_LN, count) if len(goodness_LN) > 1 else goodness_LN
            draw_RA[rows, a] = sign * ((count * taken).sum(axis=1) / n)
    return draw_RA


def goodness_of_choice(goodness_LN: Array, count_RN: Array, value_LN: Array | None = None) -> Array:
    """What each bundle has (of `value_LN`, else of the goodness itself) at the rate that the other bundles of its draw
    choose by the rule of `best_rate`, [R, N]."""
    n = goodness_LN.shape[1]
    value_LN = goodness_LN if value_LN is None else value_LN
    rest_RN = n - count_RN
    alone_RN = rest_RN == 0  # one bundle drawn n times chooses for itself
    np.maximum(rest_RN, 1, out=rest_RN)
    taken_RN, most_RN = np.empty(count_RN.shape), np.full(count_RN.shape, -np.inf)
    for goodness_N, value_N, total_R in zip(goodness_LN, value_LN, (count_RN @ goodness_LN.T).T, strict=True):
        others_RN = (total_R[:, None] - count_RN * goodness_N) / rest_RN
        if alone_RN.any():
            others_RN = np.where(alone_RN, total_R[:, None] / n, others_RN)
        others_RN = rounded(others_RN)
        better_RN = others_RN > most_RN
        np.copyto(taken_RN, value_N, where=better_RN)
        np.copyto(most_RN, others_RN, where=better_RN)
    return taken_RN
