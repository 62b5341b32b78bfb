"""Tolerance widths of the arms of a sweep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats import resample
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
