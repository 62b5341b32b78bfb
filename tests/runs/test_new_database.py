"""A sweep's database is made in another process while the sweep begins, as it would be made by the sweep itself."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bnsweep.config.run import TrackingConfig
from bnsweep.runs.new_database import NewDatabase, database_ahead
from bnsweep.runs.scratch import scratch
from bnsweep.store import blank, sqlite
from bnsweep.store.store import Store


@pytest.fixture(autouse=True)
def none_kept(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No sweep of this user has made one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def lines_of(path: Path) -> list[str]:
    """What a database is made of, but for times, and for the order of its parts, which is MLflow's whim."""
    with closing(sqlite3.connect(path)) as db:
        statements = [text for text in db.iterdump() if not text.startswith('INSERT INTO "experiments"')]
    return sorted(line.strip().rstrip(",") for text in statements for line in text.splitlines())


def experiments_of(path: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("select name, artifact_location, lifecycle_stage from experiments").fetchall()


def test_a_database_made_ahead_is_the_one_that_is_made_otherwise(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracking = TrackingConfig(experiment="of the fixture")
    with database_ahead(tracking, dry_run=False) as make:
        assert make is not None
        draft = make()
        assert draft is not None and [*tmp_path.iterdir()] == [], "nothing is written before the store is opened"
        monkeypatch.setattr("bnsweep.store.connect.open_experiment", None)  # MLflow is not asked for anything
        store = Store.open(tracking, draft=make)
    assert not draft.exists() and isinstance(store.backend, sqlite.SqliteBackend)
    check_new(tmp_path, empty_database)


def check_new(folder: Path, empty_database: Path) -> None:
    """That a database is as MLflow makes it there."""
    made = folder / "mlflow.db"
    assert lines_of(made) == lines_of(empty_database)
    (default, ours), (_, theirs) = experiments_of(made), experiments_of(empty_database)
    assert default == ("Default", f"{folder}/mlruns/0", "active")
    assert ours == (theirs[0], (folder / "mlartifacts").as_uri(), "active")


def test_the_next_one_is_a_copy(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    tracking = TrackingConfig(experiment="of the fixture")
    for folder in (first, second):
        folder.mkdir()
        monkeypatch.chdir(folder)
        with database_ahead(tracking, dry_run=False) as make:
            assert (make is None) == (folder == second)
            Store.open(tracking, draft=make)
        check_new(folder, empty_database)
        monkeypatch.setattr("bnsweep.store.connect.open_experiment", None)  # MLflow is not asked for anything
    client = MlflowClient(f"sqlite:///{second / 'mlflow.db'}")
    assert client.create_experiment("one more") == "2"


@pytest.mark.parametrize("damage", ["empty", "cut short", "other tables"])
def test_a_damaged_copy_is_made_again(
    damage: str, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank.keep(empty_database)
    if damage == "other tables":
        with closing(sqlite3.connect(blank.kept_file())) as db:
            db.execute("drop table inputs")
    else:
        os.truncate(blank.kept_file(), 0 if damage == "empty" else 300_000)
    monkeypatch.chdir(tmp_path)
    Store.open(TrackingConfig(experiment="of the fixture"))
    check_new(tmp_path, empty_database)
    assert blank.is_kept()


def test_without_a_place_for_copies_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    blank.keep(tmp_path)
    assert not blank.is_kept()


def test_where_it_cannot_be_made_the_store_is_opened_as_without(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bnsweep.runs.new_database.MAKE", "raise SystemExit('no')")
    new = NewDatabase("sqlite:///mlflow.db", "other")
    assert new.draft() is None
    Path("mlflow.db").write_bytes(empty_database.read_bytes())
    Store.open(TrackingConfig(experiment="other"), draft=new.draft)
    assert "other" in {name for name, *_ in experiments_of(Path("mlflow.db"))}
    new.close()


@pytest.mark.parametrize("kind", ["there", "server", "dry run"])
def test_none_is_made_where_none_is_missing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "there":
        Path("mlflow.db").touch()
    tracking = TrackingConfig(uri="http://127.0.0.1:9" if kind == "server" else None)
    with database_ahead(tracking, dry_run=kind == "dry run") as draft:
        assert draft is None


def test_a_sweep_that_is_refused_does_not_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bnsweep.runs.new_database.MAKE", "import sys; sys.stdin.read()")  # for ever
    with pytest.raises(KeyError), database_ahead(TrackingConfig(), dry_run=False):
        raise KeyError
    assert not [*scratch().glob("*mlflow*")] and [*tmp_path.iterdir()] == []
