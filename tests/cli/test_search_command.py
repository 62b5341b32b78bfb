"""`hydra/sweeper=optuna` by the real command: what it trains, what is left of it, and how it goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import refused
from omegaconf import OmegaConf

from bnsweep.cli import sweep as entry
from bnsweep.cli.sweep import RunFailed, value_of
from bnsweep.config.run import TrackingConfig
from bnsweep.records import Stopped
from bnsweep.runs.ledger import RunResult
from bnsweep.store.store import Store
from bnsweep.store.sweep_data import SweepFrame

REPO = Path(__file__).parents[2]
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=8", "hydra.sweeper.n_jobs=4", "train=smoke"]
SPACE = ["lr.value=tag(log,interval(0.01,1))", "activation=relu,sigmoid"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "bnsweep", *SEARCH, *SPACE, *arguments]
    return subprocess.Popen(line, cwd=folder, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    return text


def frame_in(folder: Path, sweep: str = "latest") -> SweepFrame:
    return Store.open(TrackingConfig(f"sqlite:///{folder / 'mlflow.db'}")).load(sweep)


def results_in(folder: Path, sweep: str) -> Any:
    return OmegaConf.load(folder / "multirun" / sweep / "optimization_results.yaml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["hydra.sweeper.sampler=grid"], "hydra.sweeper.sampler=grid: must be one of random, tpe"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be >= 1"),
        (["hydra.sweeper.direction=minimize"], "hydra.sweeper.direction=minimize: must be maximize"),
        (["hydra.sweeper.storage=no/study.log"], "hydra.sweeper.storage=no/study.log: must be sqlite:///FILE"),
        (
            ["hydra.sweeper.storage=postgresql://me:hush@host/db"],
            "postgresql://me:***@host/db: must be without a password",
        ),
        (["seed=auto"], "seed=auto: must be seeds, such as range(0,3), with hydra/sweeper=optuna"),
        (["sweep.invalid=skip"], "sweep.invalid: must be left out with another sweeper than hydra/sweeper=stacked"),
        (["model.dropout=interval(0,1)"], "model.dropout=1.0: must be in [0, 1)"),
        (["bn=before,nowhere"], "Could not find 'bn/nowhere'"),
        (["tracking.uri=ftp://somewhere"], "tracking.uri=ftp://somewhere: must be sqlite:///PATH"),
        (["hydra.sweeper.storage=study.log", "train.device=tpu"], "train.device=tpu: must be one of auto, cpu, cuda"),
        (["hydra.sweeper.storage=study.log", "sweep.report=/dev/null/x"], "sweep.report=/dev/null/x: must be a folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: list[str], says: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused([*SEARCH, *SPACE, *arguments], monkeypatch)
    assert says in message and "\n" not in message
    assert list(elsewhere.iterdir()) == []


def test_a_dry_run_plans_the_first_batch_and_keeps_no_study(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bnsweep", *SEARCH, *SPACE, "sweep.dry_run=true", "hydra.sweeper.storage=s.log"])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 0 and "plan: 4 combinations, 4 runs" in capsys.readouterr().out
    assert list(elsewhere.iterdir()) == []


def test_a_run_is_worth_its_score_and_says_how_it_ended() -> None:
    def value(status: str, score: float) -> float | RunFailed:
        return value_of(RunResult(status, {"final_val_accuracy": score}))

    assert value("finished", 0.9) == 0.9 and not isinstance(value("finished", 0.9), Stopped)
    assert value("diverged", float("nan")) == 0.0
    assert isinstance(value("stopped", 0.7), Stopped) and value("stopped", 0.7) == 0.7
    assert isinstance(value("failed", 0.9), RunFailed)


@pytest.mark.slow
def test_a_search_trains_its_batches_as_stacks_and_is_one_sweep(tmp_path: Path) -> None:
    text = run(tmp_path, "seed=range(0,2)", "sweep.id=one")
    assert text.count("stacks: 1 of 8") == 2 and "claims: none is asked, as Optuna chooses lr.value, activation" in text
    frame = frame_in(tmp_path, "one")
    assert len(frame.runs) == 16 and frame.info.searched == ["lr.value", "activation"]
    assert frame.info.ledger == {"planned": 16, "finished": 16, "diverged": 0, "failed": 0}
    found = results_in(tmp_path, "one")
    scores = frame.runs.groupby(["lr.value", "activation"])["final_val_accuracy"].mean()
    assert found.best_value == pytest.approx(scores.max())
    assert scores.idxmax() == (found.best_params["lr.value"], found.best_params.activation)
    assert "– not asked  18 more" in text and "0.9" in text
    assert "16 already done" in (again := run(tmp_path, "seed=range(0,2)", "sweep.id=one")) or "8 already done" in again
    assert "trained now" in again and len(re.findall(r"\(0 trained now\)", again)) == 2
    assert results_in(tmp_path, "one") == found


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole", "sweep.id=a", "train.epochs=40")
    more = ["hydra.sweeper.storage=study.log", "train.epochs=40"]
    process = start(tmp_path, "sweep.id=b", *more)
    results = tmp_path / "multirun/b/optimization_results.yaml"
    while process.poll() is None and not results.exists():
        time.sleep(0.01)
    time.sleep(0.2)  # the next batch is on its way
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run(tmp_path, "sweep.id=c", *more)
    killed, whole = results_in(tmp_path, "c"), results_in(tmp_path / "whole", "a")
    assert [row.params for row in killed.trials] == [row.params for row in whole.trials]
    assert [row.value for row in killed.trials] == [row.value for row in whole.trials]
    assert (frame_in(tmp_path, "c").runs["status"] == "finished").all() and len(frame_in(tmp_path, "c").runs) == 8


@pytest.mark.slow
def test_other_launchers_train_its_trials(tmp_path: Path) -> None:
    run(tmp_path, "hydra/launcher=basic", "hydra.sweeper.n_trials=2", "sweep.id=one")
    assert (frame_in(tmp_path, "one").runs["status"] == "finished").all()
    assert len(results_in(tmp_path, "one").trials) == 2
