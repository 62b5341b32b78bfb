"""Every stack of a plan is trained, whatever becomes of the others and of the workers."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
from quick_runs import CPU, broken, grid

from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.records import FAILED, FINISHED, RunRecord
from bnsweep.runs.dispatch import Dispatch, Listeners
from bnsweep.runs.executors.base import Evaluated, Executor, NoWorker, Trained
from bnsweep.runs.executors.local import local_executor
from bnsweep.runs.executors.processes import prepare
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.plan import Plan, make_plan


class Caller(Executor):
    """Runs in the caller's thread that finish at once, but for those of `fails`: what of a dispatch is not training."""

    def __init__(self, workers: int, fails: Sequence[RunConfig] = (), error: Exception | None = None) -> None:
        self.workers, self.fails, self.error = workers, fails, error
        self.sizes: list[int] = []
        self.at_once, self.ended = [0], 0

    def submit(self, name: int, configs: Sequence[RunConfig]) -> Future[Trained]:
        self.sizes.append(len(configs))
        self.at_once.append(len(self.sizes) - self.ended)
        future: Future[Trained] = Future()
        if any(config in self.fails for config in configs):
            future.set_exception(self.error)
        else:
            future.set_result(Trained([RunRecord(FINISHED) for _ in configs], [None] * len(configs), 0.0))
        return future

    def new_evaluations(self) -> Iterator[Evaluated]:
        return iter(())

    def stop(self) -> None:
        pass


@pytest.fixture
def two_processes(tmp_path: Path) -> Iterator[Executor]:
    configs = grid()
    prepare()
    executor = local_executor(2, {configs[0].data.key: data.load(configs[0].data)}, CPU, tmp_path, save_models=False)
    yield executor
    executor.stop()


def dispatched(plan: Plan, executor: Executor) -> list[RunRecord]:
    """The record of each job."""
    records: dict[int, RunRecord] = {}

    def keep(jobs: Sequence[int], trained: Trained) -> None:
        records.update(zip(jobs, trained.records, strict=True))

    Dispatch(plan, executor, Interrupts(), Listeners(keep)).run()
    return [records[job] for job in range(len(plan.configs))]


def test_a_failing_stack_is_halved_until_the_run_that_fails_stands_alone(caplog: pytest.LogCaptureFixture) -> None:
    configs = grid()
    executor = Caller(1, [configs[5]], RuntimeError("out of\nmemory"))
    records = dispatched(make_plan(configs, (), CPU, workers=1), executor)
    assert [record.status for record in records] == [FINISHED] * 5 + [FAILED] + [FINISHED] * 2
    assert records[5].reason == "RuntimeError: out of memory"
    assert executor.sizes == [8, 4, 4, 2, 2, 1, 1]
    said = [line.getMessage() for line in caplog.records]
    assert said == [f"stack of {n} failed: RuntimeError: out of memory" for n in (8, 4, 2, 1)]
    assert [bool(line.exc_info) for line in caplog.records] == [True, False, False, False], "one traceback a reason"


def test_networks_that_cannot_be_saved_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class NoRoom(Caller):
        def submit(self, name: int, configs: Sequence[RunConfig]) -> Future[Trained]:
            future = super().submit(name, configs)
            future.result().unsaved = "No space left on device"
            return future

    records = dispatched(make_plan(grid(max_stack=2), (), CPU, workers=1), NoRoom(1))
    assert [record.status for record in records] == [FINISHED] * 8
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("networks cannot be saved (No space left on device): their runs are logged without them; ")


@pytest.mark.parametrize(("workers", "most"), [(4, 8), (1, 1)], ids=["one waits a worker", "as few as memory holds"])
def test_stacks_are_handed_over_as_workers_come_free(workers: int, most: int) -> None:
    plan = make_plan(grid(seeds=4, max_stack=1), (), CPU, workers=workers)
    executor = Caller(4)

    def ended(jobs: Sequence[int], trained: Trained) -> None:
        executor.ended += 1

    Dispatch(plan, executor, Interrupts(), Listeners(ended)).run()
    assert len(executor.sizes) == 16
    assert max(executor.at_once) == most


def test_a_run_that_a_process_cannot_train_takes_no_other_with_it(two_processes: Executor) -> None:
    configs = grid()
    configs[5] = broken(configs[5])
    records = dispatched(make_plan(configs, (), CPU, workers=2), two_processes)
    assert [record.status for record in records] == [FINISHED] * 5 + [FAILED] + [FINISHED] * 2


def test_no_run_is_lost_with_the_worker_that_trains_it(two_processes: Executor) -> None:
    plan = make_plan(grid(seeds=4, epochs=100), (), CPU, workers=2)
    statuses: dict[int, str] = {}

    def kill(jobs: Sequence[int], trained: Trained) -> None:
        if not statuses:
            for process in multiprocessing.active_children():
                process.kill()
        statuses.update(zip(jobs, [record.status for record in trained.records], strict=True))

    Dispatch(plan, two_processes, Interrupts(), Listeners(kill)).run()
    assert sorted(statuses) == list(range(16))
    assert set(statuses.values()) == {FINISHED}


def test_a_run_that_loses_its_worker_beside_others_is_trained_again(
    two_processes: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    plan = make_plan(grid(epochs=200, max_stack=1), (), CPU, workers=2)
    records: list[RunRecord] = []

    def kill(jobs: Sequence[int], trained: Trained) -> None:
        if not records:
            for process in multiprocessing.active_children():
                process.kill()
        records.extend(trained.records)

    Dispatch(plan, two_processes, Interrupts(), Listeners(kill)).run()
    assert [record.status for record in records] == [FINISHED] * 8
    lost = [record for record in caplog.records if "WorkerLost" in record.getMessage()]
    assert 1 <= len(lost) <= 2
    says = "the worker process ended, as it does for want of memory; its runs are trained again, "
    assert says in lost[0].getMessage()
    assert not lost[0].exc_info, "a traceback would say nothing"


def test_a_run_that_loses_its_worker_alone_is_failed_and_says_so(two_processes: Executor) -> None:
    plan = make_plan(grid(seeds=1, epochs=20_000, max_stack=1)[:3], (), CPU, workers=2)
    records: list[RunRecord] = []
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.2):
            for process in multiprocessing.active_children():
                process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        Dispatch(
            plan, two_processes, Interrupts(), Listeners(lambda jobs, trained: records.extend(trained.records))
        ).run()
    finally:
        ended.set()
        killer.join()
    assert [record.status for record in records] == [FAILED] * 3
    (reason,) = {record.reason for record in records}
    says = "it trained alone, so that only a smaller network or batch takes less"
    assert reason == f"WorkerLost: the worker process ended, as it does for want of memory; {says}"


def test_where_no_worker_can_start_nothing_is_tried_again() -> None:
    configs = grid()
    executor = Caller(1, configs, NoWorker("a worker process ended before it could train anything"))
    with pytest.raises(NoWorker, match="before it could train anything"):
        dispatched(make_plan(configs, (), CPU, workers=1), executor)
    assert executor.sizes == [8]


def test_an_interrupt_comes_between_two_stacks() -> None:
    plan, interrupts, done = make_plan(grid(max_stack=2), (), CPU, workers=1), Interrupts(), []

    def interrupt(jobs: Sequence[int], trained: Trained) -> None:
        done.append(jobs)
        interrupts.pending = True

    with pytest.raises(KeyboardInterrupt):
        Dispatch(plan, Caller(1), interrupts, Listeners(interrupt)).run()
    assert len(done) == 1
