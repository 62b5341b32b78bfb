"""Code of the user's, from the command line to the report."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from bnsweep.cli import sweep as entry

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, activation, norm, init, width=16):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 10)
        self.bn1, self.bn2, self.act1, self.act2 = norm(width), norm(width), activation(), activation()
        init(self)

    def forward(self, x):
        h = self.act1(self.bn1(self.first(x.flatten(1))))
        return self.last(self.act2(h + self.bn2(self.second(h))))
"""
SMALL = """
import torch

def small(shape, generator):
    return torch.randn(shape, generator=generator) / shape[1] ** 0.5
"""
SWEEP = ["-m", "model=module", "model.kwargs={width: 12}", "train=smoke", "seed=0,1"]


@pytest.fixture
def folder(elsewhere: Path, empty_database: Path) -> Path:
    (elsewhere / "mlflow.db").write_bytes(empty_database.read_bytes())
    return elsewhere


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it prints, in this process."""
    monkeypatch.setattr("sys.argv", ["bnsweep", *arguments])
    entry.main()
    return capsys.readouterr().out


def test_own_network_activation_and_init_are_swept_and_ranked_by_the_short_names_of_yaml(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "own_cli_code.py").write_text(f"{NETWORK}{SMALL}", encoding="utf-8")
    for name, text in (("activation/mish", "torch.nn.functional:mish"), ("init/small", "own_cli_code:small")):
        file = folder / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"name: {text}\n", encoding="utf-8")
    parts = ["activation=relu,mish", "init=he,small", "model.target=own_cli_code:Net"]
    said = command(monkeypatch, capsys, "--config-dir", "conf", *SWEEP, *parts)
    assert "8 runs, 0 already done, 8 left" in said and "own_cli_code:Net takes activation, norm, init;" in said
    with (folder / "report/ranking.csv").open(encoding="utf-8") as file:
        arms = {row["arm"] for row in csv.DictReader(file)}
    assert arms == {f"{activation} · {init}" for activation in ("relu", "mish") for init in ("he", "small")}


def in_process(*arguments: str, folder: Path) -> str:
    """What a new process prints; errors too."""
    run = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


@pytest.mark.slow
def test_a_changed_byte_of_a_network_trains_again_and_a_trained_one_is_loaded_without_the_file(folder: Path) -> None:
    file = folder / "own_cli_changed.py"
    file.write_text(NETWORK, encoding="utf-8")
    swept = ["-m", "bnsweep", *SWEEP, "bn=none,before", "model.target=own_cli_changed:Net", "sweep.report=null"]
    assert "4 runs, 0 already done, 4 left" in in_process(*swept, "sweep.save_models=true", folder=folder)
    assert "4 runs, 4 already done, 0 left" in in_process(*swept, folder=folder)
    file.write_text(f"{NETWORK}# changed", encoding="utf-8")
    assert "4 runs, 0 already done, 4 left" in in_process(*swept, "sweep.dry_run=true", folder=folder)
    file.unlink()
    (model, *_) = folder.glob("mlartifacts/**/model/MLmodel")
    script = f"import mlflow; print(type(mlflow.pytorch.load_model({str(model.parent)!r})).__name__, 'was loaded')"
    assert "Net was loaded" in in_process("-c", script, folder=folder.parent)
