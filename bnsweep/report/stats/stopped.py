"""What was stopped early, and where it stood: it is listed and never ranked.

A strategy stops what scores low along the way, so what is left is no random part of the sweep. An arm at a learning
rate of which any run was stopped counts as stopped in all seeds (`Grid.run_ALN`).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.records import FINISHED, STOPPED
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.metrics import column, default_metric, scored

COLUMNS = ["score", "first_step", "last_step", "runs_stopped", "runs", "reason"]


def standing_metric(grid: Grid, metric: Metric) -> Metric:
    """By what stopped runs are listed: the metric, or the default one where it is of whole runs alone, as steps to τ
    are."""
    return metric if column(grid.runs, metric.name)[grid.stopped].notna().any() else default_metric(metric.task)


def standing_title(by: Metric) -> str:
    """What is listed: the last score, which is no final one."""
    return by.title.removeprefix("final ")


def standing(grid: Grid, metric: Metric) -> NDArray[np.float64]:
    """Mean last score over the seeds of every arm at every learning rate, [A, L]; NaN where no run has any."""
    last = scored(grid.runs.assign(status=grid.runs["status"].replace(STOPPED, FINISHED)), metric).to_numpy(float)
    score_ALN = np.where(grid.planned_ALN >= 0, last[grid.planned_ALN], math.nan)
    there_ALN = ~np.isnan(score_ALN)
    total = np.where(there_ALN, score_ALN, 0).sum(axis=2)
    count = there_ALN.sum(axis=2)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0))


def ahead_when_stopped(grid: Grid, metric: Metric) -> dict[int, int]:
    """Arms that stood no lower at a rate at which they were stopped than they end at the others, and that rate: nobody
    knows their best one."""
    if not grid.stopped_AL.any():
        return {}
    by = standing_metric(grid, metric)
    good_AL = by.sign * standing(grid, by)
    stopped_AL = np.where(grid.stopped_AL & ~np.isnan(good_AL), good_AL, -np.inf)
    ended_A = np.where(grid.stopped_AL | np.isnan(good_AL), -np.inf, good_AL).max(axis=1)
    rate_A, most_A = stopped_AL.argmax(axis=1), stopped_AL.max(axis=1)
    return {int(a): int(rate_A[a]) for a in np.flatnonzero((ended_A > -np.inf) & (most_A >= ended_A))}


def stopped_table(grid: Grid, metric: Metric) -> pd.DataFrame:
    """One row an arm and learning rate of which runs were stopped, those that stood best first: its factors, `arm`,
    `lr` and COLUMNS. `score`: by `standing_metric`."""
    by = standing_metric(grid, metric)
    score_AL, step = standing(grid, by), column(grid.runs, "stopped_step").to_numpy()
    rows = []
    for a, l in np.argwhere(grid.stopped_AL):
        planned = grid.planned_ALN[a, l][grid.planned_ALN[a, l] >= 0]
        stopped = planned[grid.stopped[planned]]
        known = step[stopped][~np.isnan(step[stopped])]
        first, last = (known.min(), known.max()) if len(known) else (math.nan, math.nan)
        row = {**grid.arms.loc[a], "lr": grid.lrs["lr"][l], "score": score_AL[a, l]}
        row |= {"first_step": first, "last_step": last, "runs_stopped": len(stopped), "runs": len(planned)}
        rows.append(row | {"reason": grid.runs["reason"][stopped].value_counts().index[0]})
    table = pd.DataFrame(rows, columns=[*grid.arms, "lr", *COLUMNS])
    return table.sort_values("score", ascending=by.sign < 0, kind="stable", ignore_index=True)
