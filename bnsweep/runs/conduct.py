"""One plan on its way: its stacks are trained by an executor and logged here, and the ledger says what happened.

Each stack is in MLflow as soon as it is over: whatever ends the process, the same command goes on from there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig
from bnsweep.records import STOPPED, RunRecord
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.dispatch import Dispatch, Listeners
from bnsweep.runs.executors.base import Evaluated, Executor, Trained
from bnsweep.runs.halving import Halving
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.ledger import RunResult, SweepResult, count_statuses, describe_ledger, together
from bnsweep.runs.outbox import Outbox
from bnsweep.runs.place import Planned, Start
from bnsweep.runs.plan import Plan, describe
from bnsweep.runs.scratch import scratch
from bnsweep.store.claims import Claim
from bnsweep.store.courses import kept_runs
from bnsweep.store.store import Done, Manifest, Store


class Stops(Interrupts):
    """An interrupt, or a store that stayed away: both end the training between two stacks."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self.outbox = outbox

    def check(self) -> None:
        super().check()
        self.outbox.check()


@dataclass(frozen=True)
class Before:
    """What earlier batches of a sweep left, each of runs of its own."""

    results: Mapping[str, RunResult] = field(default_factory=dict)
    """By identity."""
    own_run: str = ""
    """The sweep's."""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, configs: Sequence[RunConfig], results: Sequence[SweepResult]) -> Before:
        if not results:
            return cls()
        runs = (run for result in results for run in result.runs)
        by_name = dict(zip(map(identity, configs), runs, strict=True))
        return cls(by_name, results[-1].own_run, together(results).seconds)


@dataclass(frozen=True)
class Setting:
    """What all batches of a sweep are trained and logged with."""

    store: Store
    start: Start
    planned: Planned
    checkpoints: Checkpoints | None
    before: Before
    watched: Callable[[], None]
    """Called before anything is RUNNING in the store."""


class Sweep:
    """One plan on its way: trains what it says, logs it, and keeps the results by identity."""

    def __init__(self, plan: Plan, setting: Setting, done: Mapping[str, Done], own_run: str) -> None:
        """`own_run`: id of the sweep's own MLflow run; empty where it has none."""
        self.plan, self.setting, self.own_run = plan, setting, own_run
        self.sweep, self.store = plan.configs[0].sweep, setting.store
        self.results = {
            name: RunResult(run.status, run.summary, run_id=run.run_id)
            for name, run in done.items()
            if name in plan.done
        }
        self.trained = 0
        """Runs trained and logged now."""
        self.outbox = Outbox(self.store, self.sweep.id, self._note, setting.watched)
        self.stops = Stops(self.outbox)
        self._training = 0.0

    def run(self) -> None:
        """Stacks train in workers, a thread logs what they leave; this one takes the interrupts, and prints the
        ledger."""
        plan = self.plan
        try:
            with tempfile.TemporaryDirectory(dir=scratch()) as folder, self.stops:
                executor = self.setting.start(plan, Path(folder), self.setting.checkpoints)
                try:
                    self._train(executor)
                except KeyboardInterrupt:
                    self.stops.pending = True
                    raise
                finally:
                    executor.stop()
                    self._close_outbox()
                # One that came while the last run was being logged.
                self.stops.check()
        finally:
            shard = self.sweep.shard or ""
            print(describe_ledger(plan.runs, self.results, self.trained, self.outbox.left, shard), flush=True)

    def _train(self, executor: Executor) -> None:
        how = Listeners(self._log, self._show, self.outbox.under_way.lose)
        if self.sweep.strategy != "halving":
            Dispatch(self.plan, executor, self.stops, how).run()
            return
        kept = {} if self.sweep.rerun else kept_runs(self.store.patient, {*self.plan.identities}, histories=True)
        Halving(self.plan, self.setting.planned, kept, how).run(executor, self.stops)
        for name, run in kept.items():
            if run.status == STOPPED:  # and needed no training now
                result = RunResult(run.status, run.done.summary, run.reason, run.done.run_id)
                self.results.setdefault(name, result)

    def _show(self, jobs: Sequence[int], evaluated: Evaluated) -> None:
        self.outbox.under_way.add(jobs, [self.plan.configs[job] for job in jobs], evaluated)

    def _log(self, jobs: Sequence[int], trained: Trained) -> None:
        self._training += trained.seconds
        self.outbox.put(jobs, [self.plan.configs[job] for job in jobs], trained)
        while self.outbox.is_full:
            self.stops.check()
            time.sleep(0.05)

    def _note(self, jobs: Sequence[int], records: Sequence[RunRecord], run_ids: Sequence[str]) -> None:
        for job, record, run_id in zip(jobs, records, run_ids, strict=True):
            result = RunResult(record.status, record.summary, record.reason, run_id)
            self.results[self.plan.identities[job]] = result
            self.trained += 1
        # Once nothing else waits, which comes before the end: each look reads what all files say about themselves.
        if self.setting.checkpoints is not None and self.outbox.left <= len(jobs):
            self.setting.checkpoints.remove(self.results)

    def _close_outbox(self) -> None:
        """An interrupt stays one, whatever the store does."""
        try:
            self.outbox.close(lambda: self.stops.pending)
        except ConfigError as error:
            if not self.stops.pending:
                raise
            print(error, file=sys.stderr, flush=True)

    def close(self, under_way: Callable[[], Collection[str]]) -> None:
        """Write into the sweep's own MLflow run how it went, and its comparison of the runs. `under_way`: ids of
        sweeps, this one left out."""
        if self.own_run:
            before = self.setting.before
            ledger = count_statuses(len({*self.plan.identities, *before.results}), {**before.results, **self.results})
            seconds = {name: value + before.seconds.get(name, 0) for name, value in self.seconds.items()}
            self.store.close_sweep(self.sweep.id, ledger, seconds, self.own_run)
        self.store.tidy(under_way)
        if self.own_run and self.sweep.shard is None:
            self.store.write_view(self.sweep.id, self.own_run)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds spent training, as if the workers had never waited, and logging beside it."""
        return {"training": self._training / self.plan.workers, "logging": self.outbox.seconds}

    def result(self) -> SweepResult:
        runs = [self.results[name] for name in self.plan.identities]
        tracking, url = self.plan.configs[0].tracking, self.store.view_url()
        return SweepResult(self.sweep, tracking, runs, self.trained, self.own_run, url, self.seconds)


def conduct(
    plan: Plan,
    setting: Setting,
    claim: Claim,
    done: Mapping[str, Done],
    results: Mapping[str, RunResult],
    manifest: Manifest | None,
) -> Sweep:
    """Train and log what the plan leaves; a `manifest` gets the sweep its own MLflow run. `results`: of batches before
    this one whose runs the plan holds."""
    print(describe(plan), flush=True)
    store = setting.store
    store.mark_stale(claim.under_way)
    if manifest:
        setting.watched()
    current = Sweep(plan, setting, done, store.open_sweep(manifest, claim.run_id) if manifest else "")
    current.results |= results
    try:
        with store.system_metrics(current.own_run) if current.sweep.system_metrics else nullcontext():
            current.run()
    finally:
        claim.hangs |= current.outbox.under_way.hangs
    current.close(claim.under_way)
    return current
