"""The memory of the machine that data are read on."""

from __future__ import annotations

from pathlib import Path

UNKNOWN = 4 * 2**30
"""Bytes taken for free where the system does not say."""


def free_host_bytes() -> int:
    """Memory that could be had now without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return UNKNOWN
