"""What the report asks of a sweep; `bnsweep.store.SweepFrame` has this shape, and so have the tests' simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd


class Source(Protocol):
    @property
    def info(self) -> Mapping[str, Any]:
        """Provenance of the sweep; any key may be missing."""

    @property
    def runs(self) -> pd.DataFrame:
        """One row a planned run: run_id, status, reason, the factor columns of `config.numbers`, summary metrics."""

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Long form: run_id, step, epoch, metric, value."""

    def histograms(self, run_ids: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[Sequence[float]]]]:
        """run_id -> start, end -> hidden layer -> counts in `records.HISTOGRAM_EDGES`."""
