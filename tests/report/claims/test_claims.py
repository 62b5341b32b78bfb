"""Claims and their verdicts on sweeps whose truth is known."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from claim_sweeps import GRID, NORMS, SKIPS, Sweep, Truth, product, sweep

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.claims import flips
from bnsweep.report.claims.answers import answer_claims
from bnsweep.report.claims.best_rate import AtRates, at_best
from bnsweep.report.claims.claims import CLAIMS
from bnsweep.report.claims.contrasts import BEST, OVERFITTING, Contrast, Unasked, sides
from bnsweep.report.claims.flips import joint_signs, studentized
from bnsweep.report.claims.measure import deviation_contrast, measure
from bnsweep.report.claims.quantities import OF_ANY_TASK, RunValues, gap_at, gaps_at_equal_fit
from bnsweep.report.claims.verdicts import (
    AGAINST,
    CONTRADICTED,
    FOR,
    INCONCLUSIVE,
    MIXED,
    OPEN,
    SUPPORTED,
    TOO_FEW,
    UNASKED,
    Evidence,
    Verdict,
)
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages import sentences
from bnsweep.report.pages.tables import ahead
from bnsweep.report.stats.resample import cross_fit

METRIC = METRICS["final_val_accuracy"]
RUNS = product()
DROPOUT_GRID = {"bn": ["none", "before"], "model.dropout": [0.0, 0.2, 0.5], "lr.value": [0.1, 1.0]}
DROPOUT = product(DROPOUT_GRID)
SKIP_RUNS, NORM_RUNS = product(SKIPS), product(NORMS)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest bootstrap draws, 1,000; flips of 10 seeds are all made anyway."""
    monkeypatch.setattr(flips, "WORK", 0)


def answers(truth: Truth, rng: int = 0, runs: Any = RUNS, lumpy: bool = False) -> dict[str, Verdict]:
    made = sweep(runs, truth, np.random.default_rng(rng), lumpy)
    return answers_of(made)


def answers_of(made: Sweep) -> dict[str, Verdict]:
    return {v.key: v for v in answer_claims(made, read_grid(made.runs), METRIC)}


def bn(run: Mapping[str, Any]) -> bool:
    return bool(run["bn"] != "none")


def sigmoid(run: Mapping[str, Any]) -> bool:
    return bool(run["activation"] == "sigmoid")


def skip(run: Mapping[str, Any]) -> bool:
    return bool(run["skip"] == "on")


def deep(run: Mapping[str, Any]) -> bool:
    return bool(run["model.hidden"] == "32x20")


PLANTED: dict[str, Callable[[float], Truth]] = {
    "sigmoid-vanishes": lambda s: Truth(decades=lambda run: -s * sigmoid(run)),
    "relu-helps": lambda s: Truth(
        decades=lambda run: -2 - s * sigmoid(run), accuracy=lambda run: -0.1 * s * sigmoid(run)
    ),
    "init-keeps-spread": lambda s: Truth(spread=lambda run: 0.6 + 0.4 * s * (run["init"] == "normal")),
    "small-lr-prevents-explosion": lambda s: Truth(
        loss_rises=lambda run: 0.9 * (run["lr.value"] == (1.0 if s > 0 else 0.01))
    ),
    "bn-drifts-less": lambda s: Truth(drift=lambda run: -0.5 * s * bn(run), accuracy=lambda run: 0.05),
    "bn-shifts-less": lambda s: Truth(drift=lambda run: -0.5 * s * bn(run), accuracy=lambda run: 0.05),
    "bn-faster": lambda s: Truth(accuracy=lambda run: 0.05 + 0.05 * s * bn(run)),
    "bn-less-init": lambda s: Truth(accuracy=lambda run: -0.2 * (run["init"] == "normal") * (bn(run) == (s < 0))),
    "bn-less-overfitting": lambda s: Truth(gap=lambda run: 0.02 - 0.02 * s * bn(run), rise=lambda run: -s * bn(run)),
    "bn-less-dropout": lambda s: Truth(
        accuracy=lambda run: -0.3 + (run["model.dropout"] > 0) * (0.05 + 0.1 * (bn(run) == (s < 0)))
    ),
    "bn-before": lambda s: Truth(accuracy=lambda run: 0.05 * s * (run["bn"] == "before")),
    "bn-larger-lr": lambda s: Truth(
        accuracy=lambda run: 0.1 - 0.5 * (run["lr.value"] == 1.0) * (bn(run) == (s < 0)),
        loss_rises=lambda run: 0.9 * (run["lr.value"] == 1.0) * (bn(run) == (s < 0)),
    ),
    "skip-keeps-gradients": lambda s: Truth(decades=lambda run: -2 + s * skip(run)),
    "skip-trains-deep": lambda s: Truth(accuracy=lambda run: -0.1 + 0.1 * s * skip(run) * deep(run)),
    "norms-match-bn": lambda s: Truth(
        accuracy=lambda run: -0.05 * (s < 0 and run["bn"] != "before" and run["train.batch_size"] == 64),
        noise=lambda run: 0.003,
    ),
    "group-small-batches": lambda s: Truth(
        accuracy=lambda run: -0.1 + 0.08 * s * (run["bn"] == "group before" and run["train.batch_size"] == 2)
    ),
    "skip-for-bn": lambda s: Truth(accuracy=lambda run: -0.3 + 0.2 * bn(run) - 0.15 * s * bn(run) * skip(run)),
    "skip-for-bn-deep": lambda s: Truth(
        accuracy=lambda run: -0.3 + 0.2 * bn(run) - 0.15 * s * bn(run) * skip(run) * deep(run)
    ),
}
ON = {key: SKIP_RUNS for key in PLANTED if key.startswith("skip-")}
ON |= {"bn-less-dropout": DROPOUT, "norms-match-bn": NORM_RUNS, "group-small-batches": NORM_RUNS}
"""Claims that are asked of other runs than the lecture's."""


def test_every_claim_has_a_planted_truth() -> None:
    assert [claim.key for claim in CLAIMS] == list(PLANTED)


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, SUPPORTED), (-1.0, CONTRADICTED)])
@pytest.mark.parametrize("key", PLANTED)
def test_a_planted_truth_is_found_in_either_direction(key: str, sign: float, verdict: str) -> None:
    assert answers(PLANTED[key](sign), runs=ON.get(key, RUNS))[key].verdict == verdict


@pytest.mark.slow
def test_sweeps_in_which_nothing_matters_seldom_get_a_verdict() -> None:
    """At most 1 in 20 by Holm; 5 or more of 24 such sweeps would come by chance in 1 of 170 cases."""
    runs = product(GRID | {"init": ["normal", "xavier"], "lr.value": [0.01, 0.1]})
    found = [answers(Truth(), rng, runs, lumpy=True).values() for rng in range(24)]
    assert sum(any(v.verdict in (SUPPORTED, CONTRADICTED) for v in sweep) for sweep in found) < 5


@pytest.mark.slow
def test_of_1000_sweeps_in_which_nothing_matters_1_in_20_at_most_gets_a_verdict() -> None:
    found = [answers(Truth(), rng, lumpy=True).values() for rng in range(1000)]
    assert sum(any(v.verdict in (SUPPORTED, CONTRADICTED) for v in sweep) for sweep in found) <= 50


def test_every_claim_that_was_asked_has_its_p() -> None:
    found = answers(Truth(accuracy=lambda run: 0.05))
    asked = [v for v in found.values() if v.verdict != UNASKED]
    assert {v.key for v in found.values()} - {v.key for v in asked} == ON.keys(), "neither dropout nor skips were swept"
    assert all(2**-9 <= v.p_adjusted <= 1 for v in asked)
    assert np.isnan(found["bn-less-dropout"].p_adjusted)


@pytest.mark.parametrize("seeds", [3, 5])
def test_few_seeds_settle_nothing(seeds: int) -> None:
    found = answers(Truth(accuracy=lambda run: 0.1 * bn(run)), runs=product(seeds=seeds))
    assert {v.verdict for v in found.values()} == {TOO_FEW, UNASKED}
    assert found["bn-faster"].sentence.startswith(f"{seeds} seeds are too few to decide it: it takes 6 at the least. ")


def test_six_seeds_can_settle_a_claim_however_many_are_asked() -> None:
    found = answers(Truth(accuracy=lambda run: 0.5 * bn(run) - 0.4, noise=lambda run: 0.001), runs=product(seeds=6))
    assert found["bn-faster"].verdict == SUPPORTED


def late(run: Mapping[str, Any]) -> float:
    """Added to .85: BN gets to τ always, no BN with the narrow weights hardly ever."""
    return 0.1 if bn(run) else -0.2 if run["init"] == "normal" else 0.05


def test_steps_are_told_beside_and_are_at_the_least_where_some_runs_never_end_them() -> None:
    made = sweep(RUNS, Truth(accuracy=late), np.random.default_rng(0), lumpy=False)
    best = answers_of(made)["bn-faster"].evidence[0]
    assert re.fullmatch(r"steps to 75 % there: \d+ against ≥ \d+ \(\d+ % got there\)", best.aside)
    assert best.aside in sentences.in_a_line(answers_of(made)["bn-faster"])


def test_what_learns_on_one_side_alone_is_left_out_and_told() -> None:
    """No BN from narrow weights is no slow learner: it learns nothing."""
    made = sweep(RUNS, Truth(accuracy=late), np.random.default_rng(0), lumpy=False)
    before = answers_of(made)["bn-faster"].evidence[2]
    assert before.title == "time-mean validation accuracy, same lr, both end at 75 % or above"
    assert before.pairs == 12, "of 18, in which one of three inits is narrow"
    score = made.runs.set_index(["init", "bn"])["final_val_accuracy"].groupby(level=[0, 1]).mean()
    told = f"{100 * score['normal', 'before']:.1f} % against {100 * score['normal', 'none']:.1f} % there"
    assert f"left out: 6 of 18 pairs of which not both learn, final validation accuracy {told}" in before.remark


def test_the_share_that_reached_is_of_the_runs_compared() -> None:
    """At the best rates those that the other seeds choose, held against a loop."""
    runs = product({"bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]})
    truth = Truth(accuracy=lambda run: -0.05 - 0.04 * (run["bn"] == "none") - 0.02 * (run["lr.value"] == 0.01))
    made = sweep(runs, truth, np.random.default_rng(7), lumpy=False)
    grid = read_grid(made.runs)
    comparison = Contrast("auc", +1, "bn", ("before", "none"), at=BEST, beside="steps")
    found = sides(grid, comparison)
    item = measure(RunValues(made, grid), METRIC, comparison, found, joint_signs(10, 1))
    plain = []
    for name in ("steps_to_tau", "tau_reached"):
        of_side = []
        for rows in (found.more, found.less):
            chosen, _ = cross_fit(grid.scores(METRIC, rows)[0], 1)
            of_side.append(made.runs[name].to_numpy()[rows[0][chosen, np.arange(10)]].mean())
        plain.append(tuple(of_side))
    assert item.beside == plain
    assert plain[1][1] < 1, "not all of them"


def test_a_claim_with_a_comparison_for_it_and_one_against_is_mixed_and_shows_both() -> None:
    """BN before wins at its best rate and loses far at the others."""
    truth = Truth(
        accuracy=lambda run: {0.01: -0.2, 0.1: -0.1, 1.0: 0.05}[run["lr.value"]] if run["bn"] == "before" else -0.01
    )
    verdict = answers(truth)["bn-before"]
    assert verdict.verdict == MIXED
    best, equal = verdict.evidence
    assert (best.says, equal.says) == (FOR, AGAINST)
    line = sentences.in_a_line(verdict)
    for one in (best, equal):
        assert f"{one.unit.text(one.means[0])} " in line and one.unit.level_text(one.means[1]) in line
        assert one.unit.level_text(one.means[0]) in verdict.sentence
    assert "; but same lr: " in line
    assert verdict.sentence.startswith("The comparisons disagree. For it: final validation accuracy, best lr: ")
    assert sentences.seeds_for(verdict) == "1 comparison for it, 1 against"
    assert sentences.verdict_counts([verdict]) == "1 mixed"


def test_overfitting_is_gap_rise_and_test_accuracy() -> None:
    """What closes the gap can do so by learning less, and what opens it by learning more."""
    truth = Truth(gap=lambda run: -0.02 * bn(run), accuracy=lambda run: -0.05 * bn(run))
    verdict = answers(truth)["bn-less-overfitting"]
    assert verdict.verdict == MIXED
    says = {one.title.partition(",")[0]: one.says for one in verdict.evidence}
    assert says == {
        "train − validation accuracy at equal training accuracy": FOR,
        "rise of validation loss over its minimum": OPEN,
        "test accuracy": AGAINST,
    }


def test_comparisons_of_one_claim_have_names_of_their_own() -> None:
    """The widths of a narrow normal init are not the same for sigmoid and for ReLU, and say of which they are."""
    for grid in (
        GRID,
        {"bn": ["none", "before"], "lr.value": [0.1, 1.0]},
        GRID | {"activation": ["tanh", "sigmoid", "relu", "elu"]},
    ):
        for verdict in answers(Truth(), runs=product(grid, seeds=3)).values():
            names = [one.name for one in verdict.evidence]
            assert len(set(names)) == len(names), names
    found = answers(Truth())["init-keeps-spread"].evidence
    assert [one.title.rpartition(", ")[2] for one in found] == ["sigmoid", "relu"]
    faster = answers(Truth(accuracy=lambda run: 0.05))["bn-faster"].evidence
    assert [one.name.rpartition(", ")[2] for one in faster] == ["BN before", "BN after"] * 2


def test_a_level_of_its_own_needs_seeds_of_its_own() -> None:
    made = sweep(product(seeds=7), PLANTED["bn-before"](1.0), np.random.default_rng(0), lumpy=False)
    grid = read_grid(made.runs)
    for level, verdict in ((0.02, SUPPORTED), (0.015, TOO_FEW)):
        found = {v.key: v for v in answer_claims(made, grid, METRIC, level)}["bn-before"]
        assert found.verdict == verdict
    assert "it takes 8 at the least" in found.sentence


def test_what_was_not_swept_is_not_asked() -> None:
    found = answers(Truth(accuracy=lambda run: 0.05), runs=product({"bn": ["none", "before"], "lr.value": [0.1, 1.0]}))
    assert found["bn-less-init"].verdict == UNASKED
    assert found["bn-less-init"].sentence == "This sweep lacks two values of init."
    assert found["relu-helps"].sentence == "This sweep lacks activation=relu."
    assert found["bn-before"].sentence == "This sweep lacks bn=after."
    assert found["bn-faster"].evidence[0].measured


@pytest.mark.parametrize(("key", "factor"), [("bn-faster", "bn"), ("skip-keeps-gradients", "skip")])
def test_networks_of_the_users_may_have_no_part_for_what_is_asked(key: str, factor: str) -> None:
    runs = product({"activation": ["sigmoid", "relu"], "lr.value": [0.1, 1.0], "bn": ["none"]})
    own = runs.drop(columns=factor, errors="ignore").assign(**{"model.target": "m:Net"})
    says = f"This sweep lacks {factor} as a setting, as its networks have no part for it."
    assert answers(Truth(), runs=own)[key].sentence == says


def test_a_fixed_setting_serves_as_well_as_a_swept_one() -> None:
    runs = product({"activation": ["sigmoid", "relu"], "lr.value": [0.1, 1.0]}).assign(bn="none")
    assert answers(Truth(decades=lambda run: -sigmoid(run)), runs=runs)["sigmoid-vanishes"].verdict == SUPPORTED
    assert answers(Truth(), runs=runs.assign(bn="before"))["sigmoid-vanishes"].sentence == "This sweep lacks bn=none."


@pytest.mark.parametrize(
    ("a_layer", "verdict"),
    [(0.5, SUPPORTED), (0.85, SUPPORTED), (0.95, INCONCLUSIVE), (1.05, INCONCLUSIVE), (1.2, CONTRADICTED)],
)
def test_a_gradient_that_hardly_changes_from_layer_to_layer_neither_vanishes_nor_explodes(
    a_layer: float, verdict: str
) -> None:
    """All seeds say the same, so that against × 1 each of these would be certain."""
    random = np.random.default_rng(0)
    made = sweep(RUNS, Truth(), random)
    made.start["growth"] = a_layer**2 * 10 ** random.normal(0, 0.01, len(made.runs))
    found = answers_of(made)["sigmoid-vanishes"]
    assert found.verdict == verdict
    assert found.evidence[0].means[0] == pytest.approx(np.log10(a_layer), abs=0.01)


def test_what_was_not_recorded_is_said() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: 0.05), np.random.default_rng(0))
    made.runs = made.runs.drop(columns=["drift_1", "drift_2"])
    made.start = {k: v for k, v in made.start.items() if "ics" not in k}
    made.end = made.start
    verdict = answers_of(made)["bn-shifts-less"]
    assert (verdict.verdict, verdict.sentence) == (UNASKED, "This sweep lacks probes=full.")


def test_overfitting_is_not_asked_where_nothing_overfits() -> None:
    made = sweep(RUNS, Truth(rise=lambda run: -2.0), np.random.default_rng(0), lumpy=False)
    verdict = answers_of(made)["bn-less-overfitting"]
    assert verdict.verdict == UNASKED
    says = "This sweep lacks networks that overfit: with no BN validation loss ends "
    assert re.match(says + r"[23]\.\d % above its minimum at the most", verdict.sentence)
    made.runs["final_train_accuracy"] = 0.7
    says = "This sweep lacks networks that overfit: no pair of arms both fit their training data to 75 %."
    assert answers_of(made)["bn-less-overfitting"].sentence == says


def test_dropout_is_not_asked_where_it_helps_nothing() -> None:
    """Where it only harms, BN cannot make it less needed."""
    truth = Truth(accuracy=lambda run: -0.1 * (run["model.dropout"] > 0) * (1 + bn(run)))
    verdict = answers(truth, runs=DROPOUT)["bn-less-dropout"]
    assert verdict.verdict == UNASKED
    assert verdict.sentence == "This sweep lacks networks that need dropout: with no BN none gains by it."


def test_the_gap_is_read_where_both_have_fitted_equally_well() -> None:
    """Held against interpolation pair by pair. Equal epochs would compare one that has fitted further."""
    made = sweep(product(GRID | {"bn": ["none", "before"]}, seeds=6), Truth(), np.random.default_rng(0), lumpy=False)
    grid = read_grid(made.runs)
    found = sides(grid, Contrast("gap", -1, "bn", ("before", "none")))
    got = gaps_at_equal_fit(RunValues(made, grid), found.more, found.less)
    train, val = (made.end[f"{split}/accuracy"] for split in ("train", "val"))
    assert np.isfinite(got).all()
    for place in np.ndindex(found.more.shape):
        rows = (found.more[place], found.less[place])
        level = min(train[row] for row in rows)
        for side, row in zip(got, rows, strict=True):
            plain = level - np.interp(level, [0.1, train[row]], [0.1, val[row]])
            assert side[place] == pytest.approx(plain)


def test_a_training_score_that_falls_is_read_where_it_was_first_reached() -> None:
    train = np.array([[0.1, 0.5, 0.9, 0.7, np.nan], [0.1, 0.2, 0.3, 0.4, 0.5]])
    val = np.array([[0.1, 0.4, 0.6, 0.9, np.nan], [0.1, 0.2, 0.2, 0.2, 0.4]])
    assert gap_at(np.array([0.7, 0.5]), train, val) == pytest.approx([0.7 - 0.5, 0.1])
    assert gap_at(np.array([0.1, -np.inf]), train, val) == pytest.approx([0.0, np.nan], nan_ok=True)
    assert np.isnan(gap_at(np.array([0.95, 0.6]), train, val)).all()


def test_pairs_that_overfit_are_chosen_anew_in_every_flip() -> None:
    """Held against a loop; and those chosen for their luck decide no more than 1 in 20."""
    runs = product({"bn": ["none", "before"], "init": ["normal", "xavier", "he"], "lr.value": [0.1]}, seeds=7)
    comparison = Contrast("rise", -1, "bn", ("before", "none"), among=OVERFITTING)
    some = []
    for rng in range(40):
        made = sweep(runs, Truth(rise=lambda run: -1.4), np.random.default_rng(rng), lumpy=False)
        noise = np.random.default_rng(rng).normal(0, 0.01, len(runs))
        made.end["val/loss"] = made.end["val/loss"] + noise
        grid = read_grid(made.runs)
        found = sides(grid, comparison)
        try:
            item = measure(RunValues(made, grid), METRIC, comparison, found, joint_signs(7, 1))
        except Unasked:
            continue
        rise = [
            made.end["val/loss"][rows] / np.minimum(made.end["val/loss"][rows], 0.3) - 1
            for rows in (found.more, found.less)
        ]
        plain = []
        for signs in joint_signs(7, 1):
            more, less = (np.where(signs > 0, a, b) for a, b in (rise, rise[::-1]))
            kept = less.mean(axis=1) >= 0.05
            difference = (less - more)[kept].mean(axis=0) if kept.any() else np.zeros(7)
            plain.append(difference.mean() / (difference.std(ddof=1) / np.sqrt(7)) if difference.any() else 0.0)
        assert item.t_R == pytest.approx(plain)
        some.append(item.p <= 0.05)
    assert len(some) > 20, "most of them have such a pair"
    assert sum(some) <= 6, "7 of 40 come by chance in 1 of 300 cases"


def test_a_hole_takes_its_seed_and_nothing_else() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: 0.03 * bn(run)), np.random.default_rng(0), lumpy=False)
    whole = answers_of(made)["bn-before"].evidence[1]
    gone = made.runs.index[(made.runs["seed"] == 4) & (made.runs["bn"] == "before")][0]
    made.runs.loc[gone, ["status", "final_val_accuracy"]] = ["failed", np.nan]
    assert whole.n == 10
    assert answers_of(made)["bn-before"].evidence[1].difference_N == tuple(np.delete(whole.difference_N, 4))


def equal_lr(comparison: Contrast, made: Sweep) -> Any:
    grid = read_grid(made.runs)
    signs = joint_signs(len(grid.bundles), 1)
    return measure(RunValues(made, grid), METRIC, comparison, sides(grid, comparison), signs)


def test_a_difference_is_that_of_a_plain_loop() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: 0.02 * bn(run)), np.random.default_rng(3))
    found = equal_lr(Contrast("final", +1, "bn", ("before", "none")), made)
    runs = made.runs.set_index(["seed", "bn", "activation", "init", "lr.value"])["final_val_accuracy"]
    plain = [
        np.mean(
            [runs[s, "before", *cell] - runs[s, "none", *cell] for cell in itertools.product(*list(GRID.values())[:3])]
        )
        for s in range(10)
    ]
    assert np.allclose(found.difference_N, plain)
    assert found.effect == pytest.approx(np.mean(plain))
    flips = [abs(np.dot(signs, plain)) for signs in itertools.product((1, -1), repeat=10)]
    assert found.p == pytest.approx(np.mean(np.array(flips) >= abs(np.sum(plain)) - 1e-12))


def spread_difference(x: np.ndarray, y: np.ndarray) -> float:
    """Difference of the two sides' variances over K levels, over pairs of different seeds, one by one."""
    total = 0.0
    for side, sign in ((x, 1), (y, -1)):
        c = side - side.mean(axis=1, keepdims=True)
        n, (cells, levels) = c.shape[2], c.shape[:2]
        pairs = [(m, k) for m in range(n) for k in range(n) if m != k]
        total += sign * np.mean([(c[:, :, m] * c[:, :, k]).sum() / (cells * levels) for m, k in pairs])
    return total


def test_sign_flips_of_a_spread_are_swaps_of_its_sides() -> None:
    random = np.random.default_rng(5)
    x, y = random.standard_normal((2, 3, 4, 6)) * np.array([2.0, 1.0])[:, None, None, None]
    x += 3 * np.arange(4)[:, None]
    found = deviation_contrast(+1, x, y, joint_signs(6, 1))
    assert found.difference_N.mean() == pytest.approx(found.effect)
    scale = spread_difference(x, y) / found.effect
    swapped = []
    for signs in itertools.product((1, -1), repeat=6):
        swap = np.array(signs) < 0
        a, b = np.where(swap, y, x), np.where(swap, x, y)
        assert np.dot(signs, found.difference_N) / 6 == pytest.approx(spread_difference(a, b) / scale)
        swapped.append(abs(spread_difference(a, b)))
    assert found.p >= np.mean(np.array(swapped) >= swapped[0] - 1e-12) - 1e-12


def test_noise_alone_is_no_dependence_on_the_init() -> None:
    """Without BN five times the noise and no more dependence: a plain SD across inits would be five times as large."""
    truth = Truth(noise=lambda run: 0.01 if bn(run) else 0.05)
    comparison = Contrast("final", -1, "bn", ("before", "none"), across="init")
    found = [equal_lr(comparison, sweep(RUNS, truth, np.random.default_rng(rng), lumpy=False)) for rng in range(40)]
    assert sum(m.p <= 0.05 for m in found) < 6
    assert np.mean([m.means[1] for m in found]) < 0.025


def test_the_choice_of_a_rate_is_made_anew_in_every_swap() -> None:
    """p at the best learning rate, held against a loop that swaps, chooses by `cross_fit` and averages."""
    runs = product({"bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]}, seeds=6)
    made = sweep(runs, Truth(), np.random.default_rng(2), lumpy=False)
    grid = read_grid(made.runs)
    comparison = Contrast("auc", +1, "bn", ("before", "none"), at=BEST)
    found = sides(grid, comparison)
    values = tuple(RunValues(made, grid).values("auc", rows)[:, :, :] for rows in (found.more, found.less))
    choose = tuple(grid.scores(METRIC, rows) for rows in (found.more, found.less))
    planned = (found.more >= 0, found.less >= 0)
    signs = joint_signs(6, 1)
    measured = at_best(planned, +1, AtRates(choose, values, ()), signs)
    score = [x[0] for x in choose]
    own = [v[0] for v in values]

    def differences(swap: np.ndarray) -> np.ndarray:
        out = np.zeros(6)
        for side, sign in ((0, 1), (1, -1)):
            s = np.where(swap, score[1 - side], score[side])
            v = np.where(swap, own[1 - side], own[side])
            out += sign * v[cross_fit(s, 1)[0], np.arange(6)]
        return out

    every = np.array([differences(row < 0) for row in signs])
    assert np.allclose(measured.difference_N, every[0])
    assert measured.t_R == pytest.approx(studentized(every))


def test_every_sentence_gives_its_numbers() -> None:
    sentence = answers(PLANTED["bn-faster"](1.0))["bn-faster"].sentence
    assert sentence.startswith("Time-mean validation accuracy, best lr: ")
    assert "in favour of the claim (95 % interval" in sentence
    assert re.search(
        r" there: \d+ against .*\. 4 of 4 comparisons say so \(p = \.\d+, 11 claims judged together\)\.$", sentence
    )
    single = answers(PLANTED["sigmoid-vanishes"](1.0))["sigmoid-vanishes"].sentence
    assert single.startswith("Gradient from each layer to the one below, before training, no BN: × 0.")
    assert ". More than the seeds' luck (p = ." in single
    against = answers(PLANTED["bn-faster"](-1.0))["bn-faster"].sentence
    assert "against the claim (95 % interval" in against


def test_units_are_written_with_the_numbers() -> None:
    found: Evidence = answers(PLANTED["sigmoid-vanishes"](1.0))["sigmoid-vanishes"].evidence[0]
    assert [found.unit.level_text(v) for v in (-1.0, 0.0, 1.4, 3.0)] == [
        "× 0.10 a layer",
        "× 1.0 a layer",
        "× 25 a layer",
        "× 1,000 a layer",
    ]
    assert found.unit.difference_text(0.477, signed=True) == "× 3.0"
    assert found.remark == "read off 2 hidden layers, which is one ratio; between × 0.90 and × 1.1 counts as no change"
    assert found.meaning.endswith("shrinks it to 0.10 of its size in each layer.")
    assert found.unit.text(float("nan")) == "–"


def test_equal_seeds_are_counted_as_equal() -> None:
    differences = (0.1, 0.1, 0.1, 0.1, *[0.0] * 6)
    unit = OF_ANY_TASK["blown_up"].unit
    item = Evidence(name="runs that blow up", unit=unit, effect=0.04, difference_N=differences, p=0.125, says=OPEN)
    verdict = Verdict("k", "A claim", INCONCLUSIVE, "", (item,))
    assert ahead(item) == "4 of 10 seeds, 6 equal"
    assert sentences.seeds_for(verdict) == "4 of 10 seeds for it, 6 equal"
    decided = replace(item, says=FOR)
    open_one = replace(verdict, evidence=(item, item, replace(decided, title="blow up at lr 1")))
    assert sentences.seeds_for(open_one) == "1 of 3 comparisons for it"
    assert sentences.in_a_line(open_one).startswith("blow up at lr 1: "), "the one that is counted"
    assert (
        sentences.seeds_for(replace(verdict, verdict=SUPPORTED, evidence=(item, decided)))
        == "4 of 10 seeds for it, 6 equal"
    )


def test_steps_that_no_run_ended_are_not_told() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: -0.4), np.random.default_rng(0), lumpy=False)
    assert [one.aside for one in answers_of(made)["bn-faster"].evidence if one.measured] == ["", ""]
