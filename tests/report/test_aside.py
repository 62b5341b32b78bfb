"""Work that a copy of the process does is the work that it would do itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bnsweep.report import write_report
from bnsweep.report.frame import aside as module
from bnsweep.report.frame.aside import aside


def test_a_report_drawn_by_copies_is_the_same(simulate, tmp_path: Path) -> None:
    frame = simulate(factors={"bn": ["none", "before"]}, seeds=8)
    for name, beside in (("here", False), ("beside", True)):
        write_report(frame, tmp_path / name, beside=beside)
    for path in (tmp_path / "here").iterdir():
        assert (tmp_path / "beside" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_result_is_computed_once(elsewhere: bool, tmp_path: Path) -> None:
    def work() -> int:
        with (tmp_path / "log").open("a") as log:
            log.write(".")
        return os.getpid()

    result = aside(work, elsewhere)
    assert result() == result() and (result() != os.getpid()) == elsewhere
    assert (tmp_path / "log").read_text() == "."


def test_what_fails_there_fails_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0, elsewhere=True)()
    here = os.getpid()

    def work() -> str:
        if os.getpid() != here:
            os._exit(9)
        return "here"

    assert aside(work, elsewhere=True)() == "here"
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.2)
    here = os.getpid()

    def work() -> str:
        while os.getpid() != here:
            os.read(os.pipe()[0], 1)
        return "here"

    assert aside(work, elsewhere=True)() == "here"


def test_a_copy_ends_where_nobody_waits_for_it() -> None:
    """Its result is larger than a pipe holds."""
    code = "import os; from bnsweep.report.frame.aside import aside; aside(lambda: bytes(2**20), True); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=30)
