"""Servers that tests start on this machine: MLflow's, and a way to it that can be made to fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(home: Path, uri: str) -> Iterator[str]:
    """Serves the store of that URI, which exists; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--artifacts-destination", str(home / "served")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | QUIET, cwd=home, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, process, home / "log")
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"mlflow server did not come up: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


class Proxy:
    """Passes HTTP requests on to a server of this machine, each by a connection of its own, until told otherwise."""

    def __init__(self, url: str) -> None:
        self.target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self.fault = ""
        """What befalls every request from now on: `refuse` (the connection ends), `500`, `silence` (no answer), `lose`
        (the server does it, its answer is lost), or nothing."""
        self.faults = 0
        """Requests that had one."""
        self.only = b""
        """A request has it only with this in its first line."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = read_message(client)
            fault = self.fault if self.only in request.partition(b"\r\n")[0] else ""
            self.faults += bool(fault)
            if fault == "500":
                client.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops")
            elif fault == "silence":
                while self.fault == "silence":
                    time.sleep(0.1)
            elif fault != "refuse" and request:
                with socket.create_connection(self.target) as server:
                    head, blank, body = request.partition(b"\r\n\r\n")
                    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
                    server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + blank + body)
                    answer = b"".join(iter(lambda: server.recv(65536), b""))
                if fault != "lose":
                    client.sendall(answer)


def read_message(connection: socket.socket) -> bytes:
    """A whole HTTP request; empty where the connection ends before it."""
    message = b""
    while b"\r\n\r\n" not in message:
        piece = connection.recv(65536)
        if not piece:
            return b""
        message += piece
    head, _, body = message.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < int(lengths[0]):
        piece = connection.recv(65536)
        body, message = body + piece, message + piece
    return message
