"""What the README says of data, grids and notebooks of one's own works as it stands there."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## Use your own")[1].split("\n## ")[0]
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL) for line in block.splitlines()]
(NOTEBOOK,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)

MODULES = re.findall(r"```py\n# (\w+\.py)\n(.*?)```", SECTION, re.DOTALL)
"""Files that it shows, by the name in their first line."""

MY_DATA = """
import numpy as np

def load(noise):
    x = np.random.default_rng(0).normal(size=(300, 5))
    return x, x[:, 0] + noise * x[:, 1] > 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """With a file of each kind, from what scikit-learn ships."""
    from sklearn import datasets

    folder = tmp_path_factory.mktemp("mine")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    cancer = datasets.load_breast_cancer(as_frame=True)
    cancer.data.assign(diagnosis=cancer.target_names[cancer.target]).to_csv(folder / "cancer.csv", index=False)
    diabetes = datasets.load_diabetes(as_frame=True)
    diabetes.data.assign(progression=diabetes.target).to_csv(folder / "diabetes.csv", index=False)
    wine = datasets.load_wine()
    np.savez(folder / "wine.npz", x=wine.data, y=wine.target)
    digits = datasets.load_digits()
    for label in (3, 8):
        (folder / "pictures" / str(label)).mkdir(parents=True)
        for i in np.flatnonzero(digits.target == label)[:100]:
            pixels = (digits.images[i] * 15.9).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / str(label) / f"{i}.png")
    (folder / "my_data.py").write_text(MY_DATA)
    for name, text in MODULES:
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_section_has_its_recipes() -> None:
    said = " ".join(COMMANDS)
    for wanted in ("table", "regression", "arrays", "images", "callable", "exclude", "zip", "logspace"):
        assert wanted in said


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_goes_from_data_to_a_report(line: str, folder: Path) -> None:
    command = shlex.split(line)
    assert command[:3] == ["python", "-m", "bnsweep"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert ", 0 diverged, 0 failed" in run.stdout and "Report: " in run.stdout, run.stdout
    with (folder / "report/ranking.csv").open(encoding="utf-8") as file:
        levels = {"none", "before"} | ({"group before"} if "norm=none,batch,group" in command else set())
        assert {row["bn"] for row in csv.DictReader(file)} == levels


def test_the_notebook_s_lines_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    lines = NOTEBOOK.replace("seed=range(10), epochs=5", "seed=range(2), epochs=1, workers=1")
    assert lines != NOTEBOOK
    names: dict[str, object] = {}
    exec(lines, names)
    assert isinstance(names["result"].ranking, pd.DataFrame)  # type: ignore[attr-defined]
    assert (folder / "report/report.html").is_file()
