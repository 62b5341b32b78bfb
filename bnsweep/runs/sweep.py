"""Jobs become a plan, the plan's stacks are trained by workers and logged here, and the ledger says what happened.

Each stack is in MLflow as soon as it is over: whatever ends the process, the same command goes on from there.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from pathlib import Path

from bnsweep.config.checks import ConfigError, check_folder
from bnsweep.config.run import DataConfig, RunConfig, SweepConfig, TrackingConfig
from bnsweep.data import dataset as data
from bnsweep.records import FAILED, FINISHED, RunRecord
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.ledger import Outcome, Result, describe_ledger
from bnsweep.runs.plan import Plan, check_memory, make_plan, predicted_seconds, stack_limit
from bnsweep.runs.progress import Progress
from bnsweep.runs.workers import Trained, Workers, prepare
from bnsweep.store.store import Done, Manifest, Store
from bnsweep.training.trainer import describe_device, resolve_device

log = logging.getLogger(__name__)


def shared_settings(configs: Sequence[RunConfig]) -> tuple[TrackingConfig, SweepConfig]:
    """The settings that belong to a sweep rather than to a run; ConfigError where jobs disagree on them."""
    first = configs[0]
    for config in configs:
        for name in ("tracking", "sweep"):
            if getattr(config, name) != getattr(first, name):
                raise ConfigError(f"{name}: settings of the whole sweep must be the same in all of its jobs")
        if config.train.device != first.train.device:
            raise ConfigError("train.device: must be the same in all jobs of a sweep")
    return first.tracking, first.sweep


def load_datasets(configs: Sequence[RunConfig]) -> dict[tuple[str, str], data.Dataset]:
    """Every dataset of the sweep, read and verified once: (name, root) -> dataset."""
    wanted: dict[tuple[str, str], DataConfig] = {(c.data.name, c.data.root): c.data for c in configs}
    return {key: data.load(config) for key, config in wanted.items()}


def describe(plan: Plan) -> str:
    """The plan in words, with what `auto` chose."""
    sizes = Counter(len(stack) for stack in plan.stacks)
    stacks = ", ".join(f"{n} of {size}" for size, n in sorted(sizes.items(), reverse=True)) or "none"
    doubles = len(plan.configs) - plan.runs
    lines = [
        f"plan: {plan.cells} cells, {plan.runs} runs, {len(plan.done)} already done, {plan.left} left"
        + (f" ({doubles} jobs mean the same run as another)" if doubles else ""),
        f"on {describe_device(plan.device)}, {plan.workers} at a time; stacks: {stacks}"
        + (f"; largest about {plan.bytes / 2**20:.0f} MiB" if plan.stacks else ""),
    ]
    return "\n".join(lines)


class Sweep:
    """One sweep on its way: trains what the plan says and keeps the outcomes by identity."""

    def __init__(self, plan: Plan, store: Store, datasets: dict[tuple[str, str], data.Dataset], done: dict[str, Done]):
        self.plan, self.store, self.datasets = plan, store, datasets
        self.settings = plan.configs[0].sweep
        self.outcomes = {
            name: Outcome(run.status, run.summary, run_id=run.run_id) for name, run in done.items() if name in plan.done
        }
        self._training: list[float] = []
        self._logging: list[float] = []
        self.progress = Progress({stack[0]: (len(stack), plan.configs[stack[0]].total_steps) for stack in plan.stacks})
        self.interrupts = Interrupts()
        self._reasons: set[str] = set()

    def run(self) -> None:
        """Stacks train in workers; this thread logs what they leave, and takes the interrupts."""
        plan, keep = self.plan, self.settings.save_models
        with tempfile.TemporaryDirectory() as folder:
            self.workers = Workers(plan.workers, self.datasets, plan.device, Path(folder), keep)
            try:
                with self.progress:
                    self._run()
            finally:
                self.workers.stop()

    def _run(self) -> None:
        waiting = dict(map(self._submit, self.plan.stacks))
        while waiting:
            self.interrupts.check()
            done = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED).done
            for news in self.workers.news():
                self.progress.advance(news.stack, news.step, news.diverged)
            for future in done:
                self.interrupts.check()
                waiting |= dict(map(self._submit, self._conclude(waiting.pop(future), future)))
        # One that came while the last run was being logged.
        self.interrupts.check()

    def _submit(self, jobs: Sequence[int]) -> tuple[Future[Trained], Sequence[int]]:
        return self.workers.submit(jobs[0], [self.plan.configs[job] for job in jobs]), jobs

    def _conclude(self, jobs: Sequence[int], future: Future[Trained]) -> list[Sequence[int]]:
        """Log a stack that is over. One that failed is to be tried again by halves, which are returned, until the run
        that fails stands alone and is logged as failed."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            raise error
        if isinstance(error, Exception):
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            # The traceback once, not for every half of every stack that fails alike.
            log.error("stack of %d failed: %s", len(jobs), reason, exc_info=None if reason in self._reasons else error)
            self._reasons.add(reason)
            if len(jobs) > 1:
                halves = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]
                self.progress.divide(jobs[0], {half[0]: len(half) for half in halves})
                return list(halves)
            self._log(jobs, Trained([RunRecord(FAILED, reason=reason)], [None], 0.0))
        else:
            self._log(jobs, future.result())
        self.progress.settle(jobs[0])
        return []

    def _log(self, jobs: Sequence[int], trained: Trained) -> None:
        started = time.perf_counter()
        configs = [self.plan.configs[job] for job in jobs]
        runs = list(zip(configs, trained.records, trained.models, strict=True))
        for first in range(0, len(jobs), self.store.batch):
            self.interrupts.check()
            some = slice(first, first + self.store.batch)
            run_ids = self._log_runs(runs[some])
            for job, (_, record, model), run_id in zip(jobs[some], runs[some], run_ids, strict=True):
                outcome = Outcome(record.status, record.summary, record.reason, run_id)
                self.outcomes[self.plan.identities[job]] = outcome
                self.progress.end(record.status)
                if model is not None:
                    model.unlink()  # the store has its own copy
        self._training.append(trained.seconds)
        self._logging.append(time.perf_counter() - started)

    def _log_runs(self, runs: Sequence[tuple[RunConfig, RunRecord, Path | None]]) -> list[str]:
        """Tries twice: a store that is busy for a moment should not cost trained runs."""
        try:
            return self.store.log_runs(runs, self.settings.id)
        except Exception:
            log.exception("logging %d runs failed; trying once more", len(runs))
            return self.store.log_runs(runs, self.settings.id)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds spent training, as if the workers had never waited, and logging beside it."""
        return {"training": sum(self._training) / self.plan.workers, "logging": sum(self._logging)}

    def ledger(self) -> dict[str, int]:
        counts = Counter(outcome.status for outcome in self.outcomes.values())
        return {"planned": self.plan.runs, **{s: counts[s] for s in ("finished", "diverged", "failed")}}


def standing(done: dict[str, Done], settings: SweepConfig) -> dict[str, Done]:
    """Of the runs that are done, those that need no training; one without its network does where networks are kept."""
    return {name: run for name, run in done.items() if run.model or run.status != FINISHED or not settings.save_models}


def existing_runs(tracking: TrackingConfig, settings: SweepConfig) -> dict[str, Done]:
    """What stands already, without creating a store; for a dry run."""
    try:
        return standing(Store.open(tracking, create=False).done(), settings)
    except ConfigError as error:
        print(f"nothing counts as done: {error}")
        return {}


def predict(plan: Plan, datasets: Mapping[tuple[str, str], data.Dataset]) -> None:
    """Print the plan, and then how long it may take: trials of many shapes of deep networks are long themselves."""
    print(describe(plan), flush=True)
    seconds = predicted_seconds(plan, datasets)
    print(f"predicted training time: about {seconds:.0f} s, from a trial of one stack a shape")


def run_sweep(
    configs: Sequence[RunConfig], command: str, keep_plan: bool = True, earlier: Sequence[RunConfig] = ()
) -> Result | None:
    """Train what is not done yet and log it; None for a dry run.

    Everything that can be refused is refused (ConfigError) before anything is trained or written: device, data,
    tracking store. `keep_plan` writes the sweep's own MLflow run; jobs of a sweep that run a process each leave it out.
    A sweep that comes in batches gives the configs of its `earlier` ones, so that its plan holds all of them.
    """
    tracking, settings = shared_settings(configs)
    device = resolve_device(configs[0].train.device)
    if settings.report is not None:
        check_folder("sweep.report", Path(settings.report))
    check_memory(configs, device)
    if not settings.dry_run and stack_limit(configs[0], len(configs), device) < len(configs) and device.type == "cpu":
        prepare()
    datasets = load_datasets(configs)
    if settings.dry_run:
        predict(make_plan(configs, () if settings.rerun else existing_runs(tracking, settings), device), datasets)
        return None
    store = Store.open(tracking)
    done = {} if settings.rerun else standing(store.done(), settings)
    plan = make_plan(configs, done, device)
    print(describe(plan), flush=True)
    store.mark_stale({plan.identities[job] for stack in plan.stacks for job in stack})
    if keep_plan:
        store.open_sweep(Manifest.of([*earlier, *configs], settings.id, command))
    sweep = Sweep(plan, store, datasets, done)
    try:
        with sweep.interrupts:
            sweep.run()
    finally:
        ended = sum(sweep.progress.ended.values())
        print(describe_ledger(sweep.ledger(), sweep.outcomes, ended), flush=True)
    if keep_plan:
        store.close_sweep(settings.id, sweep.ledger(), sweep.seconds)
        store.write_view(settings.id)
    outcomes = [sweep.outcomes[name] for name in plan.identities]
    return Result(settings, tracking, outcomes, ended, store.view_url(), sweep.seconds)
