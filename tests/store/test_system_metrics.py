"""How busy the machine was, in the sweep's own run."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.store.store import Manifest, Store
from bnsweep.store.system_metrics import check_system_metrics


def test_they_are_kept_in_the_sweeps_own_run(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psutil", reason="no psutil here")
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    store = Store.open(TrackingConfig(f"sqlite:///{tmp_path / 'mlflow.db'}"))
    own = store.open_sweep(Manifest.of([RunConfig()], "s", "…"))
    with store.system_metrics(own):
        time.sleep(1)
    metrics = store.client.get_run(own).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= metrics.keys()
    assert len(store.client.get_metric_history(own, "system/disk_usage_percentage")) > 1


def test_without_psutil_or_a_run_of_their_own_they_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^sweep.system_metrics=true: must be false with hydra/launcher=basic"):
        check_system_metrics(has_own_run=False)
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ConfigError, match=r"^sweep.system_metrics=true: must be false where psutil is missing"):
        check_system_metrics(has_own_run=True)
