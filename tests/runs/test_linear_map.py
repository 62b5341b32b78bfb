"""A network without hidden layers: logistic regression, trained and reported as any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from members import CPU, relative
from plain_loop import train_plain

import bnsweep
from bnsweep.config.groups import DataConfig
from bnsweep.config.tree import from_tree
from bnsweep.data.dataset import load
from bnsweep.training.trainer import train


@pytest.mark.parametrize("probes", ["off", "full"])
def test_a_linear_map_is_trained_as_the_ordinary_loop_trains_it(probes: str) -> None:
    settings = {"model": {"hidden": []}, "probes": {"name": probes}, "train": {"epochs": 3, "dtype": "float64"}}
    config, digits = from_tree(settings), load(DataConfig())
    (record,), stack = train([config], digits, CPU)
    plain = train_plain(config, digits)
    ours = stack.export(0).state_dict()
    assert list(ours) == list(plain.model.state_dict()) and len(ours) == 2
    assert all(relative(ours[name], theirs) < 1e-12 for name, theirs in plain.model.state_dict().items())
    assert record.history["val/loss"] == pytest.approx(plain.history["val/loss"], rel=1e-12)
    assert not any(name.startswith("layer/") for name in record.history), "there is no hidden layer to read"


def test_a_sweep_of_linear_maps_has_a_report(tmp_path: Path) -> None:
    one = {"bn": "none", "seed": range(2), "epochs": 1, "track": False, "workers": 1}
    alone = bnsweep.sweep(**one, lr=[0.1, 0.5], overrides={"model.hidden": []})
    assert len(alone.runs) == 4 and alone.report(tmp_path / "alone").html.is_file()
    beside = bnsweep.sweep(**one, overrides={"model.hidden": [[], [16]]})
    assert sorted(beside.ranking["arm"]) == ["hidden 16", "hidden none"]
    assert beside.report(tmp_path / "beside").html.is_file()
