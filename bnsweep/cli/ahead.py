"""What a long sweep is going to need, begun in other processes before it is needed. It saves time and nothing else:
what cannot be begun so is done later, and says then why it cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.cli.clusters import trains_here
from bnsweep.cli.report_ahead import ReportAhead
from bnsweep.cli.terminal import prints_itself
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import from_composed

if TYPE_CHECKING:
    from bnsweep.store.connect import Draft
    from hydra_plugins.bnsweep.launcher import Jobs

MANY = 100
"""Runs whose training takes longer than a process takes to start."""


@contextmanager
def begun_ahead(configs: Jobs) -> Iterator[Draft | None]:
    """While jobs are composed and this process imports torch: a database, which is there within, and what workers are
    forked from."""
    from bnsweep.runs.new_database import database_ahead

    try:
        first = from_composed(configs[0])
    except ConfigError:  # which will be said
        yield None
        return
    with database_ahead(first.tracking, first.sweep.dry_run) as draft:
        if pays(first, len(configs)) and trains_here(configs[0]):
            begin_workers(first.train.device)
        yield draft


def pays(first: RunConfig, runs: int) -> bool:
    """Whether there is a core for another process, and time for it."""
    from bnsweep.data import cgroup
    from bnsweep.store.environment import cores

    return runs >= MANY and not first.sweep.dry_run and min(cores(), cgroup.cpus()) > 1


def begin_workers(device: str) -> None:
    """The process that workers are forked from, where several stacks may train at a time: on a CPU, on more than one
    thread."""
    from bnsweep.runs.executors.processes import prepare

    on_gpu = device == "cuda" or (device == "auto" and Path("/proc/driver/nvidia").exists())
    if not on_gpu and os.environ.get("OMP_NUM_THREADS") != "1":
        with suppress(ConfigError, OSError):
            prepare()


def report_ahead(runs: Sequence[RunConfig]) -> ReportAhead | None:
    """A process for the report, where it prints where this one does."""
    return ReportAhead() if pays(runs[0], len(runs)) and prints_itself() else None
