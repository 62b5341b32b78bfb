"""Tolerance widths of the arms of a sweep, and the stability of their order."""

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
from bnsweep.report.stats.tolerance import tolerance
from bnsweep.report.stats.widths import Line, drawn_widths, widths

ACCURACY = METRICS["final_val_accuracy"]
RATES = {"bn": ["none", "before"], "lr.value": [0.001, 0.01, 0.1, 1.0]}


def learns(run):
    """Plain nets learn at .01 and .1, BN from .01 up."""
    return 0.9 if run["lr.value"] in ((0.01, 0.1) if run["bn"] == "none" else (0.01, 0.1, 1.0)) else 0.3


def test_the_width_is_the_range_at_which_an_arm_learns(simulate):
    table = widths(read_grid(simulate(learns, RATES, bundle_noise=0.0).runs)).set_index("arm")
    assert list(table["kind"]) == ["learning rate"] * 2
    assert list(table["decades"]) == pytest.approx([2, 3])
    assert list(table["low"]) == [0.01, 0.01]
    assert list(table["high"]) == [0.1, 1.0]
    assert list(table["at_edge"]) == [False, True]
    assert list(table["decades_low"]) == list(table["decades_high"]) == pytest.approx([2, 3])
    assert list(table["n_seeds"]) == [10, 10]


def test_a_diverged_run_has_not_learned_and_a_lost_one_takes_its_seed(simulate):
    frame = simulate(learns, RATES, bundle_noise=0.0, diverges=lambda run: run["lr.value"] == 1.0)
    frame.runs.loc[frame.runs["status"] == "diverged", "tau_reached"] = math.nan
    lost = (frame.runs["bn"] == "none") & (frame.runs["seed"] < 6) & (frame.runs["lr.value"] == 0.01)
    frame.runs.loc[lost, ["status", "tau_reached"]] = ["failed", math.nan]
    table = widths(read_grid(frame.runs)).set_index("arm")
    assert list(table["decades"]) == pytest.approx([2, 2])
    assert list(table["n_seeds"]) == [4, 10]
    assert np.isnan(table.loc["no BN", "decades_low"]), "four seeds carry no inference"


def test_what_diverged_after_it_got_there_has_not_learned(simulate):
    frame = simulate(learns, RATES, bundle_noise=0.0, diverges=lambda run: run["lr.value"] == 1.0)
    frame.runs.loc[frame.runs["status"] == "diverged", "tau_reached"] = 1.0
    assert list(widths(read_grid(frame.runs))["decades"]) == pytest.approx([2, 2])


def test_the_init_scale_is_read_for_the_init_that_has_one(simulate):
    factors = {"init": ["normal", "he"], "init.std": [0.01, 0.1, 1.0], "lr.value": [0.1, 1.0]}
    frame = simulate(lambda run: 0.9 if run["init.std"] == 0.1 else 0.3, factors, seeds=5, bundle_noise=0.0)
    frame.runs.loc[frame.runs["init"] == "he", "init.std"] = math.nan
    table = widths(read_grid(frame.runs))
    table = table[table["kind"] == "init scale"]
    assert list(table["arm"]) == ["normal · lr 0.1", "normal · lr 1"]
    assert list(table["decades"]) == pytest.approx([1, 1])


def test_nothing_numeric_gives_no_widths(simulate):
    assert widths(read_grid(simulate(factors={"bn": ["none", "before"]}).runs)).empty


def test_every_draw_has_the_width_of_its_seeds():
    random = np.random.default_rng(1)
    line = Line("learning rate", "a", (0.001, 0.003, 0.01, 0.1, 0.3), random.random((5, 7)) < 0.6)
    count = resample.bundle_counts(7, 300)
    plain = [
        tolerance(dict(zip(line.values, np.repeat(line.reached_GN, times, axis=1).tolist(), strict=True))).decades
        for times in count
    ]
    assert drawn_widths(line, count) == pytest.approx(plain)


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
