"""A Python process that does something of a sweep's beside it, and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO


def start_helper(
    code: str, *arguments: str, stdout: IO[str] | int = subprocess.DEVNULL, apart: bool = False
) -> subprocess.Popen[str]:
    """Runs `code`, which imports what this process would, wherever that was started. Its input is a pipe from here,
    which ends with this process; what it says of errors goes nowhere. `apart`: no signal to this process's group or
    terminal reaches it."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=apart,
    )


def end_helper(process: subprocess.Popen[str]) -> None:
    """At once: it may not have come so far as to see its input end."""
    process.kill()
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
