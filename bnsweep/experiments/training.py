"""Train the runs of experiments in a sweep's way; records stay in memory, nothing is logged to MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset, load
from bnsweep.records import RunRecord
from bnsweep.runs.dispatch import Dispatch, Listeners
from bnsweep.runs.executors.base import Executor, Trained
from bnsweep.runs.executors.local import local_executor
from bnsweep.runs.executors.processes import prepare
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.machine import worker_count
from bnsweep.runs.plan import check_memory, make_plan
from bnsweep.runs.scratch import scratch
from bnsweep.runs.strategies import check_strategy
from bnsweep.training.device import resolve_device


class NotRun(Exception):
    """Why an experiment cannot be run here."""


class Laboratory:
    """The datasets, read once, and the workers, started once, of all experiments of a command."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        workers: int | None = None,
        datasets: Mapping[DataKey, Dataset] | None = None,
    ) -> None:
        """`workers`: stacks trained at a time at most, by default what the machine has cores for. `datasets` are those
        that were read already."""
        self._workers = workers
        if self._workers_on(resolve_device(configs[0].train.device)) > 1:
            prepare()
        self.datasets = dict(datasets or {})
        self.missing: dict[DataKey, str] = {}
        """Dataset that cannot be had -> why."""
        for config in configs:
            if config.data.key not in {**self.datasets, **self.missing}:
                try:
                    self.datasets[config.data.key] = load(config.data)
                except ConfigError as error:
                    self.missing[config.data.key] = str(error)
        self.interrupts = Interrupts()
        self._executors: dict[torch.device, Executor] = {}

    def __enter__(self) -> Laboratory:
        self._folder = tempfile.TemporaryDirectory(dir=scratch())
        self.interrupts.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for executor in self._executors.values():
            executor.stop()
        self.interrupts.__exit__(kind, error, tb)
        self._folder.cleanup()

    def train(self, configs: Sequence[RunConfig]) -> list[RunRecord]:
        """A record each; a run that failed has one that says why. Raises NotRun, after which other experiments can be
        trained."""
        keys = dict.fromkeys(config.data.key for config in configs)
        reasons = [self.missing[key] for key in keys if key in self.missing]
        if reasons:
            raise NotRun(reasons[0])
        device = resolve_device(configs[0].train.device)
        try:
            check_strategy(configs, adds_seeds=False, is_whole=False)
            check_memory(configs, device)
        except ConfigError as error:
            raise NotRun(str(error)) from None
        plan = make_plan(configs, (), device, self._workers_on(device))
        records: dict[str, RunRecord] = {}

        def keep(jobs: Sequence[int], trained: Trained) -> None:
            records.update(zip([plan.identities[job] for job in jobs], trained.records, strict=True))

        Dispatch(plan, self._executor_on(device), self.interrupts, Listeners(keep)).run()
        return [records[name] for name in plan.identities]

    def _workers_on(self, device: torch.device) -> int:
        return worker_count(device) if self._workers is None else self._workers

    def _executor_on(self, device: torch.device) -> Executor:
        if device not in self._executors:
            folder, workers = Path(tempfile.mkdtemp(dir=self._folder.name)), self._workers_on(device)
            self._executors[device] = local_executor(workers, self.datasets, device, folder, save_models=False)
        return self._executors[device]
