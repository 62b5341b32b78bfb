"""From a tracking URI to an experiment's runs, or one clear line that says what is wrong with the URI."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.config.checks import check, check_folder
from bnsweep.config.run import TrackingConfig
from bnsweep.config.secrets import hide_secrets_in_logs, without_secrets
from bnsweep.store import blank, sqlite
from bnsweep.store.address import ARTIFACTS, SQLITE, Address, address_of
from bnsweep.store.backend import Backend, local_path
from bnsweep.store.client import ClientBackend
from bnsweep.store.database import check_database, is_half_made, locked, make_database, settle
from bnsweep.store.mlflow_variables import NO_POOL, PROBE, QUIET, environment_variables, stay

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

TIMED = ("psycopg", "psycopg2", "pymysql", "mysqldb")
"""Drivers that take `connect_timeout`."""
CONNECT_TIMEOUT = 10
"""Seconds for a database server to answer."""
TURN = "120s"
"""How long a process waits while another makes the tables of a database server, which takes some ten seconds."""
TURN_KEY = 0x626E7377
"""The number by which PostgreSQL knows whose turn that is."""


def import_mlflow() -> None:
    """Five seconds, so only where a store cannot be used without it. Without telemetry, and with a quiet terminal."""
    stay(QUIET)
    with unwarned("IProgress not found"):  # in a notebook without ipywidgets, tqdm warns of bars that nobody asked for
        import mlflow.store.db.utils

    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs the tracebacks of errors that it raises as well.
    logging.getLogger(mlflow.store.db.utils.__name__).setLevel(logging.CRITICAL)
    hide_secrets_in_logs("mlflow")


@contextmanager
def unwarned(text: str) -> Iterator[None]:
    """Without warnings that begin so, a regular expression. Other threads keep their filters."""
    warnings.filterwarnings("ignore", text)
    added = warnings.filters[0]
    try:
        yield
    finally:
        if added in warnings.filters:
            warnings.filters.remove(added)  # type: ignore[attr-defined]


Draft = Callable[[], Path | None]
"""Gives a new database that was made beforehand, if there is one."""


def connect(config: TrackingConfig, create: bool, draft: Draft | None = None) -> tuple[str, Backend]:
    """The URI and the experiment's runs. With `create` the database, of a `draft` if there is one, and the experiment
    are made where missing; without, their absence is a ConfigError and nothing is written."""
    address, name = address_of(config), config.experiment
    path, artifacts = address.path, address.artifacts
    if path is not None:
        check_database(path, address, create)
    if create and artifacts is not None:
        check_folder("artifacts", artifacts)
    if path is None:
        return address.uri, ClientBackend(*open_experiment(address, name, create))
    if create and not path.exists():
        with address.refused("a database in a folder that can be written", OSError):
            put_in_place(path.resolve(), address, name, draft)
    if sqlite.find(path, name) is None:
        open_experiment(address, name, create)
    if create:
        settle(path, name, address)
    direct = sqlite.find(path, name)
    return address.uri, direct or ClientBackend(*open_experiment(address, name, create), path.parent / ARTIFACTS)


def put_in_place(path: Path, address: Address, name: str, draft: Draft | None) -> None:
    """Makes a missing database, of the copy that is kept or else of a draft, where there is one."""
    with locked(path):
        if path.exists() or made_of_copy(path, address, name):
            return
        made = None if draft is None else draft()
        if made is not None:
            make_database(path, partial(copy, made))


def made_of_copy(path: Path, address: Address, name: str) -> bool:
    assert address.artifacts is not None
    if not blank.is_kept():
        return False
    try:
        make_database(path, partial(blank.fill, experiment=name, artifacts=address.artifacts.as_uri()))
    except (sqlite3.IntegrityError, OSError):
        pass  # an experiment that MLflow makes itself, or a full disk, which MLflow says
    except sqlite3.Error:
        blank.forget()
    return path.exists()


def copy(made: Path, path: Path) -> None:
    shutil.copyfile(made, path)


def make_draft() -> None:
    """Of a process of its own, whose arguments are a file, the URI that it is for, and an experiment's name. It ends
    when its input does."""
    draft, uri, name = sys.argv[1:]
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    with environment_variables(PROBE):
        start_database(Path(draft), Address(uri), name)


def open_experiment(address: Address, name: str, create: bool) -> tuple[MlflowClient, str]:
    """MLflow's client and the experiment's id; raises ConfigError, with the innermost reason, where there is none."""
    says = "a reachable MLflow server" if address.uri.startswith("http") else "a database that MLflow can open"
    with address.refused(says, Exception), environment_variables(PROBE), ready(address, name, create):
        client = client_of(address.uri)
        return client, experiment_of(client, address, name, create).experiment_id


@contextmanager
def ready(address: Address, name: str, create: bool) -> Iterator[None]:
    """The time to open a store, whose tables are made by one process only; the others wait here, then find them."""
    import_mlflow()
    path = address.path
    if address.uri.startswith("http"):
        yield
    elif path is None:
        with tables_of_server(address, create):
            yield
    elif create:
        file = path.resolve()  # what a link leads to: a new file does not take the link's place
        with locked(file):
            if not file.exists() or is_half_made(file, address):
                make_database(file, lambda draft: start_database(draft, address, name))
            yield
    else:
        says = "a database with runs; this one has none (a sweep makes it anew)"
        address.check(not is_half_made(path, address), says)
        yield


def start_database(draft: Path, address: Address, name: str) -> None:
    """Makes MLflow's tables and the experiment in a new file."""
    with environment_variables(NO_POOL):
        client = client_of(f"{SQLITE}{draft}")
        blank.keep(draft)
        experiment_of(client, address, name, create=True)


@contextmanager
def tables_of_server(address: Address, create: bool) -> Iterator[None]:
    """A transaction of a database server that holds this process's turn. A server that does not answer is an error at
    once, where MLflow would try for minutes; so is one without tables, unless `create` has them made."""
    from sqlalchemy import NullPool, create_engine, inspect, make_url, text

    url = make_url(address.uri)
    timed = url.get_driver_name() in TIMED and "connect_timeout" not in url.query
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT} if timed else {})
    with engine.begin() as connection:
        if not create:
            says = "a database with runs; this one has none (a sweep makes its tables)"
            address.check(inspect(connection).has_table("experiments"), says)
        elif engine.dialect.name == "postgresql":
            connection.execute(text(f"set local lock_timeout = '{TURN}'"))
            connection.execute(text(f"select pg_advisory_xact_lock({TURN_KEY})"))
        yield


def client_of(uri: str) -> MlflowClient:
    """MLflow's client of a store; nothing is asked of it yet."""
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(Address(uri).for_mlflow)


def experiment_of(client: MlflowClient, address: Address, name: str, create: bool) -> Experiment:
    """The experiment of that name, made where it is missing and `create` is given; raises ConfigError for a missing or
    a deleted one."""
    from mlflow.exceptions import MlflowException

    artifacts = address.artifacts
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        known = ", ".join(e.name for e in client.search_experiments(max_results=10)) or "none"
        check(create, "tracking.experiment", name, f"one of those in {without_secrets(address.uri)}: {known}")
        if artifacts is not None and address.path is None:
            artifacts.mkdir(parents=True, exist_ok=True)  # there before anybody can ask whether it is (check_artifacts)
        try:
            client.create_experiment(name, artifact_location=artifacts.as_uri() if artifacts else None)
        except MlflowException:
            # On a server, where nothing locks, another process may have made it first.
            if client.get_experiment_by_name(name) is None:
                raise
        experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    says = "an experiment that is not deleted (mlflow gc removes it for good, or take another name)"
    check(experiment.lifecycle_stage == "active", "tracking.experiment", name, says)
    if create and address.path is None:
        check_artifacts(client, experiment)
    return experiment


def check_artifacts(client: MlflowClient, experiment: Experiment) -> None:
    """Raises ConfigError where a server's experiment keeps its artifacts in a folder of this machine that is gone: it
    was moved, or is one of another machine, and would be made anew beside the true one."""
    folder = local_path(experiment.artifact_location)
    if folder is not None and not folder.is_dir():
        says = f"an experiment whose artifacts lie on this machine; {folder} is not here (or take another name)"
        runs = client.search_runs([experiment.experiment_id], max_results=1)
        check(not runs, "tracking.experiment", experiment.name, says)
