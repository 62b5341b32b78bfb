"""What the report asks of a sweep; `bnsweep.store.SweepFrame` has this shape, and so have the tests' simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import pandas as pd

if TYPE_CHECKING:
    from bnsweep.store.sweep_data import SweepInfo


class Source(Protocol):
    @property
    def info(self) -> SweepInfo:
        """Where the sweep comes from."""

    @property
    def runs(self) -> pd.DataFrame:
        """One row a planned run: run_id, status, reason, the factor columns of `config.numbers`, summary metrics, and
        the facts `classes` and `total_steps`, NaN where they are not known."""

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Long form: run_id, step, epoch, metric, value."""

    def histograms(self, run_ids: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[Sequence[float]]]]:
        """run_id -> start, end -> hidden layer -> counts in `records.HISTOGRAM_EDGES`."""
