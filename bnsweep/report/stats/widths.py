"""Tolerance widths: over how many decades of learning rate, or of initial weights, each arm still learns.

G grid values, N seeds, R draws of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.inference import ENOUGH
from bnsweep.report.frame.design import swept_values
from bnsweep.report.frame.grid import Grid, level_text
from bnsweep.report.frame.metrics import column
from bnsweep.report.stats import resample
from bnsweep.report.stats.tolerance import cell_widths, tolerance

KINDS = {"lr.value": "learning rate", "init.std": "init scale", "init.gain": "init scale"}
COLUMNS = ["kind", "arm", "decades", "low", "high", "at_edge", "decades_low", "decades_high", "n_seeds"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """The runs of one arm along a numeric factor."""

    kind: str
    arm: str
    values: tuple[float, ...]
    """Grid values, ascending."""
    reached_GN: Flags
    """Whether the run got to tau, in the seeds that have a result at every value."""


def widths(grid: Grid) -> pd.DataFrame:
    """One row an arm and factor. decades, low, high (grid values) and at_edge are those of `tolerance`; a diverged run
    has not reached tau. The init scale is read at every combination of the other factors, the learning rate too. The
    interval is a bootstrap over whole seeds, NaN below 5 of them. None where a sampler chose the settings."""
    kinds = {} if grid.searched else KINDS
    found = [line for factor, kind in kinds.items() if factor in grid.swept for line in lines(grid, factor, kind)]
    return pd.DataFrame([width_row(line) for line in found], columns=COLUMNS)


def lines(grid: Grid, factor: str, kind: str) -> Iterator[Line]:
    """Every combination of the other factors that has two values above 0 and a seed with a result at all of them. Where
    one of the values was stopped early, nobody knows whether it learns."""
    reached_SN = reached(grid)
    table = swept_values(grid)
    others = [f for f in grid.swept if f != factor]
    group = table.groupby(others, dropna=False, sort=False).ngroup() if others else pd.Series(0, index=table.index)
    for _, members in group.groupby(group):
        rows = members.index.to_numpy()
        value_S = pd.to_numeric(table[factor].iloc[rows], errors="coerce").to_numpy(float)
        planned = (grid.run_ALN.reshape(len(table), -1)[rows] >= 0).any(axis=1) & (value_S > 0)
        order = np.argsort(value_S[planned])
        reached_GN = reached_SN[rows[planned][order]]
        complete_N = ~np.isnan(reached_GN).any(axis=0)
        if planned.sum() > 1 and complete_N.any() and not grid.stopped_AL.ravel()[rows].any():
            first = table.iloc[rows[0]]
            name = " · ".join(filter(None, (level_text(f, first[f]) for f in others))) or "all runs"
            yield Line(kind, name, tuple(value_S[planned][order]), reached_GN[:, complete_N] == 1)


def reached(grid: Grid) -> Array:
    """Of every pair of arm and learning rate, in every seed: 1, 0, or NaN where there is no result."""
    known = np.where(grid.finished, column(grid.runs, "tau_reached").to_numpy(), math.nan)
    known = np.where(grid.diverged, 0.0, known)  # also where it got there before
    return np.where(grid.run_ALN >= 0, known[grid.run_ALN], math.nan).reshape(-1, grid.run_ALN.shape[2])


def width_row(line: Line) -> dict[str, Any]:
    n = line.reached_GN.shape[1]
    here = tolerance(dict(zip(line.values, line.reached_GN.tolist(), strict=True)))
    low, high = math.nan, math.nan
    if n >= ENOUGH:
        low, high = resample.interval_of(drawn_widths(line, resample.bundle_counts(n)), n)
    return {
        "kind": line.kind,
        "arm": line.arm,
        "decades": here.decades,
        "low": here.low,
        "high": here.high,
        "at_edge": here.at_edge,
        "decades_low": low,
        "decades_high": high,
        "n_seeds": n,
    }


def drawn_widths(line: Line, count_RN: NDArray[Any]) -> Array:
    """Decades in each draw of seeds, [R]: the longest run of values at which half of the drawn seeds learn."""
    n = line.reached_GN.shape[1]
    run_R, longest_R = np.zeros(len(count_RN)), np.zeros(len(count_RN))
    count = count_RN.astype(np.float64)
    for reached_N, decades in zip(line.reached_GN, cell_widths(line.values), strict=True):
        run_R = np.where(2 * (count @ reached_N) >= n, run_R + decades, 0.0)
        longest_R = np.maximum(longest_R, run_R)
    return longest_R
