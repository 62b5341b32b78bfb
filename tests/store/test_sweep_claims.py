"""Of sweeps that want the same run one trains it, and a sweep that is gone stands in nobody's way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from store_runs import log_run

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import RunRecord
from bnsweep.store import claims
from bnsweep.store.claims import ALIVE, CLAIM, Claim, check_same_sweep, wait_for_turn
from bnsweep.store.client import ClientBackend
from bnsweep.store.encode import milliseconds, run_under_way
from bnsweep.store.store import Manifest, Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


@pytest.fixture(params=["straight", "public"])
def store(empty_database: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    """Written straight into the tables, and through MLflow's public API."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    store = Store.open(TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))
    if request.param == "public":
        return replace(store, backend=ClientBackend(store.client, store.experiment_id))
    return store


HOLDS = """
import sys, time
from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store
with Store.open(TrackingConfig(sys.argv[1])).claimed(sys.argv[3:], sys.argv[2]):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another(store: Store, sweep_id: str, *wanted: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed runs until it reads a line."""
    command = [sys.executable, "-c", HOLDS, store.uri, sweep_id, *wanted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def waits(claim: Claim, left: set[str]) -> threading.Thread:
    """A wait on its way."""
    thread = threading.Thread(target=wait_for_turn, args=(claim, lambda: left), daemon=True)
    thread.start()
    return thread


def test_a_sweep_waits_for_one_that_trains_what_it_wants_and_for_no_other(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with another(store, "first", "a", "b") as first, store.claimed(["b", "c"], "second") as claim:
        with store.claimed(["d"], "third") as third:
            wait_for_turn(third, lambda: {"d"})
        left = {"b", "c"}
        wait = waits(claim, left)
        wait.join(1.5)
        assert wait.is_alive()
        assert capsys.readouterr().out.startswith("waiting for sweep first (process ")
        left.discard("b")  # as when the first one has logged it
        wait.join(20)
        assert not wait.is_alive()
        assert first.poll() is None


def test_a_sweep_that_ends_leaves_no_claim(store: Store) -> None:
    with another(store, "first", "a") as first, store.claimed(["a"], "second") as claim:
        wait = waits(claim, {"a"})
        first.communicate("\n")
        wait.join(20)
        assert not wait.is_alive()
        assert len(store.backend.runs(CLAIM)) == 1
    assert store.backend.runs(CLAIM) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="without /proc only signs of life tell, after 40 s")
def test_a_sweep_that_is_killed_is_not_waited_for(store: Store) -> None:
    with another(store, "first", "a") as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert len(store.backend.runs(CLAIM)) == 1
        began = time.monotonic()
        with store.claimed(["a"], "second") as claim:
            wait_for_turn(claim, lambda: {"a"})
            assert time.monotonic() - began < 10
            assert [run.run_id for run in store.backend.runs(CLAIM)] == [claim.run_id], "it is tidied away"


@pytest.mark.slow
def test_a_sweep_on_another_machine_is_waited_for_as_long_as_it_gives_signs_of_life(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "DEAD", 1.5)
    with store.claimed(["a"], "there") as there:
        far = {"host": "elsewhere", "place": "another machine", "pid": 1, "started": "1"}

        def sign(beat: int) -> None:
            store.backend.tag_runs([there.run_id], ALIVE, json.dumps({"process": far, "beat": beat}))

        sign(0)
        with store.claimed(["a"], "here") as here:
            wait = waits(here, {"a"})
            for beat in range(1, 7):
                time.sleep(0.5)
                sign(beat)
            assert wait.is_alive()
            wait.join(20)
            assert not wait.is_alive()


def test_claims_are_waited_for_in_one_order_whoever_looks_first(store: Store) -> None:
    """Two that have drawn the same number, as when both looked at once; one that has not drawn yet comes first."""
    with another(store, "first", "a"), store.claimed(["a"], "second") as second:
        (first,) = second.others()
        store.backend.tag_runs([first.run.run_id], claims.TURN, str(second.turn))
        (first,) = second.others()
        assert (first.turn < (second.turn, second.run_id)) == (first.run.run_id < second.run_id)
        store.backend.tag_runs([first.run.run_id], claims.TURN, "")
        assert [other.sweep for other in second.ahead()] == ["first"]


def test_the_id_of_a_sweep_under_way_is_refused_for_other_runs(store: Store) -> None:
    with another(store, "mine", "a", "b"):
        with (
            store.claimed(["a"], "mine") as claim,
            pytest.raises(ConfigError, match=r"^sweep.id=mine: must be another: a sweep of this id is under way .*pro"),
        ):
            check_same_sweep(claim, "mine")
        with store.claimed(["b", "a"], "mine") as claim:
            check_same_sweep(claim, "mine")


def test_the_id_of_an_earlier_sweep_of_other_runs_is_refused(store: Store) -> None:
    configs = [RunConfig(seed=seed) for seed in range(3)]
    names = [identity(config) for config in configs]
    store.open_sweep(Manifest.of(configs[:2], "mine", "…"))
    store.check_id("mine", names[:2], whole=True)
    store.check_id("mine", names[:1], whole=False)
    store.check_id("another", names, whole=True)
    for wanted, whole in ((names, True), (names[:1], True), (names[1:], True), (names[2:], False)):
        with pytest.raises(ConfigError, match=r"^sweep.id=mine: must be new: bnsweep has a sweep of this id"):
            store.check_id("mine", wanted, whole)
    log_run(store, configs[2], RunRecord("finished"), "one process a run")
    store.check_id("one process a run", names, whole=True)
    with pytest.raises(ConfigError, match="must be new"):
        store.check_id("one process a run", names[:2], whole=True)


def test_a_claim_of_many_runs_says_all_of_them(store: Store) -> None:
    wanted = {f"{i:016x}" for i in range(2100)}
    with another(store, "first", *sorted(wanted)), store.claimed(["x"], "second") as claim:
        (first,) = claim.others()
        assert first.wanted == wanted


def opened(store: Store, sweep: str, seed: int, start: int = 1000) -> str:
    (run_id,) = store.backend.create([run_under_way(RunConfig(seed=seed), sweep, 1, start)])
    return run_id


def statuses(store: Store, *run_ids: str) -> list[str]:
    return [store.client.get_run(run_id).info.status for run_id in run_ids]


def test_what_a_killed_sweep_left_running_ends_with_its_claim_and_nothing_else(store: Store) -> None:
    names = [identity(RunConfig(seed=seed)) for seed in (0, 1)]
    with another(store, "first", *names) as first, store.claimed(["a"], "second") as claim:
        own = store.open_sweep(Manifest.of([RunConfig()], "first", "…"), claim.others()[0].run.run_id)
        left = [opened(store, "first", seed) for seed in (0, 1)]
        of_its_sibling = opened(store, "first", 2)  # another process of one sweep, each with runs of its own
        of_another = opened(store, "second", 0)
        later = opened(store, "first", 0, milliseconds() + 100_000)  # the same command, begun meanwhile
        assert claims.living(store.backend) == {"first", "second"}
        first.kill()
        first.wait()
        assert claims.living(store.backend) == {"second"}
        assert statuses(store, own, *left) == ["RUNNING"] * 3
        assert claim.others() == []
        assert statuses(store, own, *left) == ["KILLED"] * 3
        assert statuses(store, of_its_sibling, of_another, later) == ["RUNNING"] * 3


def test_a_sweep_leaves_nothing_running_whatever_ends_it(store: Store) -> None:
    name = identity(RunConfig())
    with suppress(KeyboardInterrupt), store.claimed([name], "s") as claim:
        own, run = store.open_sweep(Manifest.of([RunConfig()], "s", "…"), claim.run_id), opened(store, "s", 0)
        raise KeyboardInterrupt
    assert claim.is_over and statuses(store, own, run) == ["KILLED", "KILLED"]


def test_a_sweep_on_another_machine_lives_as_long_as_its_last_sign_is_fresh(store: Store) -> None:
    far = {"host": "elsewhere", "place": "another machine", "pid": 1, "started": "1"}
    with store.claimed(["a"], "there") as there:
        for ago, alive in ((1, True), (100, False)):
            sign = {"process": far, "beat": 0, "time": milliseconds() - 1000 * ago}
            store.backend.tag_runs([there.run_id], ALIVE, json.dumps(sign))
            assert (claims.living(store.backend) == {"there"}) is alive


def test_a_report_says_of_a_sweep_whether_it_is_running_or_was_killed(store: Store) -> None:
    configs = [RunConfig(seed=seed) for seed in range(4)]
    names = [identity(config) for config in configs]
    with another(store, "s", *names) as sweep:
        claim = store.backend.runs(CLAIM)[0].run_id
        own = store.open_sweep(Manifest.of(configs, "s", "…"), claim)
        says = "^sweep=s: must be one with at least one run that ended; this one is running and has none yet$"
        with pytest.raises(ConfigError, match=says):
            store.load()
        opened(store, "s", 0)
        opened(store, "s", 1)
        with pytest.raises(
            ConfigError, match=r"this one is running, with 2 of 4 runs in the store so far, and has none"
        ):
            store.load()
        log_run(store, configs[0], RunRecord("finished"), "s")
        found = store.load()
        assert (found.info.closed, found.info.running, found.info.under_way) == (False, True, 1)
        assert list(found.runs["status"]) == ["finished", "missing", "missing", "missing"]
        sweep.kill()
        sweep.wait()
        found = store.load()
        assert (found.info.closed, found.info.running, found.info.under_way) == (False, False, 0)
        store.close_sweep("s", {}, {}, own)
        assert (store.load().info.closed, store.load().info.running) == (True, False)
