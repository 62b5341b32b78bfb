"""Job folders: tried before the training, on disks that are full or cannot be written, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnsweep.cli.folders import JOB_BYTES, check_job_folders
from bnsweep.config.checks import ConfigError, check_folder, try_folder

REPO = Path(__file__).parents[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_trial_leaves_nothing(tmp_path: Path) -> None:
    try_folder(tmp_path / "a/b/c")
    try_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("mine")
    with pytest.raises(NotADirectoryError):
        try_folder(tmp_path / "a/file/b")
    with pytest.raises(OSError, match="too long"):
        try_folder(tmp_path / "new" / ("x" * 300))
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]


def test_a_full_disk_is_no_folder_that_can_be_written(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(230 * 2**10))
    with pytest.raises(ConfigError, match=r"must be a folder that can be written \(No space left on device\)"):
        check_folder("sweep.report", small_disk / "report")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it likes")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ConfigError, match="Permission denied"):
        check_folder("out", tmp_path / "report")
    tmp_path.chmod(0o755)


def test_as_many_jobs_need_their_room(tmp_path: Path) -> None:
    jobs = shutil.disk_usage(tmp_path).total // JOB_BYTES + 1
    with pytest.raises(ConfigError, match=f"must be on a disk with room for {jobs} job folders"):
        check_job_folders([tmp_path / "sweep/0", tmp_path / f"sweep/{jobs}"], jobs)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_of_many_names_is_tried(tmp_path: Path) -> None:
    names = ["a", "b", "c" * 300, "d"]
    with pytest.raises(ConfigError, match="File name too long"):
        check_job_folders([tmp_path / name for name in names], 4)
    with pytest.raises(ConfigError, match="is of jobs 1 and 3"):
        check_job_folders([tmp_path / name for name in ("a", "b", "c", "b")], 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "launcher",
    [pytest.param([], marks=pytest.mark.slow), pytest.param(["-m", "hydra/launcher=basic"], marks=pytest.mark.slow)],
    ids=["one run", "jobs"],
)
def test_under_chdir_paths_are_of_where_the_command_was_started(
    launcher: list[str], tmp_path: Path, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom pathlib import Path\ndef load():\n"
        "    x = np.load(Path('x.npy'))\n    return x, np.arange(100) % 2\n"
    )
    code = "import numpy as np; np.save('x.npy', np.random.default_rng(0).normal(size=(100, 3)))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    settings = "hydra.job.chdir=true train=smoke data=callable data.call=mine:load data.validation=20 bn=none"
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bnsweep", *launcher, *settings.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 finished" in done.stdout
    assert ("The report of these jobs: python -m bnsweep.report sweep=" in done.stdout) == bool(launcher)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("mlflow.db")] == ["mlflow.db"]
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("mlartifacts")] == ["mlartifacts"]
