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
    yield from (limit - used for limit, used in (limit_of("AS", "VmSize"), limit_of("DATA", "VmData")) if limit)


def limit_of(name: str, used: str) -> tuple[int, int]:
    """Bytes that this process may have, 0 for no limit, and those that it has; as the kernel calls them."""
    try:
        import resource  # not on every system

        soft, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        return (0, 0) if soft == resource.RLIM_INFINITY else (soft, 1024 * kilobytes(Path("/proc/self/status"), used))
    except (ImportError, OSError, LookupError):
        return 0, 0


def kilobytes(file: Path, name: str) -> int:
    """A number that the kernel gives. Raises OSError, LookupError."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return found[0]
