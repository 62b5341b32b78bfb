"""The end of a command that has done what it was asked: at once, once everything that is to be closed is. Python would
then free what it holds object by object, which takes a second after a sweep."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def quick_end() -> Iterator[None]:
    """If the block ends well, the process ends so. Enter it before whatever else registers something for the exit is
    imported: that then comes first."""
    over = False

    def end() -> None:
        if over:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):  # closed, or none
                    stream.flush()
            os._exit(0)

    atexit.register(end)
    try:
        yield
    except SystemExit as stop:
        over = stop.code in (None, 0)
        raise
    over = True
