"""A search's sweep, which comes batch by batch: one run of its own in MLflow, of all of its runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from quick_runs import grid

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.runs.ledger import SweepResult
from bnsweep.runs.sweep import run_sweep
from bnsweep.store.store import Store

SEARCHED = ["activation", "bn"]


def searched(batches: list[list[RunConfig]]) -> list[SweepResult]:
    results: list[SweepResult] = []
    earlier: list[RunConfig] = []
    for batch in batches:
        result = run_sweep(batch, "test", earlier=earlier, before=results, searched=SEARCHED, workers=1)
        assert result is not None
        earlier, results = [*earlier, *batch], [*results, result]
    return results


def test_batches_become_one_sweep(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    first, second = searched([configs[:4], configs[2:]])  # a sampler may choose a point twice
    assert (first.trained, second.trained, len(second.runs)) == (4, 4, 6)
    store = Store.open(tracking)
    (own,) = store.backend.runs("sweep")
    assert own.run_id == second.own_run
    frame = store.load("a")
    assert len(frame.runs) == 8 and frame.info.searched == SEARCHED
    assert frame.info.ledger == {"planned": 8, "finished": 8, "diverged": 0, "failed": 0}
    parts = [result.seconds["training"] for result in (first, second)]
    assert frame.info.seconds["training"] == pytest.approx(sum(parts))


def test_a_search_may_have_the_id_of_its_own_beginning(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    searched([configs[:4], configs[4:]])
    assert [result.trained for result in searched([configs[:4], configs[4:]])] == [0, 0]
    others = [replace(config, seed=config.seed + 5) for config in configs[:4]]
    with pytest.raises(ConfigError, match=r"sweep\.id=a: must be new: test has a sweep of this id with other runs"):
        searched([others])
