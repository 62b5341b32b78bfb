"""A command that ends well ends at once, with all that was to be closed closed and all that was said written."""

from __future__ import annotations

import subprocess
import sys

import pytest

BODY = """
from bnsweep.runs.quick_end import quick_end
with quick_end():
    import atexit
    class Held:
        def __del__(self): print("freed")
    held = Held()
    held.itself = held
    atexit.register(lambda: print("closed"))
    print("said", end=" ")
    {}
"""


@pytest.mark.parametrize(
    ("last", "status", "out"),
    [
        ("pass", 0, "said closed\n"),
        ("raise SystemExit(0)", 0, "said closed\n"),
        ("raise SystemExit(3)", 3, "said closed\nfreed\n"),
        ("raise SystemExit('a line')", 1, "said closed\nfreed\n"),
        ("1 / 0", 1, "said closed\nfreed\n"),
    ],
)
def test_only_what_ends_well_ends_at_once(last: str, status: int, out: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BODY.format(last)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (status, out)
