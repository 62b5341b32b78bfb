"""The mean runs of a sweep, which MLflow's comparison shows: one line for all seeds of a combination."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bnsweep.config.groups import BnConfig, DataConfig, LrConfig, OptimizerConfig
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.report.frame.metrics import metric_named, scored, task_of
from bnsweep.store import view
from bnsweep.store.backend import KeptRun
from bnsweep.store.store import Manifest, Store

DIGITS = DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10)


@pytest.fixture
def store(empty_database: Path, tmp_path: Path) -> Store:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return Store.open(TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))


def record(score: float, steps: float = 18.0, reached: float = 1.0) -> RunRecord:
    history = {"step": [0.0, 18.0], "epoch": [0.0, 1.0], "val/accuracy": [0.1, score], "train/loss": [2.0, 1 - score]}
    summary = {"final_val_accuracy": score, "final_test_accuracy": score, "steps_to_tau": steps, "tau_reached": reached}
    return RunRecord("finished", history=history, summary=summary, seconds=0.1, device="cpu", dataset=DIGITS)


def diverged() -> RunRecord:
    history = {"step": [0.0, 18.0], "epoch": [0.0, 1.0], "val/accuracy": [0.3, math.nan], "train/loss": [2.0, math.nan]}
    return RunRecord("diverged", history=history, diverged_step=7, seconds=0.1, device="cpu", dataset=DIGITS)


def arms(seeds: int, **changes: object) -> list[RunConfig]:
    return [RunConfig(bn=BnConfig(bn), seed=s, **changes) for bn in ("none", "before") for s in range(seeds)]  # type: ignore[arg-type]


def log(store: Store, configs: Sequence[RunConfig], records: Sequence[RunRecord], sweep: str = "s") -> list[KeptRun]:
    """The mean runs of a sweep, by name."""
    own = store.open_sweep(Manifest.of(configs, sweep, "…"))
    store.log_runs([(config, done, None) for config, done in zip(configs, records, strict=True)], sweep)
    store.write_view(sweep, own)
    found = store.backend.runs("mean", tag=("bnsweep.sweep_id", "=", sweep), params=True)
    return sorted(found, key=lambda run: run.tags["mlflow.runName"])


def shown(store: Store) -> dict[str, object]:
    state = store.client.get_experiment(store.experiment_id).tags[view.tag_key()]
    found: dict[str, object] = json.loads(state)
    return found


def test_a_mean_is_the_reports(store: Store) -> None:
    before, none = log(store, arms(3), [record(0.5), record(0.6), diverged(), record(0.7), record(0.8), record(0.9)])
    frame = store.load("s").runs
    want = scored(frame, metric_named(None, task_of(frame))).groupby(frame["bn"]).mean()
    for run, bn in ((before, "before"), (none, "none")):
        assert run.tags["mlflow.runName"] == f"relu xavier lr=0.1 bn={bn}, mean of 3"
        assert run.params["bn"] == bn and run.params["seeds"] == "3" and "seed" not in run.params
        assert run.summary["final_val_accuracy"] == pytest.approx(want[bn])
    assert none.summary["final_val_accuracy"] == pytest.approx((0.5 + 0.6 + 0.1) / 3), "one of ten classes is guessed"
    assert before.summary["final_val_accuracy_sd"] == pytest.approx(0.1)


def test_where_all_runs_diverge_they_guess(store: Store) -> None:
    for run in log(store, arms(2), [diverged()] * 4):
        assert run.summary["final_val_accuracy"] == run.summary["final_test_accuracy"] == pytest.approx(0.1)


def test_a_combination_with_a_stopped_run_has_no_mean(store: Store) -> None:
    stopped = replace(record(0.2), status="stopped", stopped_step=18)
    records = [record(0.5), record(0.6), stopped, record(0.7), record(0.8), record(0.9)]
    (before,) = log(store, arms(3), records)
    assert before.params["bn"] == "before" and before.params["seeds"] == "3"


def test_curves_are_means_at_each_step(store: Store) -> None:
    _, none = log(store, arms(2), [record(0.5), diverged(), record(0.7), record(0.9)])
    client = store.client
    points = {m.step: m.value for m in client.get_metric_history(none.run_id, "val/accuracy")}
    assert points == pytest.approx({0: 0.2, 18: 0.3}), "it guesses from then on"
    losses = {m.step: m.value for m in client.get_metric_history(none.run_id, "train/loss")}
    assert losses == pytest.approx({0: 2.0, 18: (0.5 + math.log(10)) / 2})


def test_steps_have_a_mean_where_all_get_there(store: Store) -> None:
    before, none = log(store, arms(2), [record(0.5, 360, 0), record(0.9), record(0.9, 18), record(0.9, 36)])
    assert before.summary["steps_to_tau"] == 27
    assert "steps_to_tau" not in none.summary


def test_the_comparison_shows_the_means_and_a_second_command_replaces_them(store: Store) -> None:
    for _ in range(2):
        assert len(log(store, arms(2), [record(0.5 + i / 10) for i in range(4)])) == 2
    state = shown(store)
    found = store.client.search_runs([store.experiment_id], str(state["searchFilter"]))
    assert sorted(run.data.params["bn"] for run in found) == ["before", "none"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`final_val_accuracy`", False)
    assert "params.`seeds`" in state["selectedColumns"] and "params.`seed`" not in state["selectedColumns"]


def test_runs_with_a_seed_each_are_compared_themselves(store: Store) -> None:
    assert log(store, arms(1), [record(0.5), record(0.6)]) == []
    assert "bnsweep.view" in str(shown(store)["searchFilter"])
    failed = replace(record(0.5), status="failed", history={}, summary={})
    assert log(store, arms(2), [failed] * 4, "failed") == []


def test_of_many_combinations_the_best_that_the_pages_load_have_means(store: Store) -> None:
    configs = [RunConfig(lr=LrConfig(0.001 * i), seed=s) for i in range(1, 104) for s in (0, 1)]
    means = log(store, configs, [record(config.lr.value) for config in configs])
    assert sorted(float(run.params["lr.value"]) for run in means) == pytest.approx([0.001 * i for i in range(4, 104)])


def test_what_else_varies_is_in_the_name(store: Store) -> None:
    configs = [*arms(2), *arms(2, optimizer=OptimizerConfig("adam"))]
    names = [run.tags["mlflow.runName"] for run in log(store, configs, [record(0.5)] * 8)]
    assert names[0] == "relu xavier lr=0.1 bn=before optimizer=adam, mean of 2"


def test_the_split_goes_with_the_seed(store: Store) -> None:
    configs = [RunConfig(data=DataConfig(seed=s), seed=s) for s in (0, 1)]
    (only,) = log(store, configs, [record(0.5), record(0.7)])
    assert "data.seed" not in only.params
