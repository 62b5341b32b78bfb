"""How stable the order of the arms is: Kendall's tau of halves of the seeds. tau is held against scipy's, whose package
takes longer to import than half of a report takes to write."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats import resample
from bnsweep.report.stats.ranking import best_lr_view, fixed_lr_views
from bnsweep.report.stats.stability import halves, kendall, stability

ACCURACY = METRICS["final_val_accuracy"]


def test_tau_is_scipys_with_ties_and_missing_where_there_is_no_order():
    random = np.random.default_rng(0)
    for size in (2, 5, 40):
        x, y = random.integers(0, 6, (2, size)).astype(float)
        assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, nan_ok=True)
    assert math.isnan(kendall(np.ones(4), np.arange(4.0)))
    assert math.isnan(kendall(np.ones(1), np.ones(1)))


@pytest.mark.parametrize("digits", [0, 1, 12])
@pytest.mark.parametrize("arms", [2, 3, 18, 101])
def test_kendalls_tau_is_scipys(arms, digits):
    random = np.random.default_rng(2)
    x = random.random(arms).round(digits)
    y = (x + random.random(arms)).round(digits)
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, nan_ok=True)


def test_all_halvings_of_ten_seeds_and_two_hundred_of_thirty():
    assert halves(10).shape == (126, 10)
    assert len({tuple(half) for half in halves(10)} | {tuple(~half) for half in halves(10)}) == 252
    assert halves(30).shape == (200, 30)
    assert (halves(7).sum(axis=1) == 3).all()


def test_stability_at_a_fixed_rate_compares_the_means_of_the_halves(lecture):
    grid = read_grid(lecture.runs)
    view = next(fixed_lr_views(grid, ACCURACY))
    score = grid.scores(ACCURACY, view.run_AN)
    taus = [stats.kendalltau(score[:, h].mean(axis=1), score[:, ~h].mean(axis=1)).statistic for h in halves(10)]
    found = stability(grid, view, ACCURACY)
    assert found.tau == pytest.approx(np.median(taus))
    assert found.low == pytest.approx(np.quantile(taus, 0.05))
    assert (found.splits, found.n) == (126, 10)


def test_at_the_best_rate_each_half_chooses_alone(simulate):
    """The half with seed 0, in which the other rate wins by far, chooses as it does without the other half."""
    frame = simulate(lambda run: 0.7 + run["model.dropout"], {"model.dropout": [0.0, 0.1], "lr.value": [0.1, 1.0]}, 6)
    grid = read_grid(frame.runs)
    half = [0, 1, 2]
    score = grid.scores(ACCURACY, grid.run_ALN)[:, :, half]
    alone = [arm[resample.cross_fit(arm, 1)[0], range(3)].mean() for arm in score]
    weights = np.array([[2.0, 2, 2, 0, 0, 0]])
    drawn = resample.bootstrap_cross_fit(grid.scores(ACCURACY, grid.run_ALN), 1, weights)
    assert list(drawn[0]) == pytest.approx(alone)
    assert stability(grid, best_lr_view(grid, ACCURACY), ACCURACY).tau == pytest.approx(1)


def test_an_order_of_noise_is_not_stable_and_three_seeds_cannot_say(simulate):
    factors = {"model.dropout": [k / 100 for k in range(40)]}
    grid = read_grid(simulate(factors=factors).runs)
    assert abs(stability(grid, best_lr_view(grid, ACCURACY), ACCURACY).tau) < 0.25
    few = read_grid(simulate(factors=factors, seeds=3).runs)
    assert np.isnan(stability(few, best_lr_view(few, ACCURACY), ACCURACY).tau)
