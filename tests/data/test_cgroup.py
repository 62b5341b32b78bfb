"""The limits of a container are read wherever its groups are mounted, and the tightest counts."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnsweep.data import cgroup

REPO = Path(__file__).parents[2]
MIB = 2**20
V2 = "30 23 0:26 {mounted} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:27 {mounted} /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
    "32 23 0:28 {mounted} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def proc(root: Path, groups: str, mounts: str, mounted: str = "/") -> None:
    write(root, {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts.format(mounted=mounted)})


def v2(root: Path, path: str, limit: str, used: int, cache: int = 0, cpus: str = "max 100000") -> None:
    stat = f"anon 5\nfile {cache + 99}\ninactive_file {cache // 2}\nactive_file {cache // 2}\nshmem 99\n"
    files = {"memory.max": limit, "memory.current": str(used), "memory.stat": stat, "cpu.max": cpus}
    write(root, {f"sys/fs/cgroup{path}/{name}": f"{text}\n" for name, text in files.items()})


def v1(root: Path, path: str, limit: int, used: int, cache: int, quota: int) -> None:
    stat = f"cache 7\ninactive_file 7\ntotal_inactive_file {cache // 2}\ntotal_active_file {cache // 2}"
    memory = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}
    cpu = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": 100_000}
    write(root, {f"sys/fs/cgroup/memory{path}/{name}": f"{text}\n" for name, text in memory.items()})
    write(root, {f"sys/fs/cgroup/cpu,cpuacct{path}/{name}": f"{text}\n" for name, text in cpu.items()})


def test_a_container_of_version_2_with_a_namespace_of_its_own(tmp_path: Path) -> None:
    proc(tmp_path, "0::/\n", V2)
    v2(tmp_path, "", str(600 * MIB), 200 * MIB, cache=50 * MIB, cpus="150000 100000")
    assert cgroup.memory_left(tmp_path) == 450 * MIB
    assert cgroup.cpus(tmp_path) == 1.5


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    proc(tmp_path, "0::/a/b/c\n", V2)
    v2(tmp_path, "/a/b/c", "max", 10 * MIB)
    v2(tmp_path, "/a/b", str(900 * MIB), 100 * MIB, cpus="400000 100000")
    v2(tmp_path, "/a", str(1000 * MIB), 700 * MIB, cpus="200000 100000")
    assert cgroup.memory_left(tmp_path) == 300 * MIB
    assert cgroup.cpus(tmp_path) == 2


@pytest.mark.parametrize(("mounted", "seen"), [("/", "/docker/12"), ("/docker/12", ""), ("/docker", "/12")])
def test_a_container_of_version_1_wherever_its_group_is_mounted(mounted: str, seen: str, tmp_path: Path) -> None:
    proc(tmp_path, "9:memory:/docker/12\n8:cpu,cpuacct:/docker/12\n1:name=systemd:/x\n", V1, mounted)
    v1(tmp_path, seen, 600 * MIB, 500 * MIB, 30 * MIB, quota=50_000)
    assert cgroup.memory_left(tmp_path) == 130 * MIB
    assert cgroup.cpus(tmp_path) == 0.5


def test_both_versions_beside_one_another(tmp_path: Path) -> None:
    proc(tmp_path, "4:memory:/a\n3:cpu,cpuacct:/a\n0::/a\n", V1 + V2.replace("/sys/fs/cgroup ", "/sys/fs/unified "))
    v1(tmp_path, "/a", 600 * MIB, 500 * MIB, 0, quota=-1)
    assert cgroup.memory_left(tmp_path) == 100 * MIB
    assert cgroup.cpus(tmp_path) == math.inf


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    proc(tmp_path, "0::/\n", V2)
    v2(tmp_path, "", str(100 * MIB), 101 * MIB)
    assert cgroup.memory_left(tmp_path) == 0


@pytest.mark.parametrize(("groups", "mounts"), [("", ""), ("0::/\n", V2), ("0::/\n", ""), ("0::/../..\n", V2)])
def test_without_limits_or_groups_there_are_none(groups: str, mounts: str, tmp_path: Path) -> None:
    proc(tmp_path, groups, mounts)
    assert cgroup.memory_left(tmp_path) == cgroup.cpus(tmp_path) == math.inf
    assert cgroup.memory_left(tmp_path / "no such system") == math.inf


def group_below(controller: str, limits: dict[str, int]) -> Iterator[Path]:
    """A real group below this process's own."""
    own = next(iter(cgroup.groups(controller, cgroup.ROOT)), None)
    if own is None:
        pytest.skip("no control groups of version 1 here")
    group = own / f"bnsweep-test-{os.getpid()}"
    try:
        group.mkdir()
        for name, limit in limits.items():
            (group / name).write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    group.rmdir()


@pytest.fixture
def small_group() -> Iterator[Path]:
    yield from group_below("memory", {"memory.limit_in_bytes": 700 * MIB})


@pytest.fixture
def slow_group() -> Iterator[Path]:
    yield from group_below("cpu", {"cpu.cfs_period_us": 100_000, "cpu.cfs_quota_us": 50_000})


def within(group: Path, code: str) -> str:
    """What a process in that group prints."""
    enter = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
    return subprocess.run(
        [sys.executable, "-c", enter + code], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout


def test_a_process_in_a_real_group_sees_its_limit(small_group: Path) -> None:
    found = within(small_group, "from bnsweep.data.host import free_host_bytes; print(free_host_bytes())")
    assert 600 * MIB < int(found) <= 700 * MIB


def test_a_process_in_a_real_group_sees_its_share_of_a_core(slow_group: Path) -> None:
    assert within(slow_group, "from bnsweep.data import cgroup; print(cgroup.cpus())") == "0.5\n"
