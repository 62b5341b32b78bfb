"""What a sweep leaves RUNNING in its store however it ends: a small process waits for its end, and if that was not an
orderly one, does what is then left to do. Until then it imports nothing."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import suppress
from types import TracebackType

from bnsweep.runs.helper_process import end_helper, start_helper
from bnsweep.store.claims import Claim
from bnsweep.store.store import Store

WAIT = """
import sys
what, end = sys.stdin.readline(), sys.stdin.read()
import time
ended = time.time()
from bnsweep.runs.end_watch import conclude_sweep
conclude_sweep(what, ended)
"""
TRIED = 20.0
"""Seconds in which a store that is away is asked again."""


class EndWatch:
    """Enter it before the sweep's claim, which it has to outlive."""

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> EndWatch:
        return self

    def begin(self, store: Store, claim: Claim) -> None:
        """From now on something is RUNNING. Once is enough."""
        with self._lock:
            if self._process is not None:
                return
            self.claim = claim
            what = json.dumps([store.uri, store.experiment, claim.run_id])  # no argument: others can read those
            with suppress(OSError):  # it saves somebody's time later, and nothing else
                self._process = start_helper(WAIT, apart=True)
                self._tell(what)

    def _tell(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is None or self.claim is None:
            return
        if self.claim.is_over:
            end_helper(self._process)
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        threading.Thread(target=self._process.wait, daemon=True).start()


def conclude_sweep(what: str, ended: float) -> None:
    """In that process, of a sweep that ended then (seconds since 1970)."""
    from bnsweep.config.run import TrackingConfig
    from bnsweep.store.claims import conclude_claim

    uri, experiment, claim = json.loads(what)
    until = time.monotonic() + TRIED
    while time.monotonic() < until:
        with suppress(Exception):
            store = Store.open(TrackingConfig(uri, experiment), create=False)
            conclude_claim(store.backend, claim, int(1000 * ended))
            return
        time.sleep(1)
