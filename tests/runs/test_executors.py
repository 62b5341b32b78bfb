"""This machine's executors do what every executor does."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from multiprocessing import spawn
from pathlib import Path
from types import ModuleType

import pytest
import torch
from executor_tests import CONFIGS, LONG, ExecutorTests, begun
from quick_runs import CPU

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.network import ModelConfig
from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Executor, StackTrainer, WorkerLost
from bnsweep.runs.executors.local import (
    LocalProcesses,
    LocalThread,
    check_disk,
    keep_datasets,
    local_executor,
    read_dataset,
    without_main,
)
from bnsweep.runs.executors.processes import prepare
from bnsweep.runs.executors.threaded import sendable


class TestThread(ExecutorTests):
    def make(
        self,
        datasets: dict[DataKey, data.Dataset],
        folder: Path,
        save_models: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        executor = local_executor(1, datasets, CPU, folder, save_models, checkpoints)
        assert isinstance(executor, LocalThread)
        return executor

    def test_the_callers_threads_stay_as_they_were(self, executor: Executor) -> None:
        before = torch.get_num_threads()
        executor.submit(0, CONFIGS[:1]).result(60)
        assert torch.get_num_threads() == before


class TestProcesses(ExecutorTests):
    def make(
        self,
        datasets: dict[DataKey, data.Dataset],
        folder: Path,
        save_models: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        prepare()
        executor = local_executor(2, datasets, CPU, folder, save_models, checkpoints)
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
import pathlib, torch
from bnsweep.config.run import RunConfig
from bnsweep.config.groups import TrainConfig
from bnsweep.data.dataset import load
from bnsweep.runs.executors.local import LocalProcesses, keep_datasets
print("begun")
run = RunConfig(train=TrainConfig(epochs=1))
files = keep_datasets({run.data.key: load(run.data)}, pathlib.Path("."))
executor = LocalProcesses(2, files, torch.device("cpu"), None)
found = [executor.submit(name, [run]) for name in (0, 1)]
print([future.result().records[0].status for future in found])
executor.stop()
"""


@pytest.mark.parametrize("way", ["a script without a guard", pytest.param("standard input", marks=pytest.mark.slow)])
def test_workers_start_whatever_started_the_sweep(way: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, *(["script.py"] if "script" in way else ["-"])]
    given = None if "script" in way else SCRIPT
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(command, cwd=tmp_path, env=path, input=given, capture_output=True, text=True, check=False)
    assert run.stdout == "begun\n['finished', 'finished']\n", run.stderr


def test_processes_of_the_callers_own_run_the_main_module_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    main.__file__ = __file__
    monkeypatch.setitem(sys.modules, "__main__", main)
    with without_main("a worker"):
        own, worker = spawn.get_preparation_data("the caller's"), spawn.get_preparation_data("a worker")
        assert sys.modules["__main__"] is main
    mains = [key for key in own if key.startswith("init_main")]
    assert mains and own == {**worker, "name": "the caller's"} | {key: own[key] for key in mains}
    assert spawn.get_preparation_data("a worker").keys() == own.keys()


def test_an_exception_that_cannot_be_pickled_comes_as_what_it_says() -> None:
    class Unknown(Exception):
        """Known to no other process."""

    answer = sendable(Unknown("no such luck"))
    assert (type(answer), str(answer)) == (RuntimeError, "Unknown: no such luck")


@pytest.mark.parametrize("name", ["digits", "gaussian"])
def test_a_worker_reads_the_dataset_that_was_kept(name: str, tmp_path: Path) -> None:
    dataset = data.load(data.DataConfig(name))
    files = keep_datasets({(name, "data"): dataset}, tmp_path)
    found = read_dataset(files[name, "data"])
    assert found.info == dataset.info
    assert torch.equal(found.x_ND, dataset.x_ND) and torch.equal(found.y_N, dataset.y_N)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 8 KiB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_dataset_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    dataset = data.load(data.DataConfig())
    with pytest.raises(ConfigError, match=r"^TMPDIR=\S+: must be a folder with room for 0\.5 MiB of data, which the "):
        keep_datasets({("digits", "data"): dataset}, tmp_path)


@pytest.mark.usefixtures("small_files")
def test_a_network_that_is_cut_off_leaves_no_file_and_the_next_is_saved(tmp_path: Path) -> None:
    wide = [replace(config, model=ModelConfig([size])) for config in CONFIGS[:1] for size in (100, 4)]
    trainer = StackTrainer({CONFIGS[0].data.key: data.load(CONFIGS[0].data)}, CPU, tmp_path)
    cut, saved = (trainer.train(name, [c], lambda _: None, lambda: False) for name, c in enumerate(wide))
    assert cut.models == [None] and "File too large" in cut.unsaved
    assert saved.models == [tmp_path / "1-1/0/model.safetensors"] and saved.unsaved == ""
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["model.safetensors"]


def test_data_larger_than_the_disk_is_refused_before_it_is_read() -> None:
    check_disk(CONFIGS)
    huge = replace(CONFIGS[0], data=CONFIGS[0].data.with_facts(DatasetFacts(10**15, 10**15, 64, official_test=True)))
    with pytest.raises(ConfigError, match=r"^TMPDIR=\S+: must be a folder with room for 503540039062\.\d MiB of data"):
        check_disk([*CONFIGS, huge])


def test_a_dataset_is_told_by_its_name_and_its_folder() -> None:
    assert CONFIGS[0].data.key == ("digits", "data")
