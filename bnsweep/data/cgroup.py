"""What the control groups of this process leave it: the limits of its container (Linux; versions 1 and 2).

A group's limits hold for all groups within it, so the tightest between a process's own group and the root counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def memory_left(root: Path = ROOT) -> float:
    """Bytes that may still be had, counting what the kernel would give back of its file cache; inf without a limit.

    `root`: where /proc and /sys are.
    """
    left = [v2_memory(group) for group in groups("", root)] + [v1_memory(group) for group in groups("memory", root)]
    return max(0.0, min(left, default=math.inf))


def cpus(root: Path = ROOT) -> float:
    """Cores whose time may be used; inf without a limit."""
    shares = [v2_cpus(group) for group in groups("", root)] + [v1_cpus(group) for group in groups("cpu", root)]
    return min(shares, default=math.inf)


def v2_memory(group: Path) -> float:
    cache = statistics(group / "memory.stat", "active_file") + statistics(group / "memory.stat", "inactive_file")
    return number(group / "memory.max") - number(group / "memory.current", 0) + cache


def v1_memory(group: Path) -> float:
    names = "total_active_file", "total_inactive_file"
    cache = sum(statistics(group / "memory.stat", name) for name in names)
    return number(group / "memory.limit_in_bytes") - number(group / "memory.usage_in_bytes", 0) + cache


def v2_cpus(group: Path) -> float:
    quota, _, period = text(group / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else math.inf


def v1_cpus(group: Path) -> float:
    quota, period = text(group / "cpu.cfs_quota_us"), text(group / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else math.inf


def groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's groups, from its own up to the outermost that can be seen here; `controller` is of
    version 1, and empty for version 2."""
    own = {name: path for names, path in memberships(root) for name in names}.get(controller)
    for kind, options, mounted, point in mounts(root):
        fits = kind == "cgroup" and controller in options if controller else kind == "cgroup2"
        if own is None or not fits:
            continue
        # In a container without a namespace for groups, what is mounted is a group further down.
        inside = own.relative_to(mounted) if own.is_relative_to(mounted) else PurePosixPath()
        folder = root / point.relative_to("/")
        yield from (folder / part for part in (inside, *inside.parents))


def memberships(root: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Controllers, and the group that they have this process in."""
    for line in text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        yield names.split(","), PurePosixPath(path)


def mounts(root: Path) -> Iterator[tuple[str, list[str], PurePosixPath, PurePosixPath]]:
    """Type, options, the group that is mounted, and where."""
    for line in text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mounted, point = before.split(" ")[3:5]
        yield kind, options.split(","), PurePosixPath(mounted), PurePosixPath(point)


def text(file: Path) -> str:
    """Empty where there is no such file, as of the root group or of another system."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def number(file: Path, default: float = math.inf) -> float:
    found = text(file)
    return int(found) if found.isdigit() else default


def statistics(file: Path, name: str) -> int:
    """A line of `memory.stat`; 0 where there is none."""
    return next((int(line.split()[1]) for line in text(file).splitlines() if line.split()[0] == name), 0)
