"""A real PostgreSQL as the store: its tables are made once, however many begin together, and nothing tells its
password."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from store_runs import log_run

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import RunRecord
from bnsweep.store.store import Store
from tests.postgres import PASSWORD, query

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
REPO = Path(__file__).parents[2]
SWEEP = "data=digits train=smoke bn=none,before data.subset=100"


@pytest.fixture
def database(postgres_server: str) -> str:
    """URI of an empty database."""
    name = f"db_{uuid.uuid4().hex}"
    query(f"{postgres_server}/postgres", f"create database {name}")
    return f"{postgres_server}/{name}"


def test_looking_makes_no_tables(database: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a database with runs; this one has none") as caught:
        Store.open(TrackingConfig(database), create=False)
    assert PASSWORD not in str(caught.value)
    assert query(database, "select count(*) from pg_tables where schemaname = 'public'") == [0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("@127", "x@127"), "password authentication failed"),
        (("/db_", "/none_"), 'database "none_.*" does not exist'),
        (("127.0.0.1:", "127.0.0.1:1"), "must be a"),
    ],
)
def test_what_cannot_be_opened_is_one_line_without_the_password(
    change: tuple[str, str], says: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.replace(*change))
    with pytest.raises(ConfigError, match=says) as caught:
        Store.open(TrackingConfig())
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI=postgresql+")
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_folder_of_artifacts_that_was_moved_does_not_come_back(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    log_run(Store.open(TrackingConfig(database)), RunConfig(), RunRecord("finished"), "s")
    home.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"^tracking.experiment=bnsweep: must be an .* artifacts lie on"):
        Store.open(TrackingConfig(database))
    assert not home.exists()
    Store.open(TrackingConfig(database, "another"))


@pytest.mark.slow
def test_four_sweeps_begin_together_in_an_empty_database_and_none_tells_the_password(
    database: str, tmp_path: Path
) -> None:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), *sys.path]), "OMP_NUM_THREADS": "1"}
    here |= {"MLFLOW_TRACKING_URI": database, "MLFLOW_EXPERIMENT_NAME": "mine"}
    processes = []
    for i in range(4):
        folder = tmp_path / str(i)
        folder.mkdir()
        command = [sys.executable, "-m", "bnsweep", "-m", *SWEEP.split(), f"seed={i}", f"sweep.id=s{i}"]
        if i == 3:
            here = {name: value for name, value in here.items() if name != "MLFLOW_TRACKING_URI"} | {"STORE": database}
            command += ["tracking.uri=${oc.env:STORE}"]
        with (folder / "said").open("wb") as said:
            processes.append(subprocess.Popen(command, cwd=folder, env=here, stdout=said, stderr=said))
    assert [process.wait(400) for process in processes] == [0] * 4
    assert query(database, "select name from experiments order by name") == ["Default", "mine"]
    assert query(database, "select count(*) from tags where key = 'bnsweep.kind' and value = 'run'") == [8]
    first = (tmp_path / "0" / "said").read_text(encoding="utf-8").splitlines()[:2]
    assert first[0].startswith("tracking.uri: from MLFLOW_TRACKING_URI, postgresql")
    assert first[1] == "tracking.experiment: from MLFLOW_EXPERIMENT_NAME, mine"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.html", "summary.json", "config.yaml", "sweep.json", "said"} <= {path.name for path in written}
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []
    for table, column in (("tags", "value"), ("params", "value"), ("runs", "artifact_uri"), ("experiments", "name")):
        assert query(database, f"select count(*) from {table} where {column} like '%{PASSWORD}%'") == [0]
