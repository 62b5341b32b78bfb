"""What a strategy stopped early is listed, and neither ranked nor taken for a hole."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.frame.design import CHOSEN, read_design
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats.completeness import ledger, notices
from bnsweep.report.stats.factorial import analyse, strongest
from bnsweep.report.stats.main_effects import main_effects
from bnsweep.report.stats.ranking import BEST, best_lr_view, ranking
from bnsweep.report.stats.stopped import standing_metric, stopped_table
from bnsweep.report.stats.widths import widths

ACCURACY = METRICS["final_val_accuracy"]
GRID = {"activation": ["sigmoid", "relu"], "bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]}
FLAT = "stopped at step {step} of 360: no better validation accuracy since step 18"


def score(run):
    return 0.7 + 0.1 * (run["bn"] == "before") + 0.05 * (run["activation"] == "relu") + 0.02 * (run["lr.value"] == 0.1)


@pytest.fixture(scope="module")
def made(simulate):
    return simulate(score, GRID, seeds=6, noise=0.002)


def at(made, **levels):
    chosen = [made.runs[factor.replace("__", ".")] == level for factor, level in levels.items()]
    return np.logical_and.reduce([made.runs["run_id"].notna(), *chosen])


def ranked(made, metric=ACCURACY):
    grid = read_grid(made.runs)
    return ranking(grid, best_lr_view(grid, metric), metric)


def said(made):
    grid = read_grid(made.runs)
    return " | ".join(notice.text for notice in notices(grid, best_lr_view(grid, ACCURACY), ACCURACY, made.info))


def test_a_stopped_arm_is_listed_and_is_no_row_of_the_ranking(made, stop):
    cut = stop(made, at(made, activation="sigmoid", bn="none"), 0.4)
    table = ranked(cut)
    assert "sigmoid · no BN" not in set(table["arm"]) and table["rank"].notna().all()
    listed = stopped_table(read_grid(cut.runs), ACCURACY)
    assert set(listed["arm"]) == {"sigmoid · no BN"} and list(listed["lr"]) == ["lr 0.01", "lr 0.1", "lr 1"]
    assert list(listed["score"]) == pytest.approx([0.4] * 3)
    assert set(listed["first_step"]) == set(listed["last_step"]) == {90}
    assert set(listed["runs_stopped"]) == set(listed["runs"]) == {6}
    assert set(listed["reason"]) == {"stopped at rung 1 (step 90 of 360): arm 7 of 12 by mean validation accuracy"}


def test_those_that_are_ranked_have_the_numbers_of_a_sweep_without_the_others(made, stop):
    gone = at(made, bn="none")
    alone = ranked(type(made)(made.info, made.runs[~gone])).set_index(["view", "lr", "score"])
    cut = ranked(stop(made, gone, 0.4)).set_index(["view", "lr", "score"])
    assert list(alone.index) == list(cut.index)
    numbers = ["low", "high", "rank", "rank_low", "rank_high", "n_seeds", "test_accuracy"]
    assert alone[numbers].equals(cut[numbers])


def test_one_stopped_seed_takes_the_arm_at_that_rate_from_all(made, stop):
    cut = stop(made, at(made, activation="sigmoid", bn="none", lr__value=0.01, seed=3), 0.4)
    table = ranked(cut)
    assert "sigmoid · no BN" not in set(table["arm"][table["view"] == "lr 0.01"])
    assert set(table["n_seeds"]) == {6}, "no other arm loses a seed"
    (row,) = stopped_table(read_grid(cut.runs), ACCURACY).to_dict("records")
    assert (row["runs_stopped"], row["runs"]) == (1, 6)
    kept = made.runs[at(made, activation="sigmoid", bn="none", lr__value=0.01)]["final_val_accuracy"]
    assert row["score"] == pytest.approx((kept.sum() - kept.iloc[3] + 0.4) / 6)


def test_an_arm_chooses_among_the_rates_at_which_it_ran_to_the_end(made, stop):
    table = ranked(stop(made, at(made, activation="relu", bn="before", lr__value=0.1), 0.5))
    (row,) = table[(table["view"] == BEST) & (table["arm"] == "relu · BN before")].to_dict("records")
    assert row["lr"] != "lr 0.1" and row["rank"] == 1
    assert row["note"] == "chosen among 2 of 3 learning rates; stopped early at 1"


def test_an_arm_that_was_ahead_where_it_was_stopped_is_not_ranked(made, stop):
    table = ranked(stop(made, at(made, activation="relu", bn="before", lr__value=0.1), why=FLAT))
    rows = table[table["arm"] == "relu · BN before"].set_index("view")
    assert math.isnan(rows.loc[BEST, "rank"])
    assert rows.loc[BEST, "note"] == "not ranked: ahead at lr 0.1, where it was stopped"
    assert rows.loc["lr 1", "rank"] == 1 and "lr 0.1" not in rows.index


def test_the_price_of_the_strategy_is_said(made, stop):
    gone = at(made, bn="none")
    told = said(stop(made, gone, 0.4))
    assert "36 of 72 planned runs ran to the end: 36 finished, 36 stopped." in told
    assert "6 of 12 combinations of arm and learning rate were stopped early. They fell behind in validation" in told
    assert "favours arms that learn fast" in told and "the 6 that ran to the end" in told
    assert "Unbalanced" not in told and "not planned" not in told and "missing" not in told
    flat = said(stop(made, gone, 0.4, why=FLAT))
    assert "did not improve any more" in flat and "fast" not in flat
    assert "stopped" not in said(made)


def test_stopped_runs_are_counted_apart_and_others_are_still_missing(made, stop):
    cut = stop(made, at(made, bn="none"), 0.4)
    cut.runs.loc[at(made, bn="before", seed=0), "status"] = "missing"
    count = ledger(read_grid(cut.runs))
    assert count == {"planned": 72, "finished": 30, "diverged": 0, "stopped": 36, "failed": 0, "missing": 6}
    assert said(cut).startswith("Incomplete grid. 30 of 72 planned runs ran to the end")
    assert "stopped" not in ledger(read_grid(made.runs))


def test_where_all_were_stopped_nothing_is_ranked(made, stop):
    cut = stop(made, at(made), 0.4)
    grid = read_grid(cut.runs)
    assert ranked(cut).empty and len(stopped_table(grid, ACCURACY)) == 12
    assert "All 12 combinations of arm and learning rate were stopped early, and nothing is ranked" in said(cut)
    assert not read_design(grid, ACCURACY).factors
    assert main_effects(grid, best_lr_view(grid, ACCURACY), ACCURACY).empty


def test_what_only_whole_runs_have_is_no_score_of_a_stopped_one(made, stop):
    cut, steps = stop(made, at(made, bn="none"), 0.4), METRICS["steps_to_tau"]
    grid = read_grid(cut.runs)
    assert standing_metric(grid, steps) is ACCURACY
    assert list(stopped_table(grid, steps)["score"]) == pytest.approx([0.4] * 6)
    assert len(set(ranked(cut, steps)["arm"])) == 2


def test_a_whole_run_of_the_same_setting_stands_before_a_stopped_one(made, stop):
    again = stop(made, at(made), 0.4).runs.assign(run_id=lambda runs: "again" + runs["run_id"])
    both = read_grid(pd.concat([again, made.runs.assign(stopped_step=math.nan)], ignore_index=True))
    assert not both.stopped_AL.any() and both.duplicates == 72


def test_effects_are_of_what_is_left_and_say_so(made, stop):
    analysis = analyse(read_design(read_grid(stop(made, at(made, lr__value=1.0), 0.4).runs), ACCURACY))
    assert analysis.note == f"Left out, because runs there were stopped early: lr 1. {CHOSEN}"
    assert strongest(analysis, ACCURACY).endswith(CHOSEN)
    assert analysis.cells == 8


def test_few_that_are_left_are_no_grid_whose_effects_could_be_told_apart(made, stop):
    odd = at(made, activation="sigmoid", bn="none", lr__value=1.0) | at(
        made, activation="relu", bn="before", lr__value=0.01
    )
    design = read_design(read_grid(stop(made, ~odd, 0.4).runs), ACCURACY)
    assert not design.factors and "12 of 72 combinations of the swept values and seeds ran to the end" in design.note


def test_choosing_by_early_scores_makes_no_effects(simulate, stop):
    """Of a sweep in which BN and the activation matter, a third goes on; all that share a cell's luck share it then."""
    factors = GRID | {"init": ["normal", "xavier", "he"], "activation": ["sigmoid", "tanh", "relu"]}
    truth = lambda run: 0.6 + 0.02 * (run["bn"] == "before") + 0.02 * (run["activation"] == "relu")  # noqa: E731
    analysed, false = 0, 0
    for rng in range(60):
        made = simulate(truth, factors, seeds=6, noise=0.02, rng=rng)
        means = made.runs.groupby(list(factors))["final_val_accuracy"].transform("mean")
        cut = stop(made, means < np.sort(means.unique())[-18])
        table = analyse(read_design(read_grid(cut.runs), ACCURACY)).table
        if len(table):
            analysed += 1
            found = set(table["effect"][(table["order"] > 0) & (table["p_holm"] <= 0.05)])
            false += bool(found - {"bn", "activation"})
    assert analysed >= 30 and false <= 0.05 * analysed


def test_how_wide_a_range_works_is_not_said_where_a_part_of_it_was_stopped(made, stop):
    table = widths(read_grid(stop(made, at(made, bn="none", lr__value=1.0), 0.4).runs))
    assert set(table["arm"]) == {"sigmoid · BN before", "relu · BN before"}
