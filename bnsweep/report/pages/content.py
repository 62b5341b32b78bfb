"""Everything a report says, before it takes a form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from bnsweep.catalogue.metrics import Metric
from bnsweep.config.checks import printable
from bnsweep.report.claims.verdicts import UNASKED, Verdict
from bnsweep.report.figures import Drawn
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.metrics import chance
from bnsweep.report.pages import sentences
from bnsweep.report.stats.completeness import Notice
from bnsweep.report.stats.factorial import Analysis, strongest
from bnsweep.report.stats.ranking import BEST
from bnsweep.report.stats.stability import Stability
from bnsweep.report.stats.stopped import standing_metric
from bnsweep.store.sweep_data import SweepInfo

LITTLE = 0.1


@dataclass(frozen=True)
class ReportContent:
    info: SweepInfo
    grid: Grid
    metric: Metric
    ranking: pd.DataFrame
    effects: pd.DataFrame
    notices: list[Notice]
    ledger: dict[str, int]
    draw: Callable[[], list[Drawn]] = field(repr=False)
    verdicts: list[Verdict]
    analysis: Analysis
    sensitivity: pd.DataFrame
    widths: pd.DataFrame
    stability: Stability
    stopped: pd.DataFrame
    """What was stopped early, and is not ranked; see `stopped_table`."""
    links: bool = True
    """Whether the page leads to the runs in MLflow."""

    @cached_property
    def drawings(self) -> list[Drawn]:
        return self.draw()

    @property
    def best(self) -> pd.DataFrame:
        return self.ranking[self.ranking["view"] == BEST]

    @cached_property
    def answer(self) -> str:
        if self.untrained:
            return sentences.UNTRAINED
        all_diverged = 0 < self.ledger["planned"] == self.ledger["diverged"]
        comparable = standing_metric(self.grid, self.metric) is self.metric
        stopped = self.stopped if comparable else self.stopped.assign(score=math.nan)
        return sentences.answer(self.best, self.metric, all_diverged, stopped)

    @cached_property
    def untrained(self) -> bool:
        return self.grid.untrained

    @cached_property
    def mattered(self) -> str:
        """Which factor mattered most; empty where nothing can be said of it."""
        if self.untrained:
            return ""
        return strongest(self.analysis, self.metric, self.grid.bn_title)

    @property
    def title(self) -> str:
        return printable(f"Sweep {self.info.sweep}".strip())

    @property
    def asked(self) -> list[Verdict]:
        """Claims that the sweep compares something for."""
        return [v for v in self.verdicts if v.verdict != UNASKED]

    @property
    def unasked(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.verdict == UNASKED]

    @cached_property
    def glance(self) -> Drawn | None:
        """The picture of the first screen: the one that shows all claims that are asked, such as the gradients of a
        sweep on vanishing; where no picture does, the ranking. Where no arm learned anything a ranking shows nothing,
        and it is that of the first claim that has one."""
        asked = [v.figures for v in self.asked if v.figures]
        shared = [name for name in (asked[0] if asked else ()) if all(name in names for names in asked)]
        fitting = [*shared, *(name for names in asked for name in names if self.nothing_learned), "forest"]
        return next((d for name in fitting if (d := self.drawing(name))), None)

    @property
    def nothing_learned(self) -> bool:
        """Whether no arm is ahead of guessing by more than a tenth of what there is to learn."""
        if self.untrained or not self.metric.is_score:
            return self.untrained
        guess = float(chance(self.grid.runs, self.metric).mean())
        return not float(self.best["score"].max()) > guess + LITTLE * (1 - guess)

    def drawing(self, name: str) -> Drawn | None:
        return next((d for d in self.drawings if d.name == name), None)
