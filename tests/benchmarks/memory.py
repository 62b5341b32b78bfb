"""How much memory an arm takes: the growth of its processes (CPU), or of the device's allocator (CUDA)."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.arm import Arm
from tests.benchmarks.arm_single import Single, Tuning
from tests.benchmarks.work import Work


def status(field: str, pid: int | str = "self") -> int:
    """Bytes of VmRSS (now) or VmHWM (most so far) of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def mapped(file: str, pid: int | str = "self") -> int:
    """Bytes of a mapped file that are in a process's memory: pages that all processes share."""
    found, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, rest = line.partition(":")
        if " " in name:  # the first line of a mapping ends with its file
            inside = bool(file) and line.endswith(file)
        elif inside and name == "Rss":
            found += int(rest.split()[0]) * 1024
    return found


def begin(work: Work) -> int | None:
    """Bytes that this process has before an arm is made, data apart; None where growth cannot be read."""
    if work.device.type == "cuda":
        return 0
    if not Path("/proc/self/clear_refs").exists():
        return None
    Single(work, Tuning(), [0]).epoch(0)  # torch's own first use
    Path("/proc/self/clear_refs").write_text("5")  # starts VmHWM anew
    return status("VmRSS") - mapped(work.spec.file)


def growth(arm: Arm, before: int | None) -> float | None:
    """Bytes by which an arm has made its process grow at most, libraries that it loads included and data apart; all
    that its further processes have."""
    if arm.work.device.type == "cuda":
        return float(arm.device_bytes)
    if before is None:
        return None
    own = status("VmHWM") - mapped(arm.work.spec.file) - before
    return float(own + sum(status("VmHWM", pid) - mapped(arm.work.spec.file, pid) for pid in arm.pids))
