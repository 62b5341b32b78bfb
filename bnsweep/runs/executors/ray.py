"""Stacks trained by actors of Ray: data go once into its object store, stacks and results as messages."""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.records import DatasetInfo
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Evaluated, NoWorker, StackTrainer, Trained, WorkerLost
from bnsweep.runs.executors.elsewhere import ATTEMPTS, Home, at_host, wrong_worker
from bnsweep.runs.executors.threaded import Pool, Tell, Worker, answered, opened, sendable
from bnsweep.training.device import one_thread

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at a worker's evaluations."""
PATIENCE = 60.0
"""Seconds after which it is said that a worker waits for its place."""

LOST = "the worker of Ray ended, as it does for want of memory or with its node"


Needs = tuple[dict[DataKey, Any], torch.device, Checkpoints | None]
"""Of an actor: references to what `arrays_of` gives of each dataset, what it trains on, where it keeps stacks."""


@dataclass
class Answer:
    """What an actor sends back of a stack."""

    trained: Trained | Exception
    networks: list[bytes | None]
    """`model.safetensors` of each run whose network is kept."""
    evaluations: list[Evaluated]
    """Those that nobody asked for before."""


class TrainingActor:
    """A worker, in a process of Ray's: one thread of it trains, another answers meanwhile."""

    def __init__(self, home: Home) -> None:
        self._wrong = home.join()
        self._evaluated: queue.SimpleQueue[Evaluated] = queue.SimpleQueue()

    def take(self, needs: Needs, saves: bool) -> str:
        """What it needs for the stacks of an executor. Gives what keeps it from training; empty once it is ready."""
        import ray

        datasets, self._device, checkpoints = needs
        self._saves, self._checkpoints = saves, checkpoints and checkpoints.at(self._device)
        self._datasets = {key: dataset_of(ray.get(reference)) for key, reference in datasets.items()}
        self._stopped = threading.Event()
        self.evaluations()
        return self._wrong

    def train(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Answer:
        with tempfile.TemporaryDirectory() as folder, one_thread(self._device):
            models = Path(folder) if self._saves else None
            trainer = StackTrainer(self._datasets, self._device, models, self._checkpoints)
            train = partial(trainer.train, name, configs, self._evaluated.put, self._stopped.is_set, until)
            trained, networks = sendable(answered(train)), list[bytes | None]()
            if isinstance(trained, Trained):
                networks = [path.read_bytes() if path else None for path in at_host(trained).models]
                trained.models = [None] * len(networks)
        return Answer(trained, networks, self.evaluations())

    def evaluations(self) -> list[Evaluated]:
        """Those since it was asked last."""
        return [self._evaluated.get() for _ in range(self._evaluated.qsize())]

    def stop(self) -> None:
        self._stopped.set()


class RayExecutor(Pool):
    """Has an actor for each worker. A stack that loses its actor is trained again by another one, as a node may have
    ended, before it counts as too large for a worker's memory."""

    def __init__(
        self,
        workers: int,
        needs: Needs,
        models: Path | None,
        options: Mapping[str, Any],
        spare: queue.SimpleQueue[RayWorker],
        where: str,
    ) -> None:
        """`options`: of the actors. `spare`: those of executors before this one, to which it leaves its own."""
        super().__init__(workers)
        self._needs, self._models = needs, models
        self._options, self._spare, self._where = options, spare, where
        self._stopped = threading.Event()
        self._taken: list[RayWorker] = []

    def _train(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Trained:
        for _ in range(ATTEMPTS - 1):
            try:
                return super()._train(name, configs, until)
            except WorkerLost as lost:
                if "out of memory" in str(lost):
                    raise
                log.warning("%s; another one trains its stack of %d again", LOST, len(configs))
        return super()._train(name, configs, until)

    def _start(self) -> Worker:
        """A spare actor or a new one, unless one that trains comes free before Ray has a place for it."""
        import ray

        try:
            worker = self._spare.get_nowait()
        except queue.Empty:
            worker = RayWorker(ray.remote(TrainingActor).options(max_concurrency=2, **self._options))
        self._taken.append(worker)
        ready, told = worker.take(self._needs, self._models), time.monotonic()
        while not ray.wait([ready], timeout=0.5)[0]:
            if self._stopped.is_set():
                worker.end()
                raise InterruptedError("the sweep was stopped")
            with suppress(queue.Empty):
                idle = self._idle.get_nowait()
                worker.end()
                return idle
            if time.monotonic() - told > PATIENCE:
                told = time.monotonic()
                log.warning("%s has no place for another worker yet", self._where)
        wrong = started(ready)
        if wrong:
            worker.end()
            raise wrong_worker(self._where, wrong)
        return worker

    def stop(self) -> None:
        import ray

        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)  # before those that train end, and take what waits
        told = [worker.interrupt() for worker in self._taken]
        if told:
            ray.wait(told, num_returns=len(told), timeout=PATIENCE)
        self._threads.shutdown()
        while not self._idle.empty():
            worker = self._idle.get()
            assert isinstance(worker, RayWorker)
            self._spare.put(worker)


def started(ready: Any) -> str:
    """What `TrainingActor.take` says. Raises NoWorker, and WorkerLost where it was killed at once."""
    import ray
    from ray.exceptions import RayActorError, RayError

    try:
        wrong: str = ray.get(ready)
    except RayActorError as error:
        if not getattr(error, "actor_init_failed", False):
            raise WorkerLost(LOST) from None
        last = str(error).strip().splitlines()[-1]
        raise NoWorker(f"a worker of Ray ended before it could train anything ({last})") from error
    except RayError as error:
        raise WorkerLost(LOST) from error
    return wrong


class RayWorker(Worker):
    """An actor, seen from here."""

    def __init__(self, actor_class: Any) -> None:
        """Ray's form of TrainingActor."""
        self._actor = actor_class.remote(Home.here())

    def take(self, needs: Needs, models: Path | None) -> Any:
        """Reference to what `TrainingActor.take` says of these needs."""
        self._models = models
        return self._actor.take.remote(needs, models is not None)

    def interrupt(self) -> Any:
        """Reference to its answer, which is an error where it has ended."""
        return self._actor.stop.remote()

    def train(self, name: int, configs: Sequence[RunConfig], until: int | None, tell: Tell) -> Trained:
        import ray
        from ray.exceptions import RayError

        try:
            result = self._actor.train.remote(name, configs, until)
            while not ray.wait([result], timeout=POLL)[0]:
                for evaluated in ray.get(self._actor.evaluations.remote()):
                    tell(evaluated)
            answer: Answer = ray.get(result)
        except RayError as error:
            self.is_lost = True
            low = "running low on memory" in str(error)
            raise WorkerLost("a worker of Ray was ended, as its node ran out of memory" if low else LOST) from None
        for evaluated in answer.evaluations:
            tell(evaluated)
        trained = opened(answer.trained)
        if self._models is not None:
            write_networks(answer.networks, trained, self._models / f"{name}-{len(configs)}")
        return trained

    def end(self) -> None:
        import ray

        ray.kill(self._actor)


def write_networks(networks: Sequence[bytes | None], trained: Trained, folder: Path) -> None:
    """As `save_models` does. What was trained stands, whether its network can be written or not."""
    for place, network in enumerate(networks):
        path = folder / str(place) / "model.safetensors"
        if network is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(network)
            trained.models[place] = path
        except OSError as error:
            trained.unsaved = str(error)
            with suppress(OSError):
                path.unlink()


def arrays_of(dataset: Dataset) -> dict[str, Any]:
    """What Ray's workers map into memory, all of a node the same pages."""
    tensors = {name: getattr(dataset, name) for name in ("x_ND", "y_N", "group_N")}
    arrays = {name: None if tensor is None else tensor.numpy() for name, tensor in tensors.items()}
    return {**arrays, "info": vars(dataset.info)}


def dataset_of(arrays: Any) -> Dataset:
    """From what `arrays_of` gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they cannot be written
        x_ND, y_N, group_N = (
            None if arrays[name] is None else torch.from_numpy(arrays[name]) for name in ("x_ND", "y_N", "group_N")
        )
    assert x_ND is not None and y_N is not None
    return Dataset(DatasetInfo(**arrays["info"]), x_ND, y_N, group_N=group_N)
