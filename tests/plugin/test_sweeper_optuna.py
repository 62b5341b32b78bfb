"""`hydra/sweeper=optuna` with a small application, whose value is lr.value + seed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf

from bnsweep.records import Stopped
from hydra_plugins.bnsweep.sweeper_optuna import outcome_of

ROOT = Path(__file__).parents[2]
APP = Path(__file__).parent / "apps" / "launcher_app" / "app.py"
SEARCH = ["-m", "hydra.sweep.dir=out", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=4"]


def run_app(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-Werror", str(APP), *SEARCH, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[str]:
    """What the task or its batched form was called with, in order."""
    return [line.rpartition(" ")[0] for line in (folder / "calls.txt").read_text().splitlines()]


def jobs(folder: Path) -> dict[int, Any]:
    return {int(path.parts[-3]): OmegaConf.load(path) for path in (folder / "out").glob("*/.hydra/config.yaml")}


def test_batches_of_trials_are_single_calls_and_job_directories_go_on(tmp_path: Path) -> None:
    run = run_app(tmp_path, "lr.value=interval(0.1,0.9)", "bn=none,before", "seed=0,3")
    assert run.returncode == 0, run.stderr
    assert calls(tmp_path) == ["all 8", "all 4"]
    found, best = jobs(tmp_path), OmegaConf.load(tmp_path / "out" / "optimization_results.yaml")
    assert sorted(found) == list(range(12))
    assert [found[num].seed for num in range(12)] == [0, 3] * 6
    assert {config.bn.placement for config in found.values()} == {"none", "before"}
    for row in best.trials:
        assert {found[num].lr.value for num in row.jobs} == {row.params["lr.value"]}
        assert row.value == pytest.approx(row.params["lr.value"] + 1.5), "the mean over the seeds"
    most = max(config.lr.value for config in found.values())
    assert (best.name, best.best_params["lr.value"]) == ("optuna", most)
    assert best.best_value == pytest.approx(most + 1.5)
    assert "6 of 6 trials, best value" in run.stdout


def test_other_launchers_get_its_trials_and_choices_of_the_config_count(tmp_path: Path) -> None:
    (tmp_path / "extra/grid").mkdir(parents=True)
    params = "{lr.value: 'tag(log,interval(0.01,1))', seed: 1, bn: 'none,after'}"
    (tmp_path / "extra/grid/own.yaml").write_text(f"# @package _global_\nhydra: {{sweeper: {{params: {params}}}}}\n")
    arguments = ["--config-dir", str(tmp_path / "extra"), *SEARCH, "+grid=own", "hydra/launcher=basic", "bn=after"]
    arguments += ["hydra.sweeper.sampler=random", "hydra.sweeper.direction=minimize"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, APP, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert calls(tmp_path) == ["one"] * 6
    found, best = jobs(tmp_path), OmegaConf.load(tmp_path / "out" / "optimization_results.yaml")
    assert {(config.bn.placement, config.seed) for config in found.values()} == {("after", 1)}
    assert best.best_value == pytest.approx(min(config.lr.value for config in found.values()) + 1, abs=1e-5)


def test_a_failed_job_fails_its_trial_and_a_batch_of_failures_ends_the_search(tmp_path: Path) -> None:
    run = run_app(tmp_path, "lr.value=interval(0.1,0.9)", "seed=0,1", "fail_seed=0,1,7", "hydra.sweeper.n_trials=16")
    assert run.returncode == 1 and "fails" in run.stderr
    rows = OmegaConf.load(tmp_path / "out" / "optimization_results.yaml").trials
    assert len(rows) == 16
    assert {(row.state, row.params.fail_seed) for row in rows} == {("fail", 0), ("fail", 1), ("complete", 7)}
    (tmp_path / "again").mkdir()
    run = run_app(
        tmp_path / "again", "lr.value=interval(0.1,0.9)", "seed=0,1", "fail_seed=0", "hydra.sweeper.n_trials=16"
    )
    assert run.returncode == 1 and "ValueError: seed 0 fails" in run.stderr
    assert calls(tmp_path / "again") == ["all 8"], "the first batch of 4 trials, and no more"


def test_a_search_in_a_storage_goes_on_and_its_sweep_is_whole(tmp_path: Path) -> None:
    space = ["lr.value=interval(0.1,0.9)", "hydra.sweeper.storage=study.log"]
    assert run_app(tmp_path, *space).returncode == 0
    assert run_app(tmp_path, *space, "hydra.sweeper.n_trials=8").returncode == 0
    assert calls(tmp_path) == ["all 4", "all 2", "all 6", "all 2"], "the earlier trials come once more"
    best = OmegaConf.load(tmp_path / "out" / "optimization_results.yaml")
    assert [row.number for row in best.trials] == list(range(8)) == [row.jobs[0] for row in best.trials]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lr.value=interval(0.1,0.9)", "refuse=true"], "refused: nothing was trained"),
        (["bn=none,nope"], "Could not find 'bn/nope'"),
        (["lr.value=interval(1,0)"], "lr.value=interval(1,0): must be two finite numbers, the lower one first"),
        (["seed=0,1"], "hydra/sweeper=optuna: must have a setting to search"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(arguments: list[str], says: str, tmp_path: Path) -> None:
    run = run_app(tmp_path, *arguments, "hydra.sweeper.storage=study.log")
    assert run.returncode == 1 and says in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_job_stops_its_trial_and_a_task_has_to_return_a_number() -> None:
    def returned(*values: object) -> list[JobReturn]:
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=value) for value in values]

    failure = JobReturn(status=JobStatus.FAILED, _return_value=ValueError())
    for results, values, failed, stopped in (
        (returned(1, 0.5), (1.0, 0.5), False, False),
        (returned(Stopped(0.25), 0.5), (0.25, 0.5), False, True),
        ([*returned(0.5), failure], (0.5,), True, False),
    ):
        assert astuple(outcome_of(results)) == (values, failed, stopped)
    for value in (None, "0.5", True, (0.5, 1)):
        with pytest.raises(HydraException, match="must return a number to search by, returned"):
            outcome_of(returned(value))


def test_where_the_other_plugin_is_installed_the_name_is_its_own(tmp_path: Path) -> None:
    other = tmp_path / "hydra_plugins/hydra_optuna_sweeper"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "config.py").write_text(
        "from hydra.core.config_store import ConfigStore\n"
        "ConfigStore.instance().store(group='hydra/sweeper', name='optuna', node={'_target_': 'theirs'})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, str(APP), "hydra/sweeper=optuna", "--cfg=hydra", "--package=hydra.sweeper"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert "_target_: theirs" in shown and "n_trials" not in shown
