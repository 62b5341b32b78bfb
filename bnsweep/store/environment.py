"""Where results come from: the commit, the versions and the machine, as plain text."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("bnsweep", "torch", "numpy", "hydra-core", "mlflow")


@dataclass(frozen=True)
class Environment:
    """Where results come from."""

    commit: str
    """Git commit of this package's checkout; empty when it was not run from one."""
    dirty: bool
    """Whether that checkout held changes that are not committed."""
    versions: dict[str, str]
    """python and PACKAGES -> version."""
    hardware: str
    """Processor, cores and memory in words; what trained a run is in its record."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)


def git(*arguments: str) -> str | None:
    """Answer of git about the checkout this file is tracked in; None without git or outside of one."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def package_version(name: str) -> str:
    """Of an installed package; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    """Its name as Linux gives it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def cores() -> int:
    """Cores this process may use, which a container or taskset can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    """Of the machine, in GiB; empty where the system does not say."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return ""


@cache
def environment() -> Environment:
    """Read once a process, so that an edit while a sweep runs does not change what its runs claim to come from."""
    # An installed copy may lie in a virtual environment inside some other repository: only a tracked file counts.
    tracked = git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    words = [processor(), f"{cores()} cores", memory(), platform.system()]
    return Environment(
        commit=(git("rev-parse", "HEAD") or "") if tracked else "",
        dirty=tracked and git("status", "--porcelain") != "",
        versions={"python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}},
        hardware=", ".join(word for word in words if word),
    )
