"""How worker processes are started, known before torch is imported."""

from __future__ import annotations

import multiprocessing
import tempfile
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext

from bnsweep.runs.interrupt import blocked_signals
from bnsweep.runs.scratch import scratch

PRELOADED = "bnsweep.runs.executors.local"
"""What the process that workers are forked from imports."""

LONGEST = 70
"""Characters of a folder that can hold the forkserver's socket: the path of a socket has 103 at most, on macOS."""


def process_context() -> BaseContext:
    """Never a fork of this process, whose threads' locks a child would inherit as they happen to stand. Raises
    ConfigError where there is no room for temporary files."""
    can_fork = "forkserver" in multiprocessing.get_all_start_methods() and len(str(scratch())) <= LONGEST
    resource_tracker.ensure_running()  # it unblocks signals as it starts
    if not can_fork:
        return multiprocessing.get_context("spawn")
    before, tempfile.tempdir = tempfile.tempdir, str(scratch())
    try:
        util.get_temp_dir()  # where multiprocessing keeps its sockets from now on
    finally:
        tempfile.tempdir = before
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])  # by default it is the user's main module
    return context


def prepare() -> None:
    """Let the process that workers are forked from import torch while this one has other things to do."""
    context = process_context()
    if context.get_start_method() == "forkserver":
        with blocked_signals():
            forkserver.ensure_running()
