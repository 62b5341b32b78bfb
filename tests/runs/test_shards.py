"""A sweep whose shards are trained by several machines that share nothing but a tracking server."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from commands import counts, end, start
from quick_runs import grid, in_sweep, swept

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.runs.shards import share_of, shared_out, unit
from bnsweep.store.store import Store

GRID = "-m activation=sigmoid,relu bn=none,before seed=range(0,6) train=smoke data.subset=120 sweep.id=mine".split()


HOLDS = """
import sys
from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store
wanted, planned = (text.split(",") for text in sys.argv[3:])
with Store.open(TrackingConfig(*sys.argv[1:3])).claimed(wanted, "mine", planned):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another(tracking: TrackingConfig, wanted: str, planned: str) -> Iterator[None]:
    """A process that has claimed its share of the sweep."""
    command = [sys.executable, "-c", HOLDS, str(tracking.uri), tracking.experiment, wanted, planned]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield
        process.communicate("\n")


def shares(configs: list[RunConfig], count: int) -> list[list[int]]:
    return [share_of(configs, SweepConfig(shard=f"{i + 1}/{count}")).jobs for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 24])
def test_every_run_is_in_one_shard_and_shards_are_about_equal(count: int) -> None:
    parts = shares(grid(seeds=6), count)
    assert sorted(job for part in parts for job in part) == list(range(24))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_are_of_the_runs_and_not_of_their_order() -> None:
    configs = grid(seeds=5)
    backwards = configs[::-1]
    for one, other in zip(shares(configs, 3), shares(backwards, 3), strict=True):
        assert {identity(configs[job]) for job in one} == {identity(backwards[job]) for job in other}


def test_jobs_that_mean_one_run_are_in_one_shard() -> None:
    configs = grid(seeds=2)
    for part in shares([*configs, *configs], 4):
        assert {job % 8 for job in part} == {job for job in part if job < 8}


def test_seeds_stay_whole_where_that_comes_out_even() -> None:
    configs = grid(seeds=6)
    assert [len({configs[job].seed for job in part}) for part in shares(configs, 3)] == [2, 2, 2]
    assert [len({configs[job].seed for job in part}) for part in shares(configs, 4)] == [2, 2, 2, 2], "6 runs each"


def test_longer_runs_count_for_more() -> None:
    short = grid(seeds=4)
    long = [replace(config, train=replace(config.train, epochs=12)) for config in grid(seeds=2)]
    units = [unit(config, identity(config)) for config in (*short, *long)]
    work = [sum(one.work for one in part) for part in shared_out(units, 4)]
    assert max(work) < 1.2 * sum(work) / 4


def test_there_are_no_more_shards_than_runs() -> None:
    with pytest.raises(ConfigError, match=r"^sweep.shard=1/9: must be of no more shards than the sweep has runs"):
        shares(grid(), 9)


def shard(configs: list[RunConfig], text: str) -> list[RunConfig]:
    return in_sweep(configs, "mine", shard=text)


def test_shards_one_after_the_other_make_one_sweep(
    tracking: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = grid(tracking, seeds=3)
    jobs = list[int]()
    for i in (2, 1, 3):
        result = swept(shard(configs, f"{i}/3"))
        assert (result.trained, len(result.runs)) == (4, 4)
        jobs += result.jobs
    assert sorted(jobs) == list(range(12))
    said = capsys.readouterr().out
    assert "sweep.shard=2/3: 4 of the 12 runs of the sweep\n" in said
    assert "ledger of shard 2/3: 4 planned, 4 finished, 0 diverged, 0 failed (4 trained now)\n" in said
    assert "whole sweep: 4 of 12 runs have a result; no other shard is under way, their commands train the" in said
    assert said.rstrip().endswith("whole sweep: 12 of 12 runs have a result")
    store = Store.open(tracking)
    assert counts(tracking) == ({"FINISHED": 12}, 12)
    assert [run.status for run in store.backend.runs("sweep")] == ["FINISHED"] * 3
    assert len(store.backend.runs("mean")) == 4
    assert store.backend.runs("claim") == []
    for own in ("", *(run.run_id for run in store.backend.runs("sweep"))):
        assert list(store.load("mine", own).runs["status"]) == ["finished"] * 12, "each knows the whole sweep"
    assert swept(shard(configs, "2/3")).trained == 0
    assert swept(in_sweep(configs, "mine")).trained == 0, "the whole sweep is the same one"


def test_a_shard_of_other_runs_is_another_sweep(tracking: TrackingConfig) -> None:
    configs = grid(tracking, seeds=3)
    swept(shard(configs, "1/3"))
    with pytest.raises(ConfigError, match=r"^sweep.id=mine: must be new: test has a sweep of this id with other runs"):
        swept(shard(configs[:8], "2/3"))


def test_a_shard_says_which_others_are_under_way(tracking: TrackingConfig, capsys: pytest.CaptureFixture[str]) -> None:
    configs = grid(tracking, seeds=3)
    theirs = share_of(configs, SweepConfig(shard="2/3"))
    with another(tracking, *(",".join(names) for names in (theirs.identities, theirs.planned))):
        assert swept(shard(configs, "1/3")).trained == 4
        info = Store.open(tracking).load("mine").info
        assert info.running and not info.closed
    assert "4 of 12 runs have a result, 1 shard is still under way; the last to end writes" in capsys.readouterr().out


@pytest.fixture(params=["a file", "a tracking server", "PostgreSQL"])
def uri(request: pytest.FixtureRequest, empty_database: Path, tmp_path: Path) -> str:
    """Of a store that several machines reach."""
    if request.param == "a file":
        shutil.copyfile(empty_database, tmp_path / "mlflow.db")
        return f"sqlite:///{tmp_path / 'mlflow.db'}"
    if request.param == "a tracking server":
        return str(request.getfixturevalue("tracking_server"))
    return str(request.getfixturevalue("postgres_database"))


def experiment(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"MLFLOW_EXPERIMENT_NAME": request.node.name}


def machine(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_shards_at_once_make_the_sweep_that_one_machine_makes(
    uri: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    variables = experiment(request) | {"MLFLOW_TRACKING_URI": uri}
    folders = [machine(tmp_path, f"machine{i}") for i in range(3)]
    processes = [
        start(folder, *GRID, f"sweep.shard={i + 1}/3", environment=variables) for i, folder in enumerate(folders)
    ]
    said = [end(process) for process in processes]
    assert all("(8 trained now)" in text for text in said), said
    assert sum("24 of 24 planned runs have a result" in text for text in said) >= 1
    tracking = TrackingConfig(uri, request.node.name)
    assert counts(tracking) == ({"FINISHED": 24}, 24)
    store = Store.open(tracking)
    assert [run.status for run in store.backend.runs("sweep")] == ["FINISHED"] * 3
    assert (len(store.backend.runs("mean")), store.backend.runs("claim")) == (4, [])
    jobs = [path.name for folder in folders for path in (folder / "multirun/mine").iterdir() if path.is_dir()]
    assert sorted(map(int, jobs)) == list(range(24))
    alone = machine(tmp_path, "alone")
    end(start(alone, *GRID))
    rankings = [(folder / "report/ranking.csv").read_text(encoding="utf-8") for folder in folders]
    assert (alone / "report/ranking.csv").read_text(encoding="utf-8") in rankings


@pytest.mark.slow
def test_a_shard_that_was_killed_goes_on_beside_the_others(
    uri: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tracking = TrackingConfig(uri, request.node.name)
    variables = experiment(request) | {"MLFLOW_TRACKING_URI": uri}
    longer = [*GRID, "train.epochs=300", "sweep.max_stack=2"]
    folders = [machine(tmp_path, f"machine{i}") for i in range(2)]
    Store.open(tracking)
    first, second = (
        start(folder, *longer, f"sweep.shard={i + 1}/2", environment=variables) for i, folder in enumerate(folders)
    )
    while len(Store.open(tracking).backend.runs("run", "FINISHED")) < 4:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    end(first, -signal.SIGKILL)
    said = end(second)
    assert "(12 trained now)" in said
    assert "no other shard is under way, their commands train the rest" in said
    before = counts(tracking)[0]["FINISHED"]
    kept = len(list((folders[0] / "kept-runs").glob("[!.]*")))  # where the store was slow as the process was killed
    said = end(start(folders[0], *longer, "sweep.shard=1/2", environment=variables))
    assert f"({24 - before - kept} trained now)" in said
    assert "24 of 24 planned runs have a result" in said
    found, different = counts(tracking)
    assert (found["FINISHED"], found["RUNNING"], different) == (24, 0, 24)
    assert Store.open(tracking).backend.runs("claim") == []
