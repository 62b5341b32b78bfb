"""Records become MLflow runs, MLflow runs become a frame. Only this room imports mlflow, and only when it is used.

Runs are flat siblings in one experiment, found again by their tags: `bnsweep.kind` (run, sweep or mean),
`bnsweep.sweep_id`, `bnsweep.identity`, `bnsweep.status`. A sweep has one run of kind sweep, which keeps what was
planned, and one of kind mean for all seeds of a combination.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.config.checks import ConfigError, check
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.secrets import without_secrets
from bnsweep.inference import Look
from bnsweep.records import DIVERGED, FINISHED, RunRecord
from bnsweep.store import claims, view
from bnsweep.store.address import reason_of
from bnsweep.store.backend import RUNNING, Backend, Begun, NewRun, RunGone
from bnsweep.store.connect import Draft, client_of, connect
from bnsweep.store.encode import milliseconds, new_run, source_tags, status_of
from bnsweep.store.environment import environment
from bnsweep.store.kept import FOLDER, KeptRuns
from bnsweep.store.means import MEAN, combinations, mean_runs
from bnsweep.store.mlflow_variables import PROBE, REQUESTS, environment_variables, stay
from bnsweep.store.patience import Patience, PatientBackend
from bnsweep.store.sweep_data import (
    KeptSweep,
    SweepFrame,
    best_runs,
    frame_of_plan,
    own_run,
    read_json,
    read_plan,
    read_sweep,
)
from bnsweep.store.system_metrics import system_metrics

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
    looks: Sequence[Look] = ()
    """Those at its claims, where seeds are added until they are decided; `planned` holds the seeds so far."""
    searched: Sequence[str] = ()
    """Settings whose values a sampler chose; `planned` holds the trials so far."""
    strategy: str = "none"
    """What stops runs before their last step."""
    environment: dict[str, Any] = field(default_factory=lambda: environment().as_dict())
    """Commit, versions and hardware at the start."""

    @classmethod
    def of(
        cls,
        configs: Sequence[RunConfig],
        sweep_id: str,
        command: str,
        looks: Sequence[Look] = (),
        searched: Sequence[str] = (),
    ) -> Manifest:
        """Of a sweep that starts now; configs that mean the same run are one."""
        rows = {identity(config, flat): flat for config in configs for flat in [numbers(config)]}
        planned = [{"identity": name, **flat} for name, flat in rows.items()]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(sweep_id, without_secrets(command), now, planned, looks, searched, configs[0].sweep.strategy)


@dataclass(frozen=True)
class Done:
    """A run that need not be trained again."""

    run_id: str
    status: str
    summary: dict[str, float]
    """The record's summary; what was NaN is missing here."""
    model: bool
    """Whether its network was kept."""


@dataclass
class Opened:
    """A run that is in the store while it trains."""

    start: int
    """In milliseconds."""
    run_id: str = ""
    """Empty while it is not there yet."""
    steps: set[int] = field(default_factory=set)
    """Those whose metrics are there."""


RECENT = 10
"""Sweeps among which one of the same kind is looked for."""


def kind_of_sweep(rows: Sequence[Mapping[str, Any]]) -> dict[str, set[Any]]:
    """What the runs of a sweep do apart from what the note compares: setting -> values."""
    keys = {key for row in rows for key in row if key.partition(".")[0] in ("data", "model", "train")}
    return {key: {row.get(key) for row in rows} for key in keys - {"data.seed", "train.tau"}}


@dataclass(frozen=True)
class Store:
    """One experiment of one MLflow store."""

    uri: str
    experiment: str
    backend: Backend

    @classmethod
    def open(cls, config: TrackingConfig, create: bool = True, draft: Draft | None = None) -> Store:
        """Raises ConfigError when the store cannot be used or, without `create`, when there is nothing in it yet. From
        then on it is waited for where it does not answer, with a line now and then; what asks it raises StoreAway, a
        ConfigError, in the end. `draft`: see `connect`."""
        uri, backend = connect(config, create, draft)
        store = cls(uri, config.experiment, backend)
        store.patience.has_answered = True
        stay(REQUESTS)
        return store

    @cached_property
    def patience(self) -> Patience:
        """With the store when it does not answer."""
        return Patience(without_login(self.uri))

    @cached_property
    def patient(self) -> PatientBackend:
        """The backend, waited for."""
        return PatientBackend(self.backend, self.patience)

    @property
    def experiment_id(self) -> str:
        """MLflow's own."""
        return self.backend.experiment_id

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own way in."""
        return client_of(self.uri)

    def system_metrics(self, run_id: str) -> AbstractContextManager[None]:
        """How busy the machine is, until the end of the block, as metrics of that run."""
        return system_metrics(self.uri, run_id)

    def claimed(
        self, identities: Collection[str], sweep_id: str, planned: Collection[str] = ()
    ) -> AbstractContextManager[claims.Claim]:
        """Until the end of the block, sweeps that want one of these runs wait for this one. `planned`: all runs of the
        sweep, where these are a share of them."""
        return claims.claimed(self.patient, self.backend, identities, sweep_id, planned)

    @contextmanager
    def last_words(self, sweep_id: str, planned: Collection[str]) -> Iterator[claims.Claim]:
        """The time in which one shard of a sweep alone writes what stands for all of them."""
        with self.claimed({f"last-words-of-{sweep_id}"}, sweep_id, planned) as claim:
            claims.wait_alone(claim)
            yield claim

    def statuses(self, identities: Collection[str]) -> Counter[str]:
        """What became of these runs, whatever sweep trained them."""
        wanted = {*identities}
        return Counter(map(status_of, best_runs(self.patient.runs("run", identities=wanted), wanted).values()))

    def check_id(self, sweep_id: str, identities: Collection[str], whole: bool, most: bool = False) -> None:
        """Refuses (ConfigError) the id of an earlier sweep of other runs. `whole`: these are all runs of the sweep, not
        one of those that its processes train each. `most`: all that it may come to have."""
        planned = []
        for own in self.patient.runs("sweep", tag=("bnsweep.sweep_id", "=", sweep_id)):
            with suppress(ConfigError):  # one whose file is gone says nothing
                rows = read_json(self.patient, own, "sweep.json")["planned"]
                planned.append({row["identity"] for row in rows})
        wanted = set(identities)
        trained = self.patient.runs("run", tag=("bnsweep.sweep_id", "=", sweep_id))
        if planned:
            alike = (
                wanted == names or (not whole and wanted <= names) or (most and names <= wanted) for names in planned
            )
            same = any(alike)
        else:
            same = not whole or {run.tags["bnsweep.identity"] for run in trained} <= wanted
        says = f"new: {self.experiment} has a sweep of this id with other runs"
        check(same, "sweep.id", sweep_id, says)

    def done(self, identities: Collection[str] | None = None) -> dict[str, Done]:
        """Identity -> the newest run that finished or diverged, whatever sweep trained it; of these identities, or of
        all. One that a strategy stopped is not done: a sweep without that strategy wants the rest of it."""
        newest_last = reversed(self.patient.runs("run", "FINISHED", identities=identities))
        return {
            run.tags["bnsweep.identity"]: Done(run.run_id, status_of(run), run.summary, "bnsweep.model" in run.tags)
            for run in newest_last
            if status_of(run) in (FINISHED, DIVERGED)
        }

    @property
    def batch(self) -> int:
        """How many runs to log at once."""
        return self.backend.batch

    def log_runs(
        self,
        runs: Sequence[tuple[RunConfig, RunRecord, Path | None]],
        sweep_id: str,
        ended: int | None = None,
        opened: Sequence[Opened | None] | None = None,
        again: bool = False,
    ) -> list[str]:
        """Writes runs, each with the network it leaves, once they are over (`ended`, in milliseconds, or now); returns
        their ids. `opened`: of each what is there already. `again`: an earlier try, which raised, may have written
        some."""
        there = opened or [None] * len(runs)
        begun, new = dict[int, Begun](), dict[int, NewRun]()
        for place, ((config, record, model), one) in enumerate(zip(runs, there, strict=True)):
            new[place] = new_run(config, record, sweep_id, model, ended, one.start if one else None)
            if one is not None and one.run_id:
                begun[place] = Begun(one.run_id, new[place], one.steps)
        ids = self._complete(begun)
        rest = [place for place in new if place not in ids]
        if rest:
            create = self.patient.create_rest if again else self.patient.create
            ids |= zip(rest, create([new[place] for place in rest]), strict=True)
        return [ids[place] for place in new]

    def _complete(self, begun: dict[int, Begun]) -> dict[int, str]:
        """The ids of those that were still there."""
        while begun:
            try:
                self.patient.write(list(begun.values()))
                break
            except RunGone as gone:
                begun = {place: one for place, one in begun.items() if one.run_id != gone.run_id}
        return {place: one.run_id for place, one in begun.items()}

    @cached_property
    def kept(self) -> KeptRuns:
        """Trained runs on disk that are still to be logged here."""
        return KeptRuns(Path(FOLDER).absolute(), without_login(self.uri), self.experiment)

    def log_kept(self, left: Collection[str], done: Collection[str]) -> int:
        """Logs what an earlier command trained and could not log of the identities that are `left`, and forgets what it
        kept of those that are `done`; returns how many it logged."""
        self.kept.remove_halves({*left, *done})
        found = []
        for folder, run in self.kept:
            if run.tags["bnsweep.identity"] in left:
                found.append((folder, run))
            elif run.tags["bnsweep.identity"] in done:
                self.kept.remove(folder)
        for first in range(0, len(found), self.batch):
            some = found[first : first + self.batch]
            self.patient.create_rest([run for _, run in some])
            for folder, _ in some:
                self.kept.remove(folder)
        return len(found)

    def mark_stale(self, under_way: Callable[[], Collection[str]]) -> int:
        """Sets to KILLED what a killed process or a lost answer left RUNNING of all sweeps but those that are then
        `under_way`; returns how many runs there were."""
        running = [run for kind in ("run", "sweep", MEAN) for run in self.patient.runs(kind, RUNNING)]
        others = under_way() if running else ()  # asked last: who began meanwhile had claimed its runs before
        stale = [run for run in running if run.tags.get("bnsweep.sweep_id") not in others]
        runs, whole, halves = list[str](), list[str](), list[str]()
        for run in stale:
            is_run = run.tags["bnsweep.kind"] == "run"
            (runs if is_run else whole if claims.OWNER in run.tags else halves).append(run.run_id)
        if runs or whole:
            self.patient.kill([*runs, *whole])
        for run_id in halves:
            self.patient.remove(run_id)
        return len(runs)

    def tidy(self, under_way: Callable[[], Collection[str]]) -> None:
        """What lost answers left of this process's own writing."""
        self.patient.remove_doubles()
        self.mark_stale(under_way)

    def open_sweep(self, manifest: Manifest, claim: str = "") -> str:
        """Writes what is planned; returns the id of the sweep's own run, which is RUNNING until `close_sweep`, or until
        the `claim` of that id ends otherwise."""
        tags = {"bnsweep.kind": "sweep", "bnsweep.sweep_id": manifest.id, **source_tags()}
        now, texts = milliseconds(), {"sweep.json": json.dumps(vars(manifest))}
        (run_id,) = self.patient.create([NewRun(f"sweep {manifest.id}", RUNNING, now, None, tags, texts=texts)])
        self.patient.tag_runs([run_id], claims.OWNER, claim)  # last: one without it was not written to its end
        return run_id

    def close_sweep(self, sweep_id: str, ledger: dict[str, int], seconds: dict[str, float], own: str = "") -> None:
        """Records how the sweep went: counts by status, wall seconds by part. `own`: id of its own run."""
        run = own_run(self.patient, sweep_id, own)
        assert run is not None
        tags = {"bnsweep.ledger": json.dumps(ledger), "bnsweep.seconds": json.dumps(seconds)}
        self.patient.end(run.run_id, "FINISHED", tags)

    def write_view(self, sweep_id: str, own: str = "") -> None:
        """Keeps a comparison of the sweep with the experiment, which `view_url` opens: of the means of its seeds, or of
        its runs where each has a seed of its own."""
        self._adopt(sweep_id, own)
        rows = read_plan(self.patient, self.experiment, sweep_id, own).rows
        if means := self._write_means(sweep_id, own, rows):
            names = {name for run in means for name, _, _ in run.metrics}
            shown = f"tags.`bnsweep.kind` = '{MEAN}' and tags.`bnsweep.sweep_id` = '{sweep_id}'"
        else:
            some = self.patient.runs("run", tag=("bnsweep.view", "=", sweep_id), limit=10)
            names = self.patient.metric_names([run.run_id for run in some])
            shown = f"tags.`bnsweep.view` = '{sweep_id}' and attributes.status != 'KILLED'"
        prefixes = sorted({name.rpartition("/")[0] for name in names})
        self.patient.tag_experiment(view.tag_key(), view.state(rows, prefixes, shown, bool(means)))

    def _write_means(self, sweep_id: str, own: str, rows: Sequence[dict[str, Any]]) -> list[NewRun]:
        """In place of those of an earlier command."""
        for old in self.patient.runs(MEAN, tag=("bnsweep.sweep_id", "=", sweep_id)):
            self.patient.remove(old.run_id)
        if len(set(combinations(rows))) == len(rows):
            return []
        means = mean_runs(self.load(sweep_id, own), rows)
        for first in range(0, len(means), self.batch):
            self.patient.create(means[first : first + self.batch])
        return means

    def _adopt(self, sweep_id: str, own: str) -> None:
        """Marks runs that an earlier sweep trained and this one counts as done: MLflow's search knows no `or`."""
        if self.patient.runs("run", tag=("bnsweep.view", "!=", sweep_id), limit=1):
            kept = self.load(sweep_id, own).kept
            foreign = [run_id for run_id, run in kept.items() if run.tags["bnsweep.view"] != sweep_id]
            self.patient.tag_runs(foreign, "bnsweep.view", sweep_id)

    @property
    def ui(self) -> str:
        """Address of MLflow's pages: the tracking server's own, else that of `python -m bnsweep.ui`."""
        return without_login(self.uri).rstrip("/") if self.uri.startswith("http") else view.LOCAL

    def view_url(self, base: str = "") -> str:
        """Where MLflow's pages, at `base` if given, show the comparison."""
        return view.url(base or self.ui, self.experiment_id)

    def attach(self, sweep_id: str, files: Sequence[Path], own: str = "") -> bool:
        """Puts a report's files under `report/` of the sweep's own run, in place of an earlier report's.

        False where the sweep has no run of its own (launched as one process a run). Raises ConfigError when the store
        does not take them; no row of the database changes either way.
        """
        try:
            with environment_variables(PROBE):
                run = own_run(self.patient, sweep_id, own)
                if run is not None:
                    self.patient.attach(run, "report", files)
        except Exception as error:  # the disk, MLflow, the server and its artifact store each raise their own
            says = f"must be a store that takes files to attach the report of {sweep_id} to it"
            raise ConfigError(f"tracking.uri={without_login(self.uri)}: {says} ({reason_of(error)})") from error
        return run is not None

    def load_alike(self, rows: Sequence[Mapping[str, Any]], seeds: int, most: int) -> SweepFrame | None:
        """The newest ended sweep of the same data, networks and training as these planned runs: as many of its seeds as
        come to `most` runs, which have to be so many `seeds` at the least. None where none of the last few is."""
        for own in self.patient.runs("sweep", "FINISHED", limit=RECENT):
            with suppress(ConfigError):  # a sweep whose file is gone says nothing
                plan = KeptSweep(read_json(self.patient, own, "sweep.json"), own).of_first_seeds(most)
                enough = len({row["seed"] for row in plan.rows}) >= seeds
                if enough and kind_of_sweep(plan.rows) == kind_of_sweep(rows):
                    return frame_of_plan(self.patient, self.experiment, plan)
        return None

    def load(self, sweep: str = "latest", own: str = "") -> SweepFrame:
        """Raises ConfigError for a sweep that is unknown or has no run yet. `own`: id of its own run."""
        frame = read_sweep(self.patient, self.experiment, sweep, own)
        frame.info = replace(frame.info, uri=without_login(self.uri), ui=self.ui)
        return frame


def without_login(uri: str) -> str:
    """What goes into a report that is handed on: the URI without its user name, password and tokens."""
    return without_secrets(re.sub(r"(?<=://)[^/]*@", "", uri))
