"""Jobs become a plan, the plan's stacks are trained by an executor and logged here, and the ledger says what happened.

Each stack is in MLflow as soon as it is over: whatever ends the process, the same command goes on from there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bnsweep.config.checks import ConfigError, check_folder
from bnsweep.config.groups import DataConfig
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.secrets import hide_secrets_in_logs
from bnsweep.config.sweep import SweepConfig
from bnsweep.data.dataset import DataKey, Dataset, load
from bnsweep.records import FINISHED, STOPPED, RunRecord
from bnsweep.runs.checkpoints import Checkpoints, checkpoints_of, tidy
from bnsweep.runs.dispatch import Dispatch
from bnsweep.runs.executors.base import Executor, Trained
from bnsweep.runs.executors.local import check_disk, local_executor
from bnsweep.runs.executors.processes import prepare
from bnsweep.runs.halving import Halving
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.ledger import RunResult, SweepResult, count_statuses, describe_ledger, together
from bnsweep.runs.machine import check_host, free_bytes, limits
from bnsweep.runs.outbox import Outbox
from bnsweep.runs.plan import Plan, check_memory, describe, make_plan, predicted_seconds, stack_limit, workers_for
from bnsweep.runs.scratch import scratch
from bnsweep.runs.seed_batches import Looking
from bnsweep.runs.stopped import stopped_before
from bnsweep.runs.strategies import check_strategy, price
from bnsweep.store.address import origin
from bnsweep.store.claims import Claim, check_same_sweep, wait_for_turn
from bnsweep.store.connect import Draft
from bnsweep.store.courses import kept_runs
from bnsweep.store.store import Done, Manifest, Store
from bnsweep.store.system_metrics import check_system_metrics
from bnsweep.training.device import resolve_device
from bnsweep.training.known import with_facts


def shared_config(configs: Sequence[RunConfig]) -> tuple[TrackingConfig, SweepConfig]:
    """What belongs to a sweep rather than to a run; ConfigError where jobs disagree on it."""
    first = configs[0]
    for config in configs:
        for name in ("tracking", "sweep"):
            if getattr(config, name) != getattr(first, name):
                raise ConfigError(f"{name}: settings of the whole sweep must be the same in all of its jobs")
        if config.data.task != first.data.task:
            both = f"{first.data.task},{config.data.task}"
            raise ConfigError(f"data.task={both}: must be one in all jobs of a sweep, as their scores do not compare")
        if config.train.device != first.train.device:
            raise ConfigError("train.device: must be the same in all jobs of a sweep")
    return first.tracking, first.sweep


def load_datasets(configs: Sequence[RunConfig]) -> dict[DataKey, Dataset]:
    """Every dataset of the sweep, read and verified once."""
    wanted: dict[DataKey, DataConfig] = {config.data.key: config.data for config in configs}
    return {key: load(config) for key, config in wanted.items()}


class Stops(Interrupts):
    """An interrupt, or a store that stayed away: both end the training between two stacks."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self.outbox = outbox

    def check(self) -> None:
        super().check()
        self.outbox.check()


class Sweep:
    """One sweep on its way: trains what the plan says, logs it, and keeps the results by identity."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        done: Mapping[str, Done],
        own_run: str,
        planned: Callable[..., Plan],
        checkpoints: Checkpoints | None,
    ) -> None:
        """`own_run`: id of the sweep's own MLflow run; empty where it has none. `planned`: of `train_batches`."""
        self.plan, self.store, self.own_run = plan, store, own_run
        self.planned, self.checkpoints = planned, checkpoints
        self.sweep = plan.configs[0].sweep
        self.results = {
            name: RunResult(run.status, run.summary, run_id=run.run_id)
            for name, run in done.items()
            if name in plan.done
        }
        self.trained = 0
        """Runs trained and logged now."""
        self.outbox = Outbox(store, self.sweep.id, self._note)
        self.stops = Stops(self.outbox)
        self._training = 0.0

    def run(self, datasets: dict[DataKey, Dataset]) -> None:
        """Stacks train in workers, a thread logs what they leave; this one takes the interrupts, and prints the
        ledger."""
        plan = self.plan
        try:
            with tempfile.TemporaryDirectory(dir=scratch()) as folder, self.stops:
                own = Path(folder), self.sweep.save_models, self.checkpoints
                executor = local_executor(plan.workers, datasets, plan.device, *own)
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
            print(describe_ledger(plan.runs, self.results, self.trained, self.outbox.left), flush=True)

    def _train(self, executor: Executor) -> None:
        if self.sweep.strategy != "halving":
            Dispatch(self.plan, executor, self.stops, self._log).run()
            return
        kept = {} if self.sweep.rerun else kept_runs(self.store.patient, {*self.plan.identities}, histories=True)
        Halving(self.plan, self.planned, kept, self._log).run(executor, self.stops)
        for name, run in kept.items():
            if run.status == STOPPED:  # and needed no training now
                result = RunResult(run.status, run.done.summary, run.reason, run.done.run_id)
                self.results.setdefault(name, result)

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
        if self.checkpoints is not None:
            self.checkpoints.remove(self.results)

    def _close_outbox(self) -> None:
        """An interrupt stays one, whatever the store does."""
        try:
            self.outbox.close(lambda: self.stops.pending)
        except ConfigError as error:
            if not self.stops.pending:
                raise
            print(error, file=sys.stderr, flush=True)

    def close(self, under_way: Collection[str]) -> None:
        """Write into the sweep's own MLflow run how it went, and its comparison of the runs. `under_way`: ids of
        sweeps, this one left out."""
        self.store.tidy(under_way)
        if self.own_run:
            ledger = count_statuses(self.plan.runs, self.results)
            self.store.close_sweep(self.sweep.id, ledger, self.seconds, self.own_run)
            self.store.write_view(self.sweep.id, self.own_run)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds spent training, as if the workers had never waited, and logging beside it."""
        return {"training": self._training / self.plan.workers, "logging": self.outbox.seconds}

    def result(self) -> SweepResult:
        runs = [self.results[name] for name in self.plan.identities]
        tracking, url = self.plan.configs[0].tracking, self.store.view_url()
        return SweepResult(self.sweep, tracking, runs, self.trained, self.own_run, url, self.seconds)


def reusable(done: dict[str, Done], sweep: SweepConfig) -> dict[str, Done]:
    """The done runs that need no training; one that kept no network needs it where networks are kept."""
    return {name: run for name, run in done.items() if run.model or run.status != FINISHED or not sweep.save_models}


def store_so_far(tracking: TrackingConfig) -> Store | None:
    """The store, where there is one; for a dry run, which creates none."""
    try:
        return Store.open(tracking, create=False)
    except ConfigError as error:
        print(f"nothing counts as done: {error}")
        return None


def predict(
    configs: Sequence[RunConfig],
    datasets: Mapping[DataKey, Dataset],
    device: torch.device,
    workers: int,
    store: Store | None,
    checkpoints: Checkpoints | None,
) -> None:
    """Print the plan, and then how long it may take: trials of many shapes of deep networks are long themselves."""
    sweep = configs[0].sweep
    done = {} if sweep.rerun or store is None else reusable(store.done({*map(identity, configs)}), sweep)
    plan = make_plan(configs, done, device, workers, checkpoints=checkpoints or ())
    print(describe(plan), flush=True)
    seconds = predicted_seconds(plan, datasets)
    print(f"predicted training time: about {seconds:.0f} s, from a trial of one stack a shape")


def check_wishes(sweep: SweepConfig, keep_plan: bool) -> None:
    """Refuses a report or system metrics that could not be written."""
    if sweep.report is not None:
        check_folder("sweep.report", Path(sweep.report))
    if sweep.system_metrics:
        check_system_metrics(has_own_run=keep_plan)


def make_room(configs: Sequence[RunConfig], device: torch.device, workers: int) -> None:
    """Refuses runs that no memory or disk holds; where several stacks will train at a time, gets their processes
    ready."""
    check_host()
    free = free_bytes(device)
    check_memory(configs, device, free)
    if configs[0].sweep.dry_run:
        return
    scratch()
    if workers > 1 and stack_limit(configs[0], len(configs), device, workers, free) < len(configs):
        check_disk(configs)
        prepare()


Planning = Callable[[Sequence[RunConfig]], Sequence[str]]
"""What is to be said of runs before they are trained. Raises ConfigError where they are not to be."""


def run_sweep(
    configs: Sequence[RunConfig],
    command: str,
    keep_plan: bool = True,
    earlier: Sequence[RunConfig] = (),
    workers: int | None = None,
    datasets: Mapping[DataKey, Dataset] | None = None,
    looking: Looking | None = None,
    planning: Planning | None = None,
    draft: Draft | None = None,
) -> SweepResult | None:
    """Train what is not done yet and log it; None for a dry run.

    Everything that can be refused is refused (ConfigError) before anything is trained or written: device, data,
    tracking store. `keep_plan` writes the sweep's own MLflow run; a job in a process of its own leaves it out. A sweep
    in batches gives the configs of its `earlier` ones, so that its plan holds all of them. `workers`: stacks trained
    at a time at most, by default what the machine has cores for. `datasets` are those that were read already.
    `looking`: of a sweep that adds seeds until its claims are decided; its result is of the runs that it took.
    `draft`: of a database, for a store that has none yet.
    """
    tracking, sweep = shared_config([*earlier[:1], *configs])
    hide_secrets_in_logs()
    print("".join(f"{line}\n" for line in origin(tracking)), end="", flush=True)
    device = resolve_device(configs[0].train.device)
    check_wishes(sweep, keep_plan)
    datasets = dict(datasets or {})
    configs, earlier = with_facts(configs, datasets), with_facts(earlier, datasets)
    check_strategy(configs, adds_seeds=looking is not None, is_whole=keep_plan)
    workers = workers_for(configs, device) if workers is None else workers
    make_room(configs, device, workers)
    datasets |= load_datasets([config for config in configs if config.data.key not in datasets])
    print("".join(f"data: {note}\n" for dataset in datasets.values() for note in dataset.notes), end="", flush=True)
    batches = Batches(configs, earlier, command if keep_plan else None, looking, checkpoints_of(sweep, device))
    for line in [*(planning(configs) if planning else ()), *batches.notes, *limits()]:
        print(line, flush=True)
    store = store_so_far(tracking) if sweep.dry_run else Store.open(tracking, draft=draft)
    if sweep.dry_run or store is None:
        predict(configs, datasets, device, workers, store, batches.checkpoints)
        return None
    return train_batches(batches, store, datasets, partial(make_plan, device=device, workers=workers))


@dataclass(frozen=True)
class Batches:
    """The runs of a sweep, in the batches in which they are planned and trained: one, unless it adds seeds."""

    configs: Sequence[RunConfig]
    earlier: Sequence[RunConfig]
    """Of the same sweep, trained before."""
    command: str | None
    """None for a sweep without a run of its own in MLflow."""
    looking: Looking | None
    checkpoints: Checkpoints | None = None

    def __iter__(self) -> Iterator[Sequence[RunConfig]]:
        return self.looking.batches(self.configs) if self.looking else iter([self.configs])

    @property
    def notes(self) -> list[str]:
        looks = [self.looking.text(self.configs)] if self.looking else []
        return [*looks, *price(self.configs[0].sweep)]

    def manifest(self, batch: Sequence[RunConfig]) -> Manifest | None:
        """Of the sweep up to this batch."""
        if self.command is None:
            return None
        looks = self.looking.looks if self.looking else ()
        return Manifest.of([*self.earlier, *batch], batch[0].sweep.id, self.command, looks)

    def are_over(self, store: Store, result: SweepResult) -> bool:
        """Whether there is no need of another batch."""
        return self.looking is None or self.looking.is_over(store.load(result.sweep.id, result.own_run))


def train_batches(
    batches: Batches,
    store: Store,
    datasets: dict[DataKey, Dataset],
    planned: Callable[..., Plan],
) -> SweepResult:
    """Train and log one batch after the other. `planned`: the plan of some configs and of what of them is done."""
    sweep, names = batches.configs[0].sweep, {identity(config) for config in batches.configs}
    whole, checkpoints = batches.command is not None, batches.checkpoints
    planned = partial(planned, checkpoints=checkpoints or ())
    if not batches.earlier:
        store.check_id(sweep.id, names, whole=whole, most=batches.looking is not None)
    parts: list[SweepResult] = []
    results: dict[str, RunResult] = {}
    with store.claimed(names, sweep.id) as claim:
        for batch in batches:
            done = done_at_turn(store, claim, sweep, whole, partial(stopped_before, store, batch))
            over = {*results} if sweep.rerun else {*results, *done}
            if checkpoints is not None and not parts:
                tidy(checkpoints, over, names)
            plan = planned(batch, over)
            current = conduct(plan, planned, batches, store, claim, done, results, datasets)
            results, result = current.results, current.result()
            if parts and parts[-1].own_run:
                store.patient.remove(parts[-1].own_run)  # the new one is of the same sweep, and of more seeds
            parts.append(result)
            if batches.are_over(store, result):
                break
    return together(parts)


def conduct(
    plan: Plan,
    planned: Callable[..., Plan],
    batches: Batches,
    store: Store,
    claim: Claim,
    done: Mapping[str, Done],
    results: Mapping[str, RunResult],
    datasets: dict[DataKey, Dataset],
) -> Sweep:
    """Train and log what the plan of one batch leaves; a manifest gets the sweep its own MLflow run. `results`: of
    batches before this one."""
    manifest = batches.manifest(plan.configs)
    print(describe(plan), flush=True)
    store.mark_stale(claim.wanted, claim.under_way())
    current = Sweep(plan, store, done, store.open_sweep(manifest) if manifest else "", planned, batches.checkpoints)
    current.results |= results
    with store.system_metrics(current.own_run) if current.sweep.system_metrics else nullcontext():
        current.run(datasets)
    current.close(claim.under_way())
    return current


def done_at_turn(
    store: Store, claim: Claim, sweep: SweepConfig, whole: bool, stopped: Callable[[], dict[str, Done]]
) -> dict[str, Done]:
    """The done runs that need no training, once no other sweep trains any of those that do; what an earlier command
    trained and could not log is among them."""
    if whole:
        check_same_sweep(claim, sweep.id)
    done: dict[str, Done] = {}

    def left() -> set[str]:
        nonlocal done
        done = stopped() | reusable(store.done(claim.wanted), sweep)
        return claim.wanted if sweep.rerun else claim.wanted - done.keys()

    wait_for_turn(claim, left)
    rest = left()
    logged = store.log_kept(rest - done.keys(), claim.wanted & done.keys())
    if logged:
        print(f"{logged} runs that were trained before are logged now", flush=True)
        left()
    return done
