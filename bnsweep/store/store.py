"""Records become MLflow runs, MLflow runs become a frame. Only this room imports mlflow, and only when it is used.

Runs are flat siblings in one experiment, found again by their tags: `bnsweep.kind` (run or sweep), `bnsweep.sweep_id`,
`bnsweep.identity`, `bnsweep.status`. A sweep has one run of kind sweep, which keeps what was planned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.secrets import without_secrets
from bnsweep.records import DIVERGED, FINISHED, RunRecord
from bnsweep.store import view
from bnsweep.store.address import reason_of
from bnsweep.store.backend import Backend, NewRun
from bnsweep.store.connect import PROBE, client_of, connect, environment_variables
from bnsweep.store.encode import milliseconds, new_run, source_tags, status_of
from bnsweep.store.environment import environment
from bnsweep.store.sweep_data import SweepFrame, read_plan, read_sweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Done", "Manifest", "Store", "SweepFrame"]


@dataclass
class Manifest:
    """What a sweep is; kept as `sweep.json`."""

    id: str
    command: str
    created: str
    """ISO 8601, UTC."""
    planned: list[dict[str, Any]]
    """Every run wanted: `identity` and what `numbers(config)` gives."""
    environment: dict[str, Any] = field(default_factory=lambda: environment().as_dict())
    """Commit, versions and hardware at the start."""

    @classmethod
    def of(cls, configs: Sequence[RunConfig], sweep_id: str, command: str) -> Manifest:
        """Of a sweep that starts now; configs that mean the same run are one."""
        planned = {identity(config): config for config in configs}
        rows = [{"identity": name, **numbers(config)} for name, config in planned.items()]
        return cls(sweep_id, without_secrets(command), datetime.now(UTC).isoformat(timespec="seconds"), rows)


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

    uri: str
    experiment: str
    backend: Backend

    @classmethod
    def open(cls, config: TrackingConfig, create: bool = True) -> Store:
        """Raises ConfigError when the store cannot be used or, without `create`, when there is nothing in it yet."""
        uri, backend = connect(config, create)
        return cls(uri, config.experiment, backend)

    @property
    def experiment_id(self) -> str:
        """MLflow's own."""
        return self.backend.experiment_id

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own way in."""
        return client_of(self.uri)

    def done(self) -> dict[str, Done]:
        """Identity -> the newest run that finished or diverged, whatever sweep trained it."""
        newest_last = reversed(self.backend.runs("run", "FINISHED"))
        return {
            run.tags["bnsweep.identity"]: Done(run.run_id, status_of(run), run.summary, "bnsweep.model" in run.tags)
            for run in newest_last
            if status_of(run) in (FINISHED, DIVERGED)
        }

    @property
    def batch(self) -> int:
        """How many runs to log at once."""
        return self.backend.batch

    def log_runs(self, runs: Sequence[tuple[RunConfig, RunRecord, Path | None]], sweep_id: str) -> list[str]:
        """Writes runs, each with the network it leaves, once they are over; returns their ids."""
        return self.backend.create([new_run(config, record, sweep_id, model) for config, record, model in runs])

    def mark_stale(self, identities: Collection[str]) -> int:
        """Sets runs that a killed process left RUNNING to KILLED; returns how many."""
        wanted = set(identities)
        stale = [run for run in self.backend.runs("run", "RUNNING") if run.tags["bnsweep.identity"] in wanted]
        for run in stale:
            self.backend.end(run.run_id, "KILLED", {})
        return len(stale)

    def open_sweep(self, manifest: Manifest) -> str:
        """Writes what is planned; returns the id of the sweep's own run.

        That run reads KILLED until `close_sweep`: true of a sweep that never gets there, and never RUNNING.
        """
        tags = {"bnsweep.kind": "sweep", "bnsweep.sweep_id": manifest.id, **source_tags()}
        now, texts = milliseconds(), {"sweep.json": json.dumps(asdict(manifest))}
        (run_id,) = self.backend.create([NewRun(f"sweep {manifest.id}", "KILLED", now, now, tags, texts=texts)])
        return run_id

    def close_sweep(self, sweep_id: str, ledger: dict[str, int], seconds: dict[str, float]) -> None:
        """Records how the sweep went: counts by status, wall seconds by part."""
        (own,) = self.backend.runs("sweep", tag=("bnsweep.sweep_id", "=", sweep_id), limit=1)
        tags = {"bnsweep.ledger": json.dumps(ledger), "bnsweep.seconds": json.dumps(seconds)}
        self.backend.end(own.run_id, "FINISHED", tags)

    def write_view(self, sweep_id: str) -> None:
        """Keeps a comparison of the sweep's runs with the experiment; `view_url` opens it."""
        self._adopt(sweep_id)
        some = self.backend.runs("run", tag=("bnsweep.view", "=", sweep_id), limit=10)
        names = self.backend.metric_names([run.run_id for run in some])
        prefixes = {name.rpartition("/")[0] for name in names}
        plan = read_plan(self.backend, self.experiment, sweep_id)
        shown = f"tags.`bnsweep.view` = '{sweep_id}' and attributes.status != 'KILLED'"
        self.backend.tag_experiment(view.tag_key(), view.state(plan.rows, sorted(prefixes), shown))

    def _adopt(self, sweep_id: str) -> None:
        """Marks runs that an earlier sweep trained and this one counts as done: MLflow's search knows no `or`."""
        if self.backend.runs("run", tag=("bnsweep.view", "!=", sweep_id), limit=1):
            kept = self.load(sweep_id).kept
            foreign = [run_id for run_id, run in kept.items() if run.tags["bnsweep.view"] != sweep_id]
            self.backend.tag_runs(foreign, "bnsweep.view", sweep_id)

    @property
    def ui(self) -> str:
        """Address of MLflow's pages: the tracking server's own, else that of `make ui`."""
        return without_login(self.uri).rstrip("/") if self.uri.startswith("http") else view.LOCAL

    def view_url(self, base: str = "") -> str:
        """Where MLflow's pages, at `base` if given, show the comparison."""
        return view.url(base or self.ui, self.experiment_id)

    def attach(self, sweep_id: str, files: Sequence[Path]) -> bool:
        """Puts a report's files under `report/` of the sweep's own run, in place of an earlier report's.

        False where the sweep has no run of its own (launched as one process a run). Raises ConfigError when the store
        does not take them; no row of the database changes either way.
        """
        try:
            with environment_variables(PROBE):
                own = self.backend.runs("sweep", tag=("bnsweep.sweep_id", "=", sweep_id), limit=1)
                for run in own:
                    self.backend.attach(run, "report", files)
        except Exception as error:  # the disk, MLflow, the server and its artifact store each raise their own
            says = f"must be a store that takes files to attach the report of {sweep_id} to it"
            raise ConfigError(f"tracking.uri={without_login(self.uri)}: {says} ({reason_of(error)})") from error
        return bool(own)

    def load(self, sweep: str = "latest") -> SweepFrame:
        """Raises ConfigError for a sweep that is unknown or has no run yet."""
        frame = read_sweep(self.backend, self.experiment, sweep)
        frame.info = replace(frame.info, uri=without_login(self.uri), ui=self.ui)
        return frame


def without_login(uri: str) -> str:
    """What goes into a report that is handed on: the URI without its user name, password and tokens."""
    return without_secrets(re.sub(r"(?<=://)[^/]*@", "", uri))
