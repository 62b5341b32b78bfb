"""The report of a long sweep, written by a process of its own. That imports what it takes while the sweep trains, and
works beside the one that writes the job directories."""

from __future__ import annotations

import json
import os
import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.cli.terminal import keep_streams
from bnsweep.config.run import TrackingConfig
from bnsweep.report import report_sweep
from bnsweep.report.frame.libraries import load_libraries
from bnsweep.runs.helper_process import end_helper, start_helper

if TYPE_CHECKING:
    from bnsweep.runs.ledger import SweepResult

SERVE = "from bnsweep.cli.report_ahead import serve; serve()"
SHOW = "show\n"


class ReportAhead:
    """The process, seen from the sweep's. Where it fails, nothing is lost: the report is then written here."""

    def __init__(self) -> None:
        self._process = start_helper(SERVE, stdout=1)
        self._begun = False

    def begin(self, result: SweepResult) -> None:
        """The files of this sweep's report are to be written now."""
        tracking, sweep = result.tracking, result.sweep
        self._tell(json.dumps([tracking.uri, tracking.experiment, sweep.id, sweep.report, result.own_run]) + "\n")
        self._begun = True

    def show(self) -> bool:
        """Whether the report is written, and its first screen on standard output."""
        if not self._begun:
            return False
        self._tell(SHOW)
        return self._process.wait() == 0

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which its exit status tells
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def close(self) -> None:
        end_helper(self._process)


def serve() -> None:
    """The process's life: two lines of input, the first names the sweep, the second has the report shown. It ends when
    its input does."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        # Not by sys.stdin: a copy of this process could not close it while a thread reads it.
        with open(0, "rb", buffering=0, closefd=False) as raw:
            for line in raw:
                lines.put(line.decode())
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    keep_streams()
    load_libraries()
    import bnsweep.report.pages.write  # noqa: F401  # which takes as long as anything else that a report does

    uri, experiment, sweep, out, own_run = json.loads(lines.get())
    report = report_sweep(TrackingConfig(uri, experiment), sweep, Path(out), own_run=own_run, beside=True)
    lines.get()
    report.show()
