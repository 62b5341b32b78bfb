"""Resampling over seed bundles: intervals, ranks, ties and paired tests. Arrays in, arrays out.

Shapes: A arms, N bundles, R resamples. Whole bundles are drawn, so that what arms share in a seed stays shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
ENOUGH = 5
"""Fewer bundles than this allow no inference: means are shown, nothing is called tied or apart."""
EXACT = 12
"""Up to so many pairs all sign flips are enumerated."""


def bundle_counts(n: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each of n bundles is drawn, with replacement, [R, N]; one matrix serves all arms of a comparison."""
    if n == 0:
        return np.zeros((resamples, 0))
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def bootstrap_means(score_AN: Array, count_RN: Array) -> Array:
    """Mean of each arm in each draw, [R, A]."""
    return np.asarray(count_RN @ score_AN.T / max(score_AN.shape[1], 1), dtype=np.float64)


def tail(n: int, level: float = LEVEL) -> float:
    """Tail of the expanded percentile interval: Phi(-sqrt(n/(n-1)) t_{n-1}), which mends the plain percentile
    interval's known narrowness at small n (Hesterberg 2015, arXiv 1411.5279, section 4.4.1)."""
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)))


def mean_interval(draw_RA: Array, n: int) -> tuple[Array, Array]:
    """Interval of each column over the draws, [A] and [A]; NaN where one bundle shows no spread."""
    if n < 2 or draw_RA.shape[1] == 0:
        missing = np.full(draw_RA.shape[1], np.nan)
        return missing, missing
    low, high = np.quantile(draw_RA, [tail(n), 1 - tail(n)], axis=0)
    return low, high


def ranks(goodness: Array) -> tuple[Array, Array]:
    """Best and worst rank of each arm along the last axis, 1 the best; they differ where arms are equal."""
    flat = -np.round(goodness, 12)  # equal scores must stay equal after a matrix product
    return stats.rankdata(flat, method="min", axis=-1), stats.rankdata(flat, method="max", axis=-1)


def rank_interval(goodness_RA: Array, n: int) -> tuple[Array, Array]:
    """Interval of each arm's rank over the joint bootstrap of all arms, at the tails of `mean_interval`."""
    best, worst = ranks(goodness_RA)
    low = np.quantile(best, tail(n), axis=0, method="inverted_cdf")
    high = np.quantile(worst, 1 - tail(n), axis=0, method="inverted_cdf")
    return low, high


def paired_half_width(draw_RA: Array, n: int) -> Array:
    """Half width of each pair's mean difference, [A, A]: Bonferroni t over all A(A-1)/2 pairs at once.

    The standard error is the difference's spread over the draws, times sqrt(n/(n-1)), which for plain means gives the
    usual one; so arms are compared within bundles, and a choice made in every draw counts in.
    """
    arms = draw_RA.shape[1]
    if n < 2 or arms == 0:
        return np.full((arms, arms), np.nan)
    covariance = np.atleast_2d(np.cov(draw_RA.T, bias=True))
    own = np.diag(covariance)
    variance = np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0) * n / (n - 1)
    comparisons = max(arms * (arms - 1) // 2, 1)
    quantile = float(stats.t.ppf(1 - (1 - LEVEL) / (2 * comparisons), n - 1))
    return np.asarray(quantile * np.sqrt(variance), dtype=np.float64)


def tied_groups(goodness_A: Array, half_AA: Array, n: int) -> NDArray[np.int64]:
    """Group of each arm, 1 the leading one; 0 for all where there are too few bundles.

    The best arm not yet in a group leads the next one, and takes along every arm whose mean paired difference to it
    has an interval that includes 0. The intervals hold for all pairs at once, because the leader is picked by looking:
    over sweeps in which no arm differs, all arms tie in at least 95 %.
    """
    group = np.zeros(len(goodness_A), dtype=np.int64)
    if n < ENOUGH:
        return group
    for leader in np.argsort(-np.round(goodness_A, 12), kind="stable"):
        if not group[leader]:
            tied = np.abs(goodness_A[leader] - goodness_A) <= half_AA[leader] + 1e-12
            group[(group == 0) & tied] = group.max() + 1
    return group


def sign_flip_p(difference_AN: Array, seed: int = 0) -> Array:
    """Two-sided p of each row's mean under random signs: all 2^N of them up to N = 12, else 10,000 drawn, the
    observed one counted (Phipson & Smyth 2010). Its floor is 2^(1-N)."""
    n = difference_AN.shape[1]
    if n <= EXACT:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, size=(RESAMPLES, n))
        bits[0] = 1
    flipped_RA = np.abs((2.0 * bits - 1) @ difference_AN.T)
    return np.asarray((flipped_RA >= np.abs(difference_AN.sum(axis=1)) - 1e-12).mean(axis=0), dtype=np.float64)


def holm(p: Array) -> Array:
    """Holm's step-down adjusted p-values; NaN stays NaN and is not in the family."""
    out = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return out


def cross_fit(score_LN: Array, sign: int) -> tuple[NDArray[Any], int]:
    """Best learning rate for each bundle, chosen on the mean of the OTHER bundles, and on all of them.

    Settings without runs are NaN throughout and are not chosen. Equal means go to the first, the smallest rate. With
    one bundle there are no others: it chooses for itself, and the report says so.
    """
    goodness = np.where(np.isnan(score_LN), -np.inf, sign * score_LN)
    total = goodness.sum(axis=1, keepdims=True)
    n = score_LN.shape[1]
    with np.errstate(invalid="ignore"):  # -inf - -inf where a setting has no runs
        others = total if n == 1 else (total - goodness) / (n - 1)
    others = np.round(np.where(np.isnan(others), -np.inf, others), 12)
    return np.argmax(others, axis=0), int(np.argmax(np.round(total, 12)))


def bootstrap_cross_fit(score_LN: Array, sign: int, count_RN: Array) -> Array:
    """Mean score of the cross-fitted choice, made anew in each draw, [R].

    Taking the choices of `cross_fit` as given would not do. Where learning rates are about equal, the folds' choices
    hang together: all seeds' scores fall or rise with them, and a nominal 95 % interval covers about 80 % (n = 10, 3
    equal rates). A drawn bundle's copies are one bundle: its rate is chosen on the draws of the other bundles.
    """
    goodness = sign * score_LN[~np.isnan(score_LN).any(axis=1)]
    n = score_LN.shape[1]
    total_R1L = (count_RN @ goodness.T)[:, None, :]
    rest_RN1 = (n - count_RN)[:, :, None]
    others_RNL = total_R1L - count_RN[:, :, None] * goodness.T[None]
    others_RNL = np.where(rest_RN1 > 0, others_RNL / np.maximum(rest_RN1, 1), total_R1L / n)
    chosen_RN = np.argmax(np.round(others_RNL, 12), axis=2)
    return sign * np.asarray((count_RN * goodness[chosen_RN, np.arange(n)]).sum(axis=1) / n, dtype=np.float64)
