"""Back from MLflow: the runs of a sweep as one tidy frame, and their histories when they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bnsweep.checks import ConfigError, check
from bnsweep.mlflow_encode import MISSING, factor_types, status_of, summary_of, typed
from bnsweep.records import DIVERGED, FAILED, FINISHED

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 5000


@dataclass
class SweepFrame:
    """A sweep as data."""

    info: dict[str, Any]
    """sweep, command, created, closed, commit, dirty, versions, hardware (the machine that planned), devices (what
    trained), data (each dataset), experiment, experiment_id, uri, ledger (counts), seconds (wall time by part)."""
    runs: pd.DataFrame
    """One row a planned run, in the order planned: run_id, identity, status (finished, diverged, failed, missing),
    reason, one column a factor, seconds, one float column a summary metric. Where the run is missing, run_id is ""."""
    client: MlflowClient = field(repr=False)
    entities: dict[str, Run] = field(repr=False)
    """run_id -> what MLflow holds of it."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """run_id -> record.json, of those read so far."""

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Long: run_id, step, epoch, metric, value; NaN where there was no number. A metric that a run lacks (a layer
        its network does not have) gives it no rows."""
        import pandas as pd

        columns: dict[str, list[Any]] = {name: [] for name in ("run_id", "step", "epoch", "metric", "value")}
        for run_id in self.entities if run_ids is None else run_ids:
            history = self.record(run_id)["history"]
            for metric in metrics:
                values = history.get(metric, [])
                columns["run_id"] += [run_id] * len(values)
                columns["metric"] += [metric] * len(values)
                columns["value"] += values
                columns["step"] += history["step"] if values else []
                columns["epoch"] += history["epoch"] if values else []
        frame = pd.DataFrame(columns)
        return frame.astype({"step": "int64", "epoch": "float64", "value": "float64", "run_id": "str", "metric": "str"})

    def histograms(self, run_ids: Iterable[str]) -> dict[str, dict[str, list[list[int]]]]:
        """run_id -> start and end -> hidden layer -> counts; see records.HISTOGRAM_EDGES."""
        return {run_id: self.record(run_id)["histograms"] for run_id in run_ids}

    def record(self, run_id: str) -> dict[str, Any]:
        if run_id not in self.records:
            self.records[run_id] = read_json(self.client, self.entities[run_id], "record.json")
        return self.records[run_id]


def search(client: MlflowClient, experiment_id: str, kind: str, more: str = "", limit: int | None = None) -> list[Run]:
    """Runs of that kind, newest first."""
    condition = f"tags.`bnsweep.kind` = '{kind}'" + (f" and {more}" if more else "")
    runs: list[Run] = []
    token: str | None = None
    while limit is None or len(runs) < limit:
        page = client.search_runs(
            [experiment_id],
            condition,
            max_results=limit or PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            break
    return runs


def local_path(uri: str) -> Path | None:
    """The folder of an artifact URI where it is one of this machine."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def read_json(client: MlflowClient, run: Run, name: str) -> dict[str, Any]:
    folder = local_path(run.info.artifact_uri)
    path = folder / name if folder else Path(client.download_artifacts(run.info.run_id, name))
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"run {run.info.run_id}: its {name} is gone; it must lie at {path}") from error
    return tree


@dataclass(frozen=True)
class Plan:
    """A sweep as it was wanted: its manifest, and its own run where it has one."""

    manifest: dict[str, Any]
    own: Run | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.manifest["planned"]
        return rows


def read_plan(client: MlflowClient, experiment_id: str, experiment: str, sweep: str) -> Plan:
    """Sweeps launched as one process a run have no run of kind sweep; their runs' tags then stand for it."""
    name = next(iter(known_sweeps(client, experiment_id, limit=1)), "") if sweep == "latest" else sweep
    same = f"tags.`bnsweep.sweep_id` = '{name}'"
    own, runs = [], []
    if "'" not in name:
        own = search(client, experiment_id, "sweep", same, limit=1)
        runs = [] if own else search(client, experiment_id, "run", same)
    if own:
        return Plan(read_json(client, own[0], "sweep.json"), own[0])
    if not runs:
        known = ", ".join(known_sweeps(client, experiment_id)) or "none yet"
        raise ConfigError(f"sweep={sweep}: must be latest or the id of a sweep in {experiment} (the newest: {known})")
    return Plan(manifest_of(name, runs), None)


def read_sweep(client: MlflowClient, uri: str, experiment: str, experiment_id: str, sweep: str) -> SweepFrame:
    plan = read_plan(client, experiment_id, experiment, sweep)
    chosen = best_runs(search(client, experiment_id, "run"), {row["identity"] for row in plan.rows})
    check(len(chosen) > 0, "sweep", plan.manifest["id"], "one with at least one run that ended; this one has none yet")
    info = describe(plan.manifest, plan.own, list(chosen.values()))
    info |= {"experiment": experiment, "experiment_id": experiment_id, "uri": uri}
    entities = {run.info.run_id: run for run in chosen.values()}
    return SweepFrame(info, table(plan.rows, chosen), client, entities)


def known_sweeps(client: MlflowClient, experiment_id: str, limit: int = 50) -> list[str]:
    """The ids of the newest runs, newest first."""
    found = [run for kind in ("sweep", "run") for run in search(client, experiment_id, kind, limit=limit)]
    found.sort(key=lambda run: run.info.start_time, reverse=True)
    return list(dict.fromkeys(run.data.tags["bnsweep.sweep_id"] for run in found))[:8]


def manifest_of(name: str, runs: list[Run]) -> dict[str, Any]:
    """What stands in for a manifest: the plan is what was run."""
    oldest_first = runs[::-1]
    planned = {
        run.data.tags["bnsweep.identity"]: {
            "identity": run.data.tags["bnsweep.identity"],
            **{key: typed(key, text) for key, text in run.data.params.items()},
        }
        for run in oldest_first
    }
    tags = runs[0].data.tags
    versions = {key.removeprefix("bnsweep.version."): tags[key] for key in tags if key.startswith("bnsweep.version.")}
    where = {"commit": tags.get("bnsweep.git_commit", ""), "dirty": tags.get("bnsweep.git_dirty") == "True"}
    return {
        "id": name,
        "command": "",
        "created": iso(oldest_first[0].info.start_time),
        "planned": list(planned.values()),
        "environment": {**where, "versions": versions, "hardware": ""},
    }


def iso(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def best_runs(runs: list[Run], identities: set[str]) -> dict[str, Run]:
    """Identity -> its newest run that gave numbers; its newest failed one where none did."""
    chosen: dict[str, Run] = {}
    for wanted in ((FINISHED, DIVERGED), (FAILED,)):
        for run in runs:
            key = run.data.tags["bnsweep.identity"]
            if key in identities and key not in chosen and status_of(run) in wanted:
                chosen[key] = run
    return chosen


def describe(manifest: dict[str, Any], own: Run | None, runs: list[Run]) -> dict[str, Any]:
    tags = own.data.tags if own else {}
    datasets = [entry.dataset for run in runs if run.inputs for entry in run.inputs.dataset_inputs]
    return {
        "sweep": manifest["id"],
        "command": manifest["command"],
        "created": manifest["created"],
        "closed": own is None or own.info.status == "FINISHED",
        **manifest["environment"],
        "devices": sorted({run.data.tags.get("bnsweep.device", "") for run in runs} - {""}),
        "data": [
            {"name": d.name, "digest": d.digest, "source": json.loads(d.source)["uri"], **json.loads(d.profile or "{}")}
            for d in {(d.name, d.digest): d for d in datasets}.values()
        ],
        "ledger": json.loads(tags.get("bnsweep.ledger", "{}")),
        "seconds": json.loads(tags.get("bnsweep.seconds", "{}")),
    }


def table(planned: list[dict[str, Any]], chosen: dict[str, Run]) -> pd.DataFrame:
    import pandas as pd

    metrics = ["seconds", *sorted({key for run in chosen.values() for key in summary_of(run)} - {"seconds"})]
    factors = dict.fromkeys(key for row in planned for key in row if key != "identity")
    rows = []
    for plan in planned:
        run = chosen.get(plan["identity"])
        reason = run.data.tags.get("bnsweep.reason", "") if run else ""
        head = {"run_id": run.info.run_id if run else "", "identity": plan["identity"]}
        head |= {"status": status_of(run) if run else MISSING, "reason": reason}
        numbers = summary_of(run) if run else {}
        rows.append(head | {key: plan.get(key) for key in factors} | {m: numbers.get(m, math.nan) for m in metrics})
    texts = ("run_id", "identity", "status", "reason")
    frame = pd.DataFrame(rows, columns=[*texts, *factors, *metrics])
    # A flag that only some runs have (bn.affine) would become an object column.
    flags = [key for key in factors if factor_types().get(key) is bool and frame[key].isna().any()]
    return frame.astype(dict.fromkeys(texts, "str") | dict.fromkeys(flags, "boolean"))
