"""Train the runs of experiments in the workers of a sweep; records stay in memory, nothing is logged to MLflow."""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from pathlib import Path
from types import TracebackType

import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.records import FAILED, RunRecord
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.plan import Plan, check_memory, make_plan, worker_count
from bnsweep.runs.progress import Progress
from bnsweep.runs.workers import Key, Trained, Workers, prepare
from bnsweep.training.trainer import resolve_device

log = logging.getLogger(__name__)


class NotRun(Exception):
    """Why an experiment cannot be run here."""


class WorkersLost(Exception):
    """A process that trained was ended from outside, and took the experiment with it."""


class Laboratory:
    """The datasets, read once, and the workers, started once, of all experiments of a command."""

    def __init__(self, configs: Sequence[RunConfig]) -> None:
        if worker_count(resolve_device(configs[0].train.device)) > 1:
            prepare()
        self.datasets: dict[Key, data.Dataset] = {}
        self.missing: dict[Key, str] = {}
        """Dataset that cannot be had -> why."""
        for config in configs:
            if key_of(config) not in {**self.datasets, **self.missing}:
                try:
                    self.datasets[key_of(config)] = data.load(config.data)
                except ConfigError as error:
                    self.missing[key_of(config)] = str(error)
        self.interrupts = Interrupts()
        self._workers: dict[torch.device, Workers] = {}

    def __enter__(self) -> Laboratory:
        self._folder = tempfile.TemporaryDirectory()
        self.interrupts.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for workers in self._workers.values():
            workers.stop()
        self.interrupts.__exit__(kind, error, tb)
        self._folder.cleanup()

    def train(self, configs: Sequence[RunConfig]) -> list[RunRecord]:
        """A record each; a run that failed has one that says why. Raises NotRun and WorkersLost; after both, other
        experiments can be trained."""
        reasons = [self.missing[key] for key in dict.fromkeys(map(key_of, configs)) if key in self.missing]
        if reasons:
            raise NotRun(reasons[0])
        device = resolve_device(configs[0].train.device)
        try:
            check_memory(configs, device)
        except ConfigError as error:
            raise NotRun(str(error)) from None
        plan = make_plan(configs, (), device)
        try:
            records = Training(plan, self._workers_on(device), self.interrupts).run()
        except BrokenExecutor as error:
            self._workers.pop(device).stop()
            raise WorkersLost("a worker process ended, as it does for want of memory") from error
        return [records[name] for name in plan.identities]

    def _workers_on(self, device: torch.device) -> Workers:
        if device not in self._workers:
            folder = Path(tempfile.mkdtemp(dir=self._folder.name))
            self._workers[device] = Workers(worker_count(device), self.datasets, device, folder, save_models=False)
        return self._workers[device]


def key_of(config: RunConfig) -> Key:
    return config.data.name, config.data.root


class Training:
    """The stacks of one plan on their way: as many at a time as the plan says."""

    def __init__(self, plan: Plan, workers: Workers, interrupts: Interrupts) -> None:
        self.plan, self.workers, self.interrupts = plan, workers, interrupts
        self.waiting = deque[Sequence[int]](plan.stacks)
        self.records: dict[str, RunRecord] = {}
        self._reasons: set[str] = set()
        self.progress = Progress({stack[0]: (len(stack), plan.configs[stack[0]].total_steps) for stack in plan.stacks})

    def run(self) -> dict[str, RunRecord]:
        """By identity."""
        running: dict[Future[Trained], Sequence[int]] = {}
        with self.progress:
            while self.waiting or running:
                self.interrupts.check()
                while self.waiting and len(running) < self.plan.workers:
                    jobs = self.waiting.popleft()
                    running[self.workers.submit(jobs[0], [self.plan.configs[job] for job in jobs])] = jobs
                done = wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done
                for news in self.workers.news():
                    self.progress.advance(news.stack, news.step, news.diverged)
                for future in done:
                    self._conclude(running.pop(future), future)
        return self.records

    def _conclude(self, jobs: Sequence[int], future: Future[Trained]) -> None:
        """Keep the records of a stack that is over. One that failed is tried again by halves, until the run that fails
        stands alone."""
        error = future.exception()
        if error is not None and (isinstance(error, BrokenExecutor) or not isinstance(error, Exception)):
            raise error
        if error is not None and len(jobs) > 1:
            halves = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]
            self.progress.divide(jobs[0], {half[0]: len(half) for half in halves})
            self.waiting.extendleft(reversed(halves))
            return
        if error is not None:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            # The traceback once, not for every run that fails alike.
            log.error("a run failed: %s", reason, exc_info=None if reason in self._reasons else error)
            self._reasons.add(reason)
            records = [RunRecord(FAILED, reason=reason)]
        else:
            records = future.result().records
        for job, record in zip(jobs, records, strict=True):
            self.records[self.plan.identities[job]] = record
            self.progress.end(record.status)
        self.progress.settle(jobs[0])
