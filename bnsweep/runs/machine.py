"""What this machine has for a sweep: cores and free memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from bnsweep.config.checks import check
from bnsweep.data import cgroup
from bnsweep.data.host import available, free_host_bytes, limit_of

LEAST = 200 * 2**20
"""Bytes that data, store and report take beside torch."""

LEAST_ADDRESSES = 640 * 2**20
"""The same in addresses, of which a library takes more than it uses."""


def worker_count(device: torch.device) -> int:
    """Stacks trained at a time: on a CPU one a core, each in a process with one thread (two threads on operators this
    small spend their time waiting for one another), which OMP_NUM_THREADS bounds; each GPU takes one after the
    other."""
    if device.type != "cpu":
        return len(gpus(device))
    bound = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores(), int(bound)) if bound.isdigit() and int(bound) > 0 else cores()


def gpus(device: torch.device) -> list[torch.device]:
    """The devices of this kind that workers are spread over: the GPUs that CUDA_VISIBLE_DEVICES leaves, or the CPU."""
    count = torch.cuda.device_count() if str(device) == "cuda" else 0
    return [torch.device("cuda", i) for i in range(count)] if count > 1 else [device]


def cores(root: Path = cgroup.ROOT) -> int:
    """Cores that this process may use, and its container the time of. The two threads of one core, which share its
    arithmetic, count once. `root`: where the container's limits are read."""
    return max(1, int(min(bound(), cgroup.cpus(root))))


def bound() -> int:
    """Cores that this process is bound to, by taskset, Slurm or a container's set of processors; else all."""
    every = range(os.cpu_count() or 1)
    return len({siblings(cpu) for cpu in (os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else every)})


def limits(root: Path = cgroup.ROOT) -> list[str]:
    """A line that says what keeps this process from cores or memory of its machine, where something does."""
    found = []
    have = len({siblings(cpu) for cpu in range(os.cpu_count() or 1)})
    if (may := cores(root)) < have:
        by = "the CPU quota of its container" if may < bound() else "the processors that it is bound to"
        found.append(f"{may} of {have} cores, by {by}")
    if (left := cgroup.memory_left(root)) < (free := available()):
        gib = 2**30
        found.append(f"{left / gib:.1f} of {free / gib:.1f} GiB of free memory, by the limit of its container")
    return [f"this process has {' and '.join(found)}"] if found else []


def siblings(cpu: int) -> str:
    """The processors, in Linux' count, that are threads of the same core."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def free_bytes(device: torch.device) -> int:
    """Memory free now, on the device."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_host_bytes()


def check_host() -> None:
    """Raises ConfigError where the memory of this machine, container or shell does not hold even what a sweep loads
    after torch."""
    limit, used = limit_of("AS", "VmSize")
    lacks = LEAST_ADDRESSES - (limit - used)
    says = f"larger by {lacks / 2**20:.0f} MiB, or unlimited"
    check(not limit or lacks <= 0, "ulimit -v", limit // 1024, says)
    free = free_host_bytes()
    says = f"at least {LEAST / 2**20:.0f} MiB; a container's limit, ulimit or other programs leave too little"
    check(free >= LEAST, "free memory", f"{free / 2**20:.0f} MiB", says)
