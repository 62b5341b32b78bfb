"""A sweep that is interrupted or killed leaves no worker behind, and the same command goes on from there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store

REPO = Path(__file__).parents[2]
SWEEP = "activation=sigmoid,relu bn=none,before seed=range(0,4) train.epochs=300 data.subset=120 sweep.max_stack=4"


def start(folder: Path, workers: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bnsweep", "-m", *SWEEP.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": str(workers)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_after_first_stack(folder: Path, how: signal.Signals, workers: int) -> tuple[int, str]:
    """Exit status and output of a sweep that is stopped when the first of its four stacks has been logged."""
    with start(folder, workers) as process:
        while process.poll() is None and finished(folder) < 4:
            time.sleep(0.02)
        process.send_signal(how)
        seen = process.communicate()[0]
    return process.returncode, seen


def finished(folder: Path) -> int:
    store = Store.open(TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}"))
    return len(store.done())


def children_in(folder: Path) -> list[Path]:
    """/proc entries of the Python processes whose working directory is the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").resolve() == folder.resolve() and b"python" in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def wait_for_the_end_of(processes: list[Path], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(process.exists() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(process.exists() for process in processes)


def statuses(folder: Path) -> set[str]:
    store = Store.open(TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}"))
    return {run.info.status for run in store.client.search_runs([store.experiment_id])}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_sweep_cut_short_goes_on_and_reports_as_if_it_had_not_been(
    how: signal.Signals, workers: int, empty_database: Path, tmp_path: Path
) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    for folder in (cut, whole):
        folder.mkdir()
        shutil.copyfile(empty_database, folder / "mlflow.db")
    code, text = stop_after_first_stack(cut, how, workers)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130), text
    if how != signal.SIGKILL:
        assert "interrupted; the same command goes on from here" in text
        assert "12 not reached" in text or workers == 2
    assert wait_for_the_end_of(children_in(cut)), "no worker outlives its sweep"
    assert "RUNNING" not in statuses(cut)
    left = 16 - finished(cut)
    assert left == 12 if workers == 1 else left in (4, 8, 12)
    for folder, trained in ((cut, left), (whole, 16)):
        with start(folder, workers) as process:
            out = process.communicate()[0]
        assert process.returncode == 0, out
        assert f"16 finished, 0 diverged, 0 failed ({trained} trained now)" in out
    assert (cut / "report/ranking.csv").read_text() == (whole / "report/ranking.csv").read_text()
