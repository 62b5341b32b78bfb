"""Servers of this machine that can be killed and started again: MLflow's own, and PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """On a sqlite file, or on the store of that URI."""

    def __init__(self, home: Path, uri: str = "") -> None:
        home.mkdir(parents=True)
        self.home, self.port = home, free_port()
        self.uri = uri or f"sqlite:///{home / 'mlflow.db'}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        line = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.uri, "--host", "127.0.0.1"]
        line += ["--port", str(self.port), "--workers", "1", "--artifacts-destination", str(self.home / "served")]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                line, env=os.environ | QUIET, cwd=self.home, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 180
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                return
            time.sleep(0.3)
        raise RuntimeError(f"mlflow server did not come up: {(self.home / 'log').read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Postgres:
    """A cluster of its own, which no root may run."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home, self.port, self._user = home, free_port(), unprivileged()
        if self._user:
            shutil.chown(home, self._user)
        self._tools = tools()
        self._do("initdb", "-D", str(home / "data"), "-U", "bnsweep", "--auth=trust", "-N", "-E", "UTF8")

    @property
    def uri(self) -> str:
        """Of the database that every cluster has."""
        return f"postgresql+psycopg://bnsweep@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.home} -c fsync=off"
        self._do("pg_ctl", "-D", str(self.home / "data"), "-l", str(self.home / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """`fast` ends sessions in order, `immediate` as a crash does."""
        with suppress(subprocess.CalledProcessError):
            self._do("pg_ctl", "-D", str(self.home / "data"), "-m", mode, "-w", "stop")

    def _do(self, tool: str, *words: str) -> None:
        line = [str(self._tools / tool), *words]
        # With pipes, the server that pg_ctl leaves behind would hold them open.
        log = (self.home / "tool.log").open("ab")
        with log:
            subprocess.run(line, check=True, stdout=log, stderr=log, cwd="/", user=self._user, timeout=120)


def unprivileged() -> str | None:
    """A user to run PostgreSQL as, where this is root."""
    if os.geteuid() != 0:
        return None
    names = [entry.pw_name for entry in pwd.getpwall()]
    return next(name for name in ("postgres", "nobody") if name in names)


def tools() -> Path:
    """The folder of PostgreSQL's programs, which Debian keeps off the path; an empty name where there is none."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return newest[-1].parent if newest else Path()


def postgres_is_missing() -> str:
    """What is missing; empty if it can be used."""
    if tools() == Path():
        return "there is no PostgreSQL here"
    return "" if find_spec("psycopg") else "the driver psycopg is not installed"
