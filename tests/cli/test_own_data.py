"""The user's own data, from the command line to the report."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store, read_sweep

MODULE = """
import numpy as np

def load():
    x = np.random.default_rng(0).normal(size=(200, 3, 3))
    x[0, 0, 0] = 1.0
    return x, (x.mean(axis=(1, 2)) > 0).astype(int)
"""
SWEEP = "-m data=callable data.call=my_data:load data.validation=40 train.epochs=1 bn=none,before seed=0,1"


def command(folder: Path, *arguments: str) -> str:
    """What it prints; errors too."""
    # The console script does not look into the working directory by itself, as `python -m` does.
    start = [sys.executable, "-c", "import sys; sys.path.remove(''); from bnsweep.cli.sweep import main; main()"]
    run = subprocess.run([*start, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A sweep on data of one's own has run here; its report is written."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    (folder / "my_data.py").write_text(MODULE, encoding="utf-8")
    said = command(folder, *SWEEP.split(), "sweep.id=first")
    assert "4 runs, 0 already done, 4 left" in said and "4 finished" in said, said
    return folder


def test_it_is_trained_tracked_and_reported(folder: Path) -> None:
    store = Store.open(TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}"))
    frame = read_sweep(store.backend, "bnsweep", "first")
    (data,) = frame.info.data
    assert (data["name"], data["samples"], data["features"], data["classes"]) == ("my_data:load", 200, 9, 2)
    assert data["source"] == str(folder / "my_data.py")
    assert frame.runs["classes"].tolist() == [2.0] * 4 and frame.runs["total_steps"].tolist() == [2.0] * 4
    assert set(frame.runs["data.digest"]) == {data["digest"]}
    with (folder / "report/ranking.csv").open(encoding="utf-8") as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {"no BN", "BN before"}


@pytest.mark.slow
def test_the_same_command_trains_nothing_and_a_changed_byte_trains_again(folder: Path) -> None:
    assert "4 already done, 0 left" in command(folder, *SWEEP.split(), "sweep.id=again", "sweep.report=null")
    other = SWEEP.replace("my_data", "their_data")
    (folder / "their_data.py").write_text(MODULE, encoding="utf-8")
    assert "0 already done, 4 left" in command(folder, *other.split(), "sweep.dry_run=true")
    (folder / "my_data.py").write_text(MODULE.replace("= 1.0", "= 1.0000001"), encoding="utf-8")
    assert "0 already done, 4 left" in command(folder, *SWEEP.split(), "sweep.dry_run=true")


@pytest.mark.slow
def test_a_trained_network_comes_back_as_contributing_says(folder: Path) -> None:
    kept = command(folder, *SWEEP.split(), "sweep.id=kept", "sweep.save_models=true", "sweep.report=null")
    assert "4 trained now" in kept, kept
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    network = next(folder.rglob("model.safetensors")).parent
    code = example.replace("mlartifacts/RUN/artifacts", network.relative_to(folder).as_posix())
    code += "import torch\nprint(tuple(model(torch.zeros(3, 9)).shape), model.training)"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert run.stdout == "(3, 2) False\n", run.stderr


@pytest.mark.slow
def test_settings_that_do_not_fit_the_data_are_refused_before_anything_is_written(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    said = command(folder, *"data=callable data.call=my_data:load data.validation=160".split())
    assert said.strip() == (
        "bnsweep: data.validation=160: must be at least 10 and less than the 160 samples of the my_data:load "
        "training pool"
    )
    said = command(folder, *"data=callable data.call=my_data:lode".split())
    assert said.startswith("bnsweep: data.call=my_data:lode: must be a function that can be called from ")
    assert said.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == [
        name for name in before if name != "__pycache__"
    ]
