"""How earlier runs went, for strategies that stop runs by their curves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bnsweep.records import DIVERGED, FINISHED, STOPPED
from bnsweep.store.backend import Backend, KeptRun
from bnsweep.store.encode import status_of
from bnsweep.store.store import Done
from bnsweep.store.sweep_data import read_file


@dataclass(frozen=True)
class Kept:
    """A run that got to its end, or to where a strategy stopped it."""

    done: Done
    reason: str
    """Why it was stopped, or has diverged."""
    history: dict[str, list[float]]
    """As its record has it; empty where it was not asked for."""

    @property
    def status(self) -> str:
        return self.done.status


def kept_runs(backend: Backend, identities: Collection[str], histories: bool) -> dict[str, Kept]:
    """By identity: the newest that finished or diverged, else the newest that was stopped. `histories`: whether they
    are read."""
    chosen: dict[str, KeptRun] = {}
    newest_last = list(reversed(backend.runs("run", "FINISHED", identities=identities)))
    for statuses in ((STOPPED,), (FINISHED, DIVERGED)):
        chosen |= {run.tags["bnsweep.identity"]: run for run in newest_last if status_of(run) in statuses}
    runs, read = list(chosen.values()), list[dict[str, list[float]]]()
    for first in range(0, len(runs) if histories else 0, backend.batch):
        some = runs[first : first + backend.batch]
        paths = backend.files_of(some, "record.json")
        read += [read_file(path, run)["history"] for path, run in zip(paths, some, strict=True)]
    found = {}
    for run, history in zip(runs, read or [{} for _ in runs], strict=True):
        done = Done(run.run_id, status_of(run), run.summary, "bnsweep.model" in run.tags)
        found[run.tags["bnsweep.identity"]] = Kept(done, run.tags["bnsweep.reason"], history)
    return found
