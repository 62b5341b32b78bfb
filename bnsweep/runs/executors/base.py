"""What an executor does, and what each of its workers does with a stack.

A later executor is one file that subclasses `Executor`; its tests inherit `ExecutorTests`.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.nets.stack import Stack
from bnsweep.own.functions import check_unchanged
from bnsweep.records import FINISHED, RunRecord
from bnsweep.runs.checkpoints import Checkpoints, Keeper
from bnsweep.runs.resources import Resources
from bnsweep.training.record import Evaluation
from bnsweep.training.trainer import Training


@dataclass
class Trained:
    """What training leaves of a stack, in the order of its configs."""

    records: list[RunRecord]
    models: list[Path | None]
    """`model.safetensors` of each run whose network is kept."""
    seconds: float
    unsaved: str = ""
    """Why a network that was to be kept is not."""
    unkept: str = ""
    """Why no checkpoint could be written."""


@dataclass(frozen=True)
class Evaluated:
    """A stack, by its name, has been evaluated after `step` steps; `diverged` of its runs have diverged so far."""

    stack: int
    step: int
    diverged: int
    values: dict[str, list[float]]
    """Metric -> its value of each run, in the order of the stack's configs; NaN where there is none."""


NO_CHECKPOINT = "no checkpoint can be written"


class WorkerLost(Exception):
    """The worker that trained a stack ended before the stack did. The executor goes on with another worker."""


class NoWorker(Exception):
    """Workers end before they can train anything: no stack can be trained."""


class Executor(ABC):
    """Trains stacks, some at a time, in workers that it starts when they are needed."""

    workers: int
    """Stacks trained at a time."""

    @abstractmethod
    def submit(self, name: int, configs: Sequence[RunConfig]) -> Future[Trained]:
        """Trains runs of one `stack_key` together. The future raises what the training raised, WorkerLost or
        NoWorker."""

    @abstractmethod
    def new_evaluations(self) -> Iterator[Evaluated]:
        """The evaluations since it was asked last. Those of a stack come before its future is done."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the training under way at its next step, starts nothing more, and waits for the workers to end."""


class Cluster(ABC):
    """Workers elsewhere: what they have, and the executor that trains there. This process stays the only one that plans
    and writes to the store."""

    @abstractmethod
    def resources(self, device: str) -> Resources:
        """What there is for runs of this `train.device`. Raises ConfigError where it cannot be reached or has none."""

    @abstractmethod
    def executor(
        self,
        workers: int,
        datasets: dict[DataKey, Dataset],
        device: torch.device,
        folder: Path,
        save_models: bool,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        """As `local_executor` makes one. Called after `resources`."""

    @abstractmethod
    def close(self) -> None:
        """Leaves the cluster, or ends it where it was started for this command."""


@dataclass
class StackTrainer:
    """Trains one stack after the other, as a worker does."""

    datasets: dict[DataKey, Dataset]
    device: torch.device
    models: Path | None
    """Folder of the networks to keep."""
    checkpoints: Checkpoints | None = None
    """Where stacks in flight are kept, if they are."""

    def train(
        self,
        name: int,
        configs: Sequence[RunConfig],
        tell: Callable[[Evaluated], None],
        is_stopped: Callable[[], bool],
    ) -> Trained:
        """Goes on from checkpoints where there are some. Raises InterruptedError at the next step once `is_stopped`;
        what was trained by then is kept."""
        check_unchanged(configs)
        started = time.perf_counter()
        training, keeper = self._begin(configs), None if self.checkpoints is None else Keeper(self.checkpoints, configs)

        def tick() -> None:
            if is_stopped():
                if keeper is not None and training.step > 0:
                    keeper.write(training.state)
                    if keeper.why:
                        print(f"{NO_CHECKPOINT} ({keeper.why})", file=sys.stderr, flush=True)
                raise InterruptedError("the sweep was stopped")

        def watch(evaluation: Evaluation) -> None:
            diverged = sum(step >= 0 for step in evaluation.diverged)
            tell(Evaluated(name, evaluation.step, diverged, evaluation.values))
            if keeper is not None and keeper.is_due and 0 < evaluation.step < configs[0].total_steps:
                keeper.write(training.state)

        training.run(watch, tick)
        records = training.records()
        trained = Trained(records, [None] * len(records), time.perf_counter() - started)
        trained.unkept = keeper.why if keeper is not None else ""
        if self.models is not None:
            save_models(training.trainer.stack, trained, self.models / f"{name}-{len(configs)}")
        return trained

    def _begin(self, configs: Sequence[RunConfig]) -> Training:
        states = self.checkpoints.states(configs) if self.checkpoints is not None else []
        return Training(configs, self.datasets[configs[0].data.key], self.device, states)


def save_models(stack: Stack, trained: Trained, folder: Path) -> None:
    """`model.safetensors` of each run that finished, a folder each; `plain.build(config)` takes its state dict. What
    was trained stands, whether its network can be saved or not."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    for place, record in enumerate(trained.records):
        if record.status != FINISHED:
            continue
        path = folder / str(place) / "model.safetensors"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            state = stack.export(stack.positions.index(place)).state_dict()
            save_file({name: t.clone() for name, t in state.items()}, path)  # of weights that are tied, two copies
            trained.models[place] = path
        except (OSError, SafetensorError) as error:
            trained.unsaved = str(error)
            with suppress(OSError):
                path.unlink()  # the part that was written takes the room of the next
