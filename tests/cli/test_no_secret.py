"""A password in a command or in a YAML file is refused before anything is written, by a line that does not show it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bnsweep.cli import report as report_entry
from bnsweep.cli import sweep as entry

pytestmark = pytest.mark.usefixtures("elsewhere")

SMALL = ["data=digits", "train=smoke", "sweep.report=null"]


def refused(main: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["bnsweep", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    said = str(stop.value)
    assert "hunter2" not in said + "".join(capfd.readouterr())
    assert "\n" not in said
    assert "must be without a password or token" in said
    assert list(Path.cwd().iterdir()) == []
    return said


@pytest.mark.parametrize(
    "argument",
    [
        "tracking.uri=http://me:hunter2@127.0.0.1:9",
        "'tracking.uri=\"postgresql://me:hunter2@127.0.0.1:9/db\"'".strip("'"),
        "++tracking.uri=postgresql://127.0.0.1:9/db?password=hunter2",
        "tracking={uri:'http://me:hunter2@127.0.0.1:9',experiment:x}",
        "+hydra.sweeper.params.tracking.uri=http://me:hunter2@127.0.0.1:9",
        "hydra.job.env_set.MLFLOW_TRACKING_PASSWORD=hunter2",
    ],
)
@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_a_password_in_the_command(
    argument: str, mode: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(entry.main, [*mode, *SMALL, argument], monkeypatch, capfd)
    assert said.startswith(f"bnsweep: {argument.replace('hunter2', '***')}: must be")


def test_a_password_in_the_command_of_a_report(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(report_entry.main, ["tracking.uri=http://me:hunter2@127.0.0.1:9"], monkeypatch, capfd)
    assert said.startswith("bnsweep.report: tracking.uri=http://me:***@127.0.0.1:9: must be")


FILES = {
    "tracking": "# @package _global_\ntracking:\n  uri: {}\n",
    "swept": "# @package _global_\nhydra:\n  sweeper:\n    params:\n      tracking.uri: {}\n",
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("tracking", []),
        *((name, mode) for name in FILES for mode in (["-m"], ["-m", "hydra/launcher=basic"])),
    ],
)
def test_a_password_in_a_file(
    name: str, mode: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "mine").mkdir(parents=True)
    file = tmp_path / "conf" / "mine" / "server.yaml"
    file.write_text(FILES[name].format("postgresql://me:hunter2@127.0.0.1:9/db"), encoding="utf-8")
    arguments = ["--config-dir", str(tmp_path / "conf"), *mode, "+mine=server", *SMALL]
    said = refused(entry.main, arguments, monkeypatch, capfd)
    assert said.startswith("bnsweep: tracking.uri=postgresql://me:***@127.0.0.1:9/db: must be")
