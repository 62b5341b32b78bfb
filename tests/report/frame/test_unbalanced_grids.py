"""What the report says of a grid from which cells were left out, or whose factors go together."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.claims.answers import answer_claims
from bnsweep.report.figures.facets import facets
from bnsweep.report.frame.design import read_design, shown_apart
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats.completeness import notices
from bnsweep.report.stats.factorial import analyse, strongest
from bnsweep.report.stats.main_effects import main_effects
from bnsweep.report.stats.ranking import best_lr_view, rank, ranking

METRIC = METRICS["final_val_accuracy"]
BN = {"none": 0.0, "before": 0.1}
SIZES = {0.01: 16, 0.1: 64, 1.0: 256}
"""Learning rate -> the batch size that goes with it."""


def without(made, **cell):
    """The sweep without the runs of a cell."""
    own = np.logical_and.reduce([made.runs[factor] == value for factor, value in cell.items()])
    made.runs = made.runs[~own].reset_index(drop=True)
    return made


def excluded(simulate):
    """BN adds 0.1, He 0.02; plain networks with He's weights were not planned."""
    factors = {"bn": ["none", "before"], "init": ["xavier", "he"], "activation": ["tanh", "relu", "sigmoid"]}
    made = simulate(lambda run: 0.6 + BN[run["bn"]] + 0.02 * (run["init"] == "he"), factors, noise=0.002)
    return without(made, bn="none", init="he")


def zipped(simulate, sizes=SIZES):
    """BN adds 0.1; so does each step of the learning rate, with which the batch size goes."""
    truth = lambda run: 0.5 + BN[run["bn"]] + 0.05 * (math.log10(run["lr.value"]) + 2)  # noqa: E731
    made = simulate(truth, {"bn": ["none", "before"], "lr.value": list(sizes)}, noise=0.002)
    made.runs["train.batch_size"] = made.runs["lr.value"].map(sizes)
    return made


def said(made):
    grid = read_grid(made.runs)
    return [notice.text for notice in notices(grid, best_lr_view(grid, METRIC), METRIC, made.info)]


def test_what_was_left_out_is_not_called_missing(simulate):
    told = " ".join(said(excluded(simulate)))
    assert told.startswith("Complete. 90 of 90 planned runs have a result: 90 finished.") and "missing" not in told
    assert "9 of 12 combinations of activation × init × bn were planned" in told


def test_only_planned_cells_are_compared(simulate):
    factors = {"bn": ["none", "before"], "lr.value": [0.1, 1.0]}
    grid = read_grid(without(simulate(factors=factors, seeds=2), **{"bn": "none", "lr.value": 1.0}).runs)
    planned = grid.cells[["bn", "lr.value"]].to_numpy().tolist()
    assert planned == [["none", 0.1], ["before", 0.1], ["before", 1.0]]
    assert grid.arm_cells[["bn", "a"]].to_numpy().tolist() == [["none", 0], ["before", 1]]


def test_effects_keep_bn_and_say_what_they_leave_out(simulate):
    analysis = analyse(read_design(read_grid(excluded(simulate).runs), METRIC))
    note = "Left out, because not all combinations there were planned: all of init but xavier."
    assert analysis.note == note and strongest(analysis, METRIC).endswith(note)
    assert [name for name, *_ in analysis.levels] == ["no BN", "BN before"]
    (none, before) = (mean for _, mean, _ in analysis.levels)
    assert before - none == pytest.approx(0.1, abs=0.005)


def test_levels_are_compared_only_where_all_are(simulate):
    grid = read_grid(excluded(simulate).runs)
    table = main_effects(grid, best_lr_view(grid, METRIC), METRIC).set_index("level")
    assert table.loc["he", "score"] - table.loc["xavier", "score"] == pytest.approx(0.02, abs=0.005)
    assert table.loc["BN before", "score"] - table.loc["no BN", "score"] == pytest.approx(0.1, abs=0.005)


def test_what_is_lost_beside_what_was_left_out_is_said(simulate):
    made = excluded(simulate)
    lost = (made.runs["activation"] == "relu") & (made.runs["init"] == "xavier")
    made.runs.loc[lost, ["status", METRIC.name]] = ["failed", math.nan]
    note = read_design(read_grid(made.runs), METRIC).note
    assert note.startswith("Left out, because not all combinations there were planned or have a result: ")


def test_a_whole_design_says_nothing_of_parts(simulate):
    analysis = analyse(read_design(read_grid(simulate(lambda run: 0.5 + BN.get(run["bn"], 0), seeds=6).runs), METRIC))
    assert not analysis.partial and "Left out" not in strongest(analysis, METRIC)


def test_a_claim_on_combinations_that_were_left_out_says_so(simulate):
    made = excluded(simulate)
    sentences = {v.key: v.sentence for v in answer_claims(made, read_grid(made.runs), METRIC)}
    assert sentences["bn-less-init"] == "This sweep lacks two values of init with all else equal."


def test_a_learning_rate_that_goes_with_another_factor_is_not_chosen(simulate):
    made = zipped(simulate)
    grid = read_grid(made.runs)
    view = best_lr_view(grid, METRIC)
    assert grid.lr_factors == [] and (grid.run_ALN >= 0).all() and view.independent
    assert not [text for text in said(made) if "Unbalanced" in text or "edge" in text]
    table = rank(grid, view, METRIC)
    assert table["arm"][0] == "lr 1 · BN before · batch size 256" and not table["note"].any()


@pytest.mark.parametrize("sizes", [SIZES, {0.01: 16, 0.1: 16, 1.0: 64}], ids=["one to one", "shared"])
def test_factors_that_go_together_are_one(simulate, sizes):
    grid = read_grid(zipped(simulate, sizes).runs)
    design = read_design(grid, METRIC)
    assert [f.name for f in design.factors] == ["bn", "lr.value + train.batch_size"] and design.cells == 6
    assert design.factors[1].texts == [f"lr {lr:g} · batch size {size}" for lr, size in sizes.items()]


def test_the_effect_of_factors_that_go_together_is_one_row_a_pair(simulate):
    grid = read_grid(zipped(simulate).runs)
    table = main_effects(grid, best_lr_view(grid, METRIC), METRIC)
    own = table[table["factor"] == "lr.value + train.batch_size"]
    assert list(own["level"]) == ["lr 0.01 · batch size 16", "lr 0.1 · batch size 64", "lr 1 · batch size 256"]
    assert np.diff(own["score"]) == pytest.approx([0.05, 0.05], abs=0.005)


def test_a_rate_of_two_batch_sizes_is_part_of_the_arm(simulate):
    made = zipped(simulate)
    runs = pd.concat([made.runs, made.runs.assign(**{"train.batch_size": made.runs["train.batch_size"] + 1})])
    grid = read_grid(runs)
    assert grid.lr_factors == [] and len(grid.arms) == 12
    assert [f.name for f in read_design(grid, METRIC).factors] == ["bn", "train.batch_size + lr.value"]


def test_zipped_choices_are_balanced_and_drawn_as_one(simulate):
    made = simulate(lambda run: 0.8, {"bn": ["none", "before"], "activation": ["tanh", "relu"]}, seeds=5)
    made.runs["init"] = made.runs["activation"].map({"tanh": "xavier", "relu": "he"})
    grid = read_grid(made.runs)
    assert not [text for text in said(made) if "Unbalanced" in text]
    assert shown_apart(grid.arms, grid.arm_factors) == (["activation", "bn"], {"init": "activation"})
    drawn = facets(grid, best_lr_view(grid, METRIC), list(grid.arms.index))
    assert drawn.row is None and all(len(lines) == 2 for *_, lines in drawn.panels)
    assert drawn.held_text("drawn") == " init goes with activation."


@pytest.mark.parametrize(
    ("switch", "drawn"),
    [("data.flip", [False, True]), ("model.preactivation", [True, pd.NA])],
    ids=str,
)
def test_a_switch_that_runs_leave_out_where_it_is_off_has_two_levels(simulate, switch, drawn):
    made = simulate(lambda run: 0.8, {"bn": ["none", "before"], "activation": ["tanh", "relu"]}, seeds=5)
    made.runs[switch] = made.runs["activation"].map({"tanh": True}).astype("boolean")
    made.runs["activation"] = "relu"
    grid = read_grid(made.runs)
    shown = facets(grid, best_lr_view(grid, METRIC), list(grid.arms.index)).shown[switch]
    assert [pd.isna(level) or bool(level) for level in shown] == [pd.isna(level) or level for level in drawn]


@pytest.mark.parametrize(("setting", "value", "usual"), [("model.shortcut", "B", "A"), ("init.scalars", True, False)])
def test_a_setting_that_runs_leave_out_at_its_default_is_told_by_that(simulate, setting, value, usual):
    made = simulate(lambda run: 0.8, {"bn": ["none", "before"], "activation": ["tanh", "relu"]}, seeds=5)
    made.runs[setting] = made.runs["activation"].map({"tanh": value}).astype(object)
    made.runs["activation"] = "relu"
    assert set(read_grid(made.runs).arms[setting]) == {value, usual}


def test_an_arm_that_was_not_planned_at_a_rate_has_no_lost_results(simulate):
    made = without(simulate(factors={"bn": ["none", "before"], "lr.value": [0.1, 1.0]}, seeds=5), bn="none")
    plain = simulate(factors={"bn": ["none"], "lr.value": [0.1]}, seeds=5).runs
    grid = read_grid(pd.concat([made.runs, plain], ignore_index=True))
    table = ranking(grid, best_lr_view(grid, METRIC), METRIC).set_index(["view", "arm"])["note"]
    assert table["lr 1", "no BN"] == "not ranked: not planned at this learning rate"
    assert table["best lr", "no BN"] == "chosen among 1 of 2 learning rates"


def test_a_list_of_settings_is_not_made_one_factor(simulate):
    made = simulate(factors={"lr.value": [10.0**-i for i in range(12)]}, seeds=5)
    place = made.runs["lr.value"].rank(method="dense").astype(int)
    made.runs["bn"] = place.map(lambda i: ["none", "before", "after"][i % 3])
    made.runs["activation"] = place.map(lambda i: ["relu", "tanh"][i % 5 % 2])
    names = [f.name for f in read_design(read_grid(made.runs), METRIC).factors]
    assert not [name for name in names if "+" in name]
