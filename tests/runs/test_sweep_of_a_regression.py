"""A sweep on a regression, from its runs to its report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from quick_runs import grid, in_sweep
from regressions import DATA, on, smooth_numbers

from bnsweep.catalogue.tasks import REGRESSION
from bnsweep.cli.sweep import describe_run
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import LrConfig
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.report import report_sweep
from bnsweep.runs.ledger import RunResult, SweepResult
from bnsweep.runs.sweep import run_sweep
from bnsweep.store.store import Store
from bnsweep.store.view import state

NUMBERS = smooth_numbers()


def swept(configs: Sequence[RunConfig]) -> SweepResult:
    result = run_sweep(configs, "test", workers=1, datasets={DATA.key: NUMBERS})
    assert result is not None
    return result


def test_runs_are_scored_by_r2_in_mlflow_and_in_the_report(tracking: TrackingConfig, tmp_path: Path) -> None:
    configs = on(NUMBERS, grid(tracking))
    configs[3] = replace(configs[3], lr=LrConfig(1e6))
    result = swept(configs)
    assert [run.status for run in result.runs].count("diverged") == 1 and result.trained == 8
    frame = Store.open(tracking).load("a")
    runs = frame.runs.set_index("run_id")
    assert not [name for name in runs if "accuracy" in name]
    assert set(frame.history(["val/r2", "val/accuracy"])["metric"]) == {"val/r2"}
    for run in result.runs:
        assert run.objective == max(runs["final_val_r2"].fillna(0)[run.run_id], 0)
    written = report_sweep(tracking, "a", tmp_path / "report")
    assert "final validation R² 0." in written.answer and written.by_default and not written.note
    assert "accuracy" not in written.file("report.md").read_text()
    assert swept(in_sweep(configs, "b")).trained == 0, "done is done"


def test_tau_is_the_task_s_own_where_none_is_set() -> None:
    (config, *_) = grid()
    (same,) = on(NUMBERS, [config])
    assert (config.tau, same.tau, numbers(config)["train.tau"], numbers(same)["train.tau"]) == (0.9, 0.3, 0.9, 0.3)
    set_by_hand = replace(same, train=replace(same.train, tau=0.3))
    assert identity(set_by_hand) == identity(same) != identity(replace(same, train=replace(same.train, tau=0.9)))


def test_jobs_of_two_tasks_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    tracking = TrackingConfig(uri=f"sqlite:///{tmp_path / 'none.db'}", experiment="test")
    configs = grid(tracking, report=None)
    with pytest.raises(ConfigError, match=r"^data\.task=classification,regression: must be one in all jobs of a sweep"):
        swept([*configs[:4], *on(NUMBERS, configs[4:])])
    with pytest.raises(ConfigError, match=r"^data\.task=classification,regression: must be one in all jobs of a sweep"):
        run_sweep(on(NUMBERS, configs), "test", earlier=configs, datasets={DATA.key: NUMBERS})
    assert not list(tmp_path.iterdir())


def test_a_sweeper_gets_no_less_for_what_nearly_diverged_than_for_what_did() -> None:
    assert RunResult("finished", {"final_val_r2": 0.7}).objective == 0.7
    assert RunResult("finished", {"final_val_r2": -1e6}).objective == RunResult("diverged", {}).objective == 0


def test_a_run_and_mlflow_s_page_are_described_by_r2() -> None:
    summary = {f"final_{split}_r2": 0.25 for split in ("train", "val", "test")}
    text = describe_run(RunResult("finished", summary), REGRESSION, TrackingConfig(experiment="mine"))
    assert "\nR²: train 0.2500, validation 0.2500, test 0.2500\n" in text
    page = state([numbers(config) for config in on(NUMBERS, grid())], [], "")
    assert "final_val_r2" in page and "val/r2" in page and "accuracy" not in page
    assert json.loads(page)["orderByKey"] == "metrics.`final_val_r2`"
