"""An experiment on a regression: R² stands where accuracy stood, and what expects accuracy is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from members import CPU, changed, make
from regressions import on, smooth_numbers

from bnsweep.config.checks import ConfigError
from bnsweep.experiments.figures import figures
from bnsweep.experiments.figures.page import WHITE
from bnsweep.experiments.quantities import check_known, measure, parse_quantity
from bnsweep.experiments.selection import Run
from bnsweep.experiments.sets import SETS
from bnsweep.records import DIVERGED
from bnsweep.report.figures.style import styled
from bnsweep.training.trainer import train


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """With and without BN, two seeds, one of them so fast that it diverges."""
    numbers = smooth_numbers()
    calm = changed(make(("tanh", "xavier", "constant", "none")), {"model.dropout": 0.0, "train.epochs": 20})
    fast = changed(make(("relu", "he", "constant", "none")), {"model.dropout": 0.0, "train.epochs": 20})
    wanted = [replace(calm, seed=seed) for seed in (0, 1)] + [changed(fast, {"lr.value": 1e6})]
    configs = on(numbers, wanted)
    return [Run(*pair) for pair in zip(configs, train(configs, numbers, CPU)[0], strict=True)]


def test_a_quantity_is_r2_and_chance_is_0(runs: list[Run]) -> None:
    quantity = parse_quantity("final_val_r2")
    check_known(quantity, runs[0].config)
    assert [run.record.status == DIVERGED for run in runs] == [False, False, True]
    found = [measure(quantity, run) for run in runs]
    assert found[:2] == [run.record.summary["final_val_r2"] for run in runs[:2]] and found[2] == 0
    assert math.isnan(measure(parse_quantity("final_val_loss"), runs[2]))
    learned = SETS["trainable_depth"](runs).values
    assert learned == {0: 2, 1: 2}, "both are better than predicting the mean"


def test_accuracy_is_no_metric_of_it(runs: list[Run]) -> None:
    with pytest.raises(ConfigError, match=r"^quantity=final_val_accuracy: final_val_accuracy: no such metric"):
        check_known(parse_quantity("final_val_accuracy"), runs[0].config)


@pytest.mark.parametrize("name", ["mine", "lecture"])
def test_curves_are_of_r2_and_no_lower_than_guessing(runs: list[Run], name: str) -> None:
    with styled(WHITE):
        ((figure, _),) = figures(name, runs).values()
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert any("Validation R² over the training" in text.get_text() for text in figure.texts)
    assert {ax.get_ylabel() for ax in panels} & {"R²"} and {ax.get_ylim() for ax in panels} == {(0, 1.02)}
    drawn = [y for ax in panels for line in ax.lines for y in line.get_ydata()]
    assert drawn and min(drawn) == 0 and max(drawn) > 0.5
