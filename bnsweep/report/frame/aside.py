"""Work done in a copy of this process while it goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST = 30.0
"""Seconds after which a copy is given up: the lock of a library's thread, held as it was copied, would stop it."""


def aside(work: Callable[[], T], elsewhere: bool) -> Callable[[], T]:
    """What gives the result of some work. `elsewhere`: a copy of this process does it from now on, where that can be,
    and sends the result; else it is done here, once it is asked for. Only for a process that computes and ends: others
    have threads of which a copy knows nothing."""
    if not elsewhere or sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return cache(work)
    context = multiprocessing.get_context("fork")
    near, far = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(near, far, work), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, that there are threads: those of BLAS
        process.start()
    far.close()

    @cache
    def result() -> T:
        with near, suppress(EOFError, OSError):
            if near.poll(LONGEST):
                found: T = near.recv()
                process.join()
                return found
        process.kill()
        process.join()
        return work()

    return result


def send(near: Connection, to: Connection, work: Callable[[], T]) -> None:
    near.close()  # else this end would keep the pipe whole where the other process has ended
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # it ends by itself, and says nothing
    with suppress(Exception):  # which is met again where the result is asked for
        to.send(work())
