"""The database of a sweep that has none yet. MLflow takes five seconds and more for its tables: they are made in a
process of its own, while this one composes the runs and imports what trains them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.runs.scratch import scratch
from bnsweep.store.address import address_of

if TYPE_CHECKING:
    from bnsweep.store.connect import Draft

MAKE = "from bnsweep.store.connect import make_draft; make_draft()"


class NewDatabase:
    """A draft in this process's folder for temporary files, from where it is put in its place when the store is opened.
    Where it cannot be made the store is opened as it would be without, and says why."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.path = scratch() / "new-mlflow.db"
        # -P and all of sys.path: it imports what this process would, wherever that was started.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", MAKE, str(self.path), uri, experiment],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,  # which ends with this process, and the other then ends, too
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def draft(self) -> Path | None:
        """The draft, once it is made; None where that failed."""
        return self.path if self._process.wait() == 0 else None

    def close(self) -> None:
        self._process.kill()  # it may not have come so far as to see its input end, and a refusal should not wait
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self.path.unlink(missing_ok=True)


@contextmanager
def database_ahead(tracking: TrackingConfig, dry_run: bool) -> Iterator[Draft | None]:
    """None where there is nothing to make, or nowhere to make it: who opens the store says what is wrong."""
    new = None
    with suppress(ConfigError):
        address = address_of(tracking)
        if address.path is not None and not address.path.exists() and not dry_run:
            new = NewDatabase(address.uri, tracking.experiment)
    try:
        yield new.draft if new is not None else None
    finally:
        if new is not None:
            new.close()
