"""Sweeps whose stacks train elsewhere, by the command: whole ones, and those that are interrupted or killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import counts, end, start

from bnsweep.config.run import TrackingConfig

pytestmark = pytest.mark.slow
pytest.importorskip("ray")
pytest.importorskip("submitit")

RAY = "hydra/launcher=stacked_ray"
SUBMITIT = "hydra/launcher=stacked_submitit"
GRID = ["-m", "activation=sigmoid,relu", "bn=none,before", "seed=range(0,5)", "sweep.id=a", "train=smoke"]
OWN = "import torch\n\n\ndef double(a):\n    return torch.tanh(2 * a)\n"


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path) -> Path:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return tmp_path


def ranking(folder: Path) -> str:
    return (folder / "report" / "ranking.csv").read_text()


def left(folder: Path) -> list[str]:
    """Processes that know this folder."""
    found = subprocess.run(["ps", "-eo", "pid,args", "e"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if str(folder) in line and "ps -eo" not in line]


@pytest.mark.parametrize("launcher", [[RAY], [SUBMITIT, "hydra.launcher.cluster=local"]], ids=["ray", "submitit"])
def test_a_sweep_ranks_as_it_does_on_this_machine(launcher: list[str], folder: Path) -> None:
    end(start(folder, *GRID))
    here = ranking(folder)
    said = end(start(folder, *GRID[:-2], "sweep.id=b", "train=smoke", "sweep.rerun=true", *launcher))
    assert "20 planned, 20 finished, 0 diverged, 0 failed (20 trained now)" in said
    assert ranking(folder) == here
    assert not list(folder.glob("multirun/*/submitit")) and not (folder / "checkpoints").exists()


def test_code_of_the_users_is_found_where_the_command_was_started(folder: Path) -> None:
    (folder / "mine.py").write_text(OWN)
    grid = ["-m", "activation.name=relu,mine:double", "bn=none,before", "train=smoke", "sweep.report=null"]
    said = end(start(folder, *grid, RAY, "hydra.launcher.workers=2"))
    assert "4 planned, 4 finished, 0 diverged, 0 failed (4 trained now)" in said


@pytest.mark.parametrize("launcher", [[RAY], [SUBMITIT, "hydra.launcher.cluster=local"]], ids=["ray", "submitit"])
def test_nothing_runs_on_after_an_interrupt_and_the_same_command_goes_on(launcher: list[str], folder: Path) -> None:
    line = [*GRID[:-1], "train.epochs=3000", *launcher, "hydra.launcher.workers=2", "sweep.report=null"]
    process = start(folder, *line)
    time.sleep(15)  # Ray begins and trains meanwhile, for 10 to 60 seconds
    process.send_signal(signal.SIGINT)
    said = end(process, 130)
    assert "interrupted; the same command goes on from here" in said
    deadline = time.monotonic() + 40
    while left(folder):
        assert time.monotonic() < deadline, left(folder)
        time.sleep(0.5)
    end(start(folder, *line))
    tracking = TrackingConfig(f"sqlite:///{folder / 'mlflow.db'}")
    found, different = counts(tracking)
    assert (found.pop("FINISHED"), different) == (20, 20)
    assert {*found} <= {"KILLED"}, "runs that MLflow showed under way when the first command ended"
