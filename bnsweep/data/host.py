"""The memory of the machine that data are read and networks trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bnsweep.data import cgroup

UNKNOWN = 4 * 2**30
"""Bytes taken for free where the system does not say."""


def free_host_bytes() -> int:
    """Memory that this process could have now without swapping, within the limits of its container and its own."""
    return int(max(0, min(available(), cgroup.memory_left(), *limits_left())))


def available() -> int:
    try:
        return kilobytes(Path("/proc/meminfo"), "MemAvailable") * 1024
    except (OSError, LookupError):
        return UNKNOWN


def limits_left() -> Iterator[int]:
    """Of `ulimit -v` and `ulimit -d`. Each of a sweep's processes has them for itself, and they are about as large."""
    try:
        import resource  # not on every system

        limits = {"VmSize": resource.RLIMIT_AS, "VmData": resource.RLIMIT_DATA}
        for name, number in limits.items():
            soft, _ = resource.getrlimit(number)
            if soft != resource.RLIM_INFINITY:
                yield soft - kilobytes(Path("/proc/self/status"), name) * 1024
    except (ImportError, OSError, LookupError):
        return


def kilobytes(file: Path, name: str) -> int:
    """A number that the kernel gives. Raises OSError, LookupError."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return found[0]
