"""Verdicts of a sweep whose claims are looked at while seeds are added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from claim_sweeps import Sweep, Truth, product, sweep

from bnsweep.catalogue.metrics import METRICS
from bnsweep.config.checks import ConfigError
from bnsweep.inference import ALPHA, FIRST_LOOK, MOST_LOOKS, Look, least_p, looks_until
from bnsweep.report.claims import flips
from bnsweep.report.claims.answers import answer_claims
from bnsweep.report.claims.looks import Looks, answer_at_looks, looks_notice
from bnsweep.report.claims.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, TOO_FEW, Verdict
from bnsweep.report.frame.grid import read_grid

METRIC = METRICS["final_val_accuracy"]
CLAIM = "bn-before"
RUNS = product({"bn": ["before", "after"], "lr.value": [0.1, 1.0]}, seeds=14)
"""They ask this one claim."""
LOOKS = looks_until(14)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flips, "WORK", 0)


def made(effect: Callable[[int], float], looks: tuple[Look, ...] = LOOKS) -> Sweep:
    """A sweep in which BN before changes the accuracy by `effect(seed)`."""
    truth = Truth(accuracy=lambda run: effect(run["seed"]) * (run["bn"] == "before") - 0.2)
    found = sweep(RUNS, truth, np.random.default_rng(0), lumpy=False)
    return replace(found, info=replace(found.info, looks=looks))


def of_seeds(found: Sweep, n: int) -> Sweep:
    """The sweep when n seeds were planned."""
    runs = found.runs["seed"] < n
    rows = np.flatnonzero(runs)
    parts = [{name: values[rows] for name, values in part.items()} for part in (found.start, found.end, found.middle)]
    return Sweep(found.runs[runs].reset_index(drop=True), *parts, found.info)


def verdict(found: Sweep) -> Verdict:
    return next(v for v in answer_at_looks(found, read_grid(found.runs), METRIC) if v.key == CLAIM)


@pytest.mark.parametrize("most", [6, 8, 9, 10, 12, 20, 30, 50, 100, 1000])
def test_the_levels_of_all_looks_sum_to_alpha_and_each_can_decide(most: int) -> None:
    looks = looks_until(most)
    assert sum(look.level for look in looks) == pytest.approx(ALPHA)
    assert all(least_p(look.seeds) < look.level for look in looks)
    assert [look.seeds for look in looks] == sorted({look.seeds for look in looks}) and looks[-1].seeds == most
    assert len(looks) <= MOST_LOOKS and looks[0].seeds >= min(FIRST_LOOK, most)


def test_thirty_seeds_are_looked_at_four_times() -> None:
    assert [look.seeds for look in looks_until(30)] == [8, 12, 19, 30]
    assert looks_until(30)[0].level == pytest.approx(0.0189, abs=1e-4)


def test_fewer_seeds_than_decide_anything_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sweep.max_seeds=5: must be 6 or more: fewer seeds decide no claim$"):
        looks_until(5)


@pytest.mark.parametrize(("effect", "says"), [(0.1, SUPPORTED), (-0.1, CONTRADICTED)])
def test_what_a_look_decided_stays_decided_whatever_comes_later(effect: float, says: str) -> None:
    found = made(lambda seed: effect if seed < LOOKS[0].seeds else -effect)
    early = verdict(of_seeds(found, LOOKS[0].seeds))
    assert early.verdict == says and early.looked_at == LOOKS[0]
    assert early.sentence.endswith(f"Decided at the look after {LOOKS[0].seeds} seeds, of level .034.")
    late = verdict(found)
    assert (late.verdict, late.sentence, late.looked_at) == (early.verdict, early.sentence, early.looked_at)
    assert late.evidence[0].n == LOOKS[0].seeds, "its numbers are those of the look"
    fixed = next(v for v in answer_claims(found, read_grid(found.runs), METRIC) if v.key == CLAIM)
    assert fixed.verdict != says, "all seeds together say something else"


def test_a_look_takes_its_own_level() -> None:
    found = made(lambda seed: 0.02)
    n, levels = LOOKS[0].seeds, (0.9, 1e-9)
    said = [verdict(replace(of_seeds(found, n), info=replace(found.info, looks=(Look(n, x),)))).verdict for x in levels]
    assert said == [SUPPORTED, TOO_FEW]


def test_a_look_waits_until_the_last_of_its_runs_is_over() -> None:
    found = of_seeds(made(lambda seed: 0.1), LOOKS[0].seeds)
    status = found.runs["status"].where(found.runs.index != len(found.runs) - 1, "missing")
    short = replace(found, runs=found.runs.assign(status=status))
    assert verdict(short).verdict == TOO_FEW
    says = f"The sweep was cut short before the first look at its claims, which is after {LOOKS[0].seeds} seeds."
    assert verdict(short).sentence == says
    failed = replace(found, runs=found.runs.assign(status=status.replace("missing", "failed")))
    assert verdict(failed).looked_at == LOOKS[0], "a run that failed is over"


def test_a_sweep_without_looks_is_answered_from_all_of_its_seeds() -> None:
    found = made(lambda seed: 0.1, looks=())
    grid = read_grid(found.runs)
    texts = [v.sentence for v in answer_at_looks(found, grid, METRIC)]
    assert texts == [v.sentence for v in answer_claims(found, grid, METRIC)]
    assert looks_notice(grid, ()) == []


def test_looks_end_once_no_claim_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    looks, found = Looks(LOOKS), made(lambda seed: 0.1 * (-1) ** seed if seed < LOOKS[0].seeds else 0.5)
    assert [looks.is_over(of_seeds(found, look.seeds)) for look in LOOKS] == [False, False, False, True]
    assert capsys.readouterr().out.splitlines() == [
        f"{LOOKS[0].seeds} seeds: 0 of 1 claims decided, going on to {LOOKS[1].seeds}",
        f"{LOOKS[1].seeds} seeds: 0 of 1 claims decided, going on to {LOOKS[2].seeds}",
        f"{LOOKS[2].seeds} seeds: 0 of 1 claims decided, going on to {LOOKS[3].seeds}",
        f"{LOOKS[3].seeds} seeds: 0 of 1 claims decided; these are the most seeds (sweep.max_seeds)",
    ]


def test_a_decided_sweep_needs_no_more_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    found = of_seeds(made(lambda seed: 0.1), LOOKS[0].seeds)
    assert Looks(LOOKS).is_over(found)
    assert capsys.readouterr().out == f"{LOOKS[0].seeds} seeds: 1 of 1 claims decided; no more seeds are needed\n"


def test_the_report_says_that_looks_were_made() -> None:
    found = made(lambda seed: 0.0)
    (notice,) = looks_notice(read_grid(found.runs), LOOKS)
    seeds = ", ".join(str(look.seeds) for look in LOOKS)
    assert f"looks after {seeds} of 14 seeds at the most" in notice.text and "sum to 5 %" in notice.text
    assert verdict(found).verdict == INCONCLUSIVE
