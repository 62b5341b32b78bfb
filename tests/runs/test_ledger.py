"""What the ledger says became of a sweep's runs."""

from __future__ import annotations

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.cli.sweep import describe_run, value_of
from bnsweep.config.run import TrackingConfig
from bnsweep.runs.ledger import RunResult, count_statuses, describe_ledger


def results(**counts: int) -> dict[str, RunResult]:
    statuses = [status for status, count in counts.items() for _ in range(count)]
    return {str(i): RunResult(status, {}) for i, status in enumerate(statuses)}


def test_stopped_runs_are_counted_apart() -> None:
    ended = results(finished=3, diverged=1, stopped=4, failed=1)
    assert describe_ledger(9, ended, 9).splitlines()[0] == (
        "ledger: 9 planned, 3 finished, 1 diverged, 4 stopped, 1 failed (9 trained now)"
    )


def test_a_sweep_that_stops_nothing_does_not_speak_of_it() -> None:
    assert count_statuses(2, results(finished=2)) == {"planned": 2, "finished": 2, "diverged": 0, "failed": 0}


def test_a_sweeper_gets_a_stopped_runs_last_score() -> None:
    assert value_of(RunResult("stopped", {"final_val_accuracy": 0.7})) == 0.7


def test_a_single_run_that_was_stopped_says_where_and_what_it_had() -> None:
    summary = {f"final_{split}_accuracy": 0.5 for split in ("train", "val", "test")}
    reason = "stopped at step 300 of 2000: no better validation accuracy since step 50"
    text = describe_run(RunResult("stopped", summary, reason, "r1"), CLASSIFICATION, TrackingConfig())
    first, second, _ = text.splitlines()
    assert first == "stopped: at step 300 of 2000: no better validation accuracy since step 50"
    assert second == "accuracy: train 0.5000, validation 0.5000, test 0.5000"
