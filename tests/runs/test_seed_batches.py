"""A sweep that adds seeds until its claims are decided: what it trains, what it leaves in the store, how it resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from quick_runs import grid

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.inference import Look
from bnsweep.runs.ledger import SweepResult
from bnsweep.runs.seed_batches import Looking
from bnsweep.runs.sweep import run_sweep
from bnsweep.store.store import Store
from bnsweep.store.sweep_data import SweepFrame

LOOKS = (Look(2, 0.03), Look(3, 0.01), Look(5, 0.01))
CELLS = 4


class Ends:
    """Ends a sweep at a look, and keeps what it was shown at each."""

    def __init__(self, after: int, fault: BaseException | None = None) -> None:
        self.after, self.fault = after, fault
        self.frames: list[SweepFrame] = []

    def is_over(self, frame: SweepFrame) -> bool:
        self.frames.append(frame)
        if self.fault is not None and len(self.frames) == self.after:
            raise self.fault
        return len(self.frames) == self.after


def looked(configs: list[RunConfig], is_over: Callable[[SweepFrame], bool]) -> SweepResult:
    result = run_sweep(configs, "test", workers=1, looking=Looking(LOOKS, is_over))
    assert result is not None
    return result


def test_seeds_are_added_batch_by_batch_until_the_looks_end_it(
    tracking: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = Ends(2)
    result = looked(grid(tracking, seeds=5), ends.is_over)
    assert (result.trained, len(result.runs)) == (3 * CELLS, 3 * CELLS)
    assert [len(frame.runs) for frame in ends.frames] == [2 * CELLS, 3 * CELLS]
    assert all((frame.runs["status"] == "finished").all() for frame in ends.frames)
    assert ends.frames[0].info.looks == list(LOOKS), "the schedule is known from the first look on"
    store = Store.open(tracking)
    (own,) = store.backend.runs("sweep")
    assert own.run_id == result.own_run and own.status == "FINISHED", "one run of its own, of all of its seeds"
    frame = store.load("a")
    assert sorted(set(frame.runs["seed"])) == [0, 1, 2] and frame.info.looks == list(LOOKS)
    assert frame.info.ledger == {"planned": 12, "finished": 12, "diverged": 0, "failed": 0}
    lines = capsys.readouterr().out.splitlines()
    schedule = "seed=auto: a look at the claims after 2, 3 and 5 seeds; 8 runs at the least, 20 at the most"
    assert [line for line in lines if line.startswith("seed=auto")] == [schedule]
    plans = [line for line in lines if line.startswith("plan: ")]
    assert plans == [
        "plan: 4 combinations, 8 runs, 0 already done, 8 left",
        "plan: 4 combinations, 12 runs, 8 already done, 4 left",
    ]


def test_the_most_seeds_end_it_whatever_is_open(tracking: TrackingConfig) -> None:
    assert len(looked(grid(tracking, seeds=5), lambda frame: False).runs) == 5 * CELLS


def test_the_same_command_goes_on_where_it_was_interrupted(tracking: TrackingConfig) -> None:
    with pytest.raises(KeyboardInterrupt):
        looked(grid(tracking, seeds=5), Ends(1, KeyboardInterrupt()).is_over)
    ends = Ends(2)
    result = looked(grid(tracking, seeds=5), ends.is_over)
    assert (result.trained, len(result.runs)) == (CELLS, 3 * CELLS)
    assert [len(frame.runs) for frame in ends.frames] == [2 * CELLS, 3 * CELLS], "it looks again at what was done"


def test_seeds_that_were_trained_already_are_looked_at_no_earlier(tracking: TrackingConfig) -> None:
    run_sweep([replace(c, sweep=replace(c.sweep, id="b")) for c in grid(tracking, seeds=5)], "test", workers=1)
    ends = Ends(1)
    result = looked(grid(tracking, seeds=5), ends.is_over)
    assert (result.trained, len(ends.frames[0].runs)) == (0, 2 * CELLS)


def test_rerun_trains_each_seed_once(tracking: TrackingConfig) -> None:
    looked(grid(tracking, seeds=5), Ends(2).is_over)
    again = looked(grid(tracking, seeds=5, rerun=True), Ends(3).is_over)
    assert again.trained == 5 * CELLS


def test_a_run_that_fails_is_not_trained_again_at_each_look(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("bnsweep.runs.executors.base.Training", broken)
    result = looked(grid(tracking, seeds=5), lambda frame: False)
    assert result.trained == 5 * CELLS
    assert {(run.status, run.reason) for run in result.runs} == {("failed", "RuntimeError: no such luck")}


def test_an_id_is_of_one_sweep(tracking: TrackingConfig) -> None:
    looked(grid(tracking, seeds=5), Ends(1).is_over)
    with pytest.raises(ConfigError, match=r"sweep\.id=a: must be new: test has a sweep of this id with other runs"):
        run_sweep(grid(tracking, seeds=3), "test", workers=1)


def test_a_dry_run_says_the_schedule_and_trains_nothing(
    tracking: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    looking = Looking(LOOKS, lambda frame: False)
    assert run_sweep(grid(tracking, seeds=5, dry_run=True), "test", workers=1, looking=looking) is None
    out = capsys.readouterr().out
    assert (
        "after 2, 3 and 5 seeds; 8 runs at the least, 20 at the most" in out and "plan: 4 combinations, 20 runs" in out
    )
    assert Store.open(tracking).backend.runs("sweep") == []
