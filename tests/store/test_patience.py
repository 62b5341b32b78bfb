"""A store that stops answering is waited for, and whatever befalls it, each run is in it once and none is left open."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from proxy import Proxy, Trouble

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import RunRecord
from bnsweep.store import patience, sqlite
from bnsweep.store.patience import StoreAway, is_passing
from bnsweep.store.store import Manifest, Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

RUNS = [(RunConfig(seed=seed), RunRecord("finished", history={"step": []}), None) for seed in range(3)]


@pytest.fixture
def served(proxy: Proxy, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An experiment of the test's own, behind the proxy."""
    monkeypatch.setattr(patience, "FIRST_LINE", 0.5)
    monkeypatch.setattr(patience, "PAUSES", (0.2,))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Store.open(TrackingConfig(proxy.url, request.node.name))


@contextmanager
def fault(proxy: Proxy, trouble: Trouble, seconds: float, only: str = "") -> Iterator[None]:
    """For so long from now on."""
    proxy.only, proxy.trouble = only, trouble
    timer = threading.Timer(seconds, lambda: setattr(proxy, "trouble", Trouble.NONE))
    timer.start()
    try:
        yield
    finally:
        timer.join()
    assert proxy.troubled, "it has befallen something"


CREATE, UPDATE, LOG = "runs/create", "runs/update", "runs/log-batch"


@pytest.mark.parametrize(
    ("trouble", "only"),
    [
        (Trouble.REFUSED, ""),
        (Trouble.LOST, CREATE),
        pytest.param(Trouble.LOST, UPDATE, marks=pytest.mark.slow),
        pytest.param(Trouble.ERROR, "", marks=pytest.mark.slow),
        pytest.param(Trouble.HANGING, "", marks=pytest.mark.slow),
        pytest.param(Trouble.LOST, "", marks=pytest.mark.slow),
        pytest.param(Trouble.ERROR, LOG, marks=pytest.mark.slow),
    ],
)
def test_whatever_befalls_a_server_each_run_is_in_it_once(
    trouble: Trouble, only: str, proxy: Proxy, served: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with fault(proxy, trouble, 1.5, only):
        own = served.open_sweep(Manifest.of([config for config, _, _ in RUNS], "s", "…"))
        ids = [served.log_runs([run], "s") for run in RUNS]
    served.close_sweep("s", {}, {}, own)
    served.tidy(tuple)
    assert [run.run_id for run in served.backend.runs("sweep")] == [own]
    runs = served.backend.runs("run")
    assert {run.run_id for run in runs if run.status == "FINISHED"} == {run_id for (run_id,) in ids}
    assert {run.status for run in runs} <= {"FINISHED", "KILLED"}
    assert len(served.load("s", own).runs) == 3
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("the store has not answered for ") and said[-1].startswith("the store answers again")


@pytest.mark.slow
def test_reading_waits_too(proxy: Proxy, served: Store) -> None:
    served.log_runs(RUNS, "s")
    with fault(proxy, Trouble.REFUSED, 1):
        assert len(served.done()) == 3
    with fault(proxy, Trouble.ERROR, 1):
        assert len(served.load("s").runs) == 3


@pytest.mark.slow
def test_a_server_that_stays_away_ends_in_one_line(
    proxy: Proxy, served: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "GIVE_UP", 1.5)
    for trouble, reason in (
        (Trouble.ERROR, "too many 500 error responses"),
        (Trouble.REFUSED, ".*"),
        (Trouble.HANGING, ".*"),
    ):
        with fault(proxy, trouble, 3):
            began = time.monotonic()
            with pytest.raises(StoreAway, match=f"^tracking.uri={proxy.url}: must be a store that answers; .*{reason}"):
                served.log_runs(RUNS, "s")
            assert time.monotonic() - began < 3


@pytest.mark.parametrize("trouble", [Trouble.HANGING, pytest.param(Trouble.ERROR, marks=pytest.mark.slow)])
def test_an_interrupt_is_answered_at_once(trouble: Trouble, proxy: Proxy, served: Store) -> None:
    with fault(proxy, trouble, 3):
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            served.log_runs(RUNS, "s")
        assert time.monotonic() - began < 2.5


def test_what_a_later_command_finds_open_it_closes(proxy: Proxy, served: Store) -> None:
    """A run whose answer was lost by a process that was killed then; one of a sweep under way is left alone."""
    for sweep in ("lost", "under way"):
        tags = {"bnsweep.kind": "run", "bnsweep.sweep_id": sweep, "bnsweep.identity": identity(RunConfig())}
        served.client.create_run(served.experiment_id, tags=tags)
    half = served.client.create_run(
        served.experiment_id, tags={"bnsweep.kind": "sweep", "bnsweep.sweep_id": "lost"}
    ).info.run_id
    assert served.mark_stale(lambda: {"under way"}) == 1
    assert {run.tags["bnsweep.sweep_id"]: run.status for run in served.backend.runs("run")} == {
        "lost": "KILLED",
        "under way": "RUNNING",
    }
    assert half not in {run.run_id for run in served.backend.runs("sweep")}


@pytest.fixture
def file(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setattr(sqlite, "BUSY", 0.3)
    monkeypatch.setattr(patience, "FIRST_LINE", 0.5)
    return Store.open(TrackingConfig(f"sqlite:///{tmp_path / 'mlflow.db'}"))


@contextmanager
def locked(store: Store, seconds: float) -> Iterator[None]:
    """Another connection writes for so long."""

    def hold() -> None:
        with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"), isolation_level=None)) as db:
            db.execute("begin exclusive")
            held.set()
            time.sleep(seconds)
            db.execute("rollback")

    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    thread.join()


@pytest.mark.slow
def test_a_file_that_is_locked_for_long_is_waited_for(file: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(file, 1.5):
        file.log_runs(RUNS, "s")
    assert len(file.done()) == len(file.backend.runs("run")) == 3
    with locked(file, 1.5):
        assert len(file.done()) == 3
    assert "(database is locked); trying again" in capsys.readouterr().out


def test_a_file_that_stays_locked_ends_in_one_line(file: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "GIVE_UP", 1.0)
    with locked(file, 2.5), pytest.raises(StoreAway, match=r"has not for 1 s \(database is locked\)$"):
        file.log_runs(RUNS, "s")
    assert file.done() == {}


def test_a_store_that_never_answered_is_not_waited_for(file: Store) -> None:
    fresh = replace(file)
    with locked(file, 1.5), pytest.raises(ConfigError, match=r"read and written \(database is locked\)$"):
        fresh.done()


def test_what_will_not_pass_is_said_at_once(file: Store) -> None:
    """The experiment is deleted, the file replaced by one that is no database."""
    file.client.delete_experiment(file.experiment_id)
    with pytest.raises(ConfigError, match=r"^tracking.uri=.*must be a store that can be read and written .*is deleted"):
        file.log_runs(RUNS, "s")
    Path(file.uri.removeprefix("sqlite:///")).write_text("no database " * 1000)
    with pytest.raises(ConfigError, match="file is not a database"):
        file.done()


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), True),
        (TimeoutError("slow"), True),
        (OSError("of a library"), True),
        (OSError(errno.EIO, "disk"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.OperationalError("database or disk is full"), False),
        (sqlite3.DatabaseError("file is not a database"), False),
        (TypeError("a bug"), False),
        (KeyError("a bug"), False),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again_and_nothing_else(error: Exception, passing: bool) -> None:
    assert is_passing(error) is passing
    outer = RuntimeError("of whoever was called")
    outer.__cause__ = error
    assert is_passing(outer) is passing


def test_a_database_says_by_its_error_whether_it_may_come_back() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
    from sqlalchemy.exc import IntegrityError, OperationalError

    assert is_passing(OperationalError("select", {}, Exception("server closed the connection")))
    assert not is_passing(IntegrityError("insert", {}, Exception("duplicate key")))
    assert is_passing(MlflowException("later", TEMPORARILY_UNAVAILABLE))
    assert not is_passing(MlflowException("no such run", RESOURCE_DOES_NOT_EXIST))
    full = MlflowException("of its own", TEMPORARILY_UNAVAILABLE)
    full.__cause__ = OperationalError("insert", {}, sqlite3.OperationalError("disk full"))
    full.__cause__.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert not is_passing(full), "what MLflow takes for a moment's trouble"
