"""Temporary folders go with the process that made them, or with the next that comes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnsweep.runs.scratch import PREFIX

REPO = Path(__file__).parents[2]
MAKE = "from bnsweep.runs.scratch import scratch; print(scratch(), flush=True)"


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(REPO)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def made_by(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_a_folder_goes_with_its_process(tmp_path: Path) -> None:
    with start(tmp_path, MAKE) as process:
        assert made_by(process).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    others = [tmp_path / "tmpabc", tmp_path / f"{PREFIX}being-made"]
    for other in others:
        other.mkdir()
    (tmp_path / f"{PREFIX}file").write_text("")
    with start(tmp_path, f"{MAKE}\nimport time; time.sleep(60)") as killed:
        dead = made_by(killed)
        (dead / "data").write_text("much")
        killed.kill()
    with start(tmp_path, f"{MAKE}\nimport time; time.sleep(60)") as living:
        alive = made_by(living)
        assert dead.exists() is False and alive.exists()
        with start(tmp_path, MAKE) as process:
            process.communicate(timeout=30)
        assert alive.exists()
        living.kill()
    assert all(other.exists() for other in others)


def test_what_was_left_half_made_goes_after_a_while(tmp_path: Path) -> None:
    half = tmp_path / f"{PREFIX}half"
    half.mkdir()
    (half / "in-use.new").write_text("")
    of_a_user = tmp_path / f"{PREFIX}of-a-user"
    of_a_user.mkdir()
    (of_a_user / "thesis").write_text("")
    for folder in (half, of_a_user):
        os.utime(folder, (time.time() - 3600,) * 2)
    with start(tmp_path, MAKE) as process:
        process.communicate(timeout=30)
    assert [path.name for path in tmp_path.iterdir()] == [of_a_user.name]


def test_no_folder_at_all_is_one_line(tmp_path: Path) -> None:
    # Every folder that Python would take instead is refused by a limit on the size of files.
    code = (
        "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from bnsweep.config.checks import ConfigError\nfrom bnsweep.runs.scratch import scratch\n"
        "try:\n    scratch()\nexcept ConfigError as error:\n    print(error)"
    )
    with start(tmp_path, code) as process:
        text = process.communicate(timeout=30)[0]
    if text.startswith("/"):
        pytest.skip("this system writes files of no size")
    assert text.startswith(f"TMPDIR={tmp_path}: must be a folder for temporary files that can be written (No usable")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("missing", "file")), "x" * 100],
    ids=["missing", "a file", "too long for a socket"],
)
def test_workers_start_whatever_tmpdir_is(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    if name == "file":
        folder.write_text("")
    elif name != "missing":
        folder.mkdir()
    code = (
        "from bnsweep.runs.executors.processes import process_context\n"
        "if __name__ == '__main__':\n"
        "    process = process_context().Process(target=print, args=('started',))\n"
        "    process.start(); process.join()"
    )
    (tmp_path / "script.py").write_text(code)
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(REPO)}
    command = [sys.executable, tmp_path / "script.py"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("started\n", "")
    assert folder.is_file() or not folder.exists() or list(folder.iterdir()) == []
