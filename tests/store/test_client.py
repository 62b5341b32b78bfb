"""Runs through MLflow's public API, several at a time, on servers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from postgres import query
from proxy import Proxy, Trouble

from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.store.backend import NewRun
from bnsweep.store.client import ClientBackend
from bnsweep.store.encode import new_run
from bnsweep.store.patience import create_rest
from bnsweep.store.store import Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

DATA = DatasetInfo("digits", "0123456789abcdef", "a test", 100, 64, 10)


def runs_of(count: int) -> list[NewRun]:
    history = {"step": [0.0, 5.0], "val/loss": [2.0, 1.0]}
    return [
        new_run(RunConfig(seed=seed), RunRecord("finished", history=history, dataset=DATA), "s")
        for seed in range(count)
    ]


@pytest.fixture(params=["a tracking server", "PostgreSQL"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientBackend:
    monkeypatch.chdir(tmp_path)
    name = "tracking_server" if request.param == "a tracking server" else "postgres_database"
    backend = Store.open(TrackingConfig(request.getfixturevalue(name), request.node.name)).backend
    assert isinstance(backend, ClientBackend)
    return backend


def names(runs: Sequence[NewRun]) -> list[str]:
    return [run.tags["bnsweep.identity"] for run in runs]


def test_runs_written_at_a_time_are_whole_and_share_their_dataset(backend: ClientBackend) -> None:
    runs = runs_of(16)
    ids = backend.create(runs)
    found = {run.run_id: run for run in backend.runs("run", params=True)}
    assert [found[run_id].tags["bnsweep.identity"] for run_id in ids] == names(runs)
    for run in found.values():
        assert (run.status, run.params["activation"], run.datasets[0]["digest"]) == ("FINISHED", "relu", DATA.digest)
    files = [*backend.files_of([found[i] for i in ids], "record.json")]
    assert [path.stat().st_size > 0 for path in files] == [True] * len(runs)
    assert backend.metric_names(ids) >= {"val/loss"}


def test_one_that_cannot_be_written_leaves_the_others_whole(backend: ClientBackend, tmp_path: Path) -> None:
    runs = runs_of(12)
    runs[5] = replace(runs[5], files=[tmp_path / "nothing"])
    with pytest.raises(FileNotFoundError):
        backend.create(runs)
    left = backend.runs("run")
    assert {run.status for run in left} <= {"FINISHED", "KILLED"}
    done = {run.tags["bnsweep.identity"] for run in left if run.status == "FINISHED"}
    assert done <= {*names(runs)} - {names(runs)[5]}
    runs[5] = replace(runs[5], files=[])
    ids = create_rest(backend, runs)
    finished = backend.runs("run", "FINISHED")
    assert Counter(run.tags["bnsweep.identity"] for run in finished) == Counter(names(runs))
    assert {run.run_id for run in finished} == {*ids}


def test_postgres_keeps_one_row_of_a_dataset_that_many_runs_write_at_once(
    postgres_database: str, tmp_path: Path
) -> None:
    backends = [Store.open(TrackingConfig(postgres_database, f"experiment {i}")).backend for i in range(3)]
    for backend in backends:
        backend.create(runs_of(8))
    assert query(postgres_database, "select count(*) from datasets") == [3]
    assert query(postgres_database, "select count(*) from runs where status = 'FINISHED'") == [24]
    assert query(postgres_database, "select count(*) from metrics where key = 'val/loss'") == [48]


@pytest.mark.parametrize("trouble", [Trouble.REFUSED, pytest.param(Trouble.LOST, marks=pytest.mark.slow)])
def test_a_server_that_fails_while_several_are_written_gets_each_once(
    trouble: Trouble, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    store = Store.open(TrackingConfig(proxy.url, request.node.name))
    configs = [(RunConfig(seed=seed), RunRecord("finished", history={"step": []}), None) for seed in range(12)]
    proxy.only, proxy.trouble = "runs/log-batch", trouble
    timer = threading.Timer(1, lambda: setattr(proxy, "trouble", Trouble.NONE))
    timer.start()
    ids = store.log_runs(configs, "s")
    timer.join()
    store.tidy(under_way=())
    assert proxy.troubled
    finished = store.backend.runs("run", "FINISHED")
    assert {run.run_id for run in finished} == {*ids}
    assert len({run.tags["bnsweep.identity"] for run in finished}) == len(finished) == 12
    assert store.backend.runs("run", "RUNNING") == []
