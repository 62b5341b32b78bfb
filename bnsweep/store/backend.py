"""What passes between this project and an MLflow store, whichever way it is reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bnsweep.records import DatasetInfo

SERIES = ("epoch", "lr")
"""Metrics along the training whose names have no slash; every other name without one is a single number."""


def is_single(metric: str) -> bool:
    """Whether it is one number of a run, rather than one an evaluation."""
    return "/" not in metric and metric not in SERIES


RUNNING = "RUNNING"
"""MLflow's status of a run under way."""
UNDER_WAY = "running"
"""Its `bnsweep.status` meanwhile."""


@dataclass(frozen=True)
class NewRun:
    """A run as MLflow is to keep it."""

    name: str
    status: str
    """MLflow's: FINISHED, FAILED, KILLED, or RUNNING while it is under way."""
    start: int
    """Milliseconds since 1970; the time of every metric too."""
    end: int | None
    """None of a run under way."""
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: Sequence[tuple[str, float, int]] = ()
    """Name, value, step."""
    dataset: DatasetInfo | None = None
    texts: dict[str, str] = field(default_factory=dict)
    """Artifacts: file name -> content."""
    files: Collection[Path] = ()
    """Artifacts that are files, or folders of them, already."""


@dataclass(frozen=True)
class Begun:
    """A run that MLflow has a part of already."""

    run_id: str
    run: NewRun
    written: Collection[int] = ()
    """The steps whose metrics it has."""

    @property
    def missing(self) -> list[tuple[str, float, int]]:
        """The metrics that it has not."""
        return [point for point in self.run.metrics if point[2] not in self.written or is_single(point[0])]


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run as MLflow keeps it, without the course of its metrics."""

    run_id: str
    status: str
    start: int
    artifact_uri: str
    tags: dict[str, str]
    params: dict[str, str]
    """Empty unless asked for."""
    summary: dict[str, float]
    """Its single numbers, those that are numbers."""
    datasets: list[dict[str, Any]]
    """Name, digest, source and what the profile says."""


class ExperimentGone(RuntimeError):
    """Somebody has deleted the experiment since the store was opened."""


class RunGone(RuntimeError):
    """Somebody has deleted a run that is under way, or ended it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run {run_id} is under way no longer")
        self.run_id = run_id


class Backend(Protocol):
    """The runs of one experiment. `ClientBackend` goes through MLflow's public API, `SqliteBackend` does the same to a
    database file directly, many times faster; tests hold one against the other."""

    @property
    def experiment_id(self) -> str:
        """MLflow's own."""

    @property
    def batch(self) -> int:
        """How many runs to `create` at once: those that an error or an interrupt can leave unwritten."""

    @property
    def most_asked(self) -> int | None:
        """How many `identities` to ask for at once: what takes a second or less. None where all at once take no longer
        than a few."""

    def create(self, runs: Sequence[NewRun]) -> list[str]:
        """Writes runs with everything that belongs to them; returns their ids. An error or interrupt leaves no run
        RUNNING, and none FINISHED that lacks a part."""

    def write(self, begun: Sequence[Begun]) -> None:
        """Adds to runs that were created RUNNING what is there by now. Those that are over become what `create` would
        have made of them at once. Twice is as good as once. Raises RunGone."""

    def kill(self, run_ids: Sequence[str]) -> None:
        """Sets to KILLED what of these is RUNNING."""

    def remove(self, run_id: str) -> None:
        """Deletes a run as MLflow does: no query finds it any more, its row stays until `mlflow gc`."""

    def end(self, run_id: str, status: str, tags: dict[str, str]) -> None:
        """Gives a run its status and further tags; it ended now."""

    def tag_runs(self, run_ids: Sequence[str], key: str, value: str) -> None:
        """Gives all of them one tag, in place of an earlier one of that key."""

    def tag_experiment(self, key: str, value: str) -> None:
        """The same for the experiment."""

    def runs(
        self,
        kind: str,
        status: str | None = None,
        tag: tuple[str, str, str] | None = None,
        limit: int | None = None,
        params: bool = False,
        identities: Collection[str] | None = None,
    ) -> list[KeptRun]:
        """Runs of that `bnsweep.kind`, newest first; `tag` is a key, `=` or `!=`, and a value. `identities`: those of
        the runs that are asked for, where it is not all."""

    def metric_names(self, run_ids: Sequence[str]) -> set[str]:
        """Of all metrics that any of these runs has."""

    def artifact(self, run: KeptRun, name: str) -> Path:
        """A local file; it may be missing."""

    def files_of(self, runs: Sequence[KeptRun], name: str) -> list[Path]:
        """The `artifact` of each of `batch` runs at most."""

    def attach(self, run: KeptRun, name: str, files: Sequence[Path]) -> None:
        """Puts copies of `files` into the run's artifact folder `name`. On a disk of this machine they replace all that
        was there, or nothing changes; elsewhere they replace files of the same names."""


def local_path(uri: str) -> Path | None:
    """The folder of an artifact URI where it is one of this machine."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def artifact_folder(run: KeptRun, beside: Path | None) -> Path | None:
    """A run's artifacts where they lie on this machine. Those in `beside`, the folder that lies beside its database,
    come first: a database that was copied with them may still name the place that they were copied from."""
    here = beside / run.run_id / "artifacts" if beside else None
    return here if here and here.is_dir() else local_path(run.artifact_uri)
