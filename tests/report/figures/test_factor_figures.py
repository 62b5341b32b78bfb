"""The pictures of the analysis of variance show what the table says."""

from __future__ import annotations

import html
import math
import re

import numpy as np
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.figures.draw import scene_of
from bnsweep.report.figures.factors import factor_shares
from bnsweep.report.figures.interaction import axes_of, draw_pair, interactions, level_means
from bnsweep.report.figures.style import Sheet, panels, styled, within_all
from bnsweep.report.frame.design import read_design
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats.factorial import CHANCE, HIGHER, analyse, strongest
from bnsweep.report.stats.ranking import best_lr_view, rank

ACCURACY = METRICS["final_val_accuracy"]


def drawn(frame):
    grid = read_grid(frame.runs)
    view = best_lr_view(grid, ACCURACY)
    design = read_design(grid, ACCURACY)
    scene = scene_of(frame, grid, view, rank(grid, view, ACCURACY), ACCURACY, design, analyse(design))
    with styled():
        return {d.name: d for d in (factor_shares(scene), interactions(scene)) if d}


def texts(drawing):
    return [html.unescape(t) for t in re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)]


def test_every_effect_is_a_bar_with_its_share(lecture):
    table = analyse(read_design(read_grid(lecture.runs), ACCURACY)).table
    drawing = drawn(lecture)["factors"]
    labels = texts(drawing)
    assert {"BN placement", "BN placement × learning rate", HIGHER, CHANCE} <= set(labels)
    for _, row in table.iterrows():
        text = f"{100 * row['omega2']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        assert any(label == text.replace("-0.0", "0.0").replace("-", "−") for label in labels), text
    assert "over 54 settings and 10 seeds" in drawing.caption


def test_the_strongest_interactions_are_drawn_with_bn_as_lines_and_rates_along_the_axis(lecture):
    drawing = drawn(lecture)["interaction"]
    labels = texts(drawing)
    assert {"no BN", "BN before", "BN after", "0.01", "0.1", "1"} <= set(labels)
    titles = [t.split(":")[0] for t in labels if t.endswith("% of the variance")]
    assert titles == ["activation × learning rate", "BN placement × learning rate"]


def test_other_normalisations_are_levels_of_the_same_factor(simulate):
    """One factor, in the order none, BN, the others; it is called by what is in it."""
    factors = {"bn": ["group before", "none", "layer after", "before"], "lr.value": [0.01, 0.1, 1.0]}
    sweep = simulate(lambda run: 0.8 + 0.1 * ("before" in run["bn"]) * (run["lr.value"] > 0.01), factors, 9)
    grid = read_grid(sweep.runs)
    assert grid.arms["arm"].tolist() == ["no BN", "BN before", "LayerNorm after", "GroupNorm before"]
    assert {"normalisation", "normalisation × learning rate"} <= set(texts(drawn(sweep)["factors"]))
    said = strongest(analyse(read_design(grid, ACCURACY)), ACCURACY, grid.bn_title)
    assert said.startswith("Of the differences in final validation accuracy, normalisation explains the most: ")
    labels = texts(drawn(sweep)["interaction"])
    assert "normalisation" in labels and "BN placement" not in labels


def test_the_means_of_an_interaction_are_the_plain_ones(lecture):
    design = read_design(read_grid(lecture.runs), ACCURACY)
    across, by = axes_of(design, "bn × lr.value")
    assert (across.name, by.name) == ("lr.value", "bn")
    mine = lecture.runs.assign(score=lecture.runs["final_val_accuracy"].fillna(0.1))
    plain = mine.groupby(["bn", "lr.value"])["score"].mean().unstack().loc[["none", "before", "after"]]
    assert level_means(design, by, across).mean(axis=2) == pytest.approx(plain.to_numpy())


def test_four_seeds_are_drawn_without_intervals(simulate):
    factors = {"init": ["xavier", "he"], "bn": ["none", "before"]}
    found = drawn(simulate(lambda run: 0.5 + 0.1 * (run["bn"] == "none"), factors, seeds=4))
    assert "4 seeds are too few to test so many effects." in found["factors"].caption
    assert not any(" to " in text for text in texts(found["factors"]))
    assert "interval" not in found["interaction"].caption


def test_one_factor_has_no_interaction_and_no_factor_no_shares(simulate):
    one = drawn(simulate(factors={"bn": ["none", "before"]}))
    assert "factors" in one and "interaction" not in one
    assert not {"factors", "interaction"} & drawn(simulate(factors={})).keys()


def test_long_lists_of_levels_stay_readable(simulate):
    factors = {"model.dropout": [k / 100 for k in range(30)], "optimizer": [f"o{k}" for k in range(20)]}
    random = np.random.default_rng(1)
    found = drawn(simulate(lambda run: random.random() / 2, factors, seeds=5))
    assert sum(bool(re.fullmatch(r"o\d+", text)) for text in texts(found["interaction"])) == 6
    assert "Of long lists of levels 6 are drawn." in found["interaction"].caption


@pytest.mark.parametrize("bounded", [True, False])
def test_no_interval_of_an_accuracy_goes_beyond_all(simulate, bounded):
    """A seed's luck is taken out of an interaction: 60 % of a poor seed stands for what a good one could not have."""
    factors = {"init": ["xavier", "he"], "bn": ["none", "before"]}
    odd = simulate(lambda run: 0.97 if run["seed"] % 2 else 0.6 + 0.3 * (run["init"] == "he"), factors, 6, 0.01, 0.0)
    design = read_design(read_grid(odd.runs), ACCURACY)
    with styled():
        _, [[ax]] = panels(1, 1, Sheet((4.0, 2.0)))
        draw_pair(ax, design, *axes_of(design, "bn × init"), bounded)
    ends = np.concatenate([segment[:, 1] for lines in ax.collections for segment in lines.get_segments()])
    assert (ends.max() <= 1) == bounded


def test_an_axis_of_accuracies_has_no_room_for_a_tick_beyond_all():
    assert within_all(0.98, 1.02) == (0.98, pytest.approx(1.0004))
    assert within_all(-0.05, 0.9) == (pytest.approx(-0.0095), 0.9)


def test_names_typed_by_users_are_escaped(simulate):
    factors = {"init": ["<script>", "he"], "bn": ["none", "before"]}
    found = drawn(simulate(lambda run: 0.9 if (run["init"] == "he") == (run["bn"] == "none") else 0.5, factors))
    assert "<script>" not in found["interaction"].svg
    assert "<script>" in texts(found["interaction"])


def test_what_was_left_out_is_said_below_the_picture(simulate):
    frame = simulate(factors={"init": ["xavier", "he"], "bn": ["none", "before", "after"]})
    lost = (frame.runs["bn"] == "after") & (frame.runs["init"] == "he")
    frame.runs.loc[lost, ["status", "final_val_accuracy"]] = ["failed", math.nan]
    assert drawn(frame)["factors"].caption.endswith("Left out, because results are missing there: BN after.")
