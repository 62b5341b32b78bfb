"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from postgres import Address, missing, postgres, query
from proxy import Proxy
from servers import mlflow_server

from bnsweep.config.run import TrackingConfig
from bnsweep.store.mlflow_variables import NO_POOL, environment_variables
from bnsweep.store.store import Store

for variable in [name for name in os.environ if name.startswith("MLFLOW_")]:
    del os.environ[variable]  # a developer's own store is no part of any test

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, by torch.compile for one


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where programs of the tests keep what they can make again: no part of a developer's home, one for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's migrations take seconds: done once, copied for every test."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Store.open(TrackingConfig(uri=f"sqlite:///{path}", experiment="of the fixture"))
    return path


@pytest.fixture(autouse=True)
def no_handler_stays() -> Iterator[None]:
    """Hydra sets up the log of the whole process, for streams that pytest closes after the test."""
    before = logging.root.handlers.copy()
    yield
    for handler in logging.root.handlers.copy():
        if handler not in before and type(handler) in (logging.StreamHandler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture
def hydra_restore_singletons() -> Iterator[None]:
    """Hydra's fixture of this name, but for its plugins: those stay found. Hydra would run their modules anew for every
    test, whose classes stay in memory and make each search and each check of a type slower."""
    plugins = Plugins.instance()
    state = Singleton.get_state()
    state["instances"][Plugins] = plugins
    yield
    Singleton.set_state(state)


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """Address of an MLflow server, which takes seconds to start; each test has an experiment of its own there."""
    home = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, home / "mlflow.db")
    with mlflow_server(home, f"sqlite:///{home / 'mlflow.db'}") as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Address]:
    """URI, with the password, of a PostgreSQL, which takes seconds to start."""
    if missing():
        pytest.skip(missing())
    with postgres() as address:
        yield address


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: Address) -> str:
    """Name of a database with MLflow's tables, to be copied: MLflow takes seconds to make them."""
    query(f"{postgres_server}/postgres", "create database tables")
    with environment_variables(NO_POOL):  # a database that anybody uses cannot be copied
        Store.open(TrackingConfig(f"{postgres_server}/tables", "of the fixture"))
    return "tables"


@pytest.fixture
def postgres_database(postgres_server: Address, postgres_tables: str) -> str:
    """URI of a database of the test's own, with MLflow's tables and no runs."""
    name = f"db_{uuid.uuid4().hex}"
    query(f"{postgres_server}/postgres", f"create database {name} template {postgres_tables}")
    return f"{postgres_server}/{name}"


@pytest.fixture
def proxy(tracking_server: str) -> Iterator[Proxy]:
    """A way to it that can be made to fail."""
    with Proxy(int(tracking_server.rpartition(":")[2])) as proxy:
        yield proxy


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look at it in every test."""
    gc.collect()
    gc.freeze()
