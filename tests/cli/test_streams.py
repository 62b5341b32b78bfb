"""Standard streams that are closed, full, left by their readers or in a narrow encoding: the sweep is the same."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bnsweep.cli.terminal import Lasting, keep_streams, letters_of

REPO = Path(__file__).parents[2]
SWEEP = f"{sys.executable} -m bnsweep -m bn=none,before seed=0,1 train=smoke"


@pytest.fixture
def shell(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a line of bash in an empty folder."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(line: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-o", "pipefail", "-c", line]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def finished(folder: Path) -> int:
    with sqlite3.connect(folder / "mlflow.db") as db:
        kind = "select run_uuid from tags where key = 'bnsweep.kind' and value = 'run'"
        (n,) = db.execute(f"select count(*) from runs where status = 'FINISHED' and run_uuid in ({kind})").fetchone()
    return int(n)


@pytest.mark.slow
def test_a_reader_who_leaves_stops_nothing(shell, tmp_path: Path) -> None:
    done = shell(f"{SWEEP} | head -1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("claims: ") and done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert finished(tmp_path) == 4 and (tmp_path / "report/report.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_streams_stops_nothing(shell, tmp_path: Path) -> None:
    assert shell(f"{SWEEP} sweep.report=null >/dev/full 2>/dev/full").returncode == 0
    assert finished(tmp_path) == 4


@pytest.mark.slow
def test_closed_streams_stop_nothing_and_no_file_takes_their_place(shell, tmp_path: Path) -> None:
    assert shell(f"{SWEEP} sweep.report=null <&- >&- 2>&-").returncode == 0
    assert finished(tmp_path) == 4


@pytest.mark.parametrize("streams", [">/dev/null 2>&-", "<&- >&- 2>&-"])
def test_the_exit_status_stays_honest(streams: str, shell) -> None:
    assert shell(f"{sys.executable} -m bnsweep lr.value=-1 {streams}").returncode == 1


@pytest.mark.slow
def test_a_narrow_encoding_is_written_in_its_letters(shell, tmp_path: Path) -> None:
    """The C locale, without Python's own ways to make it UTF-8."""
    done = shell(f"LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {SWEEP}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and "Complete. 4 of 4 planned runs have a result" in done.stdout
    assert "+ supported" in done.stdout or "- not asked" in done.stdout
    assert finished(tmp_path) == 4
    refused = shell(f"PYTHONIOENCODING=ascii {sys.executable} -m bnsweep 'data.root=~/\u00e9'")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert (
        refused.stderr == "bnsweep: data.root=~/e: must be quoted, for the shell and for Hydra: 'data.root=\"~/e\"'\n"
    )


@pytest.mark.parametrize(
    ("char", "letters"),
    [
        ("×", "x"),
        ("≥", ">="),
        ("–", "-"),
        ("✓", "+"),
        ("é", "e"),
        ("²", "2"),
        ("τ", "tau"),
        ("\udcff", "\\xff"),
        ("好", "?"),
    ],
)
def test_a_character_has_letters(char: str, letters: str) -> None:
    assert letters_of(char) == letters


def test_what_is_written_where_nobody_reads_goes_nowhere() -> None:
    read, write = os.pipe()
    os.close(read)
    raw = Lasting("stdout", write)
    text = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
    for _ in range(2):
        print("x" * 10_000, file=text, flush=True)
    assert raw.lost and not raw.isatty() and text.name == "<stdout>"
    text.detach().detach()
    os.close(write)


def test_a_stream_that_something_else_put_in_place_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    monkeypatch.setattr(sys, "stderr", mine)
    keep_streams()
    assert sys.stdout is mine and sys.stderr is mine
