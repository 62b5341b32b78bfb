"""How busy the machine is while a sweep trains, measured by MLflow's own monitor and kept in the sweep's own run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from bnsweep.config.checks import check
from bnsweep.store.address import Address
from bnsweep.store.connect import import_mlflow

log = logging.getLogger(__name__)


def check_system_metrics(has_own_run: bool) -> None:
    """Raises ConfigError where they cannot be measured, or have no run to be kept in."""
    says = "false with hydra/launcher=basic or joblib: such a sweep has no run of its own"
    check(has_own_run, "sweep.system_metrics", "true", says)
    says = "false where psutil is missing, by which MLflow measures (pip install psutil)"
    check(find_spec("psutil") is not None, "sweep.system_metrics", "true", says)


@contextmanager
def system_metrics(uri: str, run_id: str) -> Iterator[None]:
    """Measured until the end of the block, every ten seconds or as MLflow's own variables say."""
    import_mlflow()
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
    monitor: Any = SystemMetricsMonitor(run_id, tracking_uri=Address(uri).for_mlflow)  # type: ignore[no-untyped-call]
    stopped = threading.Event()

    def measure() -> None:
        """MLflow's own loop asks the store each time whether its run is still RUNNING."""
        monitor.collect_metrics()  # the first reading of a processor is of no time at all
        monitor.aggregate_metrics()
        while not stopped.wait(monitor.sampling_interval):
            try:
                monitor.collect_metrics()
                monitor.publish_metrics(monitor.aggregate_metrics())
            except Exception:  # a store that is away: the sweep says so
                log.debug("system metrics were not logged", exc_info=True)

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        with suppress(Exception):
            monitor.mlflow_logger.flush()
