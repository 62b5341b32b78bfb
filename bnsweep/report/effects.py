"""Main effects: how far each swept factor moves the score, averaged over the others, paired by bundle."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.report import resample
from bnsweep.report.grid import Grid, level_text, levels
from bnsweep.report.metrics import Metric
from bnsweep.report.ranking import View, common_bundles

COLUMNS = ["factor", "level", "score", "low", "high", "behind", "behind_low", "behind_high", "cells", "n_seeds"]


def main_effects(grid: Grid, view: View, metric: Metric) -> pd.DataFrame:
    """One row a level of each factor. Arm factors over the ranked arms at their best learning rates; the learning
    rate over all arms that have every setting. `behind` is the paired difference to the factor's best level."""
    score_AN = grid.scores(metric, view.run_AN)
    arms = grid.arms.loc[view.arms].reset_index(drop=True)
    parts = [arm_effect(arms, score_AN, view, f, grid, metric) for f in grid.arm_factors]
    parts.append(lr_effect(grid, metric))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def arm_effect(
    arms: pd.DataFrame, score_AN: NDArray[np.float64], view: View, factor: str, grid: Grid, metric: Metric
) -> pd.DataFrame:
    """Only combinations of the other factors that have every level count, so that levels are compared like for like."""
    names = [v for v in levels(grid.runs, factor) if (arms[factor] == v).any()]
    others = [f for f in grid.arm_factors if f != factor]
    cell = arms.groupby(others, dropna=False).ngroup() if others else pd.Series(0, index=arms.index)
    level = pd.Series(pd.Categorical(arms[factor], categories=names).codes, index=arms.index)
    at = pd.Series(arms.index, index=pd.MultiIndex.from_arrays([level, cell])).unstack(0)
    at = at.reindex(columns=range(len(names))).dropna().astype(int)
    if len(names) < 2 or at.empty or score_AN.shape[1] == 0:
        return pd.DataFrame(columns=COLUMNS)
    cells_KC = at.to_numpy().T
    level_K = score_AN.mean(axis=1)[cells_KC].mean(axis=1)
    draw_RK = np.empty((len(view.draw_RA), len(names)))
    for draws in resample.blocks(len(draw_RK), cells_KC.size):
        draw_RK[draws] = view.draw_RA[draws][:, cells_KC].mean(axis=2)
    table = level_rows([level_text(factor, v) or "–" for v in names], level_K, draw_RK, score_AN.shape[1], metric)
    return table.assign(factor=factor, cells=len(at))[COLUMNS]


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
    table.loc[best, ["behind", "behind_low", "behind_high"]] = np.nan
    return table
