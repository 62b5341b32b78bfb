"""What stops runs before their last step, and what is said of it before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bnsweep.config.checks import check
from bnsweep.config.run import RunConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.records import AT_RUNG, STOPPED

FROZEN_SHARE, WORTH = 0.25, 0.5
"""Share of a stack's members that are frozen from which the others are better off in a stack of their own, and the
seconds that they must save by it. 144 runs of which 117 stop, 60 epochs on digits, took 10 s of a core without a
strategy, as long with frozen members kept, 7.5 s from a share of 1/2 on, 6.6 s from 1/4 on."""


class Plateau:
    """Watches the members of a stack, each by its own curve: neither others nor a plan change when one stops."""

    def __init__(self, patience: int, members: int) -> None:
        self.patience = patience
        self._best = [-math.inf] * members
        self._at = [0] * members
        self._since = [0] * members

    def stalled(self, scores: Sequence[float], step: int) -> dict[int, int]:
        """Members of which this evaluation is the last that counts -> step of their best one. NaN: not alive."""
        found = {}
        for k, score in enumerate(scores):
            if math.isnan(score):
                continue
            self._since[k] += 1
            if score > self._best[k]:
                self._best[k], self._at[k], self._since[k] = score, step, 0
            elif self._since[k] == self.patience:
                found[k] = self._at[k]
        return found


def stalled_reason(config: RunConfig, step: int, best: int) -> str:
    score = config.task.title
    return f"stopped at step {step:,} of {config.total_steps:,}: no better validation {score} since step {best:,}"


def rung_reason(config: RunConfig, rung: int, step: int, place: int, arms: int) -> str:
    where = f"{AT_RUNG}{rung} (step {step:,} of {config.total_steps:,})"
    return f"{where}: arm {place} of {arms} by mean validation {config.task.title}"


def stops_there(config: RunConfig, status: str, reason: str, summary: dict[str, float]) -> bool:
    """Whether plateau stops this run where it was stopped before."""
    if status != STOPPED or reason.startswith(AT_RUNG) or config.sweep.strategy != "plateau":
        return False
    best, last = summary.get("best_step", math.nan), summary.get("stopped_step", math.nan)
    return sum(best < step <= last for step in config.evaluations) == config.sweep.patience


def rung_steps(config: RunConfig) -> list[int]:
    """Evaluations at which halving drops combinations. Raises ConfigError where there are too few of them."""
    sweep, total, evaluations = config.sweep, config.total_steps, config.evaluations
    shares = [sweep.factor ** -(sweep.rungs - rung) for rung in range(sweep.rungs)]
    steps = [next(step for step in evaluations if step >= share * total) for share in shares]
    known = [0, *steps, total]
    ok = all(a < b for a, b in zip(known, known[1:], strict=False))
    says = f"so few that each has an evaluation of its own before the last: of {len(evaluations) - 1}, after the start"
    check(ok, "sweep.rungs", f"{sweep.rungs} with sweep.factor={sweep.factor}", says)
    return steps


def check_strategy(configs: Sequence[RunConfig], adds_seeds: bool, is_whole: bool) -> None:
    """Refuses halving where it cannot be done. `is_whole`: these are all runs of a tracked sweep."""
    if configs[0].sweep.strategy != "halving":
        return
    says = "none or plateau with seed=auto, as combinations are compared on all of their seeds"
    check(not adds_seeds, "sweep.strategy", "halving", says)
    says = "none or plateau outside of a tracked sweep, which alone compares its combinations with one another"
    check(is_whole, "sweep.strategy", "halving", says)
    for config in configs:
        rung_steps(config)


def price(sweep: SweepConfig) -> list[str]:
    """What a strategy does, and what it costs, in words."""
    if sweep.strategy == "plateau":
        what = f"runs stop after {sweep.patience} evaluations without a better validation score"
        return [f"sweep.strategy=plateau: {what}; stopped runs are not ranked, and late gains are not seen"]
    if sweep.strategy == "halving":
        what = f"one combination in {sweep.factor} goes on at each of {sweep.rungs} rungs; the others are not ranked"
        bias = "It picks by validation score at few steps, and so favours what learns fast: large learning rates, BN"
        return [f"sweep.strategy=halving: {what}. {bias}"]
    return []
