"""A sweep whose store goes away trains on, keeps what is trained, and logs it once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import postgres
import pytest
from commands import counts, end, start
from proxy import Proxy, Trouble
from quick_runs import grid, swept

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.runs.sweep import run_sweep
from bnsweep.store import patience, sqlite
from bnsweep.store.store import Store

SWEEP = "-m activation=sigmoid,relu bn=none,before seed=range(0,4) train.epochs=600 data.subset=120 sweep.max_stack=2"
QUICK = "import bnsweep.store.patience as p; p.FIRST_LINE, p.NEXT_LINE, p.GIVE_UP = 0.5, 1.0, {}"


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Somebody else's transaction, from when a run has been logged."""

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as db:
            while db.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0] < 2:
                time.sleep(0.02)
            db.execute("begin exclusive")
            time.sleep(seconds)
            db.execute("rollback")

    thread = threading.Thread(target=hold)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sqlite, "BUSY", 0.2)
    monkeypatch.setattr(patience, "FIRST_LINE", 0.3)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_training_goes_on_while_the_file_is_locked(
    tracking: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(Path(str(tracking.uri).removeprefix("sqlite:///")), 3):
        result = swept(grid(tracking, seeds=4, epochs=40, max_stack=2))
    assert result.trained == 16
    assert counts(tracking) == ({"FINISHED": 16}, 16)
    said = capsys.readouterr().out
    assert re.search(
        r"has not answered for \d s \(database is locked\); \d+ trained runs are kept in .*/kept-runs ", said
    )
    assert "the store answers again" in said
    assert not Path("kept-runs").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_what_no_store_took_is_logged_by_the_same_command(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = grid(tracking, seeds=4, epochs=40, max_stack=2, save_models=True)
    monkeypatch.setattr(patience, "GIVE_UP", 1.5)
    with (
        locked(Path(str(tracking.uri).removeprefix("sqlite:///")), 5),
        pytest.raises(
            ConfigError, match=r"^tracking.uri=.*: must be a store that answers; .* kept in .*; the same comma"
        ),
    ):
        run_sweep(configs, "test", workers=1)
    kept = len(list(Path("kept-runs").iterdir()))
    (finished, _), ledger = counts(tracking), capsys.readouterr().out
    assert f"{kept} trained and not logged" in ledger
    result = swept(configs)
    assert result.trained == 16 - kept - finished["FINISHED"]
    assert f"{kept} runs that were trained before are logged now" in capsys.readouterr().out
    assert counts(tracking) == ({"FINISHED": 16}, 16)
    assert not Path("kept-runs").exists()
    assert swept(configs).trained == 0, "each kept its network"


def logged(tracking: TrackingConfig, at_least: int, process: subprocess.Popen[str]) -> None:
    """Returns once so many runs are in the store."""
    store = Store.open(tracking)
    while len(store.backend.runs("run", "FINISHED")) < at_least:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [Trouble.REFUSED, Trouble.ERROR, Trouble.HANGING, Trouble.LOST])
def test_a_server_that_fails_for_a_while_costs_nothing(
    trouble: Trouble, tracking_server: str, proxy: Proxy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    experiment = f"tracking.experiment='{name}'"
    with start(tmp_path, *SWEEP.split(), f"tracking.uri={proxy.url}", experiment, code=QUICK.format(60)) as process:
        logged(TrackingConfig(tracking_server, name), 1, process)
        proxy.trouble = trouble
        time.sleep(6)
        proxy.trouble = Trouble.NONE
        said = end(process)
    assert "(16 trained now)" in said
    assert "the store has not answered for" in said and "the store answers again" in said
    assert "Traceback" not in said
    found, different = counts(TrackingConfig(tracking_server, name))
    assert (found["FINISHED"], found["RUNNING"], different) == (16, 0, 16)
    assert not (tmp_path / "kept-runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["given up", "SIGINT", "SIGKILL"])
def test_a_sweep_that_ends_without_its_server_goes_on_from_there(
    how: str, tracking_server: str, proxy: Proxy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tracking = TrackingConfig(tracking_server, request.node.name)
    command = [*SWEEP.split(), f"tracking.uri={proxy.url}", f"tracking.experiment='{tracking.experiment}'"]
    patient = QUICK.format(5 if how == "given up" else 100)
    with start(tmp_path, *command, code=patient) as process:
        logged(tracking, 1, process)
        proxy.trouble = Trouble.ERROR
        if how != "given up":
            while len(list(tmp_path.glob("kept-runs/[!.]*"))) < 4:
                time.sleep(0.1)
            began = time.monotonic()
            process.send_signal(getattr(signal, how))
        said = end(process, {"given up": 1, "SIGINT": 130, "SIGKILL": -signal.SIGKILL}[how])
    assert "Traceback" not in said
    kept, before = len(list((tmp_path / "kept-runs").glob("[!.]*"))), counts(tracking)[0]["FINISHED"]
    if how == "given up":
        last = said.splitlines()[-1]
        assert "too many 500 error responses" in last
        assert (
            f"{kept} trained runs are kept in {tmp_path}/kept-runs until this command logs them; the same comm" in last
        )
    if how == "SIGINT":
        assert time.monotonic() - began < 6
        assert f"{kept} trained runs are kept in {tmp_path}/kept-runs" in said
    proxy.trouble = Trouble.NONE
    said = end(start(tmp_path, *command))
    now = re.search(r"^(\d+) runs that were trained before are logged now$", said, re.MULTILINE)
    assert now is not None, said
    assert 0 < int(now[1]) <= kept, "the server may have taken a part of what was on its way"
    assert f"({16 - int(now[1]) - before} trained now)" in said
    found, different = counts(tracking)
    assert (found["FINISHED"], found["RUNNING"], different) == (16, 0, 16)
    assert not (tmp_path / "kept-runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing() or "there is one")
def test_a_postgresql_that_restarts_costs_nothing(tmp_path: Path) -> None:
    with postgres.postgres() as database:
        uri = f"{database}/postgres"
        tracking = TrackingConfig(uri)
        Store.open(tracking)
        with start(tmp_path, *SWEEP.split(), environment={"MLFLOW_TRACKING_URI": uri}) as process:
            logged(tracking, 2, process)
            database.stop()
            time.sleep(8)
            database.start()
            said = end(process)
        assert "(16 trained now)" in said
        assert "the store answers again" in said
        assert "Traceback" not in said
        assert counts(tracking) == ({"FINISHED": 16}, 16)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which only root may")
def test_a_disk_that_fills_up_ends_in_one_line_and_the_same_command_goes_on(
    empty_database: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = empty_database.stat().st_size // 1024 + 800
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        shutil.copyfile(empty_database, disk / "mlflow.db")
        command = [text for text in SWEEP.split() if not text.startswith("train.epochs")]
        tracking = TrackingConfig(f"sqlite:///{disk / 'mlflow.db'}")
        command += ["train.epochs=30", f"tracking.uri={tracking.uri}", "sweep.report=null"]
        said = end(start(tmp_path, *command), status=1)
        assert re.search(
            r"bnsweep: .*(is full|No space left on device).*; the same command goes on$", said.splitlines()[-1]
        )
        assert "Traceback" not in said
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        end(start(tmp_path, *command))
        assert counts(tracking) == ({"FINISHED": 16}, 16)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
