"""What the report takes a sweep to be: its factors, arms, learning rates and seed bundles."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.config.identity import numbers
from bnsweep.config.run import RunConfig
from bnsweep.report.frame.grid import UNNAMED, factor_columns, level_text, read_grid, swept_factors
from bnsweep.report.frame.metrics import scored, untrained


def test_every_setting_that_changes_a_run_is_a_factor():
    flat = numbers(RunConfig())
    columns = factor_columns(pd.DataFrame([flat]))
    assert set(columns) == set(flat) - {"seed", "data.seed"}


def test_the_default_sweep_is_eighteen_arms_at_three_rates_on_ten_seeds(lecture):
    grid = read_grid(lecture.runs)
    assert grid.arm_factors == ["activation", "init", "bn"]
    assert grid.lr_factors == ["lr.value"]
    assert grid.run_ALN.shape == (18, 3, 10)
    assert (grid.run_ALN >= 0).all()
    assert grid.fixed["init.std"] == 0.01, "init.std goes with init=normal and is not swept of its own"


def test_arms_are_named_by_what_was_swept_only(lecture):
    assert list(read_grid(lecture.runs).arms["arm"][:3]) == [
        "sigmoid · normal · no BN",
        "sigmoid · normal · BN before",
        "sigmoid · normal · BN after",
    ]


def test_the_spread_of_one_init_beside_other_inits_is_swept(simulate):
    runs = simulate(factors={"init": ["normal", "he"], "init.std": [0.01, 0.1]}, seeds=2).runs
    runs.loc[runs["init"] == "he", "init.std"] = math.nan
    grid = read_grid(runs)
    assert grid.arm_factors == ["init", "init.std"]
    assert list(grid.arms["arm"]) == ["normal · std 0.01", "normal · std 0.1", "he"]
    assert grid.duplicates == 2


def test_a_subset_beside_the_whole_is_swept(simulate):
    runs = simulate(factors={"data.subset": [math.nan, 500.0]}, seeds=2).runs
    assert swept_factors(runs) == ["data.subset"]
    assert list(read_grid(runs).arms["arm"]) == ["subset 500", "subset none"]


def test_a_flag_that_only_some_runs_have_can_be_swept(simulate):
    runs = simulate(factors={"bn": ["before"], "bn.affine": [True, False]}, seeds=2).runs
    grid = read_grid(runs.astype({"bn.affine": "boolean"}))
    assert list(grid.arms["arm"]) == ["affine False", "affine True"]


def test_a_sweep_of_the_learning_rate_alone_ranks_learning_rates(simulate):
    grid = read_grid(simulate(factors={"lr.value": [1.0, 0.1, 0.01]}, seeds=2).runs)
    assert list(grid.lrs["lr"]) == [UNNAMED], "no rate is named beside an arm that is another"
    assert list(grid.arms["arm"]) == ["lr 0.01", "lr 0.1", "lr 1"]
    assert grid.lr_factors == []


def test_a_bundle_is_a_seed_with_its_data_seed(simulate):
    runs = simulate(factors={"bn": ["none", "before"], "data.seed": [0, 1]}, seeds=3).runs
    runs["data.seed"] = [0, 0, 0, 1, 1, 1] * 2
    grid = read_grid(runs)
    assert grid.bundles == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]
    assert grid.crossed


@pytest.mark.parametrize(
    ("factor", "value", "text"),
    [
        ("bn", "none", "no BN"),
        ("bn", "after", "BN after"),
        ("bn", "group before", "GroupNorm before"),
        ("model.hidden", "32-32", "hidden 32-32"),
        ("lr.hidden", 0.5, "hidden lr × 0.5"),
        ("train.batch_size", 64, "batch size 64"),
        ("probes", "full", "probes full"),
    ],
)
def test_levels_read_as_words(factor, value, text):
    assert level_text(factor, value) == text


def test_code_of_the_users_is_a_factor_by_its_name_and_not_by_its_text() -> None:
    names = ["my:swish", "their:gate"]
    runs = pd.DataFrame(
        {"activation": names, "activation.source": ["a" * 16, "b" * 16], "seed": 0, "status": "finished"}
    )
    grid = read_grid(runs)
    assert grid.swept == ["activation"] and grid.arms["arm"].tolist() == ["swish", "gate"]
    assert "activation.source" not in grid.fixed and "activation.source" in factor_columns(runs)


def test_divergence_scores_chance_and_a_failure_scores_nothing():
    runs = pd.DataFrame({"status": ["finished", "diverged", "failed", "missing"], "classes": 4.0})
    runs["final_val_accuracy"] = [0.97, 0.55, math.nan, math.nan]
    runs["final_val_loss"] = [0.1, math.nan, math.nan, math.nan]
    accuracy = scored(runs, METRICS["final_val_accuracy"])
    assert list(accuracy[:2]) == [0.97, 0.25]
    assert accuracy[2:].isna().all()
    assert scored(runs, METRICS["final_val_loss"])[1] == pytest.approx(math.log(4))


def test_steps_to_tau_of_a_diverged_run_is_as_recorded():
    runs = pd.DataFrame({"status": ["diverged", "failed"], "steps_to_tau": [700.0, math.nan], "classes": 10.0})
    assert scored(runs, METRICS["steps_to_tau"])[0] == 700


@pytest.mark.parametrize(
    ("columns", "nothing"),
    [
        ({"total_steps": [0.0, 0.0]}, True),
        ({"total_steps": [0.0, 360.0]}, False),
        ({"total_steps": [math.nan, 0.0], "train.epochs": [0, 0]}, True),
        ({"train.epochs": [0, 0], "train.steps": [math.nan, 5.0]}, False),
        ({"train.epochs": [20, 20]}, False),
    ],
)
def test_a_sweep_is_untrained_where_no_run_has_a_step(columns, nothing):
    assert untrained(pd.DataFrame(columns)) == nothing
