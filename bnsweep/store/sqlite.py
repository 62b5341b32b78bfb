"""Runs straight into MLflow's tables in a sqlite file, and out of them, in bulk and without importing MLflow.

Only for tables whose columns are exactly the ones known here; MLflow's public API serves every other store. A batch of
runs is one transaction: all of them stand, or none.
"""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any, ClassVar
from urllib.parse import quote

from bnsweep.store.address import ARTIFACTS
from bnsweep.store.backend import (
    RUNNING,
    SERIES,
    UNDER_WAY,
    Begun,
    ExperimentGone,
    KeptRun,
    NewRun,
    RunGone,
    artifact_folder,
    local_path,
)
from bnsweep.store.encode import TRAINING, dataset_fields, dataset_of, fill, milliseconds, replace_folder

COLUMNS = {
    "experiments": "experiment_id name artifact_location lifecycle_stage creation_time last_update_time workspace",
    "experiment_tags": "key value experiment_id",
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time deleted_time"
    " source_version lifecycle_stage artifact_uri experiment_id",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp run_uuid step is_nan",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema"
    " dataset_profile",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
}
"""Of MLflow 3.17."""
BUSY = 20.0
"""Seconds to wait for another process that writes; MLflow waits as long."""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without a transaction; raises sqlite3.Error where there is no such file."""
    # Not read-only, even to read: what a killed process left in the journal has to be undone first.
    with closing(
        sqlite3.connect(f"file:{quote(str(path))}?mode=rw", timeout=BUSY, isolation_level=None, uri=True)
    ) as db:
        yield db


def insert(db: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]], conflict: str = "") -> None:
    """Rows hold the table's columns in the order of COLUMNS."""
    columns = COLUMNS[table].split()
    places = ", ".join("?" * len(columns))
    db.executemany(f"insert into {table} ({', '.join(columns)}) values ({places}) {conflict}", rows)  # noqa: S608


REPLACE = "on conflict do update set value = excluded.value"


def has_known_tables(db: sqlite3.Connection) -> bool:
    """Whether the tables are as known here."""
    names = {table: {row[1] for row in db.execute(f"pragma table_info({table})")} for table in COLUMNS}
    return all(names[table] == set(columns.split()) for table, columns in COLUMNS.items())


def find(path: Path, experiment: str) -> SqliteBackend | None:
    """None where MLflow itself has to look: no such experiment, artifacts elsewhere, or tables not as known here."""
    try:
        with opened(path) as db:
            if not has_known_tables(db):
                return None
            query = "select experiment_id, artifact_location from experiments where name = ? and workspace = 'default'"
            found = db.execute(f"{query} and lifecycle_stage = 'active'", [experiment]).fetchone()
    except sqlite3.Error:
        return None
    if found is None or local_path(found[1] or "remote:") is None:
        return None
    return SqliteBackend(path, str(found[0]), found[1])


def tagged_experiments(path: Path, key: str) -> dict[str, str]:
    """Name -> id of the experiments that have a tag, the newest first."""
    query = "select name, experiments.experiment_id from experiments join experiment_tags using (experiment_id)"
    query += " where key = ? and lifecycle_stage = 'active' order by last_update_time desc"
    with opened(path) as db:
        return {name: str(number) for name, number in db.execute(query, [key])}


@dataclass(frozen=True)
class SqliteBackend:
    """Runs of one experiment of a database file, a batch in a transaction."""

    batch: ClassVar[int] = 100
    """A transaction of less than a second: interrupts and other processes wait for it."""
    most_asked: ClassVar[int] = 5000

    path: Path
    experiment_id: str
    artifacts: str
    """URI of the folder of all runs' artifacts."""

    def create(self, runs: Sequence[NewRun]) -> list[str]:
        """Artifacts first: a crash in between leaves orphan folders, never a run without its files."""
        # Ids that begin with the time stand together in every index; random ones cost a page of each index a run.
        ids = [f"{milliseconds():012x}{uuid.uuid4().hex[12:]}" for _ in runs]
        begun = [Begun(run_id, run) for run_id, run in zip(ids, runs, strict=True)]
        self._fill(begun)
        with self._writing() as db:
            self._insert_runs(db, begun)
            self._insert_values(db, begun)
            self._insert_inputs(db, begun)
        return ids

    def write(self, begun: Sequence[Begun]) -> None:
        self._fill(begun)
        with self._writing() as db:
            for b in begun:
                change = "update runs set status = ?, end_time = ? where run_uuid = ? and lifecycle_stage = 'active'"
                # What comes late does not open again what is over.
                change += f" and status = '{RUNNING}'" if b.run.status == RUNNING else ""
                if not db.execute(change, [b.run.status, b.run.end, b.run_id]).rowcount:
                    raise RunGone(b.run_id)
            self._insert_values(db, begun)
            self._insert_inputs(db, begun)

    def kill(self, run_ids: Sequence[str]) -> None:
        with self._writing() as db:
            for run_id in run_ids:
                change = "update runs set status = 'KILLED', end_time = ? where run_uuid = ? and status = ?"
                if db.execute(change, [milliseconds(), run_id, RUNNING]).rowcount:
                    tag = "update tags set value = 'killed' where run_uuid = ? and key = 'bnsweep.status' and value = ?"
                    db.execute(tag, [run_id, UNDER_WAY])

    def _uri(self, run_id: str) -> str:
        """Of its artifacts."""
        return f"{self.artifacts.rstrip('/')}/{run_id}/artifacts"

    def _fill(self, begun: Sequence[Begun]) -> None:
        """The artifacts' folders, or none of them."""
        folders = [local_path(self._uri(b.run_id)) or Path() for b in begun]
        try:
            for folder, b in zip(folders, begun, strict=True):
                fill(folder, b.run.texts, b.run.files)
        except BaseException:
            for folder in folders:
                shutil.rmtree(folder.parent, ignore_errors=True)
            raise

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with opened(self.path) as db:
            db.execute("pragma cache_size = -65536")  # 64 MiB; a batch overflows sqlite's own 2
            db.execute("begin immediate")
            (stage,) = db.execute(
                "select lifecycle_stage from experiments where experiment_id = ?", [self.experiment_id]
            ).fetchone() or ["gone"]
            if stage != "active":
                raise ExperimentGone(f"the experiment {self.experiment_id} in {self.path} is {stage}")
            yield db
            db.execute("commit")

    def _insert_runs(self, db: sqlite3.Connection, begun: Sequence[Begun]) -> None:
        here = self.experiment_id
        rows = (
            (i, n.name, "UNKNOWN", "", "", "unknown", n.status, n.start, n.end, None, "", "active", self._uri(i), here)
            for i, n in ((b.run_id, b.run) for b in begun)
        )
        insert(db, "runs", rows)

    def _insert_values(self, db: sqlite3.Connection, begun: Sequence[Begun]) -> None:
        pairs = [(b.run_id, b.run) for b in begun]
        named = [(i, new.tags | {"mlflow.runName": new.name}) for i, new in pairs]
        insert(db, "tags", ((key, value, i) for i, tags in named for key, value in tags.items()), REPLACE)
        params = ((key, value, i) for i, new in pairs for key, value in new.params.items())
        insert(db, "params", params, "on conflict do nothing")
        metrics = ((key, value, b.run.start, b.run_id, step, 0) for b in begun for key, value, step in b.missing)
        insert(db, "metrics", metrics, "on conflict do nothing")
        latest = (
            (key, value, new.start, step, 0, i) for i, new in pairs for key, (step, value) in latest_of(new).items()
        )
        insert(db, "latest_metrics", latest, "on conflict do update set value = excluded.value, step = excluded.step")

    def _insert_inputs(self, db: sqlite3.Connection, begun: Sequence[Begun]) -> None:
        """Runs of the same data share one row of `datasets`."""
        known: dict[tuple[str, str], str] = {}
        for run_id, info in ((b.run_id, b.run.dataset) for b in begun):
            if info is None:
                continue
            key = (info.name, info.digest)
            if key not in known:
                query = "select dataset_uuid from datasets where experiment_id = ? and name = ? and digest = ?"
                found = db.execute(query, [self.experiment_id, *key]).fetchone()
                known[key] = found[0] if found else uuid.uuid4().hex
                if not found:
                    kind, source, profile = dataset_fields(info)
                    insert(db, "datasets", [(known[key], self.experiment_id, *key, kind, source, None, profile)])
            there = "source_type = 'DATASET' and source_id = ? and destination_type = 'RUN' and destination_id = ?"
            if db.execute(f"select 1 from inputs where {there}", [known[key], run_id]).fetchone():  # noqa: S608
                continue
            used = uuid.uuid4().hex
            insert(db, "inputs", [(used, "DATASET", known[key], "RUN", run_id, 0)])
            insert(db, "input_tags", [(used, *TRAINING)])

    def remove(self, run_id: str) -> None:
        with self._writing() as db:
            gone = "update runs set lifecycle_stage = 'deleted', deleted_time = ? where run_uuid = ?"
            db.execute(gone, [milliseconds(), run_id])

    def end(self, run_id: str, status: str, tags: dict[str, str]) -> None:
        with self._writing() as db:
            now = milliseconds()
            db.execute("update runs set status = ?, end_time = ? where run_uuid = ?", [status, now, run_id])
            insert(db, "tags", ((key, value, run_id) for key, value in tags.items()), REPLACE)

    def tag_runs(self, run_ids: Sequence[str], key: str, value: str) -> None:
        with self._writing() as db:
            insert(db, "tags", ((key, value, run_id) for run_id in run_ids), REPLACE)

    def tag_experiment(self, key: str, value: str) -> None:
        with self._writing() as db:
            insert(db, "experiment_tags", [(key, value, self.experiment_id)], REPLACE)

    def runs(
        self,
        kind: str,
        status: str | None = None,
        tag: tuple[str, str, str] | None = None,
        limit: int | None = None,
        params: bool = False,
        identities: Collection[str] | None = None,
    ) -> list[KeptRun]:
        chosen = "select r.run_uuid, r.status, r.start_time, r.artifact_uri from runs r"
        chosen += " join tags k on k.run_uuid = r.run_uuid and k.key = 'bnsweep.kind' and k.value = ?"
        values: list[object] = [kind]
        if tag is not None:
            key, comparison, value = tag
            chosen += f" join tags t on t.run_uuid = r.run_uuid and t.key = ? and t.value {comparison} ?"
            values += [key, value]
        if identities is not None:
            chosen += " join tags i on i.run_uuid = r.run_uuid and i.key = 'bnsweep.identity'"
            chosen += " and i.value in (select identity from wanted)"
        chosen += " where r.experiment_id = ? and r.lifecycle_stage = 'active'"
        chosen += " and r.status = ?" if status else ""
        chosen += " order by r.start_time desc, r.run_uuid limit ?"
        values += [self.experiment_id, *([status] if status else []), -1 if limit is None else limit]
        with opened(self.path) as db:
            db.execute("pragma temp_store = memory")
            db.execute("create temp table wanted (identity text primary key) without rowid")
            db.executemany("insert into wanted values (?)", ((name,) for name in {*(identities or ())}))
            db.execute("begin")  # one state of the database, whoever writes meanwhile
            kept = {
                run_id: KeptRun(run_id, ended, start, uri, {}, {}, {}, [])
                for run_id, ended, start, uri in db.execute(chosen, values)
            }
            self._read_values(db, kept, params)
        return list(kept.values())

    def _read_values(self, db: sqlite3.Connection, kept: dict[str, KeptRun], params: bool) -> None:
        db.execute("create temp table chosen (run_uuid text primary key) without rowid")
        db.executemany("insert into chosen values (?)", ((run_id,) for run_id in kept))
        read = "select run_uuid, key, value from chosen cross join {} using (run_uuid)"
        texts: dict[str, str] = {}
        """Those that runs have in common, once."""
        for run_id, key, value in db.execute(read.format("tags")):
            kept[run_id].tags[intern(key)] = texts.setdefault(value, value)
        for run_id, key, value in db.execute(read.format("params")) if params else ():
            kept[run_id].params[intern(key)] = value
        single = f" where instr(key, '/') = 0 and key not in {SERIES} and not is_nan"
        for run_id, key, value in db.execute(read.format("latest_metrics") + single):
            kept[run_id].summary[intern(key)] = value
        used = "select run_uuid, name, digest, dataset_source, dataset_profile from chosen cross join inputs"
        # The plus keeps sqlite from the index on source_type, which would be one pass over all inputs for every run.
        used += " on destination_type = 'RUN' and destination_id = run_uuid and +source_type = 'DATASET'"
        datasets: dict[tuple[str, ...], dict[str, Any]] = {}
        for run_id, *row in db.execute(used + " join datasets on dataset_uuid = source_id"):
            key = tuple(row)
            if key not in datasets:
                datasets[key] = dataset_of(*key)
            kept[run_id].datasets.append(datasets[key])

    def metric_names(self, run_ids: Sequence[str]) -> set[str]:
        query = "select key from latest_metrics where run_uuid = ?"
        with opened(self.path) as db:
            return {key for run_id in run_ids for (key,) in db.execute(query, [run_id])}

    def artifact(self, run: KeptRun, name: str) -> Path:
        return (artifact_folder(run, self.path.parent / ARTIFACTS) or Path()) / name

    def files_of(self, runs: Sequence[KeptRun], name: str) -> list[Path]:
        return [self.artifact(run, name) for run in runs]

    def attach(self, run: KeptRun, name: str, files: Sequence[Path]) -> None:
        replace_folder(self.artifact(run, name), files)


def latest_of(run: NewRun) -> dict[str, tuple[int, float]]:
    """Metric -> its last step and the value there, the largest where there are several."""
    latest: dict[str, tuple[int, float]] = {}
    for key, value, step in run.metrics:
        if key not in latest or (step, value) > latest[key]:
            latest[key] = (step, value)
    return latest
