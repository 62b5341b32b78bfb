"""Main effects: how far each swept factor moves the score, averaged over the others, paired by bundle."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.report.frame.design import Codes, Factor, coded
from bnsweep.report.frame.grid import Grid
from bnsweep.report.stats import resample
from bnsweep.report.stats.ranking import View, common_bundles

BEHIND = ["behind", "behind_low", "behind_high"]
COLUMNS = ["factor", "level", "score", "low", "high", *BEHIND, "cells", "n_seeds", "reached"]


def main_effects(grid: Grid, view: View, metric: Metric) -> pd.DataFrame:
    """One row a level of each factor; none where a sampler chose the settings. Arm factors over the ranked arms at
    their best learning rates; the learning rate over all arms that have every setting. `behind` is the paired
    difference to the factor's best level, `reached` the share of a level's runs that got to τ."""
    if grid.searched:
        return pd.DataFrame(columns=COLUMNS)
    arms = grid.arms.loc[view.arms].reset_index(drop=True)
    factors, level_AF = coded(arms[grid.arm_factors], arms[grid.arm_factors], grid)
    parts = [arm_effect(grid, factors, level_AF, i, view, metric) for i in range(len(factors))]
    parts.append(lr_effect(grid, metric))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def arm_effect(
    grid: Grid, factors: list[Factor], level_AF: Codes, which: int, view: View, metric: Metric
) -> pd.DataFrame:
    """Only combinations of the other factors that have every level count, so that levels are compared like for like."""
    factor, score_AN = factors[which], grid.scores(metric, view.run_AN)
    rest = pd.DataFrame(np.delete(level_AF, which, axis=1))
    cell = rest.groupby(list(rest)).ngroup() if len(factors) > 1 else pd.Series(0, index=range(len(level_AF)))
    at = pd.Series(range(len(level_AF)), index=pd.MultiIndex.from_arrays([level_AF[:, which], cell])).unstack(0)
    at = at.reindex(columns=range(len(factor.values))).dropna().astype(int)
    if len(factor.values) < 2 or at.empty or score_AN.shape[1] == 0:
        return pd.DataFrame(columns=COLUMNS)
    cells_KC = at.to_numpy().T
    level_K = score_AN.mean(axis=1)[cells_KC].mean(axis=1)
    draw_RK = np.empty((len(view.draw_RA), len(level_K)))
    for draws in resample.blocks(len(draw_RK), cells_KC.size):
        draw_RK[draws] = view.draw_RA[draws][:, cells_KC].mean(axis=2)
    table = level_rows(factor.texts, level_K, draw_RK, score_AN.shape[1], metric)
    table["reached"] = grid.reached[view.run_AN].mean(axis=1)[cells_KC].mean(axis=1)
    return table.assign(factor=factor.name, cells=len(at))[COLUMNS]


def lr_effect(grid: Grid, metric: Metric) -> pd.DataFrame:
    if len(grid.lrs) < 2:
        return pd.DataFrame(columns=COLUMNS)
    score_ALN = grid.scores(metric, grid.run_ALN)
    arms, bundles = common_bundles(np.asarray(~np.isnan(score_ALN).any(axis=1)))
    if not arms:
        return pd.DataFrame(columns=COLUMNS)
    level_KN = score_ALN[arms][:, :, bundles].mean(axis=0)
    draw_RK = resample.bootstrap_means(level_KN, resample.bundle_counts(len(bundles)))
    table = level_rows(list(grid.lrs["lr"]), level_KN.mean(axis=1), draw_RK, len(bundles), metric)
    table["reached"] = grid.reached[grid.run_ALN[arms][:, :, bundles]].mean(axis=(0, 2))
    return table.assign(factor="learning rate", cells=len(arms))[COLUMNS]


def level_rows(
    names: list[str], level_K: NDArray[np.float64], draw_RK: NDArray[np.float64], n: int, metric: Metric
) -> pd.DataFrame:
    low, high = resample.mean_interval(draw_RK, n)
    best = int(np.argmax(metric.sign * level_K))
    behind_low, behind_high = resample.mean_interval(metric.sign * (draw_RK[:, [best]] - draw_RK), n)
    table = pd.DataFrame({"level": names, "score": level_K, "low": low, "high": high, "n_seeds": n})
    table["behind"] = metric.sign * (level_K[best] - level_K)
    table["behind_low"], table["behind_high"] = behind_low, behind_high
    table.loc[best, BEHIND] = np.nan
    return table
