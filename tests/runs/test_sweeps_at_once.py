"""Sweeps that run at the same time: each has an id, a folder and a report of its own, and no run is trained twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import counts, end, start
from quick_runs import grid, in_sweep, swept

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.config.sweep import new_sweep_id
from bnsweep.store.store import Store

GRID = ("-m", "activation=sigmoid,relu", "bn=none,before", "train=smoke", "data.subset=120")


@pytest.fixture
def home(empty_database: Path, tmp_path: Path) -> Path:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return tmp_path


def reported(folder: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((folder / "summary.json").read_text())["info"]
    return info


def seed_of(overrides: Path) -> int:
    return int(overrides.read_text().partition("seed=")[2].split()[0])


def test_ids_made_in_one_moment_differ() -> None:
    ids = [new_sweep_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert len({len(name) for name in ids}) == 1


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(("seed=range(0,4)", "seed=range(2,6)"), marks=pytest.mark.slow),
        pytest.param(("seed=range(0,6)", "seed=range(0,6)"), marks=pytest.mark.slow),
        pytest.param(("seed=range(0,4)", "seed=range(0,4)", "seed=range(2,6)"), marks=pytest.mark.slow),
    ],
    ids=["sharing half", "twice the same", "twice the same, and one that shares half"],
)
def test_sweeps_that_start_together(seeds: tuple[str, ...], home: Path) -> None:
    processes = [start(home, *GRID, seed, f"sweep.report=r{i}") for i, seed in enumerate(seeds)]
    said = [end(process) for process in processes]
    assert counts(TrackingConfig(f"sqlite:///{home / 'mlflow.db'}")) == ({"FINISHED": 24}, 24)
    assert sum(int(text.split(" trained now")[0].rpartition("(")[2]) for text in said) == 24
    ids = [reported(home / f"r{i}")["sweep"] for i in range(len(seeds))]
    assert len(set(ids)) == len(ids)
    assert {path.name for path in (home / "multirun").iterdir()} == set(ids)
    for i, seed in enumerate(seeds):
        assert seed in reported(home / f"r{i}")["command"]
        assert f"sweep.report=r{i}" in reported(home / f"r{i}")["command"]
        jobs = list((home / "multirun" / ids[i]).glob("*/.hydra/overrides.yaml"))
        assert {seed_of(job) for job in jobs} == set(eval(seed.removeprefix("seed=")))
    store = Store.open(TrackingConfig(f"sqlite:///{home / 'mlflow.db'}"))
    assert store.backend.runs("claim") == []
    assert {run.status for run in store.backend.runs("sweep")} == {"FINISHED"}


@pytest.mark.slow
def test_single_runs_and_other_launchers_that_start_together(home: Path) -> None:
    one = ("bn=before", "activation=relu", "train=smoke", "data.subset=120")
    processes = [start(home, *one, "seed=0") for _ in range(3)]
    processes += [start(home, "-m", "hydra/launcher=joblib", *one, "seed=0,1,2") for _ in range(2)]
    for process in processes:
        end(process)
    assert counts(TrackingConfig(f"sqlite:///{home / 'mlflow.db'}")) == ({"FINISHED": 3}, 3)


@pytest.mark.slow
def test_different_sweeps_run_side_by_side(home: Path) -> None:
    longer = ("-m", "bn=none,before", "data.subset=120", "train.epochs=1500", "sweep.report=null")
    processes = [start(home, *longer, f"seed=range({8 * i},{8 * i + 8})") for i in range(3)]
    for process in processes:
        said = end(process)
        assert "waiting for sweep" not in said
        assert "16 finished, 0 diverged, 0 failed (16 trained now)" in said


def test_an_id_given_twice_names_one_sweep(home: Path) -> None:
    tracking = TrackingConfig(f"sqlite:///{home / 'mlflow.db'}", experiment="test")
    configs = in_sweep(grid(tracking), "mine")
    assert swept(configs[:5]).trained == 5
    assert swept(configs[:5]).trained == 0, "the same sweep goes on"
    for others in (configs[:4], configs, configs[5:]):
        with pytest.raises(ConfigError, match=r"^sweep.id=mine: must be new: test has a sweep of this id"):
            swept(others)
    store = Store.open(tracking)
    assert len(store.backend.runs("run")) == 5
    assert len(store.backend.runs("sweep")) == 2, "what is refused leaves nothing"


def test_each_sweep_of_one_id_is_read_by_its_own_run(home: Path) -> None:
    """Three that started in one second had one id, before ids had letters."""
    tracking = TrackingConfig(f"sqlite:///{home / 'mlflow.db'}", experiment="test")
    store, configs = Store.open(tracking), grid(tracking)
    from bnsweep.store.store import Manifest

    own = [store.open_sweep(Manifest.of(configs[i : i + 2], "20260102-030405", f"command {i}")) for i in (0, 2, 4)]
    swept(in_sweep(configs, "all"))
    for i, run_id in zip((0, 2, 4), own, strict=True):
        store.close_sweep("20260102-030405", {"planned": 2}, {}, run_id)
        frame = store.load("20260102-030405", run_id)
        assert (frame.info.command, len(frame.runs), frame.info.own_run) == (f"command {i}", 2, run_id)
    assert {run.status for run in store.backend.runs("sweep")} == {"FINISHED"}


@pytest.mark.slow
def test_a_folder_holds_the_jobs_of_one_sweep(home: Path) -> None:
    small = ("-m", "bn=none,before", "train=smoke", "data.subset=120", "sweep.report=null", "sweep.id=mine")
    end(start(home, *small, "seed=0"))
    before = (home / "multirun/mine/multirun.yaml").read_text()
    said = end(start(home, *small, "seed=1", "tracking.experiment=another"), status=1)
    assert (
        "hydra.sweep.dir=multirun/mine: must be the folder of no other sweep; that one was of bn=none,before " in said
    )
    assert len(said.splitlines()) == 1
    assert (home / "multirun/mine/multirun.yaml").read_text() == before
    end(start(home, *small, "seed=0", "sweep.max_stack=1"))


@pytest.mark.parametrize("name", ["..", "a\nb", "x" * 300])
def test_an_id_that_may_not_name_a_folder_is_refused_and_writes_nothing(name: str, home: Path) -> None:
    quoted = "'" + name.replace("'", "\\'") + "'"
    said = end(start(home, "-m", "bn=none,before", "train=smoke", f"sweep.id={quoted}"), status=1)
    assert "sweep.id=" in said and "must be letters, digits" in said, said
    assert "Traceback" not in said
    assert {path.name for path in home.iterdir()} == {"mlflow.db"}
