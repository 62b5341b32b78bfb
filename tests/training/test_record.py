"""Single numbers of a run, from curves whose answer is known."""

from __future__ import annotations

import math

import pytest
from members import CPU, assert_same_numbers, make

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.records import DIVERGED, FINISHED
from bnsweep.training.record import Evaluation, record_of, steps_to, summarise, time_mean
from bnsweep.training.trainer import train

STEPS = [0.0, 10.0, 20.0, 30.0]


def test_tau_is_reached_at_the_first_of_two_consecutive_readings() -> None:
    assert steps_to([0.1, 0.95, 0.8, 0.96], STEPS, 0.9) is None
    assert steps_to([0.1, 0.8, 0.95, 0.9], STEPS, 0.9) == 20
    assert steps_to([0.9, 0.9, 0.1, 0.1], STEPS, 0.9) == 0


def test_time_mean_is_the_area_over_the_time() -> None:
    assert time_mean([0.0, 1.0], [0.0, 10.0]) == 0.5
    assert time_mean([0.0, 1.0, 1.0], [0.0, 10.0, 30.0]) == pytest.approx(25 / 30)
    assert math.isnan(time_mean([0.0, math.nan], [0.0, 10.0]))


def history(accuracy: list[float]) -> dict[str, list[float]]:
    scores = {"train/accuracy": [a + 0.05 for a in accuracy], "val/accuracy": accuracy}
    losses = {"train/loss": [1.0] * 4, "test/loss": [1.5] * 4}
    return {"step": STEPS, **scores, "test/accuracy": [a - 0.1 for a in accuracy], **losses}


def test_best_is_chosen_on_validation_and_the_earliest_of_equals() -> None:
    out = summarise(history([0.1, 0.9, 0.8, 0.9]), RunConfig())
    assert (out["best_step"], out["best_val_accuracy"], out["best_test_accuracy"]) == (10, 0.9, pytest.approx(0.8))
    assert out["final_val_accuracy"] == 0.9
    assert out["gap_accuracy"] == pytest.approx(0.15), "train minus test: positive where the network overfits"
    assert out["gap_loss"] == pytest.approx(0.5), "test minus train: positive where the network overfits"
    assert math.isnan(out["final_val_loss"]), "a number that was not measured is missing"


def test_a_run_that_never_learns_is_censored_at_its_budget() -> None:
    out = summarise(history([0.1, 0.2, 0.88, 0.88]), RunConfig())
    assert (out["steps_to_tau"], out["tau_reached"]) == (RunConfig().total_steps, 0.0)


def test_a_record_says_where_its_run_diverged_and_keeps_what_came_before() -> None:
    nan = math.nan
    accuracies = [[0.1, 0.1], [nan, 0.5], [nan, 0.6]]
    evaluations = [
        Evaluation(i, 10 * i, {"val/accuracy": row, "lr": [0.1, 0.1]}, [4 if i else -1, -1], [[[1], [2]]])
        for i, row in enumerate(accuracies)
    ]
    sick, well = (record_of(RunConfig(), evaluations, k) for k in (0, 1))
    assert (sick.status, sick.diverged_step, sick.reason) == (DIVERGED, 4, "loss not finite at step 4")
    assert (well.status, well.diverged_step) == (FINISHED, None)
    assert sick.histograms == {"start": [[1]]}
    assert well.histograms == {"start": [[2]], "end": [[2]]}
    assert math.isnan(sick.summary["final_val_accuracy"]) and sick.summary["best_val_accuracy"] == 0.1
    assert well.summary["auc"] == pytest.approx((0.3 + 0.55) / 2)


def test_records_are_compared_where_light_probes_left_numbers_and_only_there() -> None:
    """Light probes do not read gradients at every evaluation."""
    config, digits = make(("relu", "he", "constant", "before")), data.load(DataConfig())
    (one,), _ = train([config], digits, CPU)
    (other, _), _ = train([config, make(("tanh", "he", "constant", "none"))], digits, CPU)
    read, again = (r.history["layer/1/grad_activation"] for r in (one, other))
    missing = [math.isnan(value) for value in read]
    assert any(missing) and not all(missing)
    assert_same_numbers(again, read, rel=1e-9)
    for i, value in enumerate(read):
        wrong = [*read[:i], 1.0 if math.isnan(value) else math.nan, *read[i + 1 :]]
        for found, wanted in ((wrong, read), (read, wrong)):
            with pytest.raises(AssertionError):
                assert_same_numbers(found, wanted, rel=1e-9)
    with pytest.raises(AssertionError, match="no number to compare"):
        assert_same_numbers([math.nan], [math.nan], rel=1e-9)
