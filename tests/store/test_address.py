"""Which store is meant: settings first, then MLflow's own variables, then a file in the working directory."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.store.address import Address, address_of, default_experiment, origin


def test_a_file_in_the_working_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (None, ""):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value) if value is not None else None
        assert address_of(TrackingConfig()) == Address(f"sqlite:///{tmp_path}/mlflow.db")
        assert origin(TrackingConfig()) == []
    assert address_of(TrackingConfig("sqlite:///a/b.db")).path == tmp_path / "a" / "b.db"


def test_the_variable_of_mlflow_is_used_and_said_where_no_uri_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@host/db")
    assert address_of(TrackingConfig()) == Address("postgresql://me:hunter2@host/db", "MLFLOW_TRACKING_URI")
    assert origin(TrackingConfig()) == ["tracking.uri: from MLFLOW_TRACKING_URI, postgresql://me:***@host/db"]
    assert address_of(TrackingConfig("http://other")).uri == "http://other"
    assert origin(TrackingConfig("http://other")) == ["MLFLOW_TRACKING_URI is not used: tracking.uri is given"]


def test_an_experiment_is_named_by_the_setting_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_experiment() == "bnsweep"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert default_experiment() == "mine"
    assert origin(TrackingConfig(experiment="mine")) == ["tracking.experiment: from MLFLOW_EXPERIMENT_NAME, mine"]
    says = ["MLFLOW_EXPERIMENT_NAME is not used: tracking.experiment is given"]
    assert origin(TrackingConfig(experiment="other")) == says
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "3")
    assert origin(TrackingConfig()) == ["MLFLOW_EXPERIMENT_ID is not used: experiments are found by name (bnsweep)"]


@pytest.mark.parametrize("uri", ["nope", "./mlruns", "file:///tmp/mlruns", "databricks", "ftp://host", "sqlite://"])
def test_a_variable_that_names_no_store_is_one_line_that_names_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match=f"^MLFLOW_TRACKING_URI={uri}: must be sqlite:///PATH") as caught:
        address_of(TrackingConfig())
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_no_text_is_shown_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////x/\udcff/mlflow.db")
    with pytest.raises(ConfigError, match=r"^MLFLOW_TRACKING_URI=sqlite:////x/\\udcff/mlflow\.db: .* a path in UTF-8$"):
        address_of(TrackingConfig())


@pytest.mark.parametrize(
    ("uri", "shown", "says"),
    [
        ("postgresql://me:p@ss@host/db", "postgresql://me:***@host/db", "write @ as %40"),
        ("postgresql://me:p/ss@host/db", "postgresql://me:***@host/db", "/ as %2F"),
        ("http://me:p#ss@host", "http://me:***@host", "# as %23"),
        ("http://host:port", "http://host:port", "must be a URI with a host"),
        ("http://host:99999", "http://host:99999", "must be a URI with a host"),
        ("sqlite:////x/y?z/mlflow.db", "sqlite:////x/y?z/mlflow.db", "without '?'"),
        ("sqlite:///~/mlflow.db", "sqlite:///~/mlflow.db", "without '~'"),
    ],
)
def test_a_uri_that_would_be_taken_for_another_is_refused(uri: str, shown: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address_of(TrackingConfig(uri))
    assert str(caught.value).startswith(f"tracking.uri={shown}: must be ")
    assert says in str(caught.value)


ODD = ["a%20b", "q?x=1&y", "h#y", "%", "sp ace", "é", "q'u\"o", "new\nline", "semi;colon", "a:b@c"]


@pytest.mark.parametrize("name", ODD)
def test_mlflow_opens_the_same_file_whatever_its_folder_is_called(name: str, tmp_path: Path) -> None:
    sqlalchemy: Any = pytest.importorskip("sqlalchemy")
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    address = Address(f"sqlite:///{path}")
    assert address.path == path
    engine = sqlalchemy.create_engine(address.for_mlflow, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table here (x)"))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select name from sqlite_master").fetchall() == [("here",)]
    assert [p.name for p in tmp_path.iterdir()] == [name]
