"""Variance without seed noise: each seed has its own table of numbers, and products are of different seeds' tables.

Noise that seeds do not share has a mean product of 0. C entries of a table, N seeds, R draws of seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnsweep.report.stats import resample

Array = NDArray[np.float64]


def shared_variance(table_CN: Array, count_RN: NDArray[Any] | None = None) -> Array:
    """Variance without seed noise, [R]: the mean over pairs of different seeds of <r_m, r_n> / C.

    It may be below 0, where there is no variance but noise. `count_RN`: how often each seed is drawn; copies of one
    seed share their noise and are no pair. NaN where a draw holds one seed only.
    """
    entries, n = table_CN.shape
    count_RN = np.ones((1, n)) if count_RN is None else count_RN
    small_QN, own_N = compact(table_CN), (table_CN**2).sum(axis=0)
    out_R = np.empty(len(count_RN))
    for rows in resample.blocks(len(count_RN), n):
        count = count_RN[rows].astype(np.float64)
        twice = count**2
        pairs = count.sum(axis=1) ** 2 - twice.sum(axis=1)
        total = ((count @ small_QN.T) ** 2).sum(axis=1) - twice @ own_N
        out_R[rows] = total / np.where(pairs > 0, pairs * entries, np.nan)
    return out_R


def flip_p(table_CN: Array, seed: int = 0) -> float:
    """p of the mean table being other than 0: all signs of a seed's table change at once, the statistic is the mean
    table's length. All 2^N flips up to N = 12, else 10,000 drawn, the observed one counted."""
    n = table_CN.shape[1]
    small_QN = compact(table_CN)
    floor = (small_QN.sum(axis=1) ** 2).sum() * (1 - 1e-9)
    reached, total = 0, 0
    for sign_RN in resample.signs(n, n + len(small_QN), seed):
        reached += int((((sign_RN @ small_QN.T) ** 2).sum(axis=1) >= floor).sum())
        total += len(sign_RN)
    return reached / total


def compact(table_CN: Array) -> Array:
    """At most N rows with the same products of columns."""
    entries, n = table_CN.shape
    return table_CN if entries <= n else np.asarray(np.linalg.qr(table_CN, mode="r"))
