"""Claims and their verdicts on sweeps whose truth is known."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from claim_sweeps import GRID, Sweep, Truth, product, sweep

from bnsweep import inference
from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.claims import best_rate
from bnsweep.report.claims.best_rate import at_best, studentized
from bnsweep.report.claims.claims import CLAIMS, answer_claims, most
from bnsweep.report.claims.contrasts import BEST, Contrast, sides
from bnsweep.report.claims.measure import deviation_contrast, measure
from bnsweep.report.claims.quantities import OF_ANY_TASK, RunValues
from bnsweep.report.claims.sentences import finding
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
    Unit,
    Verdict,
)
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages import sentences
from bnsweep.report.pages.tables import ahead
from bnsweep.report.pages.tables import side as told_side
from bnsweep.report.stats.resample import cross_fit

METRIC = METRICS["final_val_accuracy"]
RUNS = product()
DROPOUT = product({"bn": ["none", "before"], "model.dropout": [0.0, 0.2, 0.5], "lr.value": [0.1, 1.0]})


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest bootstrap draws, 1,000; swaps of 10 seeds are all made anyway."""
    monkeypatch.setattr(best_rate, "WORK", 0)


def answers(truth: Truth, rng: int = 0, runs: Any = RUNS, lumpy: bool = False) -> dict[str, Verdict]:
    made = sweep(runs, truth, np.random.default_rng(rng), lumpy)
    return answers_of(made)


def answers_of(made: Sweep) -> dict[str, Verdict]:
    return {v.key: v for v in answer_claims(made, read_grid(made.runs), METRIC)}


def bn(run: Mapping[str, Any]) -> bool:
    return bool(run["bn"] != "none")


def small(run: Mapping[str, Any]) -> bool:
    """No BN and narrow initial weights."""
    return bool(run["bn"] == "none" and run["init"] == "normal")


def sigmoid(run: Mapping[str, Any]) -> bool:
    return bool(run["activation"] == "sigmoid")


PLANTED: dict[str, Callable[[float], Truth]] = {
    "sigmoid-vanishes": lambda s: Truth(decades=lambda run: -s * sigmoid(run)),
    "relu-helps": lambda s: Truth(
        decades=lambda run: -2 - s * sigmoid(run), accuracy=lambda run: -0.1 * s * sigmoid(run)
    ),
    "init-keeps-spread": lambda s: Truth(spread=lambda run: 0.6 + 0.4 * s * (run["init"] == "normal")),
    "small-lr-prevents-explosion": lambda s: Truth(
        loss_rises=lambda run: 0.9 * (run["lr.value"] == (1.0 if s > 0 else 0.01))
    ),
    "bn-shifts-less": lambda s: Truth(drift=lambda run: -0.5 * s * bn(run)),
    "bn-faster": lambda s: Truth(accuracy=lambda run: 0.05 + 0.05 * s * bn(run)),
    "bn-less-init": lambda s: Truth(accuracy=lambda run: -0.2 * (run["init"] == "normal") * (bn(run) == (s < 0))),
    "bn-less-overfitting": lambda s: Truth(gap=lambda run: 0.02 - 0.02 * s * bn(run), accuracy=lambda run: 0.05),
    "bn-less-dropout": lambda s: Truth(accuracy=lambda run: 0.1 * (run["model.dropout"] > 0) * (bn(run) == (s < 0))),
    "bn-before": lambda s: Truth(accuracy=lambda run: 0.05 * s * (run["bn"] == "before")),
}


def test_every_claim_has_a_planted_truth() -> None:
    assert [claim.key for claim in CLAIMS] == list(PLANTED)


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, SUPPORTED), (-1.0, CONTRADICTED)])
@pytest.mark.parametrize("key", PLANTED)
def test_a_planted_truth_is_found_in_either_direction(key: str, sign: float, verdict: str) -> None:
    runs = DROPOUT if key == "bn-less-dropout" else RUNS
    assert answers(PLANTED[key](sign), runs=runs)[key].verdict == verdict


def test_sweeps_in_which_nothing_matters_seldom_get_a_verdict() -> None:
    """At most 1 in 20 by Holm; 5 or more of 24 such sweeps would come by chance in 1 of 170 cases."""
    runs = product(GRID | {"init": ["normal", "xavier"], "lr.value": [0.01, 0.1]})
    found = [answers(Truth(), rng, runs, lumpy=True).values() for rng in range(24)]
    assert sum(any(v.verdict in (SUPPORTED, CONTRADICTED) for v in sweep) for sweep in found) < 5


@pytest.mark.slow
def test_of_1000_sweeps_in_which_nothing_matters_1_in_20_at_most_gets_a_verdict() -> None:
    found = [answers(Truth(), rng, lumpy=True).values() for rng in range(1000)]
    assert sum(any(v.verdict in (SUPPORTED, CONTRADICTED) for v in sweep) for sweep in found) <= 50


def made_up(*pairs: tuple[float, float]) -> list[Evidence]:
    """Evidence of these effects and p-values."""
    return [Evidence(name="it", unit=Unit("points"), effect=e, difference_N=(e,) * 10, p=p) for e, p in pairs]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1, 0.01)], (0.01, 1)),
        ([(-1, 0.01), (-1, 0.02)], (0.02, -1)),
        ([(1, 0.01), (-1, 0.02)], (1.0, 1)),
        ([(1, 0.01), (1, 0.04), (-1, 0.9)], (0.06, 1)),
        ([(1, 0.03), (1, 0.01), (1, 0.02), (-1, 0.5)], (0.04, 1)),
    ],
)
def test_a_claim_takes_most_of_its_comparisons(pairs: list[tuple[float, float]], expected: tuple[float, int]) -> None:
    assert most(made_up(*pairs)) == pytest.approx(expected)


def test_a_claims_p_is_adjusted_over_the_claims_that_were_asked() -> None:
    found = answers(Truth(accuracy=lambda run: 0.05))
    raw = np.array([most(v.evidence)[0] for v in found.values()])
    order = np.argsort(raw)
    family = int(np.isfinite(raw).sum())
    assert family == len(CLAIMS) - 1, "dropout was not swept"
    plain = np.minimum(np.maximum.accumulate(raw[order][:family] * np.arange(family, 0, -1)), 1)
    assert np.allclose([list(found.values())[i].p_holm for i in order[:family]], plain)


@pytest.mark.parametrize("seeds", [3, 7])
def test_few_seeds_settle_nothing(seeds: int) -> None:
    found = answers(Truth(accuracy=lambda run: 0.1 * bn(run)), runs=product(seeds=seeds))
    assert {v.verdict for v in found.values()} == {TOO_FEW, UNASKED}
    start = f"{seeds} seeds are too few to decide it among 9 claims: it takes 9 at the least, all on one side. "
    assert found["bn-faster"].sentence.startswith(start)


def late(run: Mapping[str, Any]) -> float:
    """Added to .85, where half of the runs reach τ: BN gets there always, no BN with the narrow weights hardly ever."""
    return 0.1 if bn(run) else -0.1 if run["init"] == "normal" else 0.05


def test_steps_that_some_runs_never_end_are_at_the_least_and_say_how_many_got_there() -> None:
    made = sweep(RUNS, Truth(accuracy=late), np.random.default_rng(0), lumpy=False)
    verdict = answers_of(made)["bn-faster"]
    runs = made.runs[made.runs["bn"] == "none"]
    share = runs["tau_reached"].mean()
    assert 0.5 < share < 1, "two of three inits"
    for one in verdict.evidence[:2]:
        assert one.reached[0] == 1
        assert one.mean_text(1).startswith("≥ ") and not one.mean_text(0).startswith("≥")
    equal = verdict.evidence[1]
    assert equal.reached[1] == pytest.approx(share)
    told = f" against {equal.mean_text(1)} with no BN ({100 * share:.0f} % got there)"
    assert told in sentences.both_sides(equal)
    assert f"≥ {equal.means[1]:.0f} steps with no BN ({100 * share:.0f} % got there)" in finding(equal)
    assert told_side(equal, 1) == f"no BN: ≥ {equal.means[1]:.0f} steps ({100 * share:.0f} % got there)"


def test_the_share_that_reached_is_of_the_runs_compared() -> None:
    """At the best rates those that the other seeds choose, held against a loop."""
    runs = product({"bn": ["none", "before"], "lr.value": [0.01, 0.1, 1.0]})
    truth = Truth(accuracy=lambda run: 0.05 - 0.02 * (run["bn"] == "none") - 0.02 * (run["lr.value"] == 0.01))
    made = sweep(runs, truth, np.random.default_rng(7), lumpy=False)
    grid = read_grid(made.runs)
    comparison = Contrast("steps", -1, "bn", ("before", "none"), at=BEST)
    found = sides(grid, comparison)
    item = measure(grid, RunValues(made, grid), METRIC, comparison, found)
    shares = []
    for rows in (found.more, found.less):
        chosen, _ = cross_fit(grid.scores(METRIC, rows)[0], 1)
        shares.append(made.runs["tau_reached"].to_numpy()[rows[0][chosen, np.arange(10)]].mean())
    assert item.reached == tuple(shares)
    assert shares[1] < 1, "not all of them"


@pytest.mark.parametrize("side_of", ["none", "before"])
def test_steps_are_not_asked_where_fewer_than_half_of_either_side_get_to_tau(side_of: str) -> None:
    """The rest of the claim answers it."""
    runs = product({"bn": ["none", "before"], "lr.value": [0.1]}).assign(**{"train.tau": 0.9})
    made = sweep(runs, Truth(accuracy=lambda run: 0.08), np.random.default_rng(0), lumpy=False)
    slow = made.runs.index[made.runs["bn"] == side_of]
    made.runs.loc[made.runs.index, ["tau_reached", "steps_to_tau"]] = [1.0, 40.0]
    made.runs.loc[slow[3:], ["tau_reached", "steps_to_tau"]] = [0.0, 360.0]
    made.runs.loc[slow, "auc"] -= 0.3
    verdict = answers_of(made)["bn-faster"]
    name = {"none": "no BN", "before": "BN before"}[side_of]
    for one in verdict.evidence[:2]:
        assert not one.measured
        assert one.note == f"{name} reached 90 % in 3 of 10 seeds, fewer than half: their steps are not compared"
    assert verdict.verdict == (SUPPORTED if side_of == "none" else CONTRADICTED)
    assert "2 of 2 comparisons say so" in verdict.sentence
    made.runs["auc"] = np.nan
    assert answers_of(made)["bn-faster"].verdict == UNASKED
    assert "3 of 10 seeds" in answers_of(made)["bn-faster"].sentence


def test_both_sides_that_never_get_to_tau_are_named() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: -0.3), np.random.default_rng(0), lumpy=False)
    note = answers_of(made)["bn-faster"].evidence[0].note
    assert note.startswith("BN before reached τ in 0 of 60 runs and no BN reached τ in 0 of 60 runs, fewer")


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
        assert f"{one.unit.number(one.means[0])} " in line and one.unit.level_text(one.means[1]) in line
        assert one.unit.level_text(one.means[0]) in verdict.sentence
    assert "; but same lr: " in line
    assert verdict.sentence.startswith("The comparisons disagree. For it: final validation accuracy, best lr: ")
    assert sentences.seeds_for(verdict) == "1 comparison for it, 1 against"
    assert sentences.verdict_counts([verdict]) == "1 mixed"


def test_the_gap_is_told_with_the_test_accuracy() -> None:
    """What closes the gap can do so by learning less, and what opens it by learning more."""
    truth = Truth(gap=lambda run: 0.02 + 0.02 * bn(run), accuracy=lambda run: 0.04 + 0.03 * bn(run))
    verdict = answers(truth)["bn-less-overfitting"]
    assert verdict.verdict == CONTRADICTED
    numbers = re.search(r"; test accuracy there: ([\d.]+) % against ([\d.]+) %$", sentences.in_a_line(verdict))
    assert numbers
    assert float(numbers[1]) > float(numbers[2])
    assert f"Test accuracy there: {numbers[1]} % against {numbers[2]} %" in verdict.sentence


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
    assert [one.name.rpartition(", ")[2] for one in found] == ["sigmoid", "relu"]


def test_seeds_that_a_claim_needs_are_those_that_settle_it() -> None:
    """One seed fewer than it takes leaves every claim open, however large the effect."""
    plain = PLANTED["bn-faster"](1.0)
    needed = answers(plain, runs=product(seeds=5))["bn-faster"].seeds_needed
    assert needed == 9
    for seeds, verdict in ((needed - 1, TOO_FEW), (needed, SUPPORTED)):
        found = answers(Truth(accuracy=lambda run: 0.1 + 0.5 * bn(run) - 0.5), runs=product(seeds=seeds))
        assert found["bn-faster"].verdict == verdict
    assert {v.seeds_needed for v in answers(plain, runs=product(seeds=5)).values()} == {None, 9}


def test_a_report_asks_no_more_claims_than_the_plan_reckons_with() -> None:
    assert len(CLAIMS) <= inference.CLAIMS
    assert inference.decidable(inference.least_seeds(inference.CLAIMS)) >= inference.CLAIMS


def test_what_was_not_swept_is_not_asked() -> None:
    found = answers(Truth(accuracy=lambda run: 0.05), runs=product({"bn": ["none", "before"], "lr.value": [0.1, 1.0]}))
    assert found["bn-less-init"].verdict == UNASKED
    assert found["bn-less-init"].sentence == "This sweep lacks two values of init."
    assert found["relu-helps"].sentence == "This sweep lacks activation=relu."
    assert found["bn-before"].sentence == "This sweep lacks bn=after."
    assert found["bn-faster"].evidence[0].measured


def test_a_fixed_setting_serves_as_well_as_a_swept_one() -> None:
    runs = product({"activation": ["sigmoid", "relu"], "lr.value": [0.1, 1.0]}).assign(bn="none")
    assert answers(Truth(decades=lambda run: -sigmoid(run)), runs=runs)["sigmoid-vanishes"].verdict == SUPPORTED
    assert answers(Truth(), runs=runs.assign(bn="before"))["sigmoid-vanishes"].sentence == "This sweep lacks bn=none."


def test_what_was_not_recorded_is_said() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: 0.05), np.random.default_rng(0))
    made.runs = made.runs.drop(columns=["drift_1", "drift_2"])
    made.start = {k: v for k, v in made.start.items() if "ics" not in k}
    made.end = made.start
    verdict = answers_of(made)["bn-shifts-less"]
    assert (verdict.verdict, verdict.sentence) == (UNASKED, "This sweep lacks probes=full.")


def test_no_verdict_on_overfitting_where_nothing_overfits() -> None:
    truth = Truth(gap=lambda run: -0.029 + 0.001 * bn(run), accuracy=lambda run: 0.05)
    verdict = answers(truth)["bn-less-overfitting"]
    assert verdict.verdict == INCONCLUSIVE
    assert verdict.sentence.startswith("Too little of it on both sides")


def test_the_gap_is_of_pairs_that_both_learned() -> None:
    """What learns nothing has no gap, and must not win by it."""
    truth = Truth(
        accuracy=lambda run: -0.7 if small(run) else 0.05,
        gap=lambda run: -0.03 if small(run) else 0.02 - 0.02 * bn(run),
    )
    assert answers(truth)["bn-less-overfitting"].verdict == SUPPORTED


def test_a_hole_takes_its_seed_and_nothing_else() -> None:
    made = sweep(RUNS, Truth(accuracy=lambda run: 0.03 * bn(run)), np.random.default_rng(0), lumpy=False)
    whole = answers_of(made)["bn-faster"].evidence[1]
    gone = made.runs.index[(made.runs["seed"] == 4) & (made.runs["bn"] == "before")][0]
    made.runs.loc[gone, ["status", "final_val_accuracy", "steps_to_tau"]] = ["failed", np.nan, np.nan]
    assert whole.n == 10
    assert answers_of(made)["bn-faster"].evidence[1].difference_N == tuple(np.delete(whole.difference_N, 4))


def equal_lr(comparison: Contrast, made: Sweep) -> Any:
    grid = read_grid(made.runs)
    return measure(grid, RunValues(made, grid), METRIC, comparison, sides(grid, comparison))


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
    found = deviation_contrast(+1, x, y)
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
    measured = at_best(grid, METRIC, +1, values, found)
    score = [grid.scores(METRIC, rows)[0] for rows in (found.more, found.less)]
    own = [v[0] for v in values]

    def differences(swap: np.ndarray) -> np.ndarray:
        out = np.zeros(6)
        for side, sign in ((0, 1), (1, -1)):
            s = np.where(swap, score[1 - side], score[side])
            v = np.where(swap, own[1 - side], own[side])
            out += sign * v[cross_fit(s, 1)[0], np.arange(6)]
        return out

    every = np.array([differences(np.array(swap)) for swap in itertools.product((False, True), repeat=6)])
    t = studentized(every)
    assert np.allclose(measured.difference_N, every[0])
    assert measured.p >= np.mean(t >= t[0] * (1 - 1e-9)) - 1e-12


def test_every_sentence_gives_its_numbers() -> None:
    sentence = answers(PLANTED["bn-faster"](1.0))["bn-faster"].sentence
    assert sentence.startswith("Steps to τ, best lr: ")
    assert "in favour of the claim (95 % interval" in sentence
    assert "). 4 of 4 comparisons say so (p = ." in sentence
    single = answers(PLANTED["sigmoid-vanishes"](1.0))["sigmoid-vanishes"].sentence
    assert single.startswith("Gradient from each layer to the one below, before training: × 0.")
    assert ". More than the seeds' luck (p = ." in single
    against = answers(PLANTED["bn-faster"](-1.0))["bn-faster"].sentence
    assert "against the claim (95 % interval" in against


def test_units_are_written_with_the_numbers() -> None:
    found: Evidence = answers(PLANTED["sigmoid-vanishes"](1.0))["sigmoid-vanishes"].evidence[0]
    assert [found.unit.level_text(v) for v in (-1.0, 0.0, 1.4, 3.0)] == ["× 0.10", "× 1.0", "× 25", "× 1,000"]
    assert found.unit.difference_text(0.477, signed=True) == "+0.48 decades a layer (× 3.0)"
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
    assert sentences.seeds_for(replace(verdict, evidence=(item, item, decided))) == "1 of 3 comparisons for it"
    assert (
        sentences.seeds_for(replace(verdict, verdict=SUPPORTED, evidence=(item, decided)))
        == "4 of 10 seeds for it, 6 equal"
    )
