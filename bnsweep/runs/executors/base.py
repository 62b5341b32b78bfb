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
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.nets.stack import Stack
from bnsweep.own.functions import check_unchanged
from bnsweep.records import FINISHED, RunRecord
from bnsweep.runs.checkpoints import Checkpoints, Keeper
from bnsweep.runs.resources import Resources
from bnsweep.runs.strategies import FROZEN_SHARE, WORTH, Plateau, stalled_reason
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
    held: list[int] = field(default_factory=list)
    """Places of the runs that are not over: they go on from a checkpoint. Their records are those of runs that stop
    here."""


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
    def submit(self, name: int, configs: Sequence[RunConfig], until: int | None = None) -> Future[Trained]:
        """Trains runs of one `stack_key` together, to the end or `until` a step, where they are held. The future raises
        what the training raised, WorkerLost or NoWorker."""

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


class Thinned(Exception):
    """So many members are frozen that the others train on without them."""


class Flight:
    """A stack's way to the end, or to the step where it is to be held."""

    def __init__(
        self,
        name: int,
        training: Training,
        checkpoints: Checkpoints | None,
        tell: Callable[[Evaluated], None],
        is_stopped: Callable[[], bool],
        until: int | None = None,
    ) -> None:
        self.name, self.training, self.tell, self.is_stopped, self.until = name, training, tell, is_stopped, until
        self.configs: Sequence[RunConfig] = training.configs
        self._keeper = None if checkpoints is None else Keeper(checkpoints, self.configs)
        sweep, self._total = self.configs[0].sweep, self.configs[0].total_steps
        self._score = f"val/{self.configs[0].task.score}"
        self._plateau = Plateau(sweep.patience, len(self.configs)) if sweep.strategy == "plateau" else None
        self._over: set[int] = set()
        """Places of runs that have diverged or were stopped."""
        self._thins = self._keeper is not None
        """Whether the others can go on without them."""
        for number, evaluation in enumerate(training.evaluations, start=1):
            self._judge(evaluation.of(training.places), number)
        self._from, self._since = training.step, time.perf_counter()

    def run(self) -> Trained:
        """Raises InterruptedError at the next step once it is stopped; what was trained by then is kept."""
        try:
            self.training.run(self._watch, self._tick, self.until)
            if self.training.step == self.until:  # beyond it, the checkpoint that it comes from stands
                self._keep_held()
        except Thinned:
            pass
        held = self._held if self.training.step < self._total else []
        number = sum(e.step <= (self.until or self._total) for e in self.training.evaluations)
        for place in held:
            self.training.stop(place, "held", number)
        why = self._keeper.why if self._keeper else ""
        return Trained(self.training.records(), [None] * len(self.configs), 0.0, unkept=why, held=held)

    @property
    def _held(self) -> list[int]:
        """Places of the runs that are not over."""
        return [place for place in range(len(self.configs)) if place not in self._over]

    def _keep_held(self) -> bool:
        """Whether they are in a checkpoint."""
        held = self._held
        return self._keeper is not None and self._keeper.write(lambda: self.training.state(held), held)

    def _tick(self) -> None:
        if self.is_stopped():
            if self._keeper is not None and self.training.step > 0:
                self._keeper.write(self.training.state)
                if self._keeper.why:
                    print(f"{NO_CHECKPOINT} ({self._keeper.why})", file=sys.stderr, flush=True)
            raise InterruptedError("the sweep was stopped")

    def _watch(self, evaluation: Evaluation) -> None:
        self._judge(evaluation, len(self.training.evaluations))
        stopped = self.training.stopped
        lost = sum(at >= 0 for place, at in enumerate(evaluation.diverged) if place not in stopped)
        self.tell(Evaluated(self.name, evaluation.step, lost, evaluation.values))
        if evaluation.step in (0, self._total, self.until):
            return
        if self._keeper is not None and self._keeper.is_due:
            self._keeper.write(self.training.state)
        if self._is_thin(evaluation.step):
            self._thins = not self._held or self._keep_held()
            if self._thins:
                raise Thinned

    def _judge(self, evaluation: Evaluation, number: int) -> None:
        """Notes who has diverged, and stops who has stalled by the evaluation of this number."""
        if evaluation.step == self._total:
            return
        self._over |= {place for place, at in enumerate(evaluation.diverged) if at >= 0}
        stalled = self._plateau.stalled(evaluation.values[self._score], evaluation.step) if self._plateau else {}
        for place, best in stalled.items():
            self.training.stop(place, stalled_reason(self.configs[place], evaluation.step, best), number)
            self._over.add(place)

    def _is_thin(self, step: int) -> bool:
        """Whether it pays to go on without those that are over."""
        share = len(self._over) / len(self.configs)
        if self._plateau is None or share < (FROZEN_SHARE if self._thins else 1):
            return False
        a_step = (time.perf_counter() - self._since) / max(1, step - self._from)
        return share == 1 or share * a_step * (self._total - step) > WORTH


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
        until: int | None = None,
    ) -> Trained:
        """Goes on from checkpoints where there are some, to the end or `until` a step. Raises InterruptedError at the
        next step once `is_stopped`; what was trained by then is kept."""
        check_unchanged(configs)
        started, training = time.perf_counter(), self._begin(configs)
        trained = Flight(name, training, self.checkpoints, tell, is_stopped, until).run()
        trained.seconds = time.perf_counter() - started
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
