"""Whole sweeps on PostgreSQL and on MLflow's tracking server, which are killed, stay away and come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import counts, end, start
from postgres import missing, postgres

from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store
from tests.campaign.backends import MlflowServer

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]
KINDS = ("a tracking server", "a tracking server on PostgreSQL", "PostgreSQL")
GRID = ("-m", "activation=sigmoid,relu", "bn=none,before", "data.subset=120")
AWAY = 60.0


@dataclass
class Place:
    """A store whose servers can be killed and started again."""

    uri: str
    kill: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def tracking_server(home: Path, uri: str = "") -> Iterator[Place]:
    server = MlflowServer(home, uri)
    server.start()
    try:
        yield Place(f"http://127.0.0.1:{server.port}", server.kill, server.start)
    finally:
        server.kill()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "a tracking server":
        with tracking_server(tmp_path / "server") as place:
            yield place
        return
    if missing():
        pytest.skip(missing())
    with postgres() as database:
        if request.param == "PostgreSQL":
            yield Place(f"{database}/postgres", database.stop, database.start)
        else:  # it is the database that goes away: the server answers, with errors
            with tracking_server(tmp_path / "server", f"{database}/postgres") as place:
                yield Place(place.uri, database.stop, database.start)


def folder(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.mkdir()
    return path


def test_a_server_that_is_away_for_a_minute_costs_nothing(place: Place, tmp_path: Path) -> None:
    tracking, home = TrackingConfig(place.uri), folder(tmp_path, "home")
    store = Store.open(tracking)
    command = [*GRID, "seed=range(0,4)", "train.epochs=600", "sweep.max_stack=2"]
    with start(home, *command, environment={"MLFLOW_TRACKING_URI": place.uri}) as process:
        while len(store.backend.runs("run", "FINISHED")) < 2:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
        place.kill()
        time.sleep(AWAY)
        kept = len(list((home / "kept-runs").glob("[!.]*/run.json")))
        place.start()
        said = end(process)
    assert 2 <= kept <= 14
    assert "(16 trained now)" in said
    assert "kept-runs until this command logs them" in said and "the store answers again" in said
    assert "Traceback" not in said
    found, different = counts(tracking)
    assert (found["FINISHED"], found["RUNNING"], different) == (16, 0, 16)
    assert not (home / "kept-runs").exists()
    assert [run.status for run in store.backend.runs("sweep")] == ["FINISHED"]
    assert store.backend.runs("claim") == []
    assert "Complete. 16 of 16 planned runs have a result" in said


@pytest.mark.parametrize("seeds", [("range(0,4)", "range(0,4)"), ("range(0,4)", "range(2,6)")], ids=["same", "half"])
def test_sweeps_at_once_train_and_log_each_run_once(place: Place, seeds: tuple[str, ...], tmp_path: Path) -> None:
    tracking = TrackingConfig(place.uri)
    processes = [
        start(
            folder(tmp_path, f"home{i}"),
            *GRID,
            "train=smoke",
            f"seed={seed}",
            environment={"MLFLOW_TRACKING_URI": place.uri},
        )
        for i, seed in enumerate(seeds)
    ]
    said = [end(process) for process in processes]
    wanted = 16 if seeds[0] == seeds[1] else 24
    assert counts(tracking) == ({"FINISHED": wanted}, wanted)
    assert sum(int(text.split(" trained now")[0].rpartition("(")[2]) for text in said) == wanted
    store = Store.open(tracking)
    assert [run.status for run in store.backend.runs("sweep")] == ["FINISHED"] * 2
    assert store.backend.runs("claim") == []
