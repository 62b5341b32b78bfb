"""Quantities that no single run has: functions of all runs of an arm, over the grid that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnsweep.experiments.selection import Run
from bnsweep.records import FAILED
from bnsweep.report.stats.tolerance import tolerance

Seed = int | None
"""None: of all seeds together."""


@dataclass(frozen=True)
class SeedValues:
    """A number of each seed, missing ones NaN, and what else there is to know of them."""

    values: dict[Seed, float]
    remark: str = ""


def by_seed(runs: Sequence[Run]) -> dict[int, list[Run]]:
    """Of the runs that there is something to say of."""
    found: dict[int, list[Run]] = {}
    for run in runs:
        if run.record.status != FAILED:
            found.setdefault(run.config.seed, []).append(run)
    return found


def reached(run: Run) -> bool:
    """Whether the validation score stayed at train.tau for two evaluations running."""
    return run.record.summary.get("tau_reached") == 1


def lr_tolerance(runs: Sequence[Run]) -> SeedValues:
    """Decades of learning rate over which at least half of the seeds reach tau: the longest unbroken stretch."""
    found: dict[float, list[bool]] = {}
    for some in by_seed(runs).values():
        for run in some:
            found.setdefault(run.config.lr.value, []).append(reached(run))
    width = tolerance(found)
    return SeedValues({None: width.decades}, "at least: up to the edge of the grid" if width.at_edge else "")


def largest_lr(runs: Sequence[Run]) -> SeedValues:
    """Each seed's largest learning rate of the grid that reaches tau; missing where none does."""
    usable = {s: [run.config.lr.value for run in some if reached(run)] for s, some in by_seed(runs).items()}
    values: dict[Seed, float] = {seed: max(lrs, default=math.nan) for seed, lrs in usable.items()}
    return SeedValues(values, edge_remark(values, [run.config.lr.value for run in runs]))


def trainable_depth(runs: Sequence[Run]) -> SeedValues:
    """Each seed's largest number of hidden layers whose final training score is above twice chance level."""
    values: dict[Seed, float] = {}
    for seed, some in by_seed(runs).items():
        depths = [run.config.model.layers for run in some if learned(run)]
        values[seed] = float(max(depths)) if depths else math.nan
    return SeedValues(values, edge_remark(values, [run.config.model.layers for run in runs]))


def learned(run: Run) -> bool:
    """Whether the final training score is above twice chance level; a run that diverged has none."""
    task = run.config.task
    score = run.record.summary.get(f"final_train_{task.score}", math.nan)
    return score > 2 * task.chance(run.config.data.facts.classes)


def edge_remark(values: dict[Seed, float], grid: Sequence[float]) -> str:
    """How many seeds end at the largest value of the grid: the true number may lie beyond. Empty for none."""
    ends = sum(value == max(grid) for value in values.values())
    return f"at least: {ends} of {len(values)} seeds at the edge of the grid" if ends else ""


SETS: dict[str, Callable[[Sequence[Run]], SeedValues]] = {
    "lr_tolerance": lr_tolerance,
    "largest_lr": largest_lr,
    "trainable_depth": trainable_depth,
}
"""Name in `quantity:` -> number of each seed, or one of all."""
