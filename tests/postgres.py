"""A PostgreSQL that tests start on this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DRIVER = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), "")
USER, PASSWORD = "me", "hunter2-of-postgres"


def tools() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian keeps off the path."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


def missing() -> str:
    """Why none can be started; empty where one can."""
    if tools() is None:
        return "no PostgreSQL found; Debian: apt-get install postgresql"
    if not DRIVER:
        return "no driver of PostgreSQL found: pip install psycopg[binary]"
    return "" if os.geteuid() or unprivileged() else "PostgreSQL does not run as root, and there is nobody else"


def unprivileged() -> str | None:
    """A user to run it as, where this is root."""
    names = {entry.pw_name for entry in pwd.getpwall()} if os.geteuid() == 0 else set()
    return next((name for name in ("postgres", "nobody") if name in names), None)


def query(uri: str, text: str) -> list[Any]:
    """The first column of what the database answers."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text(text))
        return list(found.scalars()) if found.returns_rows else []


class Address(str):
    """URI of a server that can be stopped and started."""

    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def postgres() -> Iterator[Address]:
    """URI, with the password, of a server of its own, without a database of ours."""
    # Not below pytest's folders, which are closed to the user that runs it.
    with tempfile.TemporaryDirectory() as name:
        user, folder = unprivileged(), Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            if user:
                shutil.chown(path, user)

        def do(tool: str, *options: str) -> None:
            command = [str((tools() or Path()) / tool), "-D", f"{folder}/data", *options]
            # With pipes, the server that pg_ctl leaves behind would hold them open.
            with (folder / "tools.log").open("ab") as log:
                subprocess.run(command, check=True, stdout=log, stderr=log, cwd=folder, user=user, timeout=120)

        do("initdb", "-U", USER, "-A", "scram-sha-256", f"--pwfile={folder}/password", "-N", "-E", "UTF8")
        serve = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        address = Address(f"postgresql+{DRIVER}://{USER}:{PASSWORD}@127.0.0.1:{port}")
        address.start = partial(do, "pg_ctl", "-o", serve, "-l", f"{folder}/log", "-w", "start")
        address.stop = partial(do, "pg_ctl", "-m", "immediate", "-w", "stop")
        address.start()
        try:
            yield address
        finally:
            address.stop()
