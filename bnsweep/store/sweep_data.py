"""Back from MLflow: the runs of a sweep as one tidy frame, and their histories when they are asked for."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import factor_types
from bnsweep.inference import Look
from bnsweep.records import DIVERGED, FAILED, FINISHED, STOPPED
from bnsweep.store.backend import RUNNING, Backend, KeptRun
from bnsweep.store.claims import living
from bnsweep.store.encode import MISSING, status_of, typed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SweepInfo:
    """Where a sweep comes from. What is not known is empty."""

    sweep: str
    """Its id."""
    command: str = ""
    created: str = ""
    """ISO 8601."""
    closed: bool = True
    """Whether it has come to its end."""
    running: bool = False
    """Whether its process lives."""
    under_way: int = 0
    """Runs that train just now, as far as the store knows: those of stacks that take longer than some seconds."""
    commit: str = ""
    dirty: bool = False
    """Whether its checkout held changes that are not committed."""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    """The machine that planned it."""
    devices: Sequence[str] = ()
    """What trained it."""
    hosts: Sequence[str] = ()
    """The machines of a cluster that trained it."""
    data: Sequence[Mapping[str, Any]] = ()
    """Each dataset: name, digest, source and what its profile says."""
    ledger: Mapping[str, int] = field(default_factory=dict)
    """Status -> runs."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time by part."""
    looks: Sequence[Look] = ()
    """All that were to be made at its claims, where seeds are added until they are decided."""
    searched: Sequence[str] = ()
    """Settings whose values a sampler chose: the runs are no grid."""
    experiment: str = ""
    experiment_id: str = ""
    own_run: str = ""
    """Id of the sweep's own run in MLflow."""
    uri: str = ""
    """Of the store, without a login."""
    ui: str = ""
    """Address of MLflow's pages."""


@dataclass(frozen=True, slots=True)
class Course:
    """What was measured along a run's training."""

    rows: dict[str, int]
    """Metric -> its row of the values; one for all runs that have the same metrics."""
    values: NDArray[np.float64]
    """[metrics, evaluations]."""

    def of(self, metric: str) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.values[self.rows[metric]]
        return found


@dataclass
class SweepFrame:
    """A sweep as data."""

    info: SweepInfo
    runs: pd.DataFrame
    """One row a planned run, in the order planned: run_id, identity, status (finished, diverged, stopped, failed,
    missing), reason, one column a factor, classes (of the run's data), seconds, one float column a summary metric,
    total_steps always among them. Where the run is missing, run_id is ""; what is not known is NaN."""
    backend: Backend = field(repr=False)
    kept: dict[str, KeptRun] = field(repr=False)
    """run_id -> what MLflow holds of it."""
    courses: dict[str, Course] = field(default_factory=dict, repr=False)
    """By run_id, of the runs read so far."""

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Long: run_id, step, epoch, metric, value; NaN where there was no number. A metric that a run lacks (a layer
        its network does not have) gives it no rows."""
        import numpy as np
        import pandas as pd

        wanted = list(self.kept) if run_ids is None else run_ids
        self._read_courses(wanted)
        pieces = [
            (run_id, metric, course.of("step"), course.of("epoch"), course.of(metric))
            for run_id in wanted
            for course in [self.courses[run_id]]
            for metric in metrics
            if metric in course.rows
        ]
        ids, names, steps, epochs, values = zip(*pieces, strict=True) if pieces else [()] * 5
        lengths = [len(piece) for piece in values]
        columns = {
            "run_id": pd.Series(ids, dtype="str").repeat(lengths).array,
            "step": np.concatenate([[], *steps]).astype("int64"),
            "epoch": np.concatenate([[], *epochs]),
            "metric": pd.Series(names, dtype="str").repeat(lengths).array,
            "value": np.concatenate([[], *values]),
        }
        return pd.DataFrame(columns)

    def _read_courses(self, run_ids: Iterable[str]) -> None:
        import numpy as np

        rows: dict[tuple[str, ...], dict[str, int]] = {}
        missing = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self.courses]
        for run_id, record in zip(missing, self.read(missing), strict=True):
            history = record["history"]
            names = rows.setdefault(tuple(history), {name: row for row, name in enumerate(history)})
            self.courses[run_id] = Course(names, np.array([*history.values()], dtype=float))

    def histograms(self, run_ids: Iterable[str]) -> dict[str, dict[str, list[list[int]]]]:
        """run_id -> start and end -> hidden layer -> counts; see records.HISTOGRAM_EDGES."""
        names = list(run_ids)
        return {run_id: record["histograms"] for run_id, record in zip(names, self.read(names), strict=True)}

    def model_folder(self, run_id: str) -> Path | None:
        """Where the run's config.yaml and model.safetensors lie; None where its network was not kept."""
        run = self.kept.get(run_id)
        if run is None or "bnsweep.model" not in run.tags:
            return None
        self.backend.artifact(run, "config.yaml")
        path = self.backend.artifact(run, "model.safetensors")
        return path.parent if path.is_file() else None

    def read(self, run_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Each run's record.json."""
        for first in range(0, len(run_ids), self.backend.batch):
            runs = [self.kept[run_id] for run_id in run_ids[first : first + self.backend.batch]]
            paths = self.backend.files_of(runs, "record.json")
            yield from (read_file(path, run) for path, run in zip(paths, runs, strict=True))


def read_json(backend: Backend, run: KeptRun, name: str) -> dict[str, Any]:
    """A run's artifact of that name; raises ConfigError where it is gone."""
    return read_file(backend.artifact(run, name), run)


def read_file(path: Path, run: KeptRun) -> dict[str, Any]:
    """An artifact of a run; raises ConfigError where it is gone."""
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"run {run.run_id}: its {path.name} is gone; it must lie at {path}") from error
    return tree


@dataclass(frozen=True)
class KeptSweep:
    """A sweep as it stands in MLflow: its manifest, and its own run where it has one."""

    manifest: dict[str, Any]
    own: KeptRun | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Identity and factors of every run wanted."""
        rows: list[dict[str, Any]] = self.manifest["planned"]
        return rows

    def of_first_seeds(self, most: int) -> KeptSweep:
        """With no more seeds than come to `most` runs."""
        runs = accumulate(count for _, count in sorted(Counter(row["seed"] for row in self.rows).items()))
        kept = sorted({row["seed"] for row in self.rows})[: sum(total <= most for total in runs)]
        return replace(self, manifest=self.manifest | {"planned": [r for r in self.rows if r["seed"] in kept]})


def own_run(backend: Backend, sweep: str, run_id: str = "") -> KeptRun | None:
    """A sweep's own run: that of the id `run_id`, else the newest of that sweep id; None where it has none."""
    same = backend.runs("sweep", tag=("bnsweep.sweep_id", "=", sweep), limit=None if run_id else 1)
    return next((run for run in same if run_id in ("", run.run_id)), None)


def read_plan(backend: Backend, experiment: str, sweep: str, run_id: str = "") -> KeptSweep:
    """The plan of a sweep, read off its own run (of that id, else the newest). A sweep launched as one process a run
    has none: its plan is made of its runs."""
    name = next(iter(known_sweeps(backend, limit=1)), "") if sweep == "latest" else sweep
    legal = "'" not in name
    own = own_run(backend, name, run_id) if legal else None
    if own is not None:
        return KeptSweep(read_json(backend, own, "sweep.json"), own)
    runs = backend.runs("run", tag=("bnsweep.sweep_id", "=", name), params=True) if legal else []
    if not runs:
        known = ", ".join(known_sweeps(backend)) or "none yet"
        raise ConfigError(f"sweep={sweep}: must be latest or the id of a sweep in {experiment} (the newest: {known})")
    return KeptSweep(manifest_of(name, runs), None)


def read_sweep(backend: Backend, experiment: str, sweep: str, run_id: str = "") -> SweepFrame:
    """Raises ConfigError for a sweep that is unknown or of which no run has ended."""
    return frame_of_plan(backend, experiment, read_plan(backend, experiment, sweep, run_id))


def frame_of_plan(backend: Backend, experiment: str, plan: KeptSweep) -> SweepFrame:
    """Raises ConfigError for a sweep of which no run has ended."""
    identities = {row["identity"] for row in plan.rows}
    runs = [run for run in backend.runs("run", identities=identities) if counts(run, plan.manifest)]
    chosen = best_runs(runs, identities)
    info = describe(plan.manifest, plan.own, list(chosen.values()))
    if plan.own is None or not info.closed or len(chosen) < len(identities):  # another shard may train the rest
        info = while_running(info, living(backend), runs, chosen)
    if not chosen:
        many = f", with {info.under_way} of {len(plan.rows)} runs in the store so far," if info.under_way else ""
        this = f"this one is running{many} and" if info.running else "this one"
        says = f"one with at least one run that ended; {this} has none yet"
        raise ConfigError(f"sweep={info.sweep}: must be {says}")
    info = replace(info, experiment=experiment, experiment_id=backend.experiment_id)
    return SweepFrame(info, table(plan.rows, chosen), backend, {run.run_id: run for run in chosen.values()})


def counts(run: KeptRun, manifest: Mapping[str, Any]) -> bool:
    """Whether it can stand for a run of this sweep: one that another sweep stopped early cannot, where this one stops
    none."""
    own = run.tags["bnsweep.sweep_id"] == manifest["id"]
    return own or manifest.get("strategy", "none") != "none" or status_of(run) != STOPPED


def while_running(
    info: SweepInfo, alive: set[str], runs: Iterable[KeptRun], chosen: Mapping[str, KeptRun]
) -> SweepInfo:
    """What is true of it just now. `alive`: ids of the sweeps whose processes live."""
    train = {
        run.tags["bnsweep.identity"] for run in runs if run.status == RUNNING and run.tags["bnsweep.sweep_id"] in alive
    }
    running = info.sweep in alive
    return replace(
        info, running=running, closed=info.closed and not running, under_way=len(train - chosen.keys()) * running
    )


def known_sweeps(backend: Backend, limit: int = 50) -> list[str]:
    """The ids of the newest runs, newest first."""
    found = [run for kind in ("sweep", "run") for run in backend.runs(kind, limit=limit)]
    found.sort(key=lambda run: run.start, reverse=True)
    return list(dict.fromkeys(run.tags["bnsweep.sweep_id"] for run in found))[:8]


def manifest_of(name: str, runs: list[KeptRun]) -> dict[str, Any]:
    """A manifest made of the runs: what was planned is what was run."""
    oldest_first = runs[::-1]
    planned = {
        run.tags["bnsweep.identity"]: {
            "identity": run.tags["bnsweep.identity"],
            **{key: typed(key, text) for key, text in run.params.items()},
        }
        for run in oldest_first
        if run.params  # else a process was killed as it began to write it
    }
    tags = runs[0].tags
    versions = {key.removeprefix("bnsweep.version."): tags[key] for key in tags if key.startswith("bnsweep.version.")}
    where = {"commit": tags["bnsweep.git_commit"], "dirty": tags["bnsweep.git_dirty"] == "True"}
    return {
        "id": name,
        "command": "",
        "created": iso(oldest_first[0].start),
        "planned": list(planned.values()),
        "environment": {**where, "versions": versions, "hardware": ""},
    }


def iso(milliseconds: int) -> str:
    """MLflow's time as ISO 8601, UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def best_runs(runs: list[KeptRun], identities: set[str]) -> dict[str, KeptRun]:
    """Identity -> its newest run that got to its end; where none did, its newest stopped one, else its newest failed
    one."""
    chosen: dict[str, KeptRun] = {}
    for wanted in ((FINISHED, DIVERGED), (STOPPED,), (FAILED,)):
        for run in runs:
            key = run.tags["bnsweep.identity"]
            if key in identities and key not in chosen and status_of(run) in wanted:
                chosen[key] = run
    return chosen


def describe(manifest: dict[str, Any], own: KeptRun | None, runs: list[KeptRun]) -> SweepInfo:
    """All but where it is kept; ledger and seconds are empty until the sweep is closed."""
    tags, environment = own.tags if own else {}, manifest["environment"]
    datasets = {(data["name"], data["digest"]): data for run in runs for data in run.datasets}
    return SweepInfo(
        sweep=manifest["id"],
        command=manifest["command"],
        created=manifest["created"],
        closed=own is None or own.status == "FINISHED",
        commit=environment["commit"],
        dirty=environment["dirty"],
        versions=environment["versions"],
        hardware=environment["hardware"],
        devices=sorted({run.tags["bnsweep.device"] for run in runs} - {""}),
        hosts=sorted({run.tags.get("bnsweep.host", "") for run in runs} - {""}),
        data=list(datasets.values()),
        ledger=json.loads(tags.get("bnsweep.ledger", "{}")),
        seconds=json.loads(tags.get("bnsweep.seconds", "{}")),
        looks=[Look(*look) for look in manifest.get("looks", ())],
        searched=manifest.get("searched", ()),
        own_run=own.run_id if own else "",
    )


def table(planned: list[dict[str, Any]], chosen: dict[str, KeptRun]) -> pd.DataFrame:
    """`SweepFrame.runs`."""
    import pandas as pd

    found = {"total_steps", *(key for run in chosen.values() for key in run.summary)}
    metrics = ["classes", "seconds", *sorted(found - {"seconds"})]
    factors = dict.fromkeys(key for row in planned for key in row if key != "identity")
    rows = []
    for plan in planned:
        run = chosen.get(plan["identity"])
        reason = run.tags["bnsweep.reason"] if run else ""
        head = {"run_id": run.run_id if run else "", "identity": plan["identity"]}
        head |= {"status": status_of(run) if run else MISSING, "reason": reason}
        numbers = {"classes": classes_of(run), **run.summary} if run else {}
        rows.append(head | {key: plan.get(key) for key in factors} | {m: numbers.get(m, math.nan) for m in metrics})
    texts = ("run_id", "identity", "status", "reason")
    frame = pd.DataFrame(rows, columns=[*texts, *factors, *metrics])
    # A flag that only some runs have (bn.affine) would become an object column.
    flags = [key for key in factors if factor_types().get(key) is bool and frame[key].isna().any()]
    return frame.astype(dict.fromkeys(texts, "str") | dict.fromkeys(flags, "boolean"))


def classes_of(run: KeptRun) -> float:
    """Classes of the data that a run was trained on."""
    return float(next((data["classes"] for data in run.datasets if "classes" in data), math.nan))
