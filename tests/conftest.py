"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store

for variable in [name for name in os.environ if name.startswith("MLFLOW_")]:
    del os.environ[variable]  # a developer's own store is no part of any test


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's migrations take seconds: done once, copied for every test."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Store.open(TrackingConfig(uri=f"sqlite:///{path}", experiment="of the fixture"))
    return path
