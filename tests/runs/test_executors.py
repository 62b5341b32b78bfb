"""This machine's executors do what every executor does."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import pytest
import torch
from executor_tests import CONFIGS, LONG, ExecutorTests, begun
from quick_runs import CPU

from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.runs.executors.base import Executor, WorkerLost
from bnsweep.runs.executors.local import (
    LocalProcesses,
    LocalThread,
    keep_datasets,
    local_executor,
    prepare,
    read_dataset,
    send,
)


class TestThread(ExecutorTests):
    def make(self, datasets: dict[DataKey, data.Dataset], folder: Path) -> Executor:
        executor = local_executor(1, datasets, CPU, folder, save_models=False)
        assert isinstance(executor, LocalThread)
        return executor

    def test_the_callers_threads_stay_as_they_were(self, executor: Executor) -> None:
        before = torch.get_num_threads()
        executor.submit(0, CONFIGS[:1]).result(60)
        assert torch.get_num_threads() == before


class TestProcesses(ExecutorTests):
    def make(self, datasets: dict[DataKey, data.Dataset], folder: Path) -> Executor:
        prepare()
        executor = local_executor(2, datasets, CPU, folder, save_models=False)
        assert isinstance(executor, LocalProcesses) and executor.workers == 2
        return executor

    def kill_a_worker(self) -> None:
        multiprocessing.active_children()[0].kill()

    def test_another_worker_trains_on_beside_the_one_that_is_killed(self, executor: Executor) -> None:
        futures = [executor.submit(name, LONG) for name in (0, 1)]
        begun(executor, {0, 1})
        self.kill_a_worker()
        (lost,), (going,) = wait(futures, 60, return_when=FIRST_COMPLETED)
        assert isinstance(lost.exception(), WorkerLost)
        assert not going.done()
        executor.stop()
        assert isinstance(going.exception(), InterruptedError)

    def test_a_process_trains_several_stacks_and_ends_with_the_executor(self, executor: Executor) -> None:
        for name in range(3):
            executor.submit(name, CONFIGS[:1]).result(60)
            assert len(multiprocessing.active_children()) == 1
        executor.stop()
        assert not multiprocessing.active_children()


SCRIPT = """
import torch
from bnsweep.config.run import RunConfig
from bnsweep.runs.executors.local import LocalProcesses
executor = LocalProcesses(2, {}, torch.device("cpu"), None)
try:
    executor.submit(0, [RunConfig()]).result()
finally:
    executor.stop()
"""


def test_a_script_whose_workers_cannot_start_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    says = "NoWorker: a worker process ended before it could train anything"
    guard = "a script that starts a sweep does so under `if __name__ == '__main__':`"
    assert run.stderr.splitlines()[-1].endswith(f"{says} ({guard})")


def test_an_exception_that_cannot_be_pickled_comes_as_what_it_says() -> None:
    class Unknown(Exception):
        """Known to no other process."""

    here, there = multiprocessing.Pipe()
    send(there, Unknown("no such luck"))
    answer = here.recv()
    assert (type(answer), str(answer)) == (RuntimeError, "Unknown: no such luck")


@pytest.mark.parametrize("name", ["digits", "gaussian"])
def test_a_worker_reads_the_dataset_that_was_kept(name: str, tmp_path: Path) -> None:
    dataset = data.load(data.DataConfig(name))
    files = keep_datasets({(name, "data"): dataset}, tmp_path)
    found = read_dataset(files[name, "data"])
    assert found.info == dataset.info
    assert torch.equal(found.x_ND, dataset.x_ND) and torch.equal(found.y_N, dataset.y_N)


def test_a_dataset_is_told_by_its_name_and_its_folder() -> None:
    assert CONFIGS[0].data.key == ("digits", "data")
