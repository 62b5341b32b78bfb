"""This machine's executors: a thread where it is one stack at a time, processes where several train side by side.

Not threads for several: every operator takes the interpreter's lock twice, and on stacks this small two threads wait
for one another about as long as they compute.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from multiprocessing import connection, parent_process, spawn
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.records import DatasetInfo
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Evaluated, Executor, NoWorker, StackTrainer, Trained, WorkerLost
from bnsweep.runs.executors.processes import process_context
from bnsweep.runs.executors.threaded import Pool, Tell, ThreadedExecutor, Worker, answered, opened, sendable
from bnsweep.runs.interrupt import SIGNALS, blocked_signals
from bnsweep.runs.machine import gpus
from bnsweep.runs.scratch import scratch
from bnsweep.training.device import one_thread


def local_executor(
    workers: int,
    datasets: dict[DataKey, Dataset],
    device: torch.device,
    folder: Path,
    save_models: bool,
    checkpoints: Checkpoints | None = None,
) -> Executor:
    """`folder` is for what passes between processes, and for the networks until they are logged."""
    models = folder / "models" if save_models else None
    if workers == 1:
        return LocalThread(StackTrainer(datasets, device, models, checkpoints))
    return LocalProcesses(workers, keep_datasets(datasets, folder), device, models, checkpoints)


class LocalThread(ThreadedExecutor):
    """One stack at a time, in this process."""

    def __init__(self, trainer: StackTrainer) -> None:
        super().__init__(1)
        self._trainer = trainer
        self._stopped = threading.Event()

    def _train(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Trained:
        with one_thread(self._trainer.device):
            return self._trainer.train(name, configs, self._evaluated.put, self._stopped.is_set, until)

    def stop(self) -> None:
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)


class LocalProcesses(Pool):
    """Several stacks at a time, each in a process of its own, whose answers a thread here waits for. A process that
    is killed takes with it the stack that it trained, and no other. Several GPUs have a process each."""

    def __init__(
        self,
        workers: int,
        datasets: dict[DataKey, Path],
        device: torch.device,
        models: Path | None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """`datasets`: the file of each, as `keep_datasets` writes them."""
        super().__init__(workers)
        self._context = process_context()
        self._stopped = self._context.Value("b", 0, lock=False)
        self._needs = datasets, models, checkpoints, self._stopped
        self._devices: queue.SimpleQueue[torch.device] = queue.SimpleQueue()
        for one, _ in zip(cycle(gpus(device)), range(workers), strict=False):
            self._devices.put(one)

    def _start(self) -> Worker:
        return WorkerProcess(self._context, self._devices, self._needs)

    def stop(self) -> None:
        self._stopped.value = 1
        self._end_all()


STARTING = threading.Lock()


@contextmanager
def without_main(name: str) -> Iterator[None]:
    """The process of that name, started meanwhile, does not run the user's script again, which multiprocessing has it
    do for what it may be sent of it. Workers are sent nothing of it, so that a script needs no guard and stdin will do.
    Other threads see their own main module, and start processes of their own as ever."""
    with STARTING:
        before = spawn.get_preparation_data

        def of_process(own: str, /) -> dict[str, Any]:
            data = before(own)
            return {key: data[key] for key in data if own != name or not key.startswith("init_main")}

        spawn.get_preparation_data = of_process  # type: ignore[assignment]
        try:
            yield
        finally:
            spawn.get_preparation_data = before


LOST = "the worker process ended, as it does for want of memory"


class WorkerProcess(Worker):
    """A process that trains one stack after the other, and this end of the pipe to it."""

    def __init__(self, context: BaseContext, devices: queue.SimpleQueue[torch.device], needs: tuple[Any, ...]) -> None:
        """Takes one of the `devices`, which goes back there when it ends. `needs`: what `serve` takes after its device.
        Raises NoWorker, and WorkerLost where it was killed at once."""
        self._devices = devices
        self._device = devices.get()
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=serve, args=(far_end, self._device, *needs))  # type: ignore[attr-defined]
        with blocked_signals(), without_main(self._process.name):
            self._process.start()
        far_end.close()  # the process alone holds it, so that its end ends the pipe
        try:
            self._pipe.recv()
        except (EOFError, OSError):
            if self.end() < 0:
                raise WorkerLost(LOST) from None
            raise NoWorker("a worker process ended before it could train anything (its own output says why)") from None

    def train(self, name: int, configs: Sequence[RunConfig], until: int | None, tell: Tell) -> Trained:
        try:
            self._pipe.send((name, configs, until))
            while isinstance(answer := self._pipe.recv(), Evaluated):
                tell(answer)
        except (EOFError, OSError):
            self.is_lost = True
            raise WorkerLost(LOST) from None
        return opened(answer)

    def end(self) -> int:
        """Waits for its end, which comes once it finds its pipe closed, and gives its exit status: minus the number of
        the signal that killed it."""
        self._pipe.close()
        self._process.join()
        status: int = self._process.exitcode
        self._process.close()
        self._devices.put(self._device)
        return status


def serve(
    pipe: connection.Connection,
    device: torch.device,
    datasets: dict[DataKey, Path],
    models: Path | None,
    checkpoints: Checkpoints | None,
    stopped: Any,
) -> None:
    """The life of a worker process: stacks come down the pipe, evaluations and results go up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=follow_parent, daemon=True).start()
    if device.type == "cpu":
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(device)  # what is captured and launched without a device goes there
    trainer = StackTrainer({key: read_dataset(file) for key, file in datasets.items()}, device, models, checkpoints)
    with suppress(EOFError, OSError):  # the parent has closed its end
        pipe.send("ready")
        while True:
            name, configs, until = pipe.recv()
            train = partial(trainer.train, name, configs, pipe.send, lambda: bool(stopped.value), until)
            pipe.send(sendable(answered(train)))


def follow_parent() -> None:
    """A worker whose parent was killed would train on for nobody."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def keep_datasets(datasets: dict[DataKey, Dataset], folder: Path) -> dict[DataKey, Path]:
    """In files that the workers map into memory, all the same pages. Raises ConfigError where they do not fit."""
    files = {key: folder / f"dataset-{i}.pt" for i, key in enumerate(datasets)}
    for key, dataset in datasets.items():
        try:
            tensors = {name: getattr(dataset, name) for name in ("x_ND", "y_N", "group_N")}
            torch.save({**tensors, "info": vars(dataset.info)}, files[key])
        except (OSError, RuntimeError) as error:  # torch has its own error for a disk that is full
            raise no_room(dataset.x_ND.nbytes + dataset.y_N.nbytes) from error
    return files


def check_disk(configs: Sequence[RunConfig]) -> None:
    """Raises ConfigError where there is no room for what `keep_datasets` writes of the data of these runs."""
    facts = {config.data.key: config.data.facts for config in configs}.values()
    needed = sum((f.pool + f.test) * (4 * f.features + 8) + 2**16 for f in facts)
    if shutil.disk_usage(scratch()).free < needed:
        raise no_room(needed)


def no_room(needed: int) -> ConfigError:
    """`needed`: bytes."""
    one = "OMP_NUM_THREADS=1 trains one stack at a time and needs none"
    says = f"a folder with room for {needed / 2**20:.1f} MiB of data, which the workers share ({one})"
    return ConfigError(f"TMPDIR={scratch().parent}: must be {says}")


def read_dataset(file: Path) -> Dataset:
    found = torch.load(file, mmap=True, weights_only=True)
    return Dataset(DatasetInfo(**found["info"]), found["x_ND"], found["y_N"], group_N=found["group_N"])
