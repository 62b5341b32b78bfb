"""From a tracking URI to an experiment's runs, or one clear line that says what is wrong with the URI."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.config.checks import ConfigError, check, check_folder
from bnsweep.config.run import TrackingConfig
from bnsweep.store import sqlite
from bnsweep.store.backend import Backend
from bnsweep.store.client import ClientBackend

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

SQLITE = "sqlite:///"
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server is asked once and briefly; MLflow's own defaults keep a user waiting for minutes before the error."""


def import_mlflow() -> None:
    """Five seconds, so only where a store cannot be used without it; without telemetry, and without its migrations
    filling the terminal."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.store.db.utils

    for name in (mlflow.store.db.utils.__name__, "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def resolve(uri: str | None) -> str:
    """The URI with the path of a sqlite file made absolute, so that no working directory gets a store of its own."""
    if uri is None:
        return SQLITE + str(Path("mlflow.db").absolute())
    scheme = uri.partition(":")[0].partition("+")[0]
    says = f"{SQLITE}PATH, postgresql://…, mysql://…, mssql://… or http(s)://… (MLflow has given up folders as stores)"
    check(scheme in SCHEMES and ":" in uri, "tracking.uri", uri, says)
    if scheme != "sqlite":
        return uri
    path = uri.removeprefix(SQLITE).partition("?")[0]
    says = f"{SQLITE}PATH with the path of a file"
    check(uri.startswith(SQLITE) and path not in ("", ":memory:"), "tracking.uri", uri, says)
    return SQLITE + str(Path(path).absolute())


def sqlite_path(uri: str) -> Path | None:
    """The database file of a resolved URI; None for a server."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def tables(path: Path, uri: str) -> set[str]:
    """Table names of a sqlite file; one that is no database is a ConfigError, and is left as it is."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
        check(
            head in (b"", b"SQLite format 3\0"), "tracking.uri", uri, "a sqlite database; this file is something else"
        )
        with sqlite.opened(path) as db:
            return {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"tracking.uri={uri}: must be a readable sqlite database ({error})") from error


def check_sqlite(path: Path, uri: str, create: bool) -> None:
    """Raises ConfigError for a file that is no database of MLflow's. Where there is none, `create` makes its folder;
    without `create` that is a ConfigError too."""
    if path.exists():
        found = tables(path, uri)
        says = "a database of MLflow; this one holds other tables"
        check(not found or "alembic_version" in found, "tracking.uri", uri, says)
        says = "a database with runs; this one is empty"
        check(create or "experiments" in found, "tracking.uri", uri, says)
    else:
        says = "an existing database here; there is none (a sweep writes it)"
        check(create, "tracking.uri", uri, says)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"tracking.uri={uri}: must be in a folder that can be made ({error})") from error
    says = "a database in a folder that can be written"
    writable = os.access(path if path.exists() else path.parent, os.W_OK) and os.access(path.parent, os.W_OK)
    check(writable or not create, "tracking.uri", uri, says)


@contextmanager
def environment_variables(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the time of the block; what the user set stays as it is."""
    mine = {key: value for key, value in values.items() if key not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for key in mine:
            os.environ.pop(key, None)


def connect(config: TrackingConfig, create: bool) -> tuple[str, Backend]:
    """The resolved URI and the experiment's runs. With `create` the database and the experiment are made where
    missing; without, their absence is a ConfigError and nothing is written."""
    uri = resolve(config.uri)
    path = sqlite_path(uri)
    if path is not None:
        check_sqlite(path, uri, create)
    artifacts = artifact_folder(uri)
    if create and artifacts is not None:
        check_folder("artifacts in", artifacts)
    direct = sqlite.find(path, config.experiment) if path is not None else None
    if direct is not None:
        return uri, direct
    client, experiment_id = open_experiment(uri, config.experiment, create)
    direct = sqlite.find(path, config.experiment) if path is not None else None
    return uri, direct or ClientBackend(client, experiment_id)


def open_experiment(uri: str, name: str, create: bool) -> tuple[MlflowClient, str]:
    """MLflow's client and the experiment's id; raises ConfigError, with the innermost reason, where there is none."""
    path = sqlite_path(uri)
    # A fresh database must be migrated by one process only; the others wait here, then find it done.
    guard = lock(path) if path is not None and create else nullcontext()
    with guard, environment_variables(PROBE):
        try:
            client = client_of(uri)
            return client, experiment_of(client, uri, name, create).experiment_id
        except ConfigError:
            raise
        except Exception as error:  # MLflow, sqlalchemy, requests and drivers each raise their own
            reason = reason_of(error)
            says = "a reachable MLflow server" if uri.startswith("http") else "a database that MLflow can open"
            raise ConfigError(f"tracking.uri={uri}: must be {says} ({reason})") from error


def client_of(uri: str) -> MlflowClient:
    """MLflow's client of a store; nothing is asked of it yet."""
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(uri)


def lock(path: Path) -> AbstractContextManager[object]:
    """Held by one process at a time, in a file beside the database."""
    from filelock import FileLock

    return FileLock(f"{path}.lock")


def reason_of(error: BaseException) -> str:
    """The innermost cause in one short line: the outer ones repeat it inside pages of retry settings."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def experiment_of(client: MlflowClient, uri: str, name: str, create: bool) -> Experiment:
    """The experiment of that name, made where it is missing and `create` is given; raises ConfigError for a missing or
    a deleted one."""
    from mlflow.exceptions import MlflowException

    artifacts = artifact_folder(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        known = ", ".join(e.name for e in client.search_experiments(max_results=10)) or "none"
        check(create, "tracking.experiment", name, f"one of those in {uri}: {known}")
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
    return experiment


def artifact_folder(uri: str) -> Path | None:
    """Absolute, beside a sqlite file or in the working directory; a server decides for itself."""
    if uri.startswith("http"):
        return None
    path = sqlite_path(uri)
    return (path.parent if path else Path.cwd()).joinpath("mlartifacts")
