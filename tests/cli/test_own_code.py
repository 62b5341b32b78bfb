"""Code of the user's, from the command line to the report."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path

import pytest

from bnsweep.cli import sweep as entry

FUNCTIONS = """
import torch

def swish2(a):
    return a * torch.sigmoid(2 * a)

def small(shape, generator):
    return torch.randn(shape, generator=generator) / shape[1] ** 0.5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mlflow.db").write_bytes(empty_database.read_bytes())
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it prints, in this process."""
    monkeypatch.setattr("sys.argv", ["bnsweep", *arguments])
    with suppress(SystemExit):  # of a dry run
        entry.main()
    return capsys.readouterr().out


def test_an_own_activation_and_init_get_short_names_by_yaml_and_are_ranked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "own_cli_functions.py").write_text(FUNCTIONS, encoding="utf-8")
    for name, text in (("activation/mish", "torch.nn.functional:mish"), ("init/small", "own_cli_functions:small")):
        file = folder / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"name: {text}\n", encoding="utf-8")
    swept = ["-m", "--config-dir", "conf", "activation=relu,mish", "init=he,small", "train=smoke", "seed=0,1"]
    assert "8 runs, 0 already done, 8 left" in command(monkeypatch, capsys, *swept)
    with (folder / "report/ranking.csv").open(encoding="utf-8") as file:
        arms = {row["arm"] for row in csv.DictReader(file)}
    assert arms == {"relu · he", "relu · small", "mish · he", "mish · small"}
    other = ["-m", "activation.name=own_cli_functions:swish2,torch.nn.functional:mish", "init=he", *swept[5:]]
    said = command(monkeypatch, capsys, *other, "sweep.dry_run=true")
    assert "4 runs, 2 already done, 2 left" in said
