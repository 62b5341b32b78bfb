"""`python -m bnsweep.ui`, `--version`, and what the commands say to type next."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bnsweep
from bnsweep.cli import experiments, report, sweep, ui
from bnsweep.cli.next_commands import pages_command, report_command
from bnsweep.config.run import TrackingConfig
from tests.servers import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def refused(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["bnsweep.ui", *arguments])
    with pytest.raises(SystemExit) as stop:
        ui.main()
    assert isinstance(stop.value.code, str), "printed, with exit status 1"
    return stop.value.code


def test_a_port_in_use_is_refused_with_one_that_is_free(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, f"port={taken}")
    assert said.startswith(f"bnsweep.ui: port={taken}: must be free on this machine (address already in use); port=")
    assert ui.why_not(int(said.partition("; port=")[2].removesuffix(" is"))) == ""


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("port=0", "port=0: must be an integer from 1 to 65535"),
        ("port=65536", "port=65536: must be an integer from 1 to 65535"),
        ("port=http", "port=http: must be an integer from 1 to 65535"),
        ("prot=1", "prot=1: no such setting of this command, with KEY one of port, tracking.uri"),
        ("tracking.uri=http://host", "tracking.uri=http://host: must be a database; a tracking server has pages"),
        ("tracking.uri=null", "mlflow.db: must be an existing database here; there is none (a sweep writes it)"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    argument: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused(monkeypatch, argument)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_pages_of_a_store_with_an_odd_name_are_served_until_ctrl_c(tmp_path: Path, empty_database: Path) -> None:
    port, database = free_port(), tmp_path / "50% of a #1 lab.db"
    database.write_bytes(empty_database.read_bytes())
    with sqlite3.connect(database) as db:
        db.execute("insert into experiment_tags values ('mlflow.sharedViewState.bnsweep', '{}', 0)")
    command = [sys.executable, "-m", "bnsweep.ui", f"port={port}", f"tracking.uri=sqlite:///{database}"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        said = [run.stdout.readline() for _ in range(2)]
        names = until_answered(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0")
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 0
    assert said[0].startswith(f"comparison of Default: http://127.0.0.1:{port}/#/experiments/0/runs?")
    assert said[1].startswith(f"MLflow's pages: http://127.0.0.1:{port}")
    assert '"Default"' in names


def until_answered(url: str) -> str:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.3)


@pytest.mark.parametrize("main", [sweep.main, report.main, experiments.main, ui.main])
def test_the_version_is_our_own(
    main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bnsweep", "--version"])
    main()
    assert capsys.readouterr().out == f"bnsweep {bnsweep.__version__}\n"


def test_make_is_named_only_beside_our_makefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    other = TrackingConfig("sqlite:///a b.db")
    monkeypatch.chdir(ROOT)
    assert pages_command(TrackingConfig()) == "make ui"
    assert pages_command(other) == "python -m bnsweep.ui tracking.uri='sqlite:///a b.db'"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Makefile").write_text("ui:\n", encoding="utf-8")
    assert pages_command(TrackingConfig()) == "python -m bnsweep.ui"
    assert pages_command(TrackingConfig("http://host")) == "", "it has pages of its own"


def test_the_command_of_a_report_names_what_is_not_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert report_command(TrackingConfig(experiment="mine"), "a") == "python -m bnsweep.report sweep=a"
    named = report_command(TrackingConfig("sqlite:///a.db", "my lab"), "a")
    assert named == "python -m bnsweep.report sweep=a tracking.uri=sqlite:///a.db tracking.experiment='my lab'"
