"""What a long sweep is going to need, begun while its jobs are composed and this process imports torch. It saves time
and nothing else: what cannot be begun so is done later, and says then why it cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.cli.report_ahead import ReportAhead
from bnsweep.cli.terminal import prints_itself
from bnsweep.config.checks import ConfigError
from bnsweep.config.tree import from_composed
from bnsweep.store.environment import cores

if TYPE_CHECKING:
    from bnsweep.store.connect import Draft
    from hydra_plugins.bnsweep.launcher import Jobs

MANY = 100
"""Runs whose training takes longer than a process takes to start."""


class Ahead:
    """What was begun."""

    draft: Draft | None = None
    """Of a database."""
    report: ReportAhead | None = None


@contextmanager
def begun_ahead(configs: Jobs, one_batch: bool) -> Iterator[Ahead]:
    """The draft is there within; the process of the report until it is closed. `one_batch`: whether the sweep has no
    other jobs, so that they have one report."""
    from bnsweep.runs.new_database import database_ahead

    ahead = Ahead()
    try:
        first = from_composed(configs[0])
    except ConfigError:  # which will be said
        yield ahead
        return
    with database_ahead(first.tracking, first.sweep.dry_run) as ahead.draft:
        if len(configs) >= MANY and not first.sweep.dry_run and cores() > 1:
            begin_workers(first.train.device)
            if one_batch and first.sweep.report is not None and prints_itself():
                ahead.report = ReportAhead()
        yield ahead


def begin_workers(device: str) -> None:
    """The process that workers are forked from, where several stacks may train at a time: on a CPU, on more than one
    thread."""
    from bnsweep.runs.executors.processes import prepare

    on_gpu = device == "cuda" or (device == "auto" and Path("/proc/driver/nvidia").exists())
    if not on_gpu and os.environ.get("OMP_NUM_THREADS") != "1":
        with suppress(ConfigError, OSError):
            prepare()
