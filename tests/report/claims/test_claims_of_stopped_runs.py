"""What is said of a claim whose runs a strategy stopped early: nothing that only those say which it spared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from claim_sweeps import Sweep, Truth, product, sweep

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.claims import flips
from bnsweep.report.claims.answers import answer_claims
from bnsweep.report.claims.verdicts import INCONCLUSIVE, SUPPORTED, UNASKED, Verdict
from bnsweep.report.compare.sentences import changed_verdict
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages.sentences import clearest, seeds_for
from bnsweep.report.pages.tables import evidence_line

METRIC = METRICS["final_val_accuracy"]
TRUTH = Truth(
    accuracy=lambda run: 0.05 * (run["bn"] == "before") + 0.02 * (run["activation"] == "relu"),
    decades=lambda run: -2.0 * (run["activation"] == "sigmoid"),
)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flips, "WORK", 0)


@pytest.fixture(scope="module")
def made() -> Sweep:
    """BN before is ahead everywhere, and sigmoid's gradients vanish."""
    return sweep(product(), TRUTH, np.random.default_rng(0), lumpy=False)


def answers(made: Sweep, stopped: pd.Series) -> dict[str, Verdict]:
    runs = made.runs.copy()
    runs.loc[stopped, "status"] = "stopped"
    cut = replace(made, runs=runs)
    return {v.key: v for v in answer_claims(cut, read_grid(runs), METRIC)}


def test_without_a_pair_a_claim_is_not_asked_and_the_reason_is_not_the_grid(made: Sweep) -> None:
    found = answers(made, made.runs["bn"] == "none")["bn-faster"]
    assert found.verdict == UNASKED
    assert found.sentence == "Early stopping has left no pair of both sides, of 6 that were planned."


def test_what_was_never_planned_is_still_what_is_lacking(made: Sweep) -> None:
    found = answers(made, made.runs["bn"] == "none")
    assert found["bn-less-dropout"].sentence == answers(made, made.runs["bn"].isna())["bn-less-dropout"].sentence


def test_pairs_that_a_strategy_spared_decide_nothing(made: Sweep) -> None:
    whole = answers(made, made.runs["bn"].isna())["bn-before"]
    assert whole.verdict == SUPPORTED
    cut = answers(made, (made.runs["bn"] == "after") & (made.runs["init"] != "he"))["bn-before"]
    assert cut.verdict == INCONCLUSIVE and np.isnan(cut.p_adjusted)
    says = "2 of 6 pairs ran to the end on both sides; the others were stopped early by their scores, so that these"
    assert cut.sentence.startswith(f"{says} decide nothing. Final validation accuracy")
    assert all(e.measured and e.cut and np.isnan(e.p) for e in cut.evidence)
    assert seeds_for(cut) == "decides nothing, as runs were stopped"
    assert evidence_line(cut.evidence[0]).cells["Says"].text == f"{says} decide nothing"
    assert not changed_verdict(whole, cut), "one of them has no answer"


def test_a_learning_rate_that_was_stopped_is_a_part_of_the_comparison(made: Sweep) -> None:
    cut = answers(made, (made.runs["bn"] == "after") & (made.runs["lr.value"] == 1.0))["bn-before"]
    best = next(e for e in cut.evidence if "best lr" in e.name)
    assert (
        best.note == "some of the runs compared were stopped early by their scores, so that the others decide nothing"
    )
    assert cut.verdict == INCONCLUSIVE


def test_a_claim_whose_runs_all_ended_is_answered_as_ever(made: Sweep) -> None:
    without = answers(made, made.runs["bn"].isna())["bn-before"]
    cut = answers(made, made.runs["bn"] == "none")["bn-before"]
    assert cut.verdict == without.verdict == SUPPORTED
    assert [e.effect for e in cut.evidence] == [e.effect for e in without.evidence]


def test_before_training_every_run_counts(made: Sweep) -> None:
    without = answers(made, made.runs["bn"].isna())["sigmoid-vanishes"]
    cut = answers(made, made.runs["bn"] != "before")["sigmoid-vanishes"]
    assert cut.verdict == without.verdict == SUPPORTED
    assert cut.evidence == without.evidence


def test_one_comparison_alone_does_not_speak_for_those_that_were_stopped(made: Sweep) -> None:
    cut = answers(made, (made.runs["bn"] == "none") & (made.runs["activation"] == "sigmoid"))["relu-helps"]
    (start,) = (e for e in cut.evidence if e.measured)
    assert start.says == "for" and clearest(cut) == start
    assert sum(e.cut for e in cut.evidence) == 2
    assert cut.verdict == INCONCLUSIVE
    assert cut.sentence.startswith(
        "Early stopping has left no pair of both sides, of 3 that were planned. Gradient kept"
    )


def test_survivors_would_have_turned_a_claim_around(made: Sweep) -> None:
    """Without BN only what is nearly as good goes on: of those pairs BN is behind, and of all it is far ahead."""
    runs = made.runs.copy()
    easy = (runs["activation"] == "relu") & (runs["init"] == "he")
    runs.loc[easy & (runs["bn"] == "none"), ["final_val_accuracy", "auc"]] += 0.1
    runs.loc[~easy & (runs["bn"] == "none"), ["final_val_accuracy", "auc"]] -= 0.3
    turned = replace(made, runs=runs)
    faster = answers(turned, runs["bn"].isna())["bn-faster"]
    left = answers(turned, (runs["bn"] == "none") & ~easy)["bn-faster"]
    assert next(e for e in faster.evidence if "best lr" in e.name).effect > 0.1
    assert next(e for e in left.evidence if "best lr" in e.name).effect < 0
    assert left.verdict == INCONCLUSIVE
