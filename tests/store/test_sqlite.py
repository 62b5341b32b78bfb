"""What is written straight into MLflow's tables is what MLflow would have written, and is read back as it would."""

from __future__ import annotations

import math
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from store_runs import log_run

from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.store.backend import Backend, Begun, NewRun, RunGone, is_single
from bnsweep.store.client import ClientBackend
from bnsweep.store.encode import metrics_of, run_under_way
from bnsweep.store.sqlite import COLUMNS, SqliteBackend
from bnsweep.store.store import Opened, Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

DIGITS = DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10)


@pytest.fixture
def twins(empty_database: Path, tmp_path: Path) -> tuple[Store, Store]:
    """Two new databases, written straight and through MLflow's public API."""
    stores = []
    for name in ("straight", "public"):
        (tmp_path / name).mkdir()
        shutil.copyfile(empty_database, tmp_path / name / "mlflow.db")
        stores.append(Store.open(TrackingConfig(uri=f"sqlite:///{tmp_path / name / 'mlflow.db'}")))
    straight, public = stores
    assert isinstance(straight.backend, SqliteBackend)
    return straight, replace(public, backend=ClientBackend(public.client, public.experiment_id))


def new_run(name: str, **changes: Any) -> NewRun:
    tags = {"bnsweep.kind": "run", "bnsweep.identity": name, "bnsweep.view": "s", "bnsweep.reason": "", "é": "ü" * 300}
    metrics = [("val/loss", 1 / (step + 3), step) for step in range(5)] + [("auc", 0.1, 0), ("lr", 1e-300, 4)]
    texts = {"config.yaml": "a: 1\n", "record.json": "{}"}
    plain = NewRun(name, "FINISHED", 1_000, 2_000, tags, {"seed": "1"}, metrics, DIGITS, texts)
    return replace(plain, **changes)


RUNS = [
    new_run("plain"),
    new_run("same start as the first"),
    new_run("of other data", start=1_500, dataset=replace(DIGITS, name="mnist", digest="fedcba9876543210")),
    new_run("failed", start=1_200, status="FAILED", params={}, metrics=(), dataset=None),
    new_run("killed", start=900, status="KILLED"),
    new_run("a sweep", tags={"bnsweep.kind": "sweep", "bnsweep.sweep_id": "s"}),
    new_run("long", metrics=[(f"layer/{k}/std", float(k * i), i) for k in range(4) for i in range(600)]),
    # The last step counts; at one step the largest value; the same point twice is one point.
    new_run(
        "unordered", metrics=[("a", 1, 5), ("a", 2.0, 3), ("a", 1.0, 5), ("b", 3.0, 1), ("b", -0.0, 1), ("b", 4.0, 1)]
    ),
    new_run("of another view", start=800, tags=new_run("").tags | {"bnsweep.view": "another"}),
]


def tables(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all the tables written to; names instead of random ids."""
    assert isinstance(store.backend, SqliteBackend | ClientBackend)
    path = store.uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as db:
        names = dict(db.execute("select run_uuid, name from runs"))
        names |= dict(db.execute("select dataset_uuid, name from datasets"))
        names |= {i: names[run] for i, run in db.execute("select input_uuid, destination_id from inputs")}
        names[str(Path(path).parent)] = "here"

        def plain(value: Any) -> Any:
            for key, name in names.items() if isinstance(value, str) else ():
                value = value.replace(key, name)
            return value

        columns = {table: ", ".join(names.split()) for table, names in COLUMNS.items()}
        columns["experiments"] = "name, lifecycle_stage, last_update_time - creation_time, workspace"
        queries = {table: f"select {listed} from {table}" for table, listed in columns.items()}
        return {t: sorted((tuple(map(plain, row)) for row in db.execute(q)), key=repr) for t, q in queries.items()}


def test_both_ways_of_writing_fill_the_same_tables(twins: tuple[Store, Store]) -> None:
    for store in twins:
        ids = store.backend.create(RUNS[:4])
        ids += store.backend.create(RUNS[4:])
        assert [store.client.get_run(i).info.run_name for i in ids] == [run.name for run in RUNS]
        store.backend.end(ids[5], "FINISHED", {"bnsweep.ledger": "{}", "bnsweep.sweep_id": "t"})
        store.backend.tag_runs(ids[7:], "bnsweep.view", "s")
        store.backend.tag_runs(ids[:1], "new", "tag")
        for value in ("{}", "{…}"):
            store.backend.tag_experiment("mlflow.sharedViewState.bnsweep", value)
        with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as db, db:
            (ended,) = db.execute("select end_time from runs where run_uuid = ?", [ids[5]]).fetchone()
            assert ended > 1e12
            db.execute("update runs set end_time = 0 where run_uuid = ?", [ids[5]])
    straight, public = map(tables, twins)
    assert straight.keys() == public.keys()
    for table, rows in straight.items():
        assert rows == public[table], table
    assert len(straight["metrics"]) > 2400
    folders = [sorted(p.name for p in Path(s.uri[10:]).parent.glob("mlartifacts/*/artifacts/*")) for s in twins]
    assert folders[0] == folders[1] == sorted(["config.yaml", "record.json"] * len(RUNS))


@pytest.mark.parametrize("way", [0, 1], ids=["straight", "public"])
def test_a_run_written_bit_by_bit_becomes_what_it_would_be_at_once(
    way: int, twins: tuple[Store, Store], tmp_path: Path
) -> None:
    bits, once = (replace(store, backend=backend_of(way, store)) for store in twins)
    runs = [(RunConfig(seed=seed), trained(seed), network(tmp_path, seed)) for seed in range(3)]
    first, second = (
        [replace(run_under_way(config, "s", 3, 1000), metrics=read_at(step, record)) for config, record, _ in runs]
        for step in (0, 5)
    )
    ids = bits.backend.create(first)
    assert {(run.status, run.tags["bnsweep.status"]) for run in bits.backend.runs("run")} == {("RUNNING", "running")}
    more = [Begun(run_id, run) for run_id, run in zip(ids, second, strict=True)]
    bits.backend.write(more)
    points = bits.client.get_metric_history(ids[0], "val/loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (5, 0.5)]
    assert bits.done() == {} and bits.client.get_run(ids[0]).info.end_time is None
    opened = [Opened(1000, run_id, {0, 5}) for run_id in ids]
    assert bits.log_runs(runs, "s", 9000, opened) == ids
    assert bits.log_runs(runs, "s", 9000, opened) == ids, "a try whose answer was lost"
    with pytest.raises(RunGone):  # what comes late does not open it again
        bits.backend.write(more[:1])
    once.log_runs(runs, "s", 9000, [Opened(1000) for _ in runs])
    left, right = tables(bits), tables(once)
    for table, rows in left.items():
        assert rows == right[table], table
    files = [sorted(p.name for p in Path(s.uri[10:]).parent.glob("mlartifacts/*/artifacts/*")) for s in (bits, once)]
    assert files[0] == files[1] == sorted(["config.yaml", "record.json", "model.safetensors"] * 3)


def backend_of(way: int, store: Store) -> Backend:
    return ClientBackend(store.client, store.experiment_id) if way else Store.open(TrackingConfig(store.uri)).backend


def trained(seed: int) -> RunRecord:
    """One finished, one diverged, one failed."""
    curve = [1.0, 0.5, 0.25 if seed == 0 else math.nan]
    history = {"val/loss": curve, "lr": [0.1] * 3, "step": [0.0, 5.0, 10.0], "epoch": [0.0, 1.0, 2.0]}
    if seed == 2:
        return RunRecord("failed", "no memory")
    status = "finished" if seed == 0 else "diverged"
    return RunRecord(status, history=history, summary={"auc": 0.5}, seconds=0.25, stack_size=3, dataset=DIGITS)


def read_at(step: int, record: RunRecord) -> list[tuple[str, float, int]]:
    return [point for point in metrics_of(record) if point[2] == step and not is_single(point[0])]


def network(folder: Path, seed: int) -> Path:
    (folder / str(seed)).mkdir()
    path = folder / str(seed) / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_run_that_was_deleted_as_it_trained_is_written_anew(twins: tuple[Store, Store]) -> None:
    for store in twins:
        gone, there = store.backend.create([run_under_way(RunConfig(seed=seed), "s", 2, 1000) for seed in (0, 1)])
        store.backend.remove(gone)
        runs = [(RunConfig(seed=seed), RunRecord("finished"), None) for seed in (0, 1)]
        anew, same = store.log_runs(runs, "s", 9000, [Opened(1000, gone), Opened(1000, there)])
        assert same == there and anew != gone
        assert {run.run_id for run in store.backend.runs("run", "FINISHED")} == {anew, there}


def test_mlflow_shows_of_both_the_same_runs(twins: tuple[Store, Store]) -> None:
    shown = []
    for store in twins:
        store.backend.create(RUNS)
        runs = store.client.search_runs([store.experiment_id], order_by=["attributes.run_name"])
        points = [[(m.key, m.step, m.value) for m in store.client.get_metric_history(r.info.run_id, "b")] for r in runs]
        inputs = [[(i.dataset.to_dictionary(), i.tags[0].value) for i in r.inputs.dataset_inputs] for r in runs]
        shown.append([(r.data.to_dictionary(), sorted(p), i) for r, p, i in zip(runs, points, inputs, strict=True)])
    assert shown[0] == shown[1]


QUERIES: list[dict[str, Any]] = [
    {"kind": "run"},
    {"kind": "run", "params": True},
    {"kind": "run", "status": "FINISHED"},
    {"kind": "run", "status": "RUNNING"},
    {"kind": "run", "tag": ("bnsweep.view", "!=", "s")},
    {"kind": "run", "tag": ("bnsweep.view", "=", "s"), "limit": 3},
    {"kind": "run", "limit": 0},
    {"kind": "sweep", "tag": ("bnsweep.sweep_id", "=", "s"), "limit": 1},
    {"kind": "sweep", "tag": ("bnsweep.sweep_id", "=", "none"), "limit": 1},
    {"kind": "run", "identities": ["plain", "failed", "deleted", "none's"]},
    {"kind": "run", "status": "FINISHED", "identities": {"plain", "failed"}, "params": True},
    {"kind": "run", "identities": []},
]


def test_both_ways_of_reading_give_the_same_runs(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    client, ids = store.client, store.backend.create(RUNS)
    running = client.create_run(store.experiment_id, tags={"bnsweep.kind": "run"}, run_name="running").info.run_id
    client.log_metric(running, "auc", float("nan"))
    client.log_metric(running, "epoch", 3.0)
    client.create_run(client.create_experiment("another"), tags={"bnsweep.kind": "run"})
    client.delete_run(store.backend.create([new_run("deleted")])[0])
    public: Backend = ClientBackend(client, store.experiment_id)
    found = [store.backend.runs(**query) for query in QUERIES]
    assert found == [public.runs(**query) for query in QUERIES]
    assert [len(runs) for runs in found] == [9, 9, 6, 1, 1, 3, 0, 1, 0, 2, 1, 0]
    assert found[1][-1].params == {"seed": "1"}
    assert store.backend.metric_names(ids[:4]) == public.metric_names(ids[:4]) == {"val/loss", "auc", "lr"}
    run = found[0][-1]
    assert store.backend.artifact(run, "record.json").read_text() == public.artifact(run, "record.json").read_text()


def test_runs_that_are_asked_for_part_by_part_are_those_of_one_question(
    twins: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = twins
    store.backend.create([*RUNS, replace(new_run("plain"), start=5_000)])
    names = {run.name for run in RUNS}
    once = {run.run_id: run for run in store.patient.runs("run", identities=names)}
    monkeypatch.setattr(SqliteBackend, "most_asked", 2)
    parts = store.patient.runs("run", identities=names)
    assert {run.run_id: run for run in parts} == once and len(parts) == len(once) == 8
    assert [run.start for run in parts if run.tags["bnsweep.identity"] == "plain"] == [5_000, 1_000], "newest first"


def test_tables_that_are_not_as_known_are_left_to_mlflow(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as db:
        db.execute("alter table metrics add column unit text")
    changed = Store.open(TrackingConfig(uri=store.uri))
    assert isinstance(changed.backend, ClientBackend)
    changed.backend.create(RUNS[:2])
    assert {run.tags["bnsweep.identity"] for run in changed.backend.runs("run")} == {run.name for run in RUNS[:2]}


def test_an_experiment_with_artifacts_elsewhere_is_left_to_mlflow(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    store.client.create_experiment("remote", artifact_location="s3://bucket/path")
    assert isinstance(Store.open(TrackingConfig(uri=store.uri, experiment="remote")).backend, ClientBackend)


def test_a_batch_stands_as_a_whole_or_not_at_all(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    with pytest.raises(sqlite3.IntegrityError):
        store.backend.create([*RUNS, new_run("no text", params={"seed": None})])
    with pytest.raises(FileNotFoundError):
        store.backend.create([*RUNS, new_run("no model", files=[Path("no model")])])
    assert store.client.search_runs([store.experiment_id]) == []
    assert store.backend.create([]) == []


def test_nothing_is_written_to_an_experiment_that_was_deleted_meanwhile(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(RuntimeError, match="is deleted"):
        store.backend.create(RUNS)
    assert tables(store)["runs"] == []


def test_writers_take_turns_and_readers_see_whole_batches(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    batch, barrier = [new_run(str(i)) for i in range(20)], Barrier(4)

    def write(_: int) -> int:
        barrier.wait()
        store.backend.create(batch)
        seen = len(store.backend.runs("run"))
        store.backend.create(batch)
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(write, range(4)))
    assert all(count > 0 and count % len(batch) == 0 for count in seen)
    assert len(store.backend.runs("run")) == 8 * len(batch)


KILLED = """
import os, signal, sys
from bnsweep.config.run import *; from bnsweep.records import *; from bnsweep.store.sqlite import *
from bnsweep.store.store import *

def die(self, db, begun):
    db.execute("pragma cache_size = 1")  # so that a part of the transaction is in the file
    insert(db, "params", ((f"{i}", "x" * 500, begun[0].run_id) for i in range(5000)))
    os.kill(os.getpid(), signal.SIGKILL)

SqliteBackend._insert_inputs = die
Store.open(TrackingConfig(uri=sys.argv[1])).log_runs([(RunConfig(), RunRecord("finished"), None)], "s")
"""


def test_a_process_killed_while_it_writes_leaves_no_run(twins: tuple[Store, Store]) -> None:
    store, _ = twins
    log_run(store, RunConfig(seed=1), RunRecord("finished"), "s")
    process = subprocess.run([sys.executable, "-c", KILLED, store.uri], capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    path = Path(store.uri.removeprefix("sqlite:///"))
    assert Path(f"{path}-journal").stat().st_size > 0, "the file holds a part of the transaction"
    after = Store.open(TrackingConfig(uri=store.uri), create=False)
    assert len(after.done()) == 1
    assert len(after.client.search_runs([after.experiment_id])) == 1
    log_run(after, RunConfig(), RunRecord("finished"), "s")
    assert len(after.done()) == 2


WITHOUT_MLFLOW = """
import sys
from bnsweep.config.run import *; from bnsweep.records import *; from bnsweep.store.store import *

store = Store.open(TrackingConfig(uri=sys.argv[1]))
store.open_sweep(Manifest.of([RunConfig()], "s", "…"))
store.log_runs([(RunConfig(), RunRecord("finished"), None)], "s")
store.close_sweep("s", {}, {})
store.write_view("s")
assert len(store.done()) == len(store.load().runs) == 1
sys.exit("mlflow" in sys.modules or "sqlalchemy" in sys.modules)
"""


def test_a_known_database_is_used_without_importing_mlflow(twins: tuple[Store, Store]) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_MLFLOW, twins[0].uri], check=True)
