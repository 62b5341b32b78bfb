"""The ranking finds what was planted, and claims nothing that the runs do not carry."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats.completeness import notices
from bnsweep.report.stats.main_effects import main_effects
from bnsweep.report.stats.ranking import BEST, best_lr_view, common_bundles, ranking

ACCURACY = METRICS["final_val_accuracy"]
BN = {"bn": ["none", "before", "after"], "lr.value": [0.01, 0.1]}


def all_views(frame, metric=ACCURACY):
    grid = read_grid(frame.runs)
    return ranking(grid, best_lr_view(grid, metric), metric)


def best_lr(frame, metric=ACCURACY):
    table = all_views(frame, metric)
    return table[table["view"] == BEST].reset_index(drop=True)


def said(frame):
    grid = read_grid(frame.runs)
    return " | ".join(notice.text for notice in notices(grid, best_lr_view(grid, ACCURACY), ACCURACY, frame.info))


def forget(frame, chosen, status="missing"):
    frame.runs.loc[chosen, ["status", "final_val_accuracy"]] = [status, math.nan]
    return frame


def test_the_planted_best_arms_are_found_and_tied(lecture):
    table = best_lr(lecture)
    leaders = table[table["group"] == 1]
    assert set(leaders["arm"]) == {f"relu · {init} · BN before" for init in ("normal", "xavier", "he")}
    assert set(leaders["lr"]) == {"lr 0.1"}
    assert (leaders["rank_high"] == 3).all()


def test_the_score_is_the_plain_mean_when_all_seeds_agree_on_the_rate(lecture):
    runs, row = lecture.runs, best_lr(lecture).iloc[0]
    mine = runs[(runs["activation"] == "relu") & (runs["bn"] == "before") & (runs["lr.value"] == 0.1)]
    mine = mine[mine["init"] == row["init"]]
    assert row["score"] == pytest.approx(mine["final_val_accuracy"].mean())
    assert row["test_accuracy"] == pytest.approx(mine["final_test_accuracy"].mean())
    assert row["low"] < row["score"] < row["high"]


def test_every_fixed_rate_has_its_own_ranking(lecture):
    table = all_views(lecture)
    assert list(table["view"].unique()) == [BEST, "lr 0.01", "lr 0.1", "lr 1"]
    assert (table.groupby("view")["rank"].count() == 18).all()
    diverging = table[(table["view"] == "lr 1") & (table["activation"] == "relu") & (table["bn"] == "none")]
    assert list(diverging["score"]) == pytest.approx([0.1] * 3)
    assert list(diverging["diverged"]) == [1.0] * 3
    assert (diverging["rank"] == 16).all(), "all at chance, so all of one rank"


def test_a_sweep_of_diverged_runs_ties_everything_at_chance(simulate):
    table = best_lr(simulate(factors=BN, diverges=lambda run: True))
    assert list(table["score"]) == pytest.approx([0.1] * 3)
    assert (table["group"] == 1).all()
    assert (table["rank"] == 1).all()
    assert table["gap_accuracy"].isna().all(), "no healthy run, so no gap: missing, not zero"
    assert list(table["steps_to_tau"]) == [360.0] * 3


def test_the_gap_is_over_healthy_runs_and_says_how_many(simulate):
    table = best_lr(simulate(factors={"bn": ["none", "before"]}, diverges=lambda run: run["seed"] < 4))
    assert list(table["gap_n"]) == [6, 6]
    assert list(table["gap_accuracy"]) == pytest.approx([0.03, 0.03])


def test_a_best_rate_at_the_grids_edge_is_flagged(simulate):
    factors = {"bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]}
    peak = {"none": 0.1, "before": 1.0}
    frame = simulate(lambda run: 0.9 if run["lr.value"] == peak[run["bn"]] else 0.8, factors)
    table = best_lr(frame)
    assert "Best learning rates at the grid's edge: of 2 arms, 1 at the largest that was tried." in said(frame)
    assert dict(zip(table["bn"], table["lr_edge"], strict=True)) == {"none": False, "before": True}


def test_a_missing_seed_takes_that_seed_from_every_arm(simulate):
    frame = simulate(factors=BN)
    runs = frame.runs
    forget(frame, (runs["bn"] == "none") & (runs["seed"] == 3) & (runs["lr.value"] == 0.1))
    table = best_lr(frame)
    assert list(table["n_seeds"]) == [9, 9, 9]
    assert "59 of 60 planned runs have a result" in said(frame)
    assert "Ranked on the 9 of 10 seeds that all ranked arms have in common." in said(frame)


def test_an_arm_short_of_seeds_is_left_out_and_the_others_keep_theirs(simulate):
    frame = simulate(factors=BN)
    forget(frame, (frame.runs["bn"] == "after") & (frame.runs["seed"] > 1), "failed")
    table = best_lr(frame)
    assert list(table["n_seeds"][:2]) == [10, 10]
    assert math.isnan(table["rank"][2])
    assert table["note"][2] == "not ranked: 2 of 10 seeds have a result at every planned learning rate"
    assert "1 of 3 arms not ranked: BN after" in said(frame)


def test_a_grid_with_combinations_left_out_is_said(simulate):
    frame = simulate(seeds=5)
    runs = frame.runs
    frame.runs = runs[~((runs["bn"] == "after") & (runs["init"] == "he"))]
    assert "16 of 18 combinations of activation × init × bn were planned" in said(frame)


def test_arms_given_different_rates_are_said(simulate):
    frame = simulate(factors=BN, seeds=5)
    frame.runs = frame.runs[~((frame.runs["bn"] == "none") & (frame.runs["lr.value"] == 0.1))]
    assert "5 of 30 combinations of arm × learning rate × seed were not planned" in said(frame)
    assert best_lr(frame)["rank"].notna().all()


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, "1 seed: no inference"),
        (3, "3 seeds: a smoke test, no inference"),
        (5, "5 seeds can decide no claim of the report: it takes 6 at the least."),
        (8, "8 seeds, shared by all arms. A ranking wants 10 or more."),
        (10, "10 seeds, shared by all arms"),
    ],
)
def test_what_the_seeds_carry_is_said(simulate, seeds, words):
    assert words in said(simulate(factors=BN, seeds=seeds))


def test_a_sweep_cut_short_ranks_all_arms_on_the_seeds_that_are_there(lecture):
    frame = dataclasses.replace(lecture, runs=lecture.runs.copy())
    table = best_lr(forget(frame, frame.runs["seed"] > 2))
    assert list(table["n_seeds"]) == [3] * 18
    assert table["rank"].notna().all()


@pytest.mark.parametrize("seeds", [2, 4])
def test_below_five_seeds_means_stand_without_intervals(simulate, seeds):
    frame = simulate(lambda run: 0.9 if run["bn"] == "before" else 0.8, BN, seeds=seeds)
    table, grid = best_lr(frame), read_grid(frame.runs)
    inferred = ["low", "high", "rank_low", "rank_high", "behind_low", "behind_high"]
    assert table[inferred].isna().all(axis=None)
    assert list(table["behind"][1:]) == pytest.approx([0.1, 0.1], abs=0.02)
    effects = main_effects(grid, best_lr_view(grid, ACCURACY), ACCURACY)
    assert effects[["low", "high", "behind_low", "behind_high"]].isna().all(axis=None)


def test_wins_are_the_seeds_in_which_the_top_arm_is_ahead(simulate):
    frame = simulate(factors={"bn": ["none", "before", "after"]}, seeds=6)
    score = {"none": [3, 3, 3, 3, 3, 3], "before": [1, 2, 3, 3, 4, 4], "after": [0, 0, 0, 0, 0, 0]}
    for name, values in score.items():
        frame.runs.loc[frame.runs["bn"] == name, "final_val_accuracy"] = np.array(values) / 10
    table = best_lr(frame)
    assert list(table["arm"]) == ["no BN", "BN before", "BN after"]
    assert np.isnan(table["wins"][0])
    assert list(table["wins"][1:]) == pytest.approx([(2 + 2 / 2) / 6, 1.0])


def test_an_arm_given_fewer_rates_says_so(simulate):
    frame = simulate(factors=BN, seeds=5)
    frame.runs = frame.runs[~((frame.runs["bn"] == "none") & (frame.runs["lr.value"] == 0.1))]
    notes = best_lr(frame).set_index("bn")["note"]
    assert notes["none"] == "chosen among 1 of 2 learning rates"
    assert not notes["before"]
    assert "1 of 3 arms choose among fewer learning rates" in said(frame)


def test_one_seed_ranks_without_intervals(simulate):
    table = best_lr(simulate(lambda run: 0.9 if run["bn"] == "before" else 0.8, BN, seeds=1))
    assert table["arm"][0] == "BN before"
    assert table[["low", "high", "rank_low", "rank_high"]].isna().all(axis=None)
    assert not table["group"].any()


def test_fewer_steps_rank_higher(simulate):
    table = best_lr(simulate(lambda run: 0.95 if run["bn"] == "after" else 0.5, BN), METRICS["steps_to_tau"])
    assert table["arm"][0] == "BN after"
    assert list(table["score"]) == [200.0, 360.0, 360.0]
    assert list(table["tau_share"]) == [1.0, 0.0, 0.0]


def test_main_effects_are_the_planted_ones(lecture):
    grid = read_grid(lecture.runs)
    table = main_effects(grid, best_lr_view(grid, ACCURACY), ACCURACY).set_index(["factor", "level"])
    assert table.loc[("bn", "no BN"), "behind"] == pytest.approx(0.04, abs=0.004)
    assert table.loc[("bn", "BN after"), "behind"] == pytest.approx(0.02, abs=0.004)
    assert (
        table.loc[("activation", "sigmoid"), "behind_low"] < 0.02 < table.loc[("activation", "sigmoid"), "behind_high"]
    )
    assert np.isnan(table.loc[("bn", "BN before"), "behind"])
    assert set(table.index.get_level_values(0)) == {"activation", "init", "bn", "learning rate"}


def test_main_effects_compare_like_with_like(simulate):
    """With no he net but under BN, plain averages would credit BN with what he does."""
    frame = simulate(
        lambda run: 0.9 if run["init"] == "he" else 0.5, {"init": ["xavier", "he"], "bn": ["none", "before"]}
    )
    frame.runs = frame.runs[(frame.runs["init"] != "he") | (frame.runs["bn"] == "before")]
    grid = read_grid(frame.runs)
    table = main_effects(grid, best_lr_view(grid, ACCURACY), ACCURACY).set_index(["factor", "level"])
    assert table.loc["bn"]["behind"].abs().max() < 0.02
    assert table.loc["init"]["behind"].max() == pytest.approx(0.4, abs=0.02)


def plain_common_bundles(whole):
    """Leaves out one arm after the other, as the rule says."""
    arms = [a for a in range(len(whole)) if whole[a].any()]
    most = max(map(sum, whole.tolist()))
    while arms:
        common = whole[arms].all(axis=0)
        if common.any() and 2 * common.sum() >= most:
            return arms, list(np.flatnonzero(common))
        if len(arms) == 1:
            return arms, list(np.flatnonzero(whole[arms[0]]))
        arms.remove(min(arms, key=lambda a: (whole[a].sum(), -a)))
    return [], []


def test_arms_are_left_out_one_after_the_other_until_the_rest_share_half_the_seeds():
    random = np.random.default_rng(11)
    left_out = set()
    for _ in range(300):
        whole = random.random((random.integers(1, 7), random.integers(1, 9))) < random.random()
        arms, bundles = common_bundles(whole)
        assert (arms, bundles) == plain_common_bundles(whole)
        left_out.add(len(whole) - len(arms))
    assert left_out >= {0, 1, 2, 3, 4}


def test_of_equal_arms_the_first_row_is_the_one_that_others_are_held_against(simulate):
    frame = simulate(lambda run: 0.8, {"bn": ["none", "before"]}, seeds=6)
    same = frame.runs["final_val_accuracy"].to_numpy().copy()
    frame.runs["final_val_accuracy"] = np.tile(same[:6], 2)
    table = best_lr(frame)
    assert list(table["rank"]) == [1, 1]
    assert math.isnan(table["wins"][0])
    assert math.isnan(table["behind"][0])
    assert (table["wins"][1], table["behind"][1]) == (0.5, 0.0)
