"""The database of a sweep that has none yet. MLflow takes five seconds and more for its tables: they are made in a
process of its own, while this one composes the runs and imports what trains them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.runs.helper_process import end_helper, start_helper
from bnsweep.runs.scratch import scratch
from bnsweep.store.address import address_of
from bnsweep.store.blank import is_kept

if TYPE_CHECKING:
    from bnsweep.store.connect import Draft

MAKE = "from bnsweep.store.connect import make_draft; make_draft()"


class NewDatabase:
    """A draft in this process's folder for temporary files, from where it is put in its place when the store is opened.
    Where it cannot be made the store is opened as it would be without, and says why."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.path = scratch() / "new-mlflow.db"
        self._process = start_helper(MAKE, str(self.path), uri, experiment)

    def draft(self) -> Path | None:
        """The draft, once it is made; None where that failed."""
        return self.path if self._process.wait() == 0 else None

    def close(self) -> None:
        end_helper(self._process)  # a refusal should not wait for it
        self.path.unlink(missing_ok=True)


@contextmanager
def database_ahead(tracking: TrackingConfig, dry_run: bool) -> Iterator[Draft | None]:
    """None where there is nothing to make, or nowhere to make it: who opens the store says what is wrong."""
    new = None
    with suppress(ConfigError):
        address = address_of(tracking)
        if address.path is not None and not (address.path.exists() or dry_run or is_kept()):
            new = NewDatabase(address.uri, tracking.experiment)
    try:
        yield new.draft if new is not None else None
    finally:
        if new is not None:
            new.close()
