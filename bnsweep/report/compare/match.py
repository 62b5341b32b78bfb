"""Which arms, learning rates and seeds two sweeps have in common.

An arm is a combination of the factors that either sweep varies, without the learning rate. A factor that one sweep
varies and the other holds fixed matches at the fixed level. What both hold fixed, at whatever levels, is no part of an
arm: it is what changed between them. Where either sweep stopped a run early, neither is compared at that arm and rate.

Shapes: S shared arms, L learning-rate settings of a sweep, N bundles of a sweep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.config.checks import ConfigError
from bnsweep.records import STOPPED
from bnsweep.report.frame.grid import (
    arm_and_lr,
    bundle_codes,
    combinations,
    factor_columns,
    levels,
    placed,
    swept_factors,
    value_text,
)
from bnsweep.report.frame.metrics import reached, scored
from bnsweep.report.stats.ranking import common_bundles

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Half:
    """One sweep, as far as it is compared."""

    run_SLN: Rows
    """Row of its frame, -1 where none was planned."""
    score_SLN: NDArray[np.float64]
    """NaN where there is no result."""
    run_ids: NDArray[np.str_]
    """Of its frame's rows."""
    reached: NDArray[np.float64]
    """Of its frame's rows: whether the run got to τ."""
    lrs: list[str]
    bundles: list[str]


@dataclass(frozen=True)
class Match:
    arms: list[str]
    """The shared arms that are compared."""
    a: Half
    b: Half
    paired: bool
    """Whether both halves have the same bundles, in the same order."""
    one_sided: list[str]
    """Factors that only one of the sweeps varies."""
    only: tuple[list[str], list[str]]
    """Arms that only A has, and only B."""
    dropped: list[str]
    """Shared arms that lack results, and are not compared."""
    crossed: bool
    stopped: tuple[int, int] = (0, 0)
    """Runs of A, and of B, that were stopped early."""


def match(a: pd.DataFrame, b: pd.DataFrame, metric: Metric) -> Match:
    """Raises ConfigError where no arm can be compared.

    Seeds are paired where the sweeps share at least half of the seeds of the smaller one; then only those count.
    """
    # As objects: a column of the one that is all missing in the other keeps its values and warns of nothing.
    joint = pd.concat([a.astype(object), b.astype(object)], ignore_index=True)
    of_a = np.arange(len(joint)) < len(a)
    swept_a, swept_b = swept_factors(a), swept_factors(b)
    swept = [f for f in factor_columns(joint) if f in swept_a or f in swept_b]
    arm_factors, lr_factors = arm_and_lr(swept)
    arm_of, arms = combinations(joint, arm_factors, "arm")
    lr_of, lrs = combinations(joint, lr_factors, "lr")
    bundle_of, bundles, crossed = bundle_codes(joint)
    shared = np.intersect1d(arm_of[of_a], arm_of[~of_a])
    if not len(shared):
        raise ConfigError(f"sweep=A,B: must have an arm in common; {disjoint(a, b, arm_factors)}")
    codes = np.column_stack([np.searchsorted(shared, arm_of), lr_of, bundle_of])
    stopped = (joint["status"] == STOPPED).to_numpy(bool)
    cell_of = arm_of * len(lrs) + lr_of
    codes[~np.isin(arm_of, shared) | np.isin(cell_of, cell_of[stopped])] = -1
    names = arms["arm"].to_numpy(str)
    halves = [
        half(runs, codes[mine], names[shared], list(lrs["lr"]), bundles, metric)
        for runs, mine in ((a, of_a), (b, ~of_a))
    ]
    kept, halves, paired = common(halves)
    if not kept:
        raise ConfigError(f"sweep=A,B: must have an arm with results in both; none of {len(shared)} shared ones has")
    only = [sorted(set(names[arm_of[mine]]) - set(names[shared])) for mine in (of_a, ~of_a)]
    one_sided = [f for f in swept if (f in swept_a) != (f in swept_b)]
    chosen, dropped = names[shared[kept]].tolist(), np.delete(names[shared], kept).tolist()
    count = (int(stopped[of_a].sum()), int(stopped[~of_a].sum()))
    return Match(chosen, halves[0], halves[1], paired, one_sided, (only[0], only[1]), dropped, crossed, count)


def disjoint(a: pd.DataFrame, b: pd.DataFrame, factors: list[str]) -> str:
    """The first factor of which the sweeps share no level."""
    for factor in factors:
        there = [set(runs[factor].dropna()) if factor in runs else set() for runs in (a, b)]
        if not there[0] & there[1]:
            texts = [", ".join(map(value_text, levels(runs, factor))) if factor in runs else "" for runs in (a, b)]
            return f"{factor} is {texts[0] or 'not recorded'} in A and {texts[1] or 'not recorded'} in B"
    return f"no combination of {', '.join(factors)} is in both"


def half(
    runs: pd.DataFrame, codes: Rows, arms: NDArray[Any], lrs: list[str], bundles: list[str], metric: Metric
) -> Half:
    """`codes`: arm, learning rate and bundle of each run, -1 where its arm is not shared."""
    mine = np.flatnonzero(codes[:, 0] >= 0)
    used = [np.unique(codes[mine, axis]) for axis in (1, 2)]
    l, n = (np.searchsorted(u, codes[:, axis]) for u, axis in zip(used, (1, 2), strict=True))
    run_SLN = placed(runs, (codes[:, 0], l, n), (len(arms), len(used[0]), len(used[1])), mine)
    score = np.asarray(scored(runs, metric), dtype=np.float64)
    score_SLN = np.where(run_SLN >= 0, score[run_SLN], np.nan)
    names = runs["run_id"].to_numpy(str)
    got = np.asarray(reached(runs), dtype=np.float64)
    return Half(run_SLN, score_SLN, names, got, [lrs[i] for i in used[0]], [bundles[i] for i in used[1]])


def common(halves: list[Half]) -> tuple[list[int], list[Half], bool]:
    """The arms to compare, each sweep cut down to them and to the bundles in which all of them have results."""
    shared = [name for name in halves[0].bundles if name in set(halves[1].bundles)]
    paired = 2 * len(shared) >= min(len(h.bundles) for h in halves)
    if paired:
        halves = [cut(h, list(range(len(h.run_SLN))), [h.bundles.index(name) for name in shared]) for h in halves]
        arms, bundles = common_bundles(has_all_rates(halves[0]) & has_all_rates(halves[1]))
        return arms, [cut(h, arms, bundles) for h in halves], True
    ranked = [set(common_bundles(has_all_rates(h))[0]) for h in halves]
    arms = sorted(ranked[0] & ranked[1])
    return (
        arms,
        [cut(h, arms, [int(i) for i in np.flatnonzero(has_all_rates(h)[arms].all(axis=0))]) for h in halves],
        False,
    )


def has_all_rates(half: Half) -> NDArray[np.bool_]:
    """Whether an arm has a result at each of the learning rates that are compared in a bundle, [S, N]."""
    planned_SL = np.any(half.run_SLN >= 0, axis=2)
    there_SN = np.all(~np.isnan(half.score_SLN) | ~planned_SL[:, :, None], axis=1)
    return np.asarray(there_SN & planned_SL.any(axis=1)[:, None])


def cut(half: Half, arms: list[int], bundles: list[int]) -> Half:
    at = np.ix_(arms, range(len(half.lrs)), bundles)
    kept = [half.bundles[i] for i in bundles]
    return replace(half, run_SLN=half.run_SLN[at], score_SLN=half.score_SLN[at], bundles=kept)
