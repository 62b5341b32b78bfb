"""How claims on skip connections, depth, other normalisations and usable rates are measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from claim_sweeps import NORMS, SKIPS, Sweep, Truth, product, sweep

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.claims import flips
from bnsweep.report.claims.answers import answer_claims, evidence_of
from bnsweep.report.claims.claims import AS_MUCH, WITHOUT_SKIP
from bnsweep.report.claims.contrasts import BEST, LARGEST, LAYERS, MAX, MIN, START, Contrast, Measured, sides
from bnsweep.report.claims.flips import joint_signs
from bnsweep.report.claims.measure import measure
from bnsweep.report.claims.quantities import RunValues
from bnsweep.report.claims.verdicts import (
    AGAINST,
    FOR,
    INCONCLUSIVE,
    MIXED,
    OPEN,
    SUPPORTED,
    UNASKED,
    Evidence,
    Verdict,
)
from bnsweep.report.figures.claims import claim_figures
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages.tables import ahead
from bnsweep.report.stats.resample import cross_fit

METRIC = METRICS["final_val_accuracy"]
SIGNS = joint_signs(10, 1)
OVERLAP = Contrast("final", +1, "bn", ("before", "none"), moderators=(WITHOUT_SKIP,))
DEEPER = Contrast("final", +1, "bn", ("before", "none"), moderators=((LAYERS, (MAX, MIN)), WITHOUT_SKIP))
AS_WELL = Contrast("final", 0, "bn", ("group before", "before"), margin=AS_MUCH)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest bootstrap draws, 1,000; flips of 10 seeds are all made anyway."""
    monkeypatch.setattr(flips, "WORK", 0)


def made_of(grid: Mapping[str, Any], truth: Truth, rng: int = 0) -> Sweep:
    return sweep(product(grid), truth, np.random.default_rng(rng), lumpy=False)


def measured(comparison: Contrast, made: Sweep) -> Measured:
    grid = read_grid(made.runs)
    return measure(RunValues(made, grid), METRIC, comparison, sides(grid, comparison), SIGNS)


def evidence(comparison: Contrast, made: Sweep) -> Evidence:
    grid = read_grid(made.runs)
    found = sides(grid, comparison)
    item = measure(RunValues(made, grid), METRIC, comparison, found, SIGNS)
    return evidence_of(comparison, (found, item), ("it", "it"), (grid, METRIC), 0.05)


def answers(made: Sweep) -> dict[str, Verdict]:
    return {v.key: v for v in answer_claims(made, read_grid(made.runs), METRIC)}


def scores(made: Sweep, *factors: str) -> Any:
    return made.runs.set_index([*factors, "lr.value", "seed"])["final_val_accuracy"].sort_index()


def bn_less_without_skips(run: Mapping[str, Any]) -> float:
    return -0.3 + 0.1 * (run["bn"] == "before") * (1 + (run["skip"] == "off"))


def test_a_difference_of_differences_is_that_of_a_plain_loop() -> None:
    made = made_of(SKIPS, Truth(accuracy=bn_less_without_skips))
    found, score = measured(OVERLAP, made), scores(made, "bn", "skip", "model.hidden")
    cells = list(itertools.product(SKIPS["model.hidden"], SKIPS["lr.value"]))

    def added(skip: str, seed: int) -> float:
        return float(np.mean([score["before", skip, *c, seed] - score["none", skip, *c, seed] for c in cells]))

    assert found.difference_N == pytest.approx([added("off", s) - added("on", s) for s in range(10)])
    assert found.means == pytest.approx([np.mean([added(k, s) for s in range(10)]) for k in ("off", "on")])
    assert (found.effect, found.pairs) == (pytest.approx(found.means[0] - found.means[1]), 4)
    assert found.p == 2**-9


def test_at_best_rates_each_of_the_four_networks_has_its_own() -> None:
    """BN is better at the large rate and no BN at the small one, but for networks with skips."""
    grid = SKIPS | {"model.hidden": ["32x4"]}

    def truth(run: Mapping[str, Any]) -> float:
        large = run["lr.value"] == 1.0
        return -0.2 + 0.1 * (large == (run["bn"] == "before" or run["skip"] == "on")) + 0.05 * (run["bn"] == "before")

    made = made_of(grid, Truth(accuracy=truth))
    found = measured(Contrast("final", +1, "bn", ("before", "none"), at=BEST, moderators=(WITHOUT_SKIP,)), made)
    score, own = scores(made, "bn", "skip"), {}
    for arm in itertools.product(grid["bn"], grid["skip"]):
        table = score.loc[arm].unstack("seed").to_numpy()
        own[arm] = table[cross_fit(table, 1)[0], np.arange(10)]
    plain = own["before", "off"] - own["none", "off"] - own["before", "on"] + own["none", "on"]
    assert found.difference_N == pytest.approx(plain)
    assert found.means == pytest.approx([(own["before", k] - own["none", k]).mean() for k in ("off", "on")])


def test_depth_is_counted_in_layers_and_the_deepest_held_against_the_shallowest() -> None:
    grid = SKIPS | {"model.hidden": ["32x20", "32x100", "32x4"]}
    made = made_of(grid, Truth(accuracy=lambda run: bn_less_without_skips(run) * (run["model.hidden"] == "32x100")))
    found, score = evidence(DEEPER, made), scores(made, "model.hidden", "bn", "skip").groupby(level=[0, 1, 2]).mean()
    arms = list(itertools.product(SKIPS["bn"], SKIPS["skip"]))
    signs = [1 if (bn == "before") == (skip == "off") else -1 for bn, skip in arms]
    plain = [np.dot(signs, [score[size, *arm] for arm in arms]) for size in ("32x100", "32x4")]
    assert found.sides == ("100 hidden layers", "4 hidden layers")
    assert found.means == pytest.approx(plain)
    assert found.effect == pytest.approx(plain[0] - plain[1])
    one = made_of(SKIPS | {"model.hidden": ["32x4"]}, Truth())
    assert answers(one)["skip-for-bn-deep"].sentence == "This sweep lacks networks of two depths with all else equal."
    assert answers(one)["skip-trains-deep"].sentence == "This sweep lacks networks of 16 or more hidden layers."


@pytest.mark.parametrize("at", ["equal", BEST])
def test_a_hole_takes_its_seed_from_all_four_networks(at: str) -> None:
    """A pair without its counterpart would be a plain difference."""
    made = made_of(SKIPS, Truth(accuracy=bn_less_without_skips))
    comparison = Contrast("final", +1, "bn", ("before", "none"), at=at, moderators=(WITHOUT_SKIP,))
    lost = (made.runs["seed"] == 4) & (made.runs["skip"] == "on") & (made.runs["model.hidden"] == "32x20")
    made.runs.loc[lost, ["status", "final_val_accuracy"]] = ["failed", np.nan]
    found = measured(comparison, made)
    assert len(found.difference_N) == 9
    never = made_of(SKIPS, Truth(accuracy=bn_less_without_skips))
    lost = (never.runs["bn"] == "none") & (never.runs["skip"] == "on") & (never.runs["model.hidden"] == "32x20")
    never.runs.loc[lost, ["status", "final_val_accuracy"]] = ["failed", np.nan]
    found = measured(comparison, never)
    assert len(found.difference_N) == 10 and found.effect == pytest.approx(0.1, abs=0.04), "of the other size alone"


@pytest.mark.parametrize(
    ("apart", "says"), [(0.0, FOR), (-0.004, FOR), (0.03, AGAINST), (-0.03, AGAINST), (AS_MUCH, OPEN)]
)
def test_two_sides_do_equally_well_where_they_differ_by_less_than_the_margin(apart: float, says: str) -> None:
    made = made_of(NORMS, Truth(accuracy=lambda run: apart * (run["bn"] == "group before"), noise=lambda run: 0.003))
    item = evidence(AS_WELL, made)
    assert item.says == says
    assert item.effect == pytest.approx(apart, abs=0.003)
    assert ahead(item) == f"{sum(abs(d) <= AS_MUCH for d in item.difference_N)} of 10 seeds"
    assert (item.wins == 1) == (ahead(item) == "10 of 10 seeds")
    assert item.remark == "a difference of up to 1.0 points counts as none"


def test_the_test_of_equality_is_two_one_sided_ones() -> None:
    made = made_of(NORMS, Truth(accuracy=lambda run: 0.006 * (run["bn"] == "group before"), noise=lambda run: 0.003))
    found = measured(AS_WELL, made)
    d = found.difference_N
    error = d.std(ddof=1) / np.sqrt(10)
    assert found.t_R is not None
    assert found.t_R[0] == pytest.approx(min(AS_MUCH - d.mean(), AS_MUCH + d.mean()) / error)
    flipped = [abs((signs * (AS_MUCH - d)).sum()) for signs in SIGNS]
    assert found.p == pytest.approx(np.mean(np.array(flipped) >= flipped[0] - 1e-12))


@pytest.mark.slow
@pytest.mark.parametrize("at", ["equal", BEST])
def test_sides_that_lie_the_margin_apart_seldom_count_as_equal(at: str) -> None:
    """In 1 of 40 sweeps they do, and in as many as different; 7 or more of 60 come by chance in 1 of 50 cases."""
    comparison = Contrast("final", 0, "bn", ("group before", "before"), at=at, margin=AS_MUCH)
    truth = Truth(accuracy=lambda run: AS_MUCH * (run["bn"] == "group before"), noise=lambda run: 0.003)
    says = [measured(comparison, made_of(NORMS, truth, rng)).p <= 0.05 for rng in range(60)]
    assert sum(says) <= 7


def test_a_claim_of_equality_is_drawn_and_told_as_one() -> None:
    verdict = answers(made_of(NORMS, Truth(noise=lambda run: 0.003)))["norms-match-bn"]
    assert verdict.verdict == SUPPORTED
    assert "; a difference of " in verdict.sentence and "in favour of" not in verdict.sentence
    (drawing,) = claim_figures([verdict])
    assert "band" in drawing.caption
    low, high = drawing.figure.axes[0].get_xlim()
    assert low < -AS_MUCH and high > AS_MUCH, "the margin is in the picture"
    open_one = answers(made_of(NORMS, Truth(noise=lambda run: 0.05)))["norms-match-bn"]
    assert open_one.sentence.startswith("Whether they differ by more than counts as none is beyond these seeds (p = ")


def test_at_a_single_rate_each_comparison_is_made_once() -> None:
    """The best of one rate is that rate: two rows of the same numbers would look like two that agree."""
    made = made_of(SKIPS | {"lr.value": [0.1]}, Truth(accuracy=lambda run: 0.1 * (run["skip"] == "on")))
    deep, less = (answers(made)[key] for key in ("skip-trains-deep", "skip-for-bn"))
    assert [len(verdict.evidence) for verdict in (deep, less)] == [1, 1]
    assert deep.verdict == SUPPORTED and "comparisons say so" not in deep.sentence
    assert answers(made)["norms-match-bn"].sentence == "This sweep lacks norm=layer bn=before.", "as it is typed"
    two = answers(made_of(SKIPS, Truth()))["skip-trains-deep"]
    assert [item.name.rpartition(", ")[2] for item in two.evidence] == ["best lr", "same lr"]


def test_a_factor_close_to_one_has_a_digit_more() -> None:
    unit = evidence(Contrast("kept", +1, "skip", ("on", "off"), at=START), made_of(SKIPS, Truth())).unit
    texts = [unit.text(np.log10(times)) for times in (1.0, 1.004, 1.05, 1.094, 1.1, 1.64, 0.93)]
    assert texts == ["× 1.0", "× 1.0", "× 1.05", "× 1.09", "× 1.1", "× 1.6", "× 0.93"]


def test_which_of_several_normalisations_do_as_well_as_bn_is_told() -> None:
    """One that matches and three that do not disagree; a verdict on all of them would hide which is which."""
    kinds = ["group", "instance", "layer", "rms"]
    grid = NORMS | {"bn": ["before", *(f"{kind} before" for kind in kinds)], "train.batch_size": [64]}

    def behind(run: Mapping[str, Any]) -> float:
        return 0.0 if run["bn"] in ("before", "group before") else -0.1

    verdict = answers(made_of(grid, Truth(accuracy=behind, noise=lambda run: 0.003)))["norms-match-bn"]
    assert verdict.verdict == MIXED
    assert verdict.sentence.endswith(
        " For it: GroupNorm before. Against it: LayerNorm before, InstanceNorm before, RMSNorm before."
    )

    def unsure(run: Mapping[str, Any]) -> float:
        return 0.05 if run["bn"] in ("instance before", "rms before", "layer before") else 0.003

    verdict = answers(made_of(grid, Truth(noise=unsure)))["norms-match-bn"]
    assert verdict.verdict == INCONCLUSIVE
    assert " % with GroupNorm before, " in verdict.sentence, "what speaks is quoted"
    assert verdict.sentence.endswith(
        " For it: GroupNorm before. Undecided: LayerNorm before, InstanceNorm before, RMSNorm before."
    )


def test_the_largest_rate_is_the_last_at_which_runs_train() -> None:
    made = made_of({"bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]}, Truth())
    ends = {"none": [0.9, 0.9, 0.1], "before": [0.1, 0.9, 0.9]}
    for bn, values in ends.items():
        made.runs.loc[made.runs["bn"] == bn, "final_val_accuracy"] = np.repeat(values, 10)
    comparison = Contrast("trains", +1, "bn", ("before", "none"), across="lr.value", by=LARGEST)
    item = evidence(comparison, made)
    assert item.means == pytest.approx((0.0, -1.0))
    assert [item.mean_text(side) for side in (0, 1)] == ["1", "0.1"]
    assert item.unit.difference_text(item.effect) == "× 10"
    made.runs.loc[made.runs["bn"] == "none", "final_val_accuracy"] = 0.1
    assert measured(comparison, made).means[1] == pytest.approx(-3.0), "a step below the smallest"
    never = made_of({"bn": ["none", "before"], "lr.value": [0.01, 0.1]}, Truth(accuracy=lambda run: -0.5))
    assert (
        answers(never)["bn-larger-lr"].evidence[0].note
        == "this sweep lacks a learning rate at which any network trains"
    )
    made.runs.loc[(made.runs["seed"] == 3) & (made.runs["lr.value"] == 0.1), "status"] = "failed"
    assert len(measured(comparison, made).difference_N) == 9, "what is not known at one rate is not known"


def test_settings_of_another_normalisation_are_no_hindrance() -> None:
    runs = product(NORMS | {"norm.groups": [2, 4]})
    runs.loc[runs["bn"] != "group before", "norm.groups"] = np.nan
    runs = runs.drop(columns="run_id").drop_duplicates().reset_index(drop=True)
    runs.insert(0, "run_id", [f"r{i}" for i in range(len(runs))])
    made = sweep(runs, Truth(), np.random.default_rng(0), lumpy=False)
    assert measured(AS_WELL, made).pairs == 8
    assert answers(made)["group-small-batches"].verdict != UNASKED
