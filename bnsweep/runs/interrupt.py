"""Ctrl-C and SIGTERM, asked for rather than raised: an exception in the middle of a database call helps nobody."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, the first signal only sets `pending`; a second one raises KeyboardInterrupt wherever it comes."""

    pending = False

    def __enter__(self) -> Interrupts:
        self._before = []
        if threading.current_thread() is threading.main_thread():
            self._before = [signal.signal(number, self._note) for number in SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=False):
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True
        print("stopping once the runs in hand are logged; once more to stop at once", file=sys.stderr, flush=True)

    def check(self) -> None:
        """Raises KeyboardInterrupt if one is pending; called where stopping leaves nothing half-done."""
        if self.pending:
            raise KeyboardInterrupt
