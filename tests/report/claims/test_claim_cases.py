"""Claims on sweeps that are not the plain product: settings of one side only, ties, holes, nothing trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from claim_sweeps import GRID, Sweep, Truth, product, sweep

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.claims.answers import answer_claims, evidence_of, judge, voices
from bnsweep.report.claims.best_rate import AtRates, at_best, value_of_choice
from bnsweep.report.claims.contrasts import BEST, GAIN, Contrast, sides
from bnsweep.report.claims.flips import claim_statistic, joint_signs
from bnsweep.report.claims.measure import deviation_contrast, measure, of_differences
from bnsweep.report.claims.quantities import RunValues
from bnsweep.report.claims.verdicts import (
    CONTRADICTED,
    FOR,
    INCONCLUSIVE,
    OPEN,
    SUPPORTED,
    UNASKED,
    Evidence,
    Unit,
    Verdict,
)
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats import resample

METRIC = METRICS["final_val_accuracy"]


def verdicts(made: Sweep) -> dict[str, Verdict]:
    return {v.key: v for v in answer_claims(made, read_grid(made.runs), METRIC)}


def measured(comparison: Contrast, made: Sweep) -> Any:
    grid = read_grid(made.runs)
    return measure(RunValues(made, grid), METRIC, comparison, sides(grid, comparison), joint_signs(10, 1))


def with_eps(grid: Mapping[str, Any], truth: Truth, rng: int = 0) -> Sweep:
    """bn.eps is swept, and exists with BN only."""
    runs = product({**grid, "bn.eps": [1e-5, 1e-3]})
    runs.loc[runs["bn"] == "none", "bn.eps"] = np.nan
    runs = runs.drop(columns="run_id").drop_duplicates().reset_index(drop=True)
    runs.insert(0, "run_id", [f"r{i}" for i in range(len(runs))])
    return sweep(runs, truth, np.random.default_rng(rng), lumpy=False)


def test_what_dropout_adds_is_read_at_each_setting_of_bn() -> None:
    made = with_eps(
        {"bn": ["none", "before"], "model.dropout": [0.0, 0.5]},
        Truth(accuracy=lambda run: 0.05 * (run["model.dropout"] > 0) - 0.2 * (run["bn.eps"] == 1e-3)),
    )
    found = measured(Contrast("final", -1, "bn", ("before", "none"), across="model.dropout", by=GAIN), made)
    mean = made.runs.groupby(["bn", "model.dropout"])["final_val_accuracy"].mean()
    assert found.pairs == 2
    assert found.means == pytest.approx([mean[b, 0.5] - mean[b, 0.0] for b in ("before", "none")])


def test_every_level_of_dropout_that_helps_without_bn_counts() -> None:
    gain = {0.0: 0.0, 0.2: 0.1, 0.5: -0.1, 0.8: 0.05}
    runs = product({"bn": ["none", "before"], "model.dropout": list(gain)})
    truth = Truth(accuracy=lambda run: -0.3 + gain[run["model.dropout"]] * (run["bn"] == "none"))
    made = sweep(runs, truth, np.random.default_rng(0), lumpy=False)
    found = measured(Contrast("final", -1, "bn", ("before", "none"), across="model.dropout", by=GAIN), made)
    mean = made.runs.groupby(["bn", "model.dropout"])["final_val_accuracy"].mean()
    assert found.pairs == 2
    assert found.means[1] == pytest.approx((mean["none", 0.2] + mean["none", 0.8]) / 2 - mean["none", 0.0])
    assert found.p == 2**-9


def test_dependence_on_the_init_is_none_on_settings_of_bn() -> None:
    truth = Truth(accuracy=lambda run: -0.3 * (run["bn.eps"] == 1e-3))
    made = with_eps({"bn": ["none", "before"], "init": ["normal", "he"]}, truth)
    found = measured(Contrast("final", -1, "bn", ("before", "none"), across="init"), made)
    assert found.means[0] < 0.03
    assert found.pairs == 2


def test_equal_seeds_are_ties_whatever_their_means_are_rounded_to() -> None:
    """The same three accuracies on both sides, at other learning rates."""
    scores = [0.1, 0.2, 0.3]
    runs = product({"bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]})
    made = sweep(runs, Truth(), np.random.default_rng(0))
    for bn, values in (("none", scores), ("before", scores[::-1])):
        made.runs.loc[made.runs["bn"] == bn, "final_val_accuracy"] = np.repeat(values, 10)
    comparison = Contrast("final", +1, "bn", ("before", "none"))
    grid = read_grid(made.runs)
    found = sides(grid, comparison)
    item = measure(RunValues(made, grid), METRIC, comparison, found, joint_signs(10, 1))
    assert sum(scores) != sum(scores[::-1]), "rounding tells them apart"
    assert evidence_of(comparison, (found, item), ("it", "it"), (grid, METRIC), 0.05).wins == 0.5


def made_up(n: int, t: float) -> Evidence:
    flips = np.array([t, *np.random.default_rng(0).normal(size=31)])
    return Evidence(name="it", unit=Unit("points"), effect=1.0, difference_N=(1.0,) * n, says=FOR, t_R=flips)


def test_a_comparison_of_too_few_seeds_does_not_speak_and_does_not_silence() -> None:
    few, many = made_up(5, 9.0), made_up(10, 5.0)
    assert len(voices([many, many, few], bundles=10, level=0.05)) == 2
    assert claim_statistic(voices([many, many, few], 10, 0.05), 3)[0][0] == 5.0
    assert claim_statistic(voices([many, few], 10, 0.05), 2)[0][0] == 0.0
    assert not voices([few], 10, 0.05)
    assert not voices([made_up(10, 5.0)], bundles=30, level=0.05), "a third of the seeds that are flipped"


def test_a_claim_of_which_half_is_true_is_not_decided_by_the_joint_p_alone() -> None:
    sure, unsure = made_up(10, 9.0), replace(made_up(10, 3.0), says=OPEN)
    for items, verdict in (
        ([sure, sure], SUPPORTED),
        ([sure, unsure], INCONCLUSIVE),
        ([sure, sure, unsure], SUPPORTED),
    ):
        assert judge(items, voices(items, 10, 0.05), p=0.001, way=1, level=0.05) == verdict


def test_nothing_is_said_of_training_where_nothing_was_trained() -> None:
    truth = Truth(
        accuracy=lambda run: -0.2 * (run["bn"] == "none"), decades=lambda run: -(run["activation"] == "sigmoid")
    )
    made = sweep(product().assign(**{"train.epochs": 0, "total_steps": 0.0}), truth, np.random.default_rng(0))
    found = verdicts(made)
    assert found["sigmoid-vanishes"].verdict == SUPPORTED
    assert found["bn-faster"].verdict == UNASKED
    assert found["bn-faster"].sentence == "This sweep lacks training (train.epochs=0)."
    about_training = [e for v in found.values() for e in v.evidence if "before training" not in e.name]
    assert about_training
    assert not any(e.measured for e in about_training)


def test_a_rate_that_an_arm_was_not_given_is_never_its_best() -> None:
    """Losses may be huge, and worse than any number that could stand for a missing rate."""
    metric = METRICS["final_val_loss"]
    runs = product({"bn": ["none", "before"], "lr.value": [0.1, 1.0]})
    made = sweep(runs[(runs["bn"] == "none") | (runs["lr.value"] == 1.0)], Truth(), np.random.default_rng(0))
    made.runs = made.runs.reset_index(drop=True).assign(final_val_loss=1e9)
    grid = read_grid(made.runs)
    found = sides(grid, Contrast("auc", +1, "bn", ("before", "none"), at=BEST))
    values = [RunValues(made, grid).values("auc", rows) for rows in (found.more, found.less)]
    more, less = (-grid.scores(metric, rows) for rows in (found.more, found.less))
    at = AtRates((more, less), (values[0], values[1]), ())
    got = at_best((found.more >= 0, found.less >= 0), +1, at, joint_signs(10, 1))
    assert got.means[0] == pytest.approx(made.runs["auc"][made.runs["bn"] == "before"].mean())


def test_what_diverged_after_it_learned_counts_nowhere() -> None:
    made = sweep(product(), Truth(), np.random.default_rng(0), lumpy=False)
    at = made.runs.index[(made.runs["bn"] == "before") & (made.runs["lr.value"] == 1.0)]
    made.runs.loc[at, "status"], made.runs.loc[at, "final_val_accuracy"] = "diverged", math.nan
    found = verdicts(made)
    pairs = {
        (key, one.sides[0]): one.pairs
        for key in ("bn-less-overfitting", "bn-drifts-less")
        for one in found[key].evidence
    }
    assert set(pairs.values()) == {12, 18}
    assert all(count == (12 if side == "BN before" else 18) for (_, side), count in pairs.items())


def test_a_pair_without_results_leaves_the_dependence_of_the_others() -> None:
    made = sweep(product(), Truth(), np.random.default_rng(0), lumpy=False)
    comparison = Contrast("final", -1, "bn", ("before", "none"), across="init")
    whole = measured(comparison, made)
    lost = (made.runs["activation"] == "relu") & (made.runs["lr.value"] == 1.0) & (made.runs["bn"] == "none")
    made.runs.loc[lost, "status"] = "failed"
    assert (whole.pairs, measured(comparison, made).pairs) == (6, 5)


def test_before_training_is_before_training() -> None:
    """A gradient too small to have a growth at the start has one later."""
    made = sweep(product(GRID | {"bn": ["none"]}), Truth(), np.random.default_rng(0))
    made.start["growth"] = np.full(len(made.runs), math.nan)
    made.end = made.end | {"growth": np.full(len(made.runs), 0.1)}
    assert verdicts(made)["sigmoid-vanishes"].verdict == UNASKED


def test_swapping_the_sides_swaps_the_verdicts() -> None:
    """No BN for BN before in every run: what was supported is contradicted, by the same p. Who overfits is asked of one
    side, and does not swap."""
    swap = {"none": "before", "before": "none"}
    keys = ("bn-drifts-less", "bn-shifts-less", "bn-faster", "bn-less-init")
    for rng in range(3):
        random = np.random.default_rng(rng)
        size = dict(zip(keys, random.normal(size=4), strict=True))
        truth = Truth(
            accuracy=lambda run, s=size: (
                0.05 + 0.05 * s["bn-faster"] * (run["bn"] != "none") + 0.1 * s["bn-less-init"] * (run["init"] == "he")
            ),
            drift=lambda run, s=size: s["bn-shifts-less"] * (run["bn"] != "none"),
        )
        runs = product(GRID | {"bn": ["none", "before"]})
        made = sweep(runs, truth, random)
        made.runs["final_train_accuracy"] = 0.5
        one = verdicts(made)
        made.runs = made.runs.assign(bn=made.runs["bn"].map(swap))
        two = verdicts(made)
        opposite = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
        for key in keys:
            assert opposite.get(one[key].verdict, one[key].verdict) == two[key].verdict
            for a, b in zip(one[key].evidence, two[key].evidence, strict=True):
                assert (a.effect, a.p) == pytest.approx((-b.effect, b.p), nan_ok=True)


def test_sums_that_differ_by_rounding_alone_are_equal() -> None:
    """Differences of step counts over seven pairs: many swaps give the very same sum."""
    whole = np.array([3, -1, 2, 2, 3, -2, 1, 3])
    found = of_differences(
        whole * 90_000 / 7 + np.random.default_rng(0).normal(size=8) * 1e-10, (0.0, 0.0), 7, joint_signs(8, 1)
    )
    flips = [abs(np.dot(signs, whole)) for signs in itertools.product((1, -1), repeat=8)]
    assert found.p == np.mean(np.array(flips) >= abs(whole.sum()))


def test_every_run_of_an_unusual_grid_has_its_place() -> None:
    made = with_eps({"bn": ["none", "before", "after"], "init": ["normal", "he"]}, Truth())
    found = verdicts(made)
    assert found["bn-less-overfitting"].evidence[0].pairs == 4, "two inits, each eps against no BN"
    assert found["bn-before"].evidence[0].pairs == 4, "two inits at the same eps"


def test_before_training_a_lost_run_is_replaced_by_one_at_another_rate() -> None:
    made = sweep(product(), Truth(), np.random.default_rng(0))
    whole = verdicts(made)["sigmoid-vanishes"].evidence[0]
    lost = (made.runs["lr.value"] == 0.01) & (made.runs["seed"] == 4)
    made.runs.loc[lost, "status"] = "failed"
    made.start["growth"] = np.where(lost, math.nan, made.start["growth"])
    assert verdicts(made)["sigmoid-vanishes"].evidence[0].difference_N == whole.difference_N


def test_seeds_that_share_a_subset_settle_nothing() -> None:
    truth = Truth(accuracy=lambda run: 0.1 * (run["bn"] != "none"))
    made = sweep(product(seeds=9), truth, np.random.default_rng(0), lumpy=False)
    assert verdicts(made)["bn-faster"].verdict == SUPPORTED
    made.runs = made.runs.assign(**{"data.seed": made.runs["seed"] // 3, "seed": made.runs["seed"] % 3})
    verdict = verdicts(made)["bn-faster"]
    assert verdict.verdict == INCONCLUSIVE
    assert verdict.sentence.startswith("Seed and data.seed vary apart")


def test_nothing_is_less_than_nothing() -> None:
    unit = Unit("points", 100, 1)
    assert unit.text(-0.0) == unit.text(-0.0001) == "0.0"
    assert unit.text(-0.0001, signed=True) == "+0.0"


def test_the_seeds_differences_of_a_spread_have_the_effect_as_their_mean() -> None:
    """Also where the seeds agree on nothing on one side, whose variance comes out below 0 and counts as 0."""
    random = np.random.default_rng(0)
    less = random.standard_normal((2, 3, 6))
    more = random.standard_normal((2, 3, 1)) * np.array([1, -1, 1, -1, 1, -1])
    found = deviation_contrast(-1, more, less + 3 * np.arange(3)[:, None], joint_signs(6, 1))
    assert found.means[0] == 0.0
    assert np.mean(found.difference_N) == pytest.approx(found.effect)


@pytest.mark.parametrize("apart", [1e-13, 1e-11, 1e-9, 1e-3])
def test_p_is_of_the_rates_that_the_effect_was_measured_at(apart: float) -> None:
    """The first rate is `apart` worse than the second one: equal to it by rounding, or not, and for both alike."""
    choose = 0.9 + np.array([[0.0] * 8, [apart] * 8, [-apart] * 8])
    value = np.arange(24.0).reshape(3, 8)
    effect = resample.goodness_of_choice(choose, np.ones((1, 8)), value)[0]
    assert list(value_of_choice(choose[None], value[None])[0]) == list(effect) == list(value[int(apart > 1e-12)])
