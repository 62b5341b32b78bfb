"""Runs put into a store one at a time, for tests of the store."""

from __future__ import annotations

from pathlib import Path

from bnsweep.config.run import RunConfig
from bnsweep.records import RunRecord
from bnsweep.store.store import Store


def log_run(store: Store, config: RunConfig, record: RunRecord, sweep_id: str, model: Path | None = None) -> str:
    """The new run's id."""
    (run_id,) = store.log_runs([(config, record, model)], sweep_id)
    return run_id
