"""A database is made in one step, whatever ends the process that makes it, and lies beside its artifacts."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from store_runs import log_run

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import RunRecord
from bnsweep.store import sqlite
from bnsweep.store.client import ClientBackend
from bnsweep.store.sqlite import SqliteBackend
from bnsweep.store.store import Manifest, Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

RECORD = RunRecord("finished", history={"step": [0.0], "epoch": [0.0], "val/accuracy": [0.5]})

KILLS = """
import os, random, signal, sys, tempfile, time
from pathlib import Path
from bnsweep.config.run import TrackingConfig
from bnsweep.store.connect import import_mlflow
from bnsweep.store.store import Store

import_mlflow()
import alembic.command, mlflow
from mlflow import MlflowClient

def begun():
    return [path.name for path in Path().glob("*mlflow.db*") if not path.name.endswith((".lock", "-journal"))]

def in_a_child(do, seconds=None):
    child = os.fork()
    if child == 0:
        do()
        os._exit(0)
    if seconds is not None:
        while not begun():
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(child, random.choice([signal.SIGKILL, signal.SIGTERM]))
    return os.waitpid(child, 0)[1]

make = lambda: Store.open(TrackingConfig())
in_place = lambda: MlflowClient("sqlite:///mlflow.db").search_experiments()  # as bnsweep did once
random.seed(1)
for way in (make, in_place) * 2:
    os.chdir(tempfile.mkdtemp(dir=sys.argv[1]))
    in_a_child(way, random.uniform(0, 0.2))
    print(*begun())
    assert in_a_child(make) == 0
    assert sorted(os.listdir()) == ["mlflow.db", "mlflow.db.lock"], os.listdir()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="makes children by fork")
def test_a_kill_while_the_database_is_made_costs_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLS, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [".mlflow.db.making", "mlflow.db"] * 2, "what a killed child left behind"
    for folder in tmp_path.iterdir():
        store = Store.open(TrackingConfig(f"sqlite:///{folder}/mlflow.db"), create=False)
        assert isinstance(store.backend, SqliteBackend)


def test_a_half_made_database_is_not_touched_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table experiments (experiment_id integer)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"must be a database with runs; this one has none \(a sweep makes it anew\)"):
        Store.open(TrackingConfig(f"sqlite:///{path}"), create=False)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]


FOREIGN = {
    "an application with tables of those names": (
        "create table experiments (x); create table customers (x)",
        "other tables",
    ),
    "optuna": (
        "create table alembic_version (v); insert into alembic_version values ('v3.2.0.a'); create table studies (x)",
        "other tables",
    ),
    "a newer mlflow": (
        "create table alembic_version (v); insert into alembic_version values ('ffffffffffff'); create table runs (x)",
        "the MLflow installed here or of an older one",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_database_of_another_program_is_refused_and_left_as_it_is(name: str, tmp_path: Path) -> None:
    script, says = FOREIGN[name]
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
    before = path.read_bytes()
    for create, text in ((True, says), (False, "must be a database ")):
        with pytest.raises(ConfigError, match=text):
            Store.open(TrackingConfig(f"sqlite:///{path}"), create=create)
        assert path.read_bytes() == before


def test_a_link_to_a_file_that_is_to_come_stays_a_link(tmp_path: Path, empty_database: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "mlflow.db"
    link.symlink_to(tmp_path / "real" / "runs.db")
    Store.open(TrackingConfig(f"sqlite:///{link}"))
    assert link.is_symlink()
    assert (tmp_path / "real" / "runs.db").stat().st_size == empty_database.stat().st_size


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts an empty file system of a size, or gives it another."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def sized(size: str) -> Path:
        how = f"{'remount,' if folder.is_mount() else ''}size={size}"
        command = ["mount", "-t", "tmpfs", "-o", how, "none", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system cannot be mounted here")
        return folder

    try:
        yield sized
    finally:
        if folder.is_mount():
            subprocess.run(["umount", "--lazy", folder], check=True)  # MLflow keeps files open


def test_a_full_disk_is_one_line_and_blocks_nothing(small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("300k")
    tracking = TrackingConfig(f"sqlite:///{folder}/new/mlflow.db")
    with pytest.raises(ConfigError, match=r"^tracking.uri=sqlite:.*/new/mlflow.db: must be .*full\)$"):
        Store.open(tracking)
    assert list(folder.iterdir()) == []
    small_disk("2m")
    Store.open(tracking)
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b" " * 4096)
    full = r"^artifacts=.*: must be a folder that can be written \(No space left on device\)$"
    with pytest.raises(ConfigError, match=full):
        Store.open(tracking)
    Store.open(tracking, create=False)
    filler.unlink()
    Store.open(tracking)


@pytest.fixture
def home(tmp_path: Path, empty_database: Path) -> Path:
    """A folder with a sweep of two runs."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    store = store_in(folder)
    store.open_sweep(Manifest.of([RunConfig(seed=seed) for seed in (0, 1)], "s", "…"))
    for seed in (0, 1):
        log_run(store, RunConfig(seed=seed), RECORD, "s")
    return folder


def store_in(folder: Path, create: bool = True) -> Store:
    return Store.open(TrackingConfig(f"sqlite:///{folder / 'mlflow.db'}"), create=create)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_database_that_another_process_holds_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY", 0.2)
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as db:
        db.execute("begin immediate")
        with pytest.raises(ConfigError, match=r"must be a database that can be written \(database is locked\)"):
            store_in(home)
        assert len(store_in(home, create=False).done()) == 2
        db.execute("rollback")
        db.execute("begin exclusive")
        with pytest.raises(ConfigError, match=r"must be a readable sqlite database \(database is locked\)"):
            store_in(home)


@pytest.mark.parametrize("kind", ["straight", "public"])
def test_a_copied_folder_keeps_to_its_own_artifacts(kind: str, home: Path, tmp_path: Path) -> None:
    if kind == "public":
        with closing(sqlite3.connect(home / "mlflow.db")) as db:
            db.execute("alter table metrics add column unit text")
    before, copy = contents(home), tmp_path / "copy"
    shutil.copytree(home, copy)
    assert histories(store_in(copy, create=False)) == [0.5] * 2
    assert contents(copy) == before, "looking writes nothing"
    store = store_in(copy)
    assert isinstance(store.backend, SqliteBackend if kind == "straight" else ClientBackend)
    new = log_run(store, RunConfig(seed=2), RECORD, "s")
    assert (copy / "mlartifacts" / new / "artifacts" / "record.json").is_file()
    store.attach("s", [home / "mlflow.db"])
    assert contents(home) == before
    for run in store.client.search_runs([store.experiment_id]):
        assert run.info.artifact_uri == (copy / "mlartifacts" / run.info.run_id / "artifacts").as_uri()
        assert store.client.list_artifacts(run.info.run_id) != []


def histories(store: Store) -> list[float]:
    return list(store.load("s").history(["val/accuracy"])["value"])


@pytest.mark.parametrize("look_first", [True, False])
def test_a_moved_folder_does_not_come_back(look_first: bool, home: Path, tmp_path: Path) -> None:
    moved = home.rename(tmp_path / "elsewhere")
    if look_first:
        assert histories(store_in(moved, create=False)) == [0.5] * 2
    store = store_in(moved)
    new = log_run(store, RunConfig(seed=2), RECORD, "s")
    assert (moved / "mlartifacts" / new).is_dir()
    assert histories(store) == [0.5] * 2
    assert not home.exists()


def test_all_experiments_of_a_copy_move(home: Path, tmp_path: Path) -> None:
    other = Store.open(TrackingConfig(f"sqlite:///{home}/mlflow.db", "other"))
    log_run(other, RunConfig(), RECORD, "t")
    copy = shutil.copytree(home, tmp_path / "copy")
    (home / "mlflow.db").unlink()
    store_in(copy)
    with closing(sqlite3.connect(copy / "mlflow.db")) as db:
        here = (copy / "mlartifacts").as_uri()
        found = dict(db.execute("select name, artifact_location from experiments where experiment_id > 0"))
        assert {found["bnsweep"], found["other"]} == {here}
        (astray,) = db.execute("select count(*) from runs where artifact_uri not like ? || '/%'", [here]).fetchone()
        assert astray == 0


def test_a_database_without_its_artifacts_is_refused_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copyfile(home / "mlflow.db", copy / "mlflow.db")
    before = contents(copy)
    says = f"must be beside its artifacts: {home}/mlartifacts must lie in {copy} too"
    for _ in range(2):
        with pytest.raises(ConfigError, match=says):
            store_in(copy)
        assert contents(copy) == before
    shutil.copytree(home / "mlartifacts", copy / "mlartifacts")
    store_in(copy)


def test_artifacts_that_somebody_put_elsewhere_stay_there(home: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart" / "mlartifacts"
    apart.mkdir(parents=True)
    store_in(home).client.create_experiment("apart", artifact_location=apart.as_uri())
    store = Store.open(TrackingConfig(f"sqlite:///{home}/mlflow.db", "apart"))
    run_id = log_run(store, RunConfig(), RECORD, "s")
    assert (apart / run_id / "artifacts" / "record.json").is_file()


@pytest.mark.parametrize("name", ["a%20b", "q?x=1&y#z", "new\nline é 'q\""])
def test_a_folder_of_any_name_holds_database_and_artifacts(
    name: str, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    store = Store.open(TrackingConfig())
    straight = log_run(store, RunConfig(), RECORD, "s")
    public = Store(store.uri, store.experiment, ClientBackend(store.client, store.experiment_id))
    runs = {straight, log_run(public, RunConfig(seed=1), RECORD, "s")}
    assert {p.name for p in (folder / "mlartifacts").iterdir()} == runs
    for run_id in runs:
        assert [f.path for f in store.client.list_artifacts(run_id)] == ["config.yaml", "record.json"]
    assert histories(Store.open(TrackingConfig(), create=False)) == [0.5] * 2
    assert [p.name for p in tmp_path.iterdir()] == [name]
