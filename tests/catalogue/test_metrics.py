"""The table of metrics: names in a network, and how values are written."""

from __future__ import annotations

import math

import pytest

from bnsweep.catalogue.metrics import METRICS, measured, metric_of, metrics
from bnsweep.catalogue.tasks import CLASSIFICATION, REGRESSION, TASKS, Task


def test_the_score_of_a_task_names_its_metrics_and_no_others() -> None:
    accuracies = [{name for name in metrics(task) if "accuracy" in name} for task in TASKS.values()]
    r2s = [{name for name in metrics(task) if "r2" in name} for task in TASKS.values()]
    assert accuracies[0] == {name.replace("r2", "accuracy") for name in r2s[1]} and len(accuracies[0]) == 11
    assert accuracies[1] == r2s[0] == set()
    assert not any("accuracy" in row.title for row in metrics(REGRESSION).values())
    assert not any("R²" in row.title for row in metrics(CLASSIFICATION).values())


@pytest.mark.parametrize("hidden", [1, 3])
def test_a_name_in_a_network_leads_back_to_its_row(hidden: int) -> None:
    assert all(metric_of(name) is row for name, row in measured(hidden).items())


@pytest.mark.parametrize("name", ["layer/std", "layer/x/std", "layer/1/std/2", "drift_", "drift_x", "final", ""])
def test_what_is_no_name_has_no_row(name: str) -> None:
    assert metric_of(name) is None


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("layer/{l}/std", [1, 2, 3]),
        ("layer/{l}/grad_weight", [1, 2, 3, 4]),
        ("layer/{l}/ics", [2, 3, 4]),
        ("drift_{l}", [1, 2, 3]),
    ],
)
def test_a_metric_of_layers_is_of_those_that_have_it(name: str, layers: list[int]) -> None:
    """In a network of three hidden layers, whose output layer is the fourth."""
    assert METRICS[name].names(3) == [name.format(l=l) for l in layers]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_only_validation_ranks_and_a_number_of_the_test_split_stands_beside_it(task: Task) -> None:
    ranked = [row for row in metrics(task).values() if row.test]
    assert len(ranked) == 5 and all(row.sign and row.single and "test" not in row.name for row in ranked)
    assert all(metrics(task)[row.test].name.endswith(f"_test_{task.score}") for row in ranked)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("final_val_accuracy", 0.9725, "97.2 %"),
        ("final_val_r2", 0.87654, "0.877"),
        ("final_val_loss", 0.12345, "0.123"),
        ("steps_to_tau", 1440.0, "1,440"),
        ("steps_to_tau", math.nan, "–"),
    ],
)
def test_a_value_is_written_with_its_unit(name: str, value: float, text: str) -> None:
    assert METRICS[name].text(value) == text
