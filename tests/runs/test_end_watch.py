"""A small process ends what a sweep leaves RUNNING, however the sweep ends, and ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executor_tests import until
from proxy import Proxy, Trouble

from bnsweep.config.run import TrackingConfig
from bnsweep.store.claims import CLAIM
from bnsweep.store.store import Store

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")

SWEEP = """
import sys
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.runs.end_watch import EndWatch
from bnsweep.store.encode import run_under_way
from bnsweep.store.store import Manifest, Store

store, run = Store.open(TrackingConfig(*sys.argv[1:])), RunConfig()
with EndWatch() as watch, store.claimed([identity(run)], "s") as claim:
    for _ in range(2):
        watch.begin(store, claim)
    store.open_sweep(Manifest.of([run], "s", "..."), claim.run_id)
    store.backend.create([run_under_way(run, "s", 1, 1000)])
    print("begun", flush=True)
    sys.stdin.readline()
print("ended", flush=True)
"""


def begun(uri: str, experiment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SWEEP, uri, experiment]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def children(process: subprocess.Popen[str]) -> list[Path]:
    """/proc entries of the processes that it has started."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path("/proc") / pid for pid in pids]


def is_over(entry: Path) -> bool:
    try:
        return entry.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def statuses(store: Store) -> list[str]:
    return [run.status for kind in ("run", "sweep") for run in store.backend.runs(kind)]


@pytest.mark.parametrize("to", ["the process", "its group"])
def test_a_sweep_that_is_killed_leaves_nothing_running(to: str, tracking: TrackingConfig) -> None:
    store = Store.open(tracking)
    with begun(str(tracking.uri), tracking.experiment) as process:
        (helper,) = children(process)
        assert statuses(store) == ["RUNNING", "RUNNING"]
        (os.killpg if to == "its group" else os.kill)(process.pid, signal.SIGKILL)
        until(lambda: is_over(helper), 3)
        assert statuses(store) == ["KILLED", "KILLED"]
        assert store.backend.runs(CLAIM) == []


def test_a_sweep_that_ends_takes_its_helper_with_it(tracking: TrackingConfig) -> None:
    with begun(str(tracking.uri), tracking.experiment) as process:
        (helper,) = children(process)
        out, _ = process.communicate("\n")
        assert (out, process.returncode) == ("ended\n", 0)
        assert is_over(helper), "at once"
    assert statuses(Store.open(tracking)) == ["KILLED", "KILLED"], "as neither was closed"


def test_of_a_server_too(tracking_server: str, request: pytest.FixtureRequest) -> None:
    tracking = TrackingConfig(tracking_server, request.node.name)
    with begun(tracking_server, tracking.experiment) as process:
        (helper,) = children(process)
        process.kill()
        until(lambda: is_over(helper))
    assert statuses(Store.open(tracking)) == ["KILLED", "KILLED"]


@pytest.mark.slow
def test_a_server_that_is_away_is_asked_again(
    tracking_server: str, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    tracking = TrackingConfig(proxy.url, request.node.name)
    with begun(proxy.url, tracking.experiment) as process:
        (helper,) = children(process)
        proxy.trouble = Trouble.ERROR
        process.kill()
        time.sleep(4)
        proxy.trouble = Trouble.NONE
        until(lambda: is_over(helper))
    assert statuses(Store.open(tracking)) == ["KILLED", "KILLED"]
