"""A folder for what passes between the processes of a sweep. One that is killed leaves it to the next to remove."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from multiprocessing import util
from pathlib import Path

from bnsweep.config.checks import ConfigError

PREFIX = "bnsweep-tmp-"
LOCK = "in-use"
"""A file in each, locked by the process that uses it; whatever ends that process, the system then unlocks it."""

YOUNG = 60.0
"""Seconds in which a folder without the file may still be being made."""


@cache
def scratch() -> Path:
    """This process's folder, made when it is first asked for, in TMPDIR, and removed when the process ends. Those of
    dead processes are removed. Raises ConfigError where no folder can be made."""
    try:
        base = Path(tempfile.gettempdir())
        remove_dead(base)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        new = folder / f"{LOCK}.new"
        fcntl.flock(os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
        new.rename(folder / LOCK)
    except OSError as error:
        says = f"a folder for temporary files that can be written ({error.strerror or error})"
        raise ConfigError(f"TMPDIR={os.environ.get('TMPDIR', '')}: must be {says}") from error
    # After multiprocessing, at -100, has removed its own folder in this one.
    util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=-200)
    return folder


def remove_scratch() -> None:
    """This process's folder, if it has one: of a process that ends without the ceremony of an exit."""
    if scratch.cache_info().currsize:
        shutil.rmtree(scratch(), ignore_errors=True)


def remove_dead(base: Path) -> None:
    """The folders in `base` whose process has ended, this user's."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if is_dead(folder):
                shutil.rmtree(folder, ignore_errors=True)


def is_dead(folder: Path) -> bool:
    """Raises OSError for what is no folder of this kind, or another user's."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return {path.name for path in folder.iterdir()} <= {
            f"{LOCK}.new"
        } and time.time() - folder.stat().st_mtime > YOUNG
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
