"""The lock names everything by hash and nothing by address; the wheel carries what a run needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".lock").glob("*.txt")}


def locked(name: str) -> dict[str, str]:
    """Package -> its block of a lock file."""
    blocks = re.findall(r"^[\w.-]+==.*(?:\n[ \t].*)*", LOCKS[name], re.MULTILINE)
    return {block.partition("==")[0]: block for block in blocks}


def test_the_lock_has_its_six_files() -> None:
    assert LOCKS.keys() == {"bench.txt", "build.txt", "cpu.txt", "cuda.txt", "main.txt", "triton.txt"}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_versions_and_hashes_only(name: str) -> None:
    line = r"(#.*|[\w.-]+==[\w.!+]+( ; [^/]*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?)"
    assert [text for text in LOCKS[name].splitlines() if not re.fullmatch(line, text)] == []
    assert all("--hash" in block for block in locked(name).values())


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    names = {re.match(r"[\w.-]+", text)[0] for text in wanted} - {"bnsweep"}  # type: ignore[index]
    assert names <= locked("main.txt").keys() | locked("build.txt").keys() | locked("bench.txt").keys()


def test_what_only_cuda_wants_is_kept_apart() -> None:
    cuda = re.compile(r"(nvidia-|cuda-|triton$)")
    assert all(map(cuda.match, locked("cuda.txt")))
    assert locked("triton.txt").keys() == {"triton"}
    assert not any(map(cuda.match, locked("main.txt")))


def test_what_only_the_benchmarks_want_is_kept_apart() -> None:
    assert {"jax", "jaxlib"} <= locked("bench.txt").keys()
    assert not locked("bench.txt").keys() & locked("main.txt").keys()


def test_the_cpu_build_is_of_the_torch_in_the_lock() -> None:
    version = re.search(r"^torch==(\S+)", LOCKS["main.txt"], re.MULTILINE)
    assert version
    assert f"\ntorch=={version[1]}+cpu " in LOCKS["cpu.txt"]


def test_the_wheel_carries_the_choices_and_the_launcher(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    choices = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert choices
    assert {f"bnsweep/{name}" for name in choices} <= names
    assert "hydra_plugins/bnsweep/launcher.py" in names
    assert "hydra_plugins/__init__.py" not in names  # a namespace that Hydra's other plugins share
    assert not any(name.startswith(("tests/", "conf/")) for name in names)


def test_make_alone_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    listing = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert [line.split()[1] for line in listing.stdout.splitlines()] == targets[1].split()
