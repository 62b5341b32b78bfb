"""What a process could have of memory follows the machine and the limits that it was started under."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnsweep.data.host import free_host_bytes

REPO = Path(__file__).parents[2]
GIB = 2**30


def test_some_memory_is_free() -> None:
    assert 2**20 < free_host_bytes() < 2**50


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say what a process has")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_shell_counts_less_what_the_process_has(limit: str) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.{limit}, (2**30, 2**30))\n"
        "from bnsweep.data.host import free_host_bytes; print(free_host_bytes()); held = bytearray(2**28)\n"
        "print(free_host_bytes())"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert GIB * 0.7 < before < GIB
    assert 0.2 * GIB < before - after < 0.3 * GIB
