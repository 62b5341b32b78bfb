"""How many stacks train at a time follows the cores that this process may use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from quick_runs import CPU

from bnsweep.runs.machine import bound, cores, free_bytes, limits, siblings, worker_count

REPO = Path(__file__).parents[2]
ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from pathlib import Path
from bnsweep.runs.machine import limits, worker_count
print(worker_count(torch.device("cpu")), *limits(Path("no container")))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_a_process_bound_to_one_core_trains_one_stack_at_a_time() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run([sys.executable, "-c", ONE_CORE], env=environment, capture_output=True, text=True, check=True)
    have = len({siblings(cpu) for cpu in range(os.cpu_count() or 1)})
    says = f" this process has 1 of {have} cores, by the processors that it is bound to"
    assert run.stdout == f"1{says if have > 1 else ''}\n"


@pytest.mark.parametrize("given", ["", "0", "2,1", "many", "1000"])
def test_omp_num_threads_that_bounds_nothing_leaves_all_cores(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert worker_count(CPU) == cores() >= 1


def test_omp_num_threads_bounds_the_stacks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert worker_count(CPU) == 1


def test_what_torch_was_told_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(cores() + 1)
    try:
        assert worker_count(CPU) == cores()
    finally:
        torch.set_num_threads(threads)


def test_a_gpu_trains_one_stack_after_the_other() -> None:
    assert worker_count(torch.device("cuda")) == 1


def container(root: Path, quota: str, limit: str) -> Path:
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/cpu.max": quota,
        "sys/fs/cgroup/memory.max": limit,
        "sys/fs/cgroup/memory.current": "0",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_container_s_limits_are_a_line_where_they_bind(tmp_path: Path) -> None:
    own = limits(tmp_path)  # no container, yet this process may be bound to some processors
    assert limits(container(tmp_path, "max 100000", "max")) == own
    assert limits(container(tmp_path, "9900000 100000", str(2**50))) == own
    (line,) = limits(container(tmp_path, "99000 100000", str(2**20 * 256)))
    assert line.startswith("this process has ") and line.endswith(" GiB of free memory, by the limit of its container")
    assert "0.2 of " in line and cores(tmp_path) == 1
    if bound() > 1:
        assert line.startswith("this process has 1 of ") and " cores, by the CPU quota of its container and " in line


def test_some_memory_is_free() -> None:
    assert 2**20 < free_bytes(CPU) < 2**50


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say what a process has")
@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("RLIMIT_AS", r"ulimit -v=\d+: must be larger by 340 MiB, or unlimited"),
        (
            "RLIMIT_DATA",
            r"free memory=(150|149) MiB: must be at least 200 MiB; a container's limit, ulimit or other pro",
        ),
    ],
)
def test_a_limit_too_small_for_a_sweep_is_one_line(limit: str, says: str) -> None:
    code = (
        "import resource, torch\nfrom bnsweep.data.host import kilobytes\nfrom bnsweep.runs.machine import check_host\n"
        "from pathlib import Path\n"
        f"name, more = ('VmSize', 300) if '{limit}' == 'RLIMIT_AS' else ('VmData', 150)\n"
        "bytes = kilobytes(Path('/proc/self/status'), name) * 1024 + more * 2**20\n"
        f"check_host(); resource.setrlimit(resource.{limit}, (bytes, bytes)); check_host()"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert re.match(f"bnsweep.config.checks.ConfigError: {says}", run.stderr.splitlines()[-1])
