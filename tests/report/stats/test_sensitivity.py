"""Spread across one factor by the levels of another: planted spreads, honest noise, exact swaps of labels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.frame.design import Design, Factor, read_design
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats import resample
from bnsweep.report.stats.between_seeds import shared_variance
from bnsweep.report.stats.sensitivity import by_level, sensitivity, variance_steps

ACCURACY = METRICS["final_val_accuracy"]
GRID = {"activation": ["sigmoid", "relu"], "init": ["xavier", "he"], "lr.value": [0.1, 1.0], "bn": ["none", "before"]}


def init_matters_without_bn(run):
    far = {("xavier", "none"): -0.1, ("he", "none"): 0.1, ("xavier", "before"): -0.02, ("he", "before"): 0.02}
    return 0.7 + far[run["init"], run["bn"]]


def test_the_spread_is_the_planted_one(simulate):
    table = sensitivity(read_design(read_grid(simulate(init_matters_without_bn, GRID, noise=0.0).runs), ACCURACY))
    assert list(zip(table["across"], table["level"], strict=True)) == [
        ("init", "no BN"),
        ("init", "BN before"),
        ("lr.value", "no BN"),
        ("lr.value", "BN before"),
    ]
    assert list(table["sd"]) == pytest.approx([0.1, 0.02, 0, 0], abs=1e-9)
    assert table["less"][1] == pytest.approx(0.08)
    assert table["p"][1] == 2 / 2**10
    assert list(table["cells"]) == [4] * 4


def test_noise_adds_nothing_to_the_spread(simulate):
    """The plain spread of four noisy means would be .03, with no init better than another."""
    random = np.random.default_rng(1)
    variances = [shared_variance(table - table.mean(axis=0))[0] for table in random.normal(0, 0.1, (2000, 4, 10))]
    assert np.mean(variances) == pytest.approx(0, abs=1e-4)
    table = sensitivity(read_design(read_grid(simulate(factors=GRID, noise=0.1).runs), ACCURACY))
    assert table["sd"].max() < 0.03


def test_the_p_is_that_of_all_swaps_of_labels_within_seeds():
    """Every seed's two tables change places, in all 2^7 ways, and the two variances are computed anew each time."""
    random = np.random.default_rng(2)
    x, y = (tables - tables.mean(axis=0) for tables in random.standard_normal((2, 5, 7)) + random.random((2, 5, 1)))
    assert variance_steps(x, y).mean() == pytest.approx((shared_variance(y) - shared_variance(x))[0])
    apart = []
    for swaps in itertools.product([False, True], repeat=7):
        one, other = np.where(swaps, y, x), np.where(swaps, x, y)
        apart.append(abs((shared_variance(other) - shared_variance(one))[0]))
    assert resample.sign_flip_p(variance_steps(x, y)[None])[0] == np.mean(np.array(apart) >= apart[0] - 1e-12)


def design(score):
    factors = tuple(
        Factor(f, (f,), tuple((k,) for k in range(s))) for f, s in zip(("bn", "init"), score.shape[:-1], strict=True)
    )
    return Design(factors, score, tuple(range(score.shape[-1])))


def test_equal_spreads_are_seldom_called_different_and_intervals_cover_them():
    random = np.random.default_rng(3)
    spread = np.array([-0.1, 0.0, 0.1])[None, :, None]
    fails = np.where(random.random((200, 2, 3, 10)) < 0.2, -0.3, 0.0)
    tables = [by_level(design(0.8 + spread + failing), "init", "bn") for failing in fails]
    true = np.sqrt(2 / 3) / 10
    assert np.mean([table["p"][1] <= 0.05 for table in tables]) <= 0.08
    assert np.mean([table["low"][0] <= true <= table["high"][0] for table in tables]) >= 0.87
    assert np.mean([table["less_low"][1] <= 0 <= table["less_high"][1] for table in tables]) >= 0.9


def test_unequal_noise_is_no_difference_of_spreads():
    """One level has five times the other's noise, and no init is better than another."""
    random = np.random.default_rng(4)
    noise = random.normal(0, 0.1, (150, 2, 3, 10)) * np.array([1, 0.2])[:, None, None]
    assert np.mean([by_level(design(0.8 + each), "init", "bn")["p"][1] <= 0.05 for each in noise]) <= 0.05


def test_without_bn_the_spread_is_across_inits_by_another_factor(simulate):
    factors = {"activation": ["sigmoid", "relu"], "init": ["xavier", "he"]}
    table = sensitivity(read_design(read_grid(simulate(factors=factors, seeds=4).runs), ACCURACY))
    assert list(zip(table["across"], table["by"], strict=True)) == [("init", "activation")] * 2
    assert table["sd"].notna().all()
    assert table[["low", "high", "less_low", "less_high", "p"]].isna().all(axis=None), "four seeds carry no inference"


def test_one_factor_has_no_spread_by_another(simulate):
    assert sensitivity(read_design(read_grid(simulate(factors={"init": ["xavier", "he"]}).runs), ACCURACY)).empty
