"""The runs of a call trained, into the store that a command would use or into memory alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig

if TYPE_CHECKING:
    from bnsweep.data.dataset import DataKey, Dataset
    from bnsweep.records import RunRecord
    from bnsweep.runs.executors.base import Trained
    from bnsweep.runs.plan import Plan
    from bnsweep.runs.seed_batches import Looking
    from bnsweep.store.in_memory import FrameInMemory


@dataclass
class InMemory:
    """Runs that are trained and logged nowhere."""

    configs: Sequence[RunConfig]
    """With the facts of their data."""
    command: str
    looking: Looking | None = None
    """Of a sweep that adds seeds until its claims are decided."""
    planned: Sequence[RunConfig] = ()
    """Those that are wanted so far."""
    records: dict[str, RunRecord] = field(default_factory=dict)
    """By identity, of the runs that are over."""
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """State dict of each run that finished, by identity."""
    seconds: float = 0.0

    def train(self, datasets: Mapping[DataKey, Dataset], workers: int | None, keep_models: bool) -> None:
        """Raises KeyboardInterrupt between two stacks; what is over by then is kept."""
        from bnsweep.runs.machine import limits
        from bnsweep.runs.place import make_room, resources_for
        from bnsweep.runs.plan import plan_on
        from bnsweep.runs.strategies import check_strategy

        check_strategy(self.configs, adds_seeds=self.looking is not None, is_whole=False)
        resources = resources_for(self.configs, workers, None)
        make_room(self.configs, resources)
        for line in [*limits(), *([self.looking.text(self.configs)] if self.looking else [])]:
            print(line, flush=True)
        for batch in self.looking.batches(self.configs) if self.looking else [self.configs]:
            self.planned = batch
            self._train(plan_on(batch, self.records, resources), datasets, keep_models)
            if self.looking is not None and self.looking.is_over(self.frame()):
                break

    def _train(self, plan: Plan, datasets: Mapping[DataKey, Dataset], keep_models: bool) -> None:
        from bnsweep.runs.dispatch import Dispatch, Listeners
        from bnsweep.runs.executors.local import local_executor
        from bnsweep.runs.interrupt import Interrupts
        from bnsweep.runs.plan import describe
        from bnsweep.runs.scratch import scratch

        print(describe(plan), flush=True)

        def keep(jobs: Sequence[int], trained: Trained) -> None:
            for job, record, model in zip(jobs, trained.records, trained.models, strict=True):
                self.records[plan.identities[job]] = record
                if model is not None:
                    self.networks[plan.identities[job]] = state_of(model)

        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=scratch()) as folder, Interrupts() as interrupts:
            executor = local_executor(plan.workers, dict(datasets), plan.device, Path(folder), keep_models)
            try:
                Dispatch(plan, executor, interrupts, Listeners(keep)).run()
            finally:
                executor.stop()
                self.seconds += time.perf_counter() - began

    def frame(self) -> FrameInMemory:
        """Of the runs that are over. Raises ConfigError where none is."""
        from bnsweep.config.checks import check
        from bnsweep.store.in_memory import frame_of

        sweep, looks = self.configs[0].sweep.id, self.looking.looks if self.looking else ()
        planned = {identity(config): config for config in self.planned}
        rows = [{"identity": name, **numbers(config)} for name, config in planned.items()]
        over = [(planned[name], record) for name, record in self.records.items()]
        check(len(over) > 0, "sweep", sweep, "one with at least one run that ended; this one has none yet")
        return frame_of(rows, over, sweep, self.command, {"training": self.seconds}, looks)


def state_of(file: Path) -> dict[str, Any]:
    """A kept network's state dict; the file goes with the sweep's folder."""
    import safetensors.torch

    return safetensors.torch.load(file.read_bytes())
