"""Runs of earlier sweeps that need no training where a strategy would stop them again."""

from __future__ import annotations

from collections.abc import Sequence

from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig
from bnsweep.runs.strategies import stops_there
from bnsweep.store.courses import kept_runs
from bnsweep.store.store import Done, Store


def stopped_before(store: Store, configs: Sequence[RunConfig]) -> dict[str, Done]:
    """Runs that an earlier sweep stopped where this one would stop them, too."""
    if configs[0].sweep.strategy != "plateau":
        return {}
    config_of = {identity(config): config for config in configs}
    kept = kept_runs(store.patient, config_of.keys(), histories=False).items()
    there = {name: run for name, run in kept if stops_there(config_of[name], run.status, run.reason, run.done.summary)}
    return {name: run.done for name, run in there.items()}
