"""Ways from an arm of the ranking to its runs in MLflow."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import pandas as pd

from bnsweep.report.frame.grid import Grid
from bnsweep.store.sweep_data import SweepInfo
from bnsweep.store.view import LOADED, LOCAL, compare_url, run_url

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_RUNS = 1000
"""Runs that a page lists; runs.csv has all."""


class RunLink(NamedTuple):
    seed: str
    status: str
    url: str


class Links:
    """`table`: the best-lr ranking, whose arms are linked with their runs at the learning rate given there."""

    def __init__(self, info: SweepInfo, grid: Grid, table: pd.DataFrame) -> None:
        self.base, self.experiment = info.ui or LOCAL, info.experiment_id
        self.grid = grid
        arm_of = {name: a for a, name in enumerate(grid.arms["arm"])}
        lr_of = {name: l for l, name in enumerate(grid.lrs["lr"])}
        ranked = table[table["rank"].notna()] if self.experiment else table[:0]
        self.places = {arm: (arm_of[arm], lr_of[lr]) for arm, lr in zip(ranked["arm"], ranked["lr"], strict=True)}

    @property
    def local(self) -> bool:
        """Whether the addresses answer only on the machine that serves MLflow's pages."""
        return urlsplit(self.base).hostname in LOOPBACK

    @property
    def most_compared(self) -> int:
        """Runs of an arm that are compared, where it has more; 0 where it has not. MLflow's pages load no more at once,
        and an address of thousands is none."""
        return LOADED if len(self.grid.bundles) > LOADED else 0

    def comparison(self, arm: str) -> str:
        """Address of the comparison of an arm's runs, the first LOADED of them; empty where there is none."""
        ids = [run_id for run_id, _, _ in self._runs(arm)[:LOADED]]
        return compare_url(self.base, self.experiment, ids) if ids else ""

    def runs(self, arm: str) -> list[RunLink]:
        """One link a seed."""
        return [RunLink(seed, state, run_url(self.base, self.experiment, i)) for i, seed, state in self._runs(arm)]

    def _runs(self, arm: str) -> list[tuple[str, str, str]]:
        """run_id, seed and status of each run that was logged."""
        if arm not in self.places:
            return []
        rows_N = self.grid.run_ALN[self.places[arm]]
        runs = self.grid.runs.loc[rows_N[rows_N >= 0], ["run_id", "status"]]
        seeds = [self.grid.bundles[n] for n in (rows_N >= 0).nonzero()[0]]
        found = zip(runs["run_id"].astype(str), seeds, runs["status"].astype(str), strict=True)
        return [run for run in found if run[0]]
