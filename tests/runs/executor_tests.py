"""What every executor does. The tests of one inherit `ExecutorTests` and say how it is made."""

from __future__ import annotations

import math
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import pytest
from quick_runs import CPU, grid

from bnsweep.config.groups import TrainConfig
from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.records import FINISHED
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Executor, WorkerLost
from bnsweep.training.device import one_thread
from bnsweep.training.trainer import train

CONFIGS = grid()
LONG = [replace(CONFIGS[0], train=TrainConfig(epochs=50_000, batch_size=30, evaluate_every=50_000))]
"""A run that ends only if it is stopped."""


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def begun(executor: Executor, names: set[int]) -> None:
    """Waits until these stacks have been evaluated."""
    left = set(names)

    def all_begun() -> bool:
        left.difference_update(evaluated.stack for evaluated in executor.new_evaluations())
        return not left

    until(all_begun)


class ExecutorTests(ABC):
    losses = 1
    """Workers that a stack loses before its future says so."""
    lost = "the worker process ended, as it does for want of memory"
    """What it says then."""

    @abstractmethod
    def make(
        self,
        datasets: dict[DataKey, data.Dataset],
        folder: Path,
        save_models: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        """The executor, on the CPU."""

    def models(self, folder: Path) -> Path:
        """Where networks wait."""
        return folder / "models"

    def kill_a_worker(self) -> None:
        """Ends one worker from outside, as the kernel does for want of memory."""
        pytest.skip("its workers end only with this process")

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        executor = self.make({CONFIGS[0].data.key: data.load(CONFIGS[0].data)}, tmp_path)
        yield executor
        executor.stop()

    def test_it_returns_what_was_trained(self, executor: Executor) -> None:
        stacks = [CONFIGS[:4], CONFIGS[4:]]
        futures = [executor.submit(name, configs) for name, configs in enumerate(stacks)]
        for configs, future in zip(stacks, futures, strict=True):
            trained = future.result(60)
            with one_thread(CPU):
                here, _ = train(configs, data.load(configs[0].data), CPU)
            assert [record.summary for record in trained.records] == [record.summary for record in here]
            assert trained.models == [None] * 4
            assert trained.seconds > 0

    def test_it_tells_of_every_evaluation_before_the_stack_is_done(self, executor: Executor) -> None:
        futures = {name: executor.submit(name, CONFIGS[::-1]) for name in (3, 5)}
        wait(futures.values(), 60)
        told, missing = list(executor.new_evaluations()), [math.nan] * len(CONFIGS)
        for name, future in futures.items():
            own = [evaluated for evaluated in told if evaluated.stack == name]
            assert [(evaluated.step, evaluated.diverged) for evaluated in own] == [(0, 0), (4, 0), (8, 0)]
            for place, record in enumerate(future.result().records):
                for metric, values in record.history.items():
                    if metric not in ("step", "epoch"):
                        read = [evaluated.values.get(metric, missing)[place] for evaluated in own]
                        assert read == pytest.approx(values, rel=0, abs=0, nan_ok=True), metric
        assert not list(executor.new_evaluations()), "once"

    def test_a_stack_that_fails_says_where_and_the_next_one_trains(self, executor: Executor) -> None:
        elsewhere = replace(CONFIGS[0], data=replace(CONFIGS[0].data, root="elsewhere"))
        failing = executor.submit(0, [elsewhere])
        next_one = executor.submit(1, CONFIGS[:1])
        error = failing.exception(60)
        assert isinstance(error, KeyError) and "elsewhere" in str(error)
        assert "executors/base.py" in "".join(traceback.format_exception(error))
        assert next_one.result(60).records[0].status == FINISHED

    def test_what_was_trained_stands_where_no_network_can_be_saved(self, tmp_path: Path) -> None:
        datasets = {CONFIGS[0].data.key: data.load(CONFIGS[0].data)}
        executor = self.make(datasets, tmp_path, save_models=True)
        trained = []
        try:
            self.models(tmp_path).write_text("a file in the place of the folder")
            trained.append(executor.submit(0, CONFIGS[:2]).result(60))
            self.models(tmp_path).unlink()
            trained.append(executor.submit(1, CONFIGS[:2]).result(60))
        finally:
            executor.stop()
        without, with_them = trained
        assert without.models == [None, None] and "models" in without.unsaved
        assert with_them.unsaved == "" and all(path and path.exists() for path in with_them.models)
        assert [r.summary for r in without.records] == [r.summary for r in with_them.records]

    def test_it_stops_at_once(self, executor: Executor) -> None:
        futures = [executor.submit(name, LONG) for name in range(executor.workers + 1)]
        begun(executor, set(range(executor.workers)))
        started = time.monotonic()
        executor.stop()
        assert time.monotonic() - started < 10
        *running, waiting = futures
        assert {type(future.exception()) for future in running} == {InterruptedError}
        assert waiting.cancelled()

    def test_a_worker_that_is_killed_loses_its_stack_and_nothing_else(self, executor: Executor) -> None:
        before = executor.submit(0, CONFIGS[:1])
        before.result(60)
        lost = executor.submit(1, LONG)
        for _ in range(self.losses):
            begun(executor, {1})
            self.kill_a_worker()
        with pytest.raises(WorkerLost, match=f"^{self.lost}$"):
            lost.result(60)
        (kept,), (after,) = before.result().records, executor.submit(2, CONFIGS[:1]).result(60).records
        assert (kept.status, after.status) == (FINISHED, FINISHED)
        assert kept.summary == after.summary

    def test_what_was_trained_of_a_stack_that_is_stopped_is_kept(self, tmp_path: Path) -> None:
        checkpoints, configs = Checkpoints(tmp_path / "checkpoints", CPU, 3600.0), grid(epochs=1000)
        executor = self.make({CONFIGS[0].data.key: data.load(CONFIGS[0].data)}, tmp_path, checkpoints=checkpoints)
        future = executor.submit(0, configs)
        begun(executor, {0})
        until(lambda: any(evaluated.step > 0 for evaluated in executor.new_evaluations()))
        executor.stop()
        assert isinstance(future.exception(), InterruptedError)
        (kept,) = checkpoints
        assert 0 < kept.step < 4000 and len(kept.identities) == 8

    def test_a_stack_is_held_at_a_step_and_goes_on_from_there(self, tmp_path: Path) -> None:
        datasets = {CONFIGS[0].data.key: data.load(CONFIGS[0].data)}
        executor = self.make(datasets, tmp_path, checkpoints=Checkpoints(tmp_path / "checkpoints", CPU, 3600.0))
        try:
            held = executor.submit(0, CONFIGS, 4).result(60)
            list(executor.new_evaluations())
            over = executor.submit(0, CONFIGS).result(60)
            told = [evaluated.step for evaluated in executor.new_evaluations()]
        finally:
            executor.stop()
        assert held.held == [*range(8)] and {record.stopped_step for record in held.records} == {4}
        assert over.held == [] and told == [8]
        with one_thread(CPU):
            here, _ = train(CONFIGS, datasets[CONFIGS[0].data.key], CPU)
        assert [record.summary for record in over.records] == [record.summary for record in here]
