"""Ctrl-C, SIGTERM and a terminal that closes. While a sweep trains they are asked for rather than raised: an exception
in the middle of a database call helps nobody. At all other times they end a command at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

INTERRUPTED = 130
"""Exit status of a command that was interrupted, by whichever signal."""


def end_when_interrupted(says: str) -> None:
    """From now on a signal ends this process at once, in one line.

    An exception instead could come in the middle of an import or of a finaliser, where it is lost or ends in a
    traceback. What a command has written by then is what it would leave if it were killed, and no worse.
    """

    def end(number: int, frame: FrameType | None) -> None:
        tell(says)
        scratch = sys.modules.get("bnsweep.runs.scratch")  # not imported for it: the first signal can come very early
        if scratch is not None:
            scratch.remove_scratch()
        os._exit(INTERRUPTED)

    for number in SIGNALS:
        if not is_ignored(number):
            signal.signal(number, end)


class Interrupts:
    """While entered, the first signal only sets `pending`. A second one does what it would have done before: it ends a
    command at once, or raises KeyboardInterrupt wherever it comes."""

    pending = False
    _before: dict[int, Any]

    def __enter__(self) -> Interrupts:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in SIGNALS if not is_ignored(n)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            before = self._before[number]
            if callable(before):
                before(number, frame)
            raise KeyboardInterrupt
        self.pending = True
        tell("stopping once the runs in hand are logged; once more to stop at once")

    def check(self) -> None:
        """Raises KeyboardInterrupt if one is pending; called where stopping leaves nothing half-done."""
        if self.pending:
            raise KeyboardInterrupt


def is_ignored(number: int) -> bool:
    """Whether whoever started this process had it ignore the signal, as nohup does; or took it without Python."""
    return signal.getsignal(number) in (signal.SIG_IGN, None)


def tell(text: str) -> None:
    """Past Python's own stream, which the signal may have interrupted in the middle of a line."""
    if sys.__stderr__ is not None:  # else whatever was opened next has its number
        with suppress(OSError):
            os.write(2, f"{text}\n".encode())


@contextmanager
def blocked_signals() -> Iterator[None]:
    """This thread takes no signal meanwhile, and the processes that it starts never do."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
