"""Where commands are tried in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: Any) -> Path:
    """An empty working directory, and Hydra as in a new process."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    return folder
