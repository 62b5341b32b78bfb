"""A sweep's database is made in another process while the sweep begins, as it would be made by the sweep itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bnsweep.config.run import TrackingConfig
from bnsweep.runs.new_database import NewDatabase, database_ahead
from bnsweep.runs.scratch import scratch
from bnsweep.store import sqlite
from bnsweep.store.store import Store


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
    made = tmp_path / "mlflow.db"
    assert lines_of(made) == lines_of(empty_database)
    (default, ours), (other, theirs) = experiments_of(made), experiments_of(empty_database)
    assert default[0] == other[0] and ours[0] == theirs[0]
    assert ours[1] == (tmp_path / "mlartifacts").as_uri()


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
