"""Executors that have a thread of this process for each worker, which hands it stacks and waits for what it answers."""

from __future__ import annotations

import pickle
import queue
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from bnsweep.config.run import RunConfig
from bnsweep.runs.executors.base import Evaluated, Executor, Trained

Tell = Callable[[Evaluated], None]


class ThreadedExecutor(Executor):
    """Has a thread of this process for each worker."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers)
        self._evaluated: queue.SimpleQueue[Evaluated] = queue.SimpleQueue()

    def submit(self, name: int, configs: Sequence[RunConfig], until: int | None = None) -> Future[Trained]:
        return self._threads.submit(self._train, name, configs, until)

    @abstractmethod
    def _train(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Trained:
        """In one of the threads."""

    def new_evaluations(self) -> Iterator[Evaluated]:
        while not self._evaluated.empty():
            yield self._evaluated.get()


class Worker(ABC):
    """Trains one stack after the other, somewhere else."""

    is_lost = False
    """Whether it trains no more."""

    @abstractmethod
    def train(self, name: int, configs: Sequence[RunConfig], until: int | None, tell: Tell) -> Trained:
        """As `Executor.submit` has it. Raises what the training raised, or WorkerLost."""

    @abstractmethod
    def end(self) -> object:
        """Waits for its end."""


class Pool(ThreadedExecutor):
    """Workers that are started when they are needed and kept from one stack to the next."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    @abstractmethod
    def _start(self) -> Worker:
        """A new worker. Raises NoWorker and WorkerLost."""

    def _train(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Trained:
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = self._start()
        try:
            return worker.train(name, configs, until, self._evaluated.put)
        finally:
            if worker.is_lost:
                worker.end()
            else:
                self._idle.put(worker)

    def _end_all(self) -> None:
        """Once what trains has been told to stop."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()


def answered(train: Callable[[], Trained]) -> Trained | Exception:
    """What a worker sends back: what was trained, or the error, which keeps the traceback that stays in the worker."""
    try:
        return train()
    except Exception as error:
        error.add_note(f"In the worker process:\n{traceback.format_exc()}")
        return error


def sendable(answer: Trained | Exception) -> Trained | Exception:
    """An exception that cannot be pickled goes as what it says."""
    if isinstance(answer, Exception):
        try:
            pickle.dumps(answer)
        except (TypeError, AttributeError, pickle.PicklingError):
            return RuntimeError(f"{type(answer).__name__}: {answer}")
    return answer


def opened(answer: Trained | Exception) -> Trained:
    """Raises what the worker raised."""
    if isinstance(answer, Exception):
        raise answer
    return answer
