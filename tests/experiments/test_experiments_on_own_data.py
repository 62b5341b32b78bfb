"""An experiment on data from outside: its runs are known before anything is trained, and trained on what was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnsweep.experiments.compose import Library
from bnsweep.experiments.training import Laboratory

MODULE = """
import numpy as np

def load():
    x = np.random.default_rng(0).normal(size=(400, 6))
    return x, (x.sum(1) > 0).astype(int)
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: Any) -> Library:
    monkeypatch.chdir(tmp_path)
    Path("samples_of_mine.py").write_text(MODULE, encoding="utf-8")
    own = ["data=callable", "data.call=samples_of_mine:load", "data.validation=40"]
    return Library([f"hydra.searchpath=[file://{Path(__file__).parent}]", *own])


def test_its_runs_know_the_data_that_they_are_trained_on(library: Library) -> None:
    experiment = library.experiment("small", "quick")
    assert {tuple(config.sizes) for config in experiment.configs} == {(6, 32, 32, 2)}
    with Laboratory(experiment.configs, datasets=library.datasets) as laboratory:
        records = laboratory.train(experiment.configs)
    (facts,) = {config.data.facts for config in experiment.configs}
    assert {record.dataset.digest for record in records if record.dataset} == {facts.digest}
    assert [record.status for record in records] == ["finished"] * len(experiment.configs)
