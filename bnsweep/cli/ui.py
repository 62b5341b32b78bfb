"""`python -m bnsweep.ui`: MLflow's pages of a store, on this machine."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass

from bnsweep.cli.entry import run_command
from bnsweep.cli.key_values import key_values
from bnsweep.config.checks import ConfigError, check
from bnsweep.config.run import TrackingConfig
from bnsweep.store.address import address_of, origin
from bnsweep.store.database import check_database
from bnsweep.store.mlflow_variables import QUIET
from bnsweep.store.sqlite import tagged_experiments
from bnsweep.store.view import HOST, PORT, tag_key, url

HELP = f"""python -m bnsweep.ui [KEY=VALUE ...]: MLflow's pages of a store, for this machine only; Ctrl-C ends them

  port={PORT}                     where they are, on {HOST}
  tracking.uri=null             MLflow tracking URI; null: MLFLOW_TRACKING_URI, else mlflow.db in the working directory
"""
FEW_PROCESSES = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "true", **QUIET}
"""MLflow's own settings of its server: 2 processes and half the time to start, where there would be 15."""
TRIED = 100
"""Ports that may take the place of one that is in use."""


@dataclass
class Request:
    port: int = PORT
    tracking_uri: str | None = None


def read_request(arguments: list[str]) -> Request:
    """Raises ConfigError for anything but KEY=VALUE with a known key and a value in its range."""
    request = Request()
    for key, value in key_values(arguments, ("port", "tracking.uri"), "this command"):
        if key == "port":
            check(value.isdecimal() and 0 < int(value) < 2**16, "port", value, "an integer from 1 to 65535")
            request.port = int(value)
        else:
            request.tracking_uri = None if value == "null" else value
    return request


def check_port(port: int) -> None:
    """Raises ConfigError for a port that cannot be listened at, with one that can."""
    reason = why_not(port)
    if reason:
        free = next((other for other in range(port + 1, min(port + TRIED, 2**16)) if not why_not(other)), None)
        remedy = f"; port={free} is" if free else ""
        raise ConfigError(f"port={port}: must be free on this machine ({reason}){remedy}")


def why_not(port: int) -> str:
    """What keeps a server from a port; empty where nothing does."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            trial.bind((HOST, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


def serve() -> None:
    """MLflow takes this process's place."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(HELP, end="")
        return
    request = read_request(sys.argv[1:])
    tracking = TrackingConfig(request.tracking_uri)
    address, base = address_of(tracking), f"http://{HOST}:{request.port}"
    address.check(not address.uri.startswith("http"), "a database; a tracking server has pages of its own")
    check_port(request.port)
    if address.path is not None:
        check_database(address.path, address, create=False)
    for line in origin(tracking):
        print(line)
    for name, number in tagged_experiments(address.path, tag_key()).items() if address.path else ():
        print(f"comparison of {name}: {url(base, number)}")
    print(f"MLflow's pages: {base}, in some seconds; Ctrl-C ends them", flush=True)
    served = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(request.port), "--workers", "1"]
    variables = FEW_PROCESSES | os.environ | {"MLFLOW_BACKEND_STORE_URI": address.for_mlflow}
    os.execve(sys.executable, served, variables)  # noqa: S606 (fixed arguments)


def main() -> None:
    """Console entry: exit status 0 when interrupted, 1 for what was refused."""
    run_command("bnsweep.ui", serve)
