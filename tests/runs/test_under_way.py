"""What is finished of a run is in the store while its stack trains, and nothing is RUNNING once its sweep is over."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from executor_tests import until
from quick_runs import grid, in_sweep, swept

from bnsweep.config.run import TrackingConfig
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.frame.metrics import default_metric, task_of
from bnsweep.report.stats.completeness import notices
from bnsweep.report.stats.ranking import best_lr_view
from bnsweep.runs import under_way
from bnsweep.runs.executors.base import Evaluated
from bnsweep.runs.under_way import UnderWay
from bnsweep.store.backend import Begun, NewRun
from bnsweep.store.sqlite import SqliteBackend
from bnsweep.store.store import Opened, Store

CONFIGS = grid(seeds=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the seconds that a stack is given to be over in."""
    monkeypatch.setattr(under_way, "FIRST", 0.0)
    monkeypatch.setattr(under_way, "REST", 0.0)


@pytest.fixture
def store(tracking: TrackingConfig) -> Store:
    return Store.open(tracking)


@pytest.fixture
def make(store: Store) -> Iterator[Callable[..., UnderWay]]:
    made: list[UnderWay] = []

    def of_store(**changes: Callable[[], object]) -> UnderWay:
        ways: dict[str, Callable[[], object]] = {"has_more": lambda: False, "watched": lambda: None}
        made.append(UnderWay(store, "s", **(ways | changes)))  # type: ignore[arg-type]
        return made[-1]

    yield of_store
    for one in made:
        one.close()


def read(step: int, stack: int = 0, runs: int = 4) -> Evaluated:
    return Evaluated(stack, step, 0, {"val/loss": [step + place / 10 for place in range(runs)], "lr": [0.1] * runs})


def running(store: Store) -> list[str]:
    return [run.run_id for run in store.backend.runs("run", "RUNNING")]


def curve(store: Store, run_id: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run_id, "val/loss")]


def test_runs_are_opened_and_grow(store: Store, make: Callable[..., UnderWay]) -> None:
    way, jobs = make(), [7, 3, 5, 4]
    way.add(jobs, CONFIGS, read(0))
    until(lambda: len(running(store)) == 4)
    way.add(jobs, CONFIGS, read(5))
    until(lambda: sum(len(curve(store, run_id)) for run_id in running(store)) == 8)
    way.settle()
    opened = way.release(jobs)
    assert [one and curve(store, one.run_id) for one in opened] == [[(0, p / 10), (5, 5 + p / 10)] for p in range(4)]
    assert [one and one.steps for one in opened] == [{0, 5}] * 4
    way.add([1], CONFIGS[:1], read(0, 1, 1))
    until(lambda: len(running(store)) == 5)
    assert way.release([2]) == [None]


def test_a_run_that_diverged_gets_no_points_of_its_rate_alone(store: Store, make: Callable[..., UnderWay]) -> None:
    way, gone = make(), Evaluated(0, 5, 1, {"val/loss": [float("nan"), 2.0], "lr": [0.1, 0.1]})
    way.add([0, 1], CONFIGS[:2], read(0, 0, 2))
    way.add([0, 1], CONFIGS[:2], gone)
    until(lambda: len(running(store)) == 2)
    way.close()
    opened = [one for one in way.release([0, 1]) if one]
    assert [one.steps - {5} for one in opened] == [{0}, {0}]
    assert 5 not in opened[0].steps, "the whole run brings it"


def test_a_stack_that_is_over_soon_writes_nothing_beforehand(
    store: Store, make: Callable[..., UnderWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "FIRST", 0.7)
    way, began = make(), time.monotonic()
    way.add([0], CONFIGS[:1], read(0, 0, 1))
    way.add([1], CONFIGS[1:2], read(0, 1, 1))
    assert way.release([0]) == [None]
    until(lambda: len(running(store)) == 1)
    assert time.monotonic() - began > 0.7


def test_writes_take_three_percent_of_the_time(
    store: Store, make: Callable[..., UnderWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "REST", 33.0)
    create = SqliteBackend.create

    def slow(self: SqliteBackend, runs: Sequence[NewRun]) -> list[str]:
        time.sleep(0.03)
        return create(self, runs)

    monkeypatch.setattr(SqliteBackend, "create", slow)
    way, began = make(), time.monotonic()
    for stack in (0, 1):
        way.add([stack], CONFIGS[:1], read(0, stack, 1))
    until(lambda: len(running(store)) == 2)
    assert time.monotonic() - began > 33 * 0.03


def test_whole_runs_come_first_and_a_store_that_is_away_is_not_asked(
    store: Store, make: Callable[..., UnderWay]
) -> None:
    more = threading.Event()
    more.set()
    way = make(has_more=more.is_set)
    way.add([0], CONFIGS[:1], read(0, 0, 1))
    time.sleep(0.7)
    assert running(store) == []
    store.patience.is_away = True
    more.clear()
    time.sleep(0.7)
    assert running(store) == []
    store.patience.is_away = False
    until(lambda: len(running(store)) == 1)


def test_what_a_store_did_not_take_is_dropped_and_nothing_is_opened_twice(
    store: Store, make: Callable[..., UnderWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "AFTER_FAULT", 0.1)
    create, calls = SqliteBackend.create, [0]

    def loses_the_answer_once(self: SqliteBackend, runs: Sequence[NewRun]) -> list[str]:
        calls[0] += 1
        found = create(self, runs)
        if calls[0] == 1:
            raise OSError("the answer was lost")
        return found

    monkeypatch.setattr(SqliteBackend, "create", loses_the_answer_once)
    way = make()
    way.add([0], CONFIGS[:1], read(0, 0, 1))
    until(lambda: calls[0] == 1)
    way.add([0], CONFIGS[:1], read(5, 0, 1))
    until(lambda: calls[0] == 2)
    way.settle()
    (run_id,) = running(store)
    assert curve(store, run_id) == [(5, 5.0)]


def test_runs_whose_stack_is_lost_are_killed_and_their_next_try_is_another_run(
    store: Store, make: Callable[..., UnderWay]
) -> None:
    way = make()
    way.add([0, 1], CONFIGS[:2], read(0, 0, 2))
    until(lambda: len(running(store)) == 2)
    first = running(store)
    way.lose([0, 1])
    until(lambda: len(store.backend.runs("run", "KILLED")) == 2)
    way.add([0], CONFIGS[:1], read(0, 0, 1))
    until(lambda: len(running(store)) == 1)
    way.add([0], CONFIGS[:1], read(5, 0, 1))
    way.add([0], CONFIGS[:1], read(0, 0, 1))  # an executor that trains it again by itself
    until(lambda: len(store.backend.runs("run", "KILLED")) == 3 and len(running(store)) == 1)
    assert not {*running(store)} & {*first}


def test_runs_that_go_on_without_those_that_were_stopped_keep_their_rows(
    store: Store, make: Callable[..., UnderWay]
) -> None:
    way = make()
    way.add([0, 1, 2, 3], CONFIGS, read(0))
    until(lambda: len(running(store)) == 4)
    way.settle()
    (stopped,) = way.release([1])
    assert stopped is not None and stopped.steps == {0}
    values = {"val/loss": [30.0, 10.0, 20.0, 40.0], "lr": [0.1] * 4}
    way.add([3, 0, 2, 9], [CONFIGS[3], CONFIGS[0], CONFIGS[2], CONFIGS[1]], Evaluated(3, 5, 0, values))
    until(lambda: len(running(store)) == 5)
    way.settle()
    one, two, three, new = way.release([0, 2, 3, 9])
    assert one and two and three and new
    assert [curve(store, run.run_id) for run in (one, two, three, new)] == [
        [(0, 0.0), (5, 10.0)],
        [(0, 0.2), (5, 20.0)],
        [(0, 0.3), (5, 30.0)],
        [(5, 40.0)],
    ]
    assert curve(store, stopped.run_id) == [(0, 0.1)]


def test_a_store_that_hangs_holds_up_no_whole_run(
    store: Store, make: Callable[..., UnderWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "SETTLED", 0.3)
    hangs, write = threading.Event(), SqliteBackend.write

    def hang(self: SqliteBackend, begun: Sequence[Begun]) -> None:
        hangs.wait(20)
        write(self, begun)

    way = make()
    way.add([0], CONFIGS[:1], read(0, 0, 1))
    until(lambda: len(running(store)) == 1)
    monkeypatch.setattr(SqliteBackend, "write", hang)
    way.add([0], CONFIGS[:1], read(5, 0, 1))
    time.sleep(0.6)
    began = time.monotonic()
    way.settle()
    (opened,) = way.release([0])
    assert time.monotonic() - began < 2 and isinstance(opened, Opened)
    assert opened.steps == {0}
    hangs.set()


SLOW = 250
"""Epochs of runs that train for a second or two."""


@pytest.mark.parametrize("where", ["file", pytest.param("server", marks=pytest.mark.slow)])
def test_a_real_sweep_shows_its_runs_and_leaves_what_one_without_leaves(
    where: str, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if where == "server":
        tracking = TrackingConfig(request.getfixturevalue("tracking_server"), "runs under way")
    store, seen = Store.open(tracking), dict[str, list[tuple[int, float]]]()
    said, over = list[str](), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            found = store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
            for run in found:
                if run.data.tags["bnsweep.kind"] == "run":
                    seen[run.info.run_id] = curve_of(store, run.info.run_id)
            if len(store.done()) == 4 and store.backend.runs("run", "RUNNING"):
                said.append(first_notice(store.load()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        result = swept(grid(tracking, epochs=SLOW, max_stack=4), workers=1)
    finally:
        over.set()
        thread.join()
    ids = {run.run_id for run in result.runs}
    assert set(seen) <= ids and len(seen) >= 4, "each run keeps the row that it had"
    for run_id, part in seen.items():
        assert part == curve_of(store, run_id)[: len(part)]
    assert max(map(len, seen.values())) > 1
    so_far = {text.partition(",")[0] for text in said if " 8 of 8 " not in text}  # the sweep may end in between
    assert so_far == {"Running: 4 of 8 planned runs have a result so far: 4 finished"}
    monkeypatch.setattr(under_way, "FIRST", 1000.0)
    without = swept(in_sweep(grid(tracking, epochs=SLOW, max_stack=4), "b", rerun=True), workers=1)
    for one, other in zip(result.runs, without.runs, strict=True):
        a, b = (store.client.get_run(run.run_id) for run in (one, other))
        single = [{k: v for k, v in run.data.metrics.items() if k != "seconds"} for run in (a, b)]
        assert single[0] == single[1] and a.data.params == b.data.params
        assert curve_of(store, one.run_id) == curve_of(store, other.run_id)
    assert {run.info.status for run in store.client.search_runs([store.experiment_id])} == {"FINISHED"}


@pytest.mark.parametrize("way", ["straight", pytest.param("public", marks=pytest.mark.slow)])
def test_a_worker_that_is_lost_leaves_nothing_running_and_nothing_doubled(
    way: str, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "public":
        monkeypatch.setattr("bnsweep.store.sqlite.find", lambda path, experiment: None)
    store, killed = Store.open(tracking), threading.Event()

    def kill() -> None:
        until(lambda: len(running(store)) >= 2)
        for process in multiprocessing.active_children():
            process.kill()
        killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    result = swept(grid(tracking, epochs=SLOW, max_stack=4), workers=2)
    thread.join()
    assert killed.is_set() and [run.status for run in result.runs] == ["finished"] * 8
    runs = store.backend.runs("run")
    assert {run.run_id for run in runs if run.status == "FINISHED"} == {run.run_id for run in result.runs}
    assert {run.status for run in runs} == {"FINISHED", "KILLED"}
    assert [run.status for run in store.backend.runs("sweep")] == ["FINISHED"]


def curve_of(store: Store, run_id: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run_id, "val/accuracy")]


def first_notice(frame: object) -> str:
    runs = frame.runs  # type: ignore[attr-defined]
    grid_, metric = read_grid(runs), default_metric(task_of(runs))
    return notices(grid_, best_lr_view(grid_, metric), metric, frame.info)[0].text  # type: ignore[attr-defined]
