"""Records become MLflow runs, MLflow runs become a frame. Only this room imports mlflow, and only when it is used.

Runs are flat siblings in one experiment, found again by their tags: `bnsweep.kind` (run or sweep), `bnsweep.sweep_id`,
`bnsweep.identity`, `bnsweep.status`. A sweep has one run of kind sweep, which keeps what was planned.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep import mlflow_view
from bnsweep.config import RunConfig, TrackingConfig
from bnsweep.environment import environment
from bnsweep.frame import SweepFrame, local_path, read_plan, read_sweep, search
from bnsweep.identity import numbers
from bnsweep.mlflow_connect import connect
from bnsweep.mlflow_encode import (
    dataset_input,
    fill,
    metrics_of,
    record_text,
    run_name,
    run_tags,
    source_tags,
    status_of,
    summary_of,
    typed,
    yaml_text,
)
from bnsweep.records import DIVERGED, FAILED, FINISHED, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["Done", "Manifest", "Store", "SweepFrame"]

METRICS_A_CALL = 900
"""MLflow takes 1000 metrics, params and tags in one call."""


@dataclass
class Manifest:
    """What a sweep is; kept as `sweep.json`."""

    id: str
    command: str
    created: str
    """ISO 8601, UTC."""
    planned: list[dict[str, Any]]
    """Every run wanted: `identity` and what `numbers(config)` gives."""
    environment: dict[str, Any] = field(default_factory=lambda: environment().plain())
    """Commit, versions and hardware at the start."""


@dataclass(frozen=True)
class Done:
    """A run that need not be trained again."""

    run_id: str
    status: str
    summary: dict[str, float]
    """The record's summary; what was NaN is missing here."""
    model: bool
    """Whether its network was kept."""


@dataclass(frozen=True)
class Store:
    """One experiment of one MLflow store."""

    client: MlflowClient
    uri: str
    experiment: str
    experiment_id: str

    @classmethod
    def open(cls, config: TrackingConfig, create: bool = True) -> Store:
        """Raises ConfigError when the store cannot be used or, without `create`, when there is nothing in it yet."""
        client, experiment, uri = connect(config, create)
        return cls(client, uri, experiment.name, experiment.experiment_id)

    def done(self) -> dict[str, Done]:
        """Identity -> the newest run that finished or diverged, whatever sweep trained it."""
        runs = search(self.client, self.experiment_id, "run", "attributes.status = 'FINISHED'")
        newest_last = reversed([run for run in runs if status_of(run) in (FINISHED, DIVERGED)])
        return {
            run.data.tags["bnsweep.identity"]: Done(
                run.info.run_id, status_of(run), summary_of(run), "bnsweep.model" in run.data.tags
            )
            for run in newest_last
        }

    def log_run(self, config: RunConfig, record: RunRecord, sweep_id: str, model_path: Path | None = None) -> str:
        """Writes a run once it is over; returns its id. Whatever interrupts the writing leaves the run KILLED.

        Values that are not finite are left out of MLflow, whose database turns them into 0 and 1.8e308; a missing
        value then is missing in every view. `record.json` has null for them.
        """
        end = milliseconds()
        start = end - round(1000 * record.seconds) if math.isfinite(record.seconds) else end
        tags = run_tags(config, record, sweep_id) | ({"bnsweep.model": model_path.name} if model_path else {})
        run_id: str = ""
        try:
            run = self.client.create_run(self.experiment_id, start, tags, run_name(config))
            run_id = run.info.run_id
            self._write(run, config, record, model_path)
            self.client.set_terminated(run_id, "FAILED" if record.status == FAILED else "FINISHED", end)
        except BaseException:
            # The interrupt may have come after the row was made and before its id was known.
            with suppress(Exception):
                if run_id:
                    self.client.set_terminated(run_id, "KILLED")
                else:
                    self.mark_stale([tags["bnsweep.identity"]])
            raise
        return run_id

    def _write(self, run: Run, config: RunConfig, record: RunRecord, model_path: Path | None) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(typed(key, value))) for key, value in numbers(config).items()]
        metrics = list(metrics_of(record, run.info.start_time))
        for i in range(0, max(1, len(metrics)), METRICS_A_CALL):
            batch = metrics[i : i + METRICS_A_CALL]
            self.client.log_batch(run.info.run_id, metrics=batch, params=params if i == 0 else [])
        if record.dataset is not None:
            self.client.log_inputs(run.info.run_id, datasets=[dataset_input(record.dataset)])
        texts = {"config.yaml": yaml_text(asdict(config)), "record.json": record_text(record)}
        self._write_artifacts(run, texts, [model_path] if model_path else [])

    def _write_artifacts(self, run: Run, texts: dict[str, str], files: Collection[Path] = ()) -> None:
        """Straight to the folder where it is one of this machine, else in one upload."""
        target = local_path(run.info.artifact_uri)
        if target is not None:
            fill(target, texts, files)
            return
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), texts, files)
            self.client.log_artifacts(run.info.run_id, folder)

    def mark_stale(self, identities: Collection[str]) -> int:
        """Sets runs that a killed process left RUNNING to KILLED; returns how many."""
        running = search(self.client, self.experiment_id, "run", "attributes.status = 'RUNNING'")
        stale = [run for run in running if run.data.tags.get("bnsweep.identity") in set(identities)]
        for run in stale:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return len(stale)

    def open_sweep(self, manifest: Manifest) -> str:
        """Writes what is planned; returns the id of the sweep's own run.

        That run reads KILLED until `close_sweep`: true of a sweep that never gets there, and never RUNNING.
        """
        tags = {"bnsweep.kind": "sweep", "bnsweep.sweep_id": manifest.id, **source_tags()}
        run = self.client.create_run(self.experiment_id, milliseconds(), tags, f"sweep {manifest.id}")
        try:
            self._write_artifacts(run, {"sweep.json": json.dumps(asdict(manifest))})
        finally:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return str(run.info.run_id)

    def close_sweep(self, sweep_id: str, ledger: dict[str, int], seconds: dict[str, float]) -> None:
        """Records how the sweep went: counts by status, wall seconds by part."""
        from mlflow.entities import RunTag

        run = search(self.client, self.experiment_id, "sweep", f"tags.`bnsweep.sweep_id` = '{sweep_id}'", limit=1)[0]
        tags = [RunTag("bnsweep.ledger", json.dumps(ledger)), RunTag("bnsweep.seconds", json.dumps(seconds))]
        self.client.log_batch(run.info.run_id, tags=tags)
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def write_view(self, sweep_id: str) -> None:
        """Keeps a comparison of the sweep's runs with the experiment; `view_url` opens it."""
        self._adopt(sweep_id)
        shown = f"tags.`bnsweep.view` = '{sweep_id}'"
        some = search(self.client, self.experiment_id, "run", shown, limit=10)
        prefixes = {key.rpartition("/")[0] for run in some for key in run.data.metrics}
        plan = read_plan(self.client, self.experiment_id, self.experiment, sweep_id)
        view = mlflow_view.state(plan.rows, sorted(prefixes), f"{shown} and attributes.status != 'KILLED'")
        self.client.set_experiment_tag(self.experiment_id, mlflow_view.tag_key(), view)

    def _adopt(self, sweep_id: str) -> None:
        """Marks runs that an earlier sweep trained and this one counts as done: MLflow's search knows no `or`."""
        foreign = f"tags.`bnsweep.view` != '{sweep_id}'"
        if not search(self.client, self.experiment_id, "run", foreign, limit=1):
            return
        for run_id, run in self.load(sweep_id).entities.items():
            if run.data.tags.get("bnsweep.view") != sweep_id:
                self.client.set_tag(run_id, "bnsweep.view", sweep_id)

    def view_url(self, base: str = "http://127.0.0.1:5000") -> str:
        """Where `make ui`, or the tracking server itself, shows the comparison."""
        return mlflow_view.url(self.uri if self.uri.startswith("http") else base, self.experiment_id)

    def load(self, sweep: str = "latest") -> SweepFrame:
        """Raises ConfigError for a sweep that is unknown or has no run yet."""
        return read_sweep(self.client, self.uri, self.experiment, self.experiment_id, sweep)


def milliseconds() -> int:
    return time.time_ns() // 1_000_000
