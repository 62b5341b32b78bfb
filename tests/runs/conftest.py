"""Fixtures of this room's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bnsweep.config.run import TrackingConfig


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sweep that is cut short leaves its checkpoints."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> TrackingConfig:
    """A new store."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="test")
