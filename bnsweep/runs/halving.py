"""Successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943): which combinations of a sweep train how far next.

At each rung all runs that are left have been trained equally far, and the best combinations by mean validation score
go on. Decisions follow from those scores: not from workers or stacks, nor from how often the sweep was cut short.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bnsweep.config.identity import numbers
from bnsweep.config.run import RunConfig
from bnsweep.records import STOPPED, RunRecord
from bnsweep.runs.dispatch import Dispatch, Listeners, Rung
from bnsweep.runs.executors.base import Executor, Trained
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.place import Planned
from bnsweep.runs.plan import Plan
from bnsweep.runs.strategies import rung_reason, rung_steps
from bnsweep.store.courses import Kept

SEEDS = ("seed", "data.seed")

Arm = list[int]
"""A job for each run of a combination of everything but the seeds."""


@dataclass
class Halving:
    """One sweep on its way from rung to rung."""

    plan: Plan
    """Of the whole sweep."""
    planned: Planned
    kept: Mapping[str, Kept]
    """What the store has of its runs, by identity: of those that are done, or were stopped by any strategy."""
    listeners: Listeners
    ended: dict[str, RunRecord] = field(default_factory=dict)
    """By identity, of the runs that are over now."""
    held: dict[str, RunRecord] = field(default_factory=dict)
    """Of those that stand at a rung."""

    def run(self, executor: Executor, interrupts: Interrupts) -> None:
        """Raises what `Dispatch` raises."""
        sweep, arms = self.plan.configs[0].sweep, arms_of(self.plan)
        for rung in range(1, sweep.rungs + 1):
            self._train(arms, executor, interrupts, rung)
            best = self._ranked(arms, rung)
            arms = sorted(best[: math.ceil(len(best) / sweep.factor)])
            self._drop(best, len(arms), rung)
            print(f"rung {rung} of {sweep.rungs}: {len(arms)} of {len(best)} combinations go on", flush=True)
        self._train(arms, executor, interrupts, None)

    def _train(self, arms: Sequence[Arm], executor: Executor, interrupts: Interrupts, rung: int | None) -> None:
        """All runs of these combinations, to a rung or to the end."""
        wanted = {self.plan.identities[job] for arm in arms for job in arm if not self._is_there(job, rung)}
        part = self.planned(self.plan.configs, {*self.plan.identities} - wanted, restack=True)
        if part.stacks:
            held = None if rung is None else Rung(partial(step_of, rung=rung), self._hold)
            Dispatch(part, executor, interrupts, replace(self.listeners, on_trained=self._end), held).run()

    def _is_there(self, job: int, rung: int | None) -> bool:
        """Whether the run needs no training to have a score at a rung, or to be over."""
        name = self.plan.identities[job]
        kept = self.kept.get(name)
        if name in self.ended or (kept is not None and kept.status != STOPPED):
            return True
        return rung is not None and not math.isnan(self._score(job, rung))

    def _hold(self, jobs: Sequence[int], trained: Trained) -> None:
        self.held |= zip((self.plan.identities[job] for job in jobs), trained.records, strict=True)
        self.listeners.on_trained([], Trained([], [], trained.seconds))

    def _end(self, jobs: Sequence[int], trained: Trained) -> None:
        self.ended |= zip((self.plan.identities[job] for job in jobs), trained.records, strict=True)
        self.listeners.on_trained(jobs, trained)

    def _score(self, job: int, rung: int) -> float:
        """Validation score there; NaN where the run has none."""
        name, config = self.plan.identities[job], self.plan.configs[job]
        curve = f"val/{config.task.score}"
        record = self.ended.get(name) or self.held.get(name)
        history = record.history if record is not None else self.kept[name].history if name in self.kept else {}
        scores = dict(zip(history.get("step", ()), history.get(curve, ()), strict=False))
        return scores.get(step_of(config, rung), math.nan)

    def _ranked(self, arms: Sequence[Arm], rung: int) -> list[Arm]:
        """The best first. A combination stands behind all others of which fewer runs have diverged or failed."""

        def standing(arm: Arm) -> tuple[int, float]:
            scores = [self._score(job, rung) for job in arm]
            known = [score for score in scores if not math.isnan(score)]
            return len(known) - len(scores), sum(known) / len(known) if known else -math.inf

        return sorted(arms, key=standing, reverse=True)  # stable: of equals the first in the sweep

    def _drop(self, best: Sequence[Arm], goes_on: int, rung: int) -> None:
        """Log those that stop here, but for what the store has of them already."""
        jobs, records = [], []
        for place, arm in enumerate(best[goes_on:], start=goes_on + 1):
            for job in arm:
                record = self.held.pop(self.plan.identities[job], None)
                if record is None:
                    continue
                config = self.plan.configs[job]
                reason = rung_reason(config, rung, step_of(config, rung), place, len(best))
                jobs.append(job)
                records.append(replace(record, reason=reason))
        if jobs:
            self._end(jobs, Trained(records, [None] * len(jobs), 0.0))


def step_of(config: RunConfig, rung: int) -> int:
    return rung_steps(config)[rung - 1]


def arms_of(plan: Plan) -> list[Arm]:
    """In the order of the sweep; jobs that mean the same run count once."""
    found: dict[tuple[object, ...], Arm] = {}
    first: dict[str, int] = {}
    for job, (config, name) in enumerate(zip(plan.configs, plan.identities, strict=True)):
        if first.setdefault(name, job) == job:
            key = tuple(item for item in numbers(config).items() if item[0] not in SEEDS)
            found.setdefault(key, []).append(job)
    return list(found.values())
