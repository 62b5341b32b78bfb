"""Who trains the stacks of a sweep: a thread where it is one at a time, processes where several train side by side.

Not threads for several: every operator takes the interpreter's lock twice, and on stacks this small two threads wait
for one another about as long as they compute.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import Dataset
from bnsweep.nets.stack import Stack
from bnsweep.records import FINISHED, RunRecord
from bnsweep.runs.interrupt import SIGNALS
from bnsweep.training.record import Evaluation
from bnsweep.training.trainer import train

Key = tuple[str, str]
"""Of a dataset: name and root."""


@dataclass
class Trained:
    records: list[RunRecord]
    models: list[Path | None]
    """`model.safetensors` of each run whose network is kept."""
    seconds: float


@dataclass(frozen=True)
class News:
    """A stack, by its name, has been evaluated."""

    stack: int
    step: int
    diverged: int


@dataclass
class Work:
    """What a worker needs of its sweep."""

    datasets: dict[Key, Dataset]
    device: torch.device
    models: Path | None
    """Folder of the networks to keep."""
    news: Any = field(default_factory=queue.SimpleQueue)
    stopping: Any = field(default_factory=lambda: multiprocessing.Value("b", 0, lock=False))

    def train(self, name: int, configs: Sequence[RunConfig]) -> Trained:
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # of this worker
        dataset = self.datasets[configs[0].data.name, configs[0].data.root]

        def tick() -> None:
            if self.stopping.value:
                raise InterruptedError("the sweep was stopped")

        def watch(evaluation: Evaluation) -> None:
            self.news.put(News(name, evaluation.step, sum(step >= 0 for step in evaluation.diverged)))

        started = time.perf_counter()
        records, stack = train(configs, dataset, self.device, watch, tick)
        models: list[Path | None] = [None] * len(records)
        if self.models is not None:
            models = save_models(stack, records, self.models / f"{name}-{len(configs)}")
        return Trained(records, models, time.perf_counter() - started)


def save_models(stack: Stack, records: Sequence[RunRecord], folder: Path) -> list[Path | None]:
    """`model.safetensors` of each run that finished, a folder each; `model.build(config)` takes its state dict."""
    from safetensors.torch import save_file

    paths: list[Path | None] = []
    for place, record in enumerate(records):
        path = folder / str(place) / "model.safetensors" if record.status == FINISHED else None
        if path is not None:
            path.parent.mkdir(parents=True)
            save_file(stack.export(stack.positions.index(place)).state_dict(), path)
        paths.append(path)
    return paths


class Workers:
    """Trains stacks, `workers` at a time. `folder` is for what passes between processes."""

    def __init__(
        self, workers: int, datasets: dict[Key, Dataset], device: torch.device, folder: Path, save_models: bool
    ) -> None:
        models = folder / "models" if save_models else None
        self._executor: Executor
        if workers == 1:
            self._work = Work(datasets, device, models)
            self._executor = ThreadPoolExecutor(1)
            self._train = self._work.train
        else:
            context = processes()
            shared = context.SimpleQueue(), context.Value("b", 0, lock=False)
            self._work = Work({}, device, models, *shared)
            files = keep_datasets(datasets, folder)
            self._executor = ProcessPoolExecutor(workers, context, begin, (self._work, files, list(datasets)))
            self._train = train_here

    def submit(self, name: int, configs: Sequence[RunConfig]) -> Future[Trained]:
        return self._executor.submit(self._train, name, configs)

    def news(self) -> Iterator[News]:
        """What has happened since it was asked last."""
        while not self._work.news.empty():
            yield self._work.news.get()

    def stop(self) -> None:
        """Ends the training under way at its next step."""
        self._work.stopping.value = 1
        if getattr(self._executor, "_broken", False):
            # A pool that has lost a worker ends the others by SIGTERM, which they ignore, and waits for them.
            for child in multiprocessing.active_children():
                child.kill()
        self._executor.shutdown(cancel_futures=True)


def processes() -> BaseContext:
    """Never a fork of this process, whose threads' locks a child would inherit as they happen to stand."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


def prepare() -> None:
    """Let the process that workers are forked from import torch while this one has other things to do."""
    context = processes()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["bnsweep.runs.workers"])
        forkserver.ensure_running()


def keep_datasets(datasets: dict[Key, Dataset], folder: Path) -> list[Path]:
    """In files that the workers map into memory, all the same pages."""
    files = [folder / f"dataset-{i}.pt" for i in range(len(datasets))]
    for file, dataset in zip(files, datasets.values(), strict=True):
        torch.save({"x_ND": dataset.x_ND, "y_N": dataset.y_N, "info": vars(dataset.info)}, file)
    return files


_here: Work
"""Of this worker process."""


def begin(work: Work, files: Sequence[Path], keys: Sequence[Key]) -> None:
    """Makes this process a worker."""
    global _here  # noqa: PLW0603
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=follow_parent, daemon=True).start()
    _here = work
    _here.datasets = {key: read_dataset(file) for key, file in zip(keys, files, strict=True)}


def follow_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def read_dataset(file: Path) -> Dataset:
    from bnsweep.records import DatasetInfo

    found = torch.load(file, mmap=True, weights_only=True)
    return Dataset(DatasetInfo(**found["info"]), found["x_ND"], found["y_N"])


def train_here(name: int, configs: Sequence[RunConfig]) -> Trained:
    return _here.train(name, configs)
