"""How much memory an arm takes: the growth of a process of its own (CPU), or of the device's allocator (CUDA)."""

from __future__ import annotations

import multiprocessing
import warnings
from dataclasses import replace
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from tests.benchmarks.work import BLANK, Spec

STEPS = 2


def status(field: str, pid: int | str = "self") -> int:
    """Bytes of VmRSS (now) or VmHWM (most so far) of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@cache
def server() -> ForkServerContext:
    """A process that has imported torch once and forks the others."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.benchmarks.arms"])
    return context


def growth(key: str, spec: Spec, **settings: Any) -> float | None:
    """Bytes by which training this arm's members makes a fresh process grow at most, data apart, libraries that the
    arm loads included; None where that cannot be read."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    receiver, sender = server().Pipe(duplex=False)
    child = server().Process(target=measure, args=(sender, key, replace(spec, steps=STEPS, root=BLANK), settings))
    child.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        return None
    finally:
        child.join()


def measure(sender: Any, key: str, spec: Spec, settings: dict[str, Any]) -> None:
    from tests.benchmarks.arm_single import Single, Tuning
    from tests.benchmarks.arms import make
    from tests.benchmarks.work import Work

    warnings.simplefilter("ignore")
    work = Work(spec)
    Single(work, Tuning(), [0]).epoch(0)  # torch's own first use
    Path("/proc/self/clear_refs").write_text("5")  # starts VmHWM anew
    before = status("VmRSS")
    arm = make(key, work, **settings)
    arm.epoch(0)
    arm.epoch(1)
    grown = status("VmHWM") - before
    for pid in arm.pids:
        grown += status("VmHWM", pid)
    sender.send(grown)
    arm.close()
