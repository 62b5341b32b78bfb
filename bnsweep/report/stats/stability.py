"""How stable the order of the arms is: rank correlation between the two halves of the seeds.

A arms, N seeds, S ways to halve the seeds.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.report.frame.grid import Grid
from bnsweep.report.stats import resample
from bnsweep.report.stats.ranking import View

Array = NDArray[np.float64]

SPLITS = 200
"""All halvings are looked at where there are no more, else so many drawn ones."""


@dataclass(frozen=True)
class Stability:
    tau: float
    """Kendall's tau-b between the mean scores of the arms in the two halves, median over the halvings: 1 the same
    order, 0 no common order. NaN under 4 seeds or 2 arms, and where all arms of a half have one score."""
    low: float
    """Its 5 % quantile over the halvings: what an unlucky half makes of the order."""
    splits: int
    n: int


def stability(grid: Grid, view: View, metric: Metric) -> Stability:
    """Each half chooses its learning rates alone, among its own seeds, where the view chooses them. Half of the seeds
    scatter more than all of them, so this is a lower bound of what the ranking itself would repeat."""
    n, arms = len(view.bundles), len(view.arms)
    if n < 4 or arms < 2:
        return Stability(math.nan, math.nan, 0, n)
    half_SN = halves(n)
    weight_SN = np.concatenate([half_SN, ~half_SN]) * 1.0
    weight_SN *= n / weight_SN.sum(axis=1, keepdims=True)
    if view.independent:
        mean_SA = resample.bootstrap_means(grid.scores(metric, view.run_AN), weight_SN)
    else:
        score_ALN = grid.scores(metric, grid.run_ALN[view.arms][:, :, view.bundles])
        mean_SA = resample.bootstrap_cross_fit(score_ALN, metric.sign, weight_SN)
    first_SA, second_SA = np.split(resample.rounded(mean_SA), 2)
    tau_S = np.array([kendall(x, y) for x, y in zip(first_SA, second_SA, strict=True)])
    known = tau_S[np.isfinite(tau_S)]
    if not len(known):
        return Stability(math.nan, math.nan, len(tau_S), n)
    return Stability(float(np.median(known)), float(np.quantile(known, 0.05)), len(tau_S), n)


def halves(n: int) -> NDArray[np.bool_]:
    """Members of the first half, [S, N]. An odd seed makes the second half the larger one."""
    total = math.comb(n, n // 2)
    if total <= 2 * SPLITS:  # an even number is halved twice, once from either side
        chosen = [c for c in itertools.combinations(range(n), n // 2) if n % 2 or 0 in c]
    else:
        random = np.random.default_rng(0)
        chosen = [tuple(random.permutation(n)[: n // 2]) for _ in range(SPLITS)]
    half_SN = np.zeros((len(chosen), n), dtype=bool)
    for row, members in zip(half_SN, chosen, strict=True):
        row[list(members)] = True
    return half_SN


def kendall(x_A: Array, y_A: Array) -> float:
    """Kendall's tau-b. scipy.stats says the same and takes a second to import."""
    order = np.lexsort((y_A, x_A))
    x_A, y_A = x_A[order], y_A[order]
    pairs = math.comb(len(x_A), 2)
    tied_x, tied_y = ties(x_A), ties(np.sort(y_A))
    both = ties(x_A, y_A)
    untied = math.sqrt((pairs - tied_x) * (pairs - tied_y))
    concordant_less_discordant = pairs - tied_x - tied_y + both - 2 * inversions(y_A)
    return concordant_less_discordant / untied if untied else math.nan


def ties(*ordered: Array) -> int:
    """Pairs that are equal in every column; equal rows stand together."""
    new = np.any([column[1:] != column[:-1] for column in ordered], axis=0)
    runs = np.diff(np.concatenate([[0], np.flatnonzero(new) + 1, [len(ordered[0])]]))
    return int((runs * (runs - 1) // 2).sum())


def inversions(values: Array) -> int:
    """Pairs out of order, counted while merging sorted runs of 1, 2, 4, .. values."""
    width, found = 1, 0
    values = np.concatenate([values, np.full((1 << (len(values) - 1).bit_length()) - len(values), np.inf)])
    while width < len(values):
        blocks = values.reshape(-1, 2 * width)
        order = np.argsort(blocks, axis=1, kind="stable")
        places = (order < width) @ np.arange(2 * width)  # a left value moves on by one for each right one below it
        found += int(places.sum()) - len(blocks) * (width * (width - 1) // 2)
        values = np.take_along_axis(blocks, order, axis=1).reshape(-1)
        width *= 2
    return found
