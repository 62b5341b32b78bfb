"""submitit's jobs do what every executor does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_tests import CONFIGS, ExecutorTests
from quick_runs import CPU

from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Executor
from bnsweep.runs.executors.submitit_cluster import SubmititCluster

pytest.importorskip("submitit")
pytestmark = pytest.mark.slow


def jobs(folder: Path) -> list[int]:
    """Processes that train."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"submitit.core._submit" in command and str(folder).encode() in command:
            found.append(int(process.name))
    return found


class TestSubmitit(ExecutorTests):
    losses = 3
    lost = "the job ended without a word, as it does for want of memory or with its node"

    @pytest.fixture(autouse=True)
    def cluster(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path / "shared"
        self.jobs = SubmititCluster(str(self.folder), "local", workers=2)
        yield
        self.jobs.close()

    def make(
        self,
        datasets: dict[DataKey, data.Dataset],
        folder: Path,
        save_models: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        return self.jobs.executor(2, datasets, CPU, folder, save_models, checkpoints)

    def models(self, folder: Path) -> Path:
        (shared,) = (folder / "shared").glob("jobs-*/*")
        return shared / "models"

    def kill_a_worker(self) -> None:
        os.kill(jobs(self.folder)[0], signal.SIGKILL)

    def test_what_passed_is_removed(self, executor: Executor) -> None:
        executor.submit(0, CONFIGS[:1]).result(60)
        executor.stop()
        self.jobs.close()
        assert not self.folder.exists()
