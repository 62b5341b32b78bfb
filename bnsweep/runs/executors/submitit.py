"""Stacks trained by jobs of submitit, one a job: on SLURM, or as processes of this machine for trying out. What passes
between a job and this process lies in a folder that both see."""

from __future__ import annotations

import base64
import itertools
import logging
import pickle
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Evaluated, NoWorker, StackTrainer, Trained, WorkerLost
from bnsweep.runs.executors.elsewhere import ATTEMPTS, Home, at_host, wrong_worker
from bnsweep.runs.executors.local import read_dataset
from bnsweep.runs.executors.threaded import ThreadedExecutor, answered, opened, sendable
from bnsweep.runs.interrupt import blocked_signals
from bnsweep.training.device import one_thread

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at a job's files, on either side."""
BEAT = 10.0
"""Seconds between two signs of life of the process that waits for the jobs."""
ORPHANED = 300.0
"""Seconds without one after which a job ends: nobody is left to log what it trains."""
PENDING_ENDS = 15.0
"""Seconds given to jobs to end when they are told to."""
STOP = "stop"

LOST = "the job ended without a word, as it does for want of memory or with its node"


@dataclass
class Answer:
    """What a job leaves of a stack."""

    trained: Trained | Exception
    wrong: str = ""
    """What keeps the job from training anything."""
    evaluations: list[Evaluated] = field(default_factory=list)
    """Those that are not in its file."""


@dataclass
class StackJob:
    """What a job calls. One that is requeued calls it again."""

    home: Home
    device: str
    datasets: dict[DataKey, Path]
    models: Path | None
    alive: Path
    """The file by which the process that waits says that it does."""
    checkpoints: Checkpoints | None = None

    def __call__(self, name: int, configs: Sequence[RunConfig], until: int | None, told: Path) -> Answer:
        """`told`: the file for its evaluations."""
        wrong = self.home.join()
        told.touch()
        if wrong:
            return Answer(RuntimeError(wrong), wrong)
        device, stopped = torch.device(self.device), threading.Event()
        threading.Thread(target=follow, args=(self.alive, stopped, ORPHANED), daemon=True).start()
        wanted = {config.data.key for config in configs}
        datasets = {key: read_dataset(file) for key, file in self.datasets.items() if key in wanted}
        checkpoints = self.checkpoints and self.checkpoints.at(device)
        trainer, notes = StackTrainer(datasets, device, self.models, checkpoints), Notes(told)
        with one_thread(device):
            train = partial(trainer.train, name, configs, notes.add, stopped.is_set, until)
            trained = sendable(answered(lambda: at_host(train())))
        return Answer(trained, evaluations=notes.waiting)

    def checkpoint(self, *arguments: Any) -> Any:
        """submitit calls this when the job is pre-empted or out of time, and requeues what it gives."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def follow(alive: Path, stopped: threading.Event, patience: float) -> None:
    """Stops the training when it is told to, and after so many seconds without a sign that somebody waits for it."""
    last, changed = "", time.monotonic()
    while not stopped.wait(POLL):
        text = last
        with suppress(OSError):
            text = alive.read_text(encoding="ascii")
        if text != last:
            last, changed = text, time.monotonic()
        if text == STOP or time.monotonic() - changed > patience:
            stopped.set()


class Notes:
    """Evaluations on their way, in a file that only grows: a line each, written at most once in POLL seconds. A disk
    that fails costs no more than news."""

    def __init__(self, file: Path) -> None:
        self._file, self._written = file, -POLL
        self.waiting: list[Evaluated] = []

    def add(self, evaluated: Evaluated) -> None:
        self.waiting.append(evaluated)
        if time.monotonic() - self._written >= POLL:
            lines = [base64.b64encode(pickle.dumps(one)) + b"\n" for one in self.waiting]
            with suppress(OSError), self._file.open("ab") as file:
                file.write(b"".join(lines))
                self.waiting.clear()
            self._written = time.monotonic()


class Reader:
    """The other end of `Notes`."""

    def __init__(self, file: Path) -> None:
        self._file, self._at = file, 0

    def new(self) -> Iterator[Evaluated]:
        """Whole lines that came since; a file that is not there yet has none."""
        text = b""
        with suppress(OSError), self._file.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._at += len(text)
        for line in text.splitlines():
            yield pickle.loads(base64.b64decode(line))  # noqa: S301 (a job of ours wrote it)


class SubmititExecutor(ThreadedExecutor):
    """Has a job for each stack, and so many jobs at a time. A stack whose job is lost gets another one before it counts
    as too large for a job's memory."""

    def __init__(
        self, workers: int, submit: Callable[..., Any], job: StackJob, folder: Path, where: str, on_slurm: bool
    ) -> None:
        """`submit`: of submitit; `folder`: one that jobs see, for what passes."""
        super().__init__(workers)
        self._submit, self._job, self._folder, self._where = submit, job, folder, where
        self._stopped, self._numbers, self._submitting = threading.Event(), itertools.count(), threading.Lock()
        self._queue = SlurmQueue() if on_slurm else None
        self._jobs: list[Any] = []
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        self.troubled = False
        """Whether a job ended otherwise than it should, so that its log is worth keeping."""

    def _train(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Trained:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._train_once(name, configs, until)
            except WorkerLost:
                log.warning("%s (%s): another one trains its stack of %d again", LOST, self._folder, len(configs))
        return self._train_once(name, configs, until)

    def _train_once(self, name: int, configs: Sequence[RunConfig], until: int | None) -> Trained:
        told = self._folder / f"evaluations-{next(self._numbers)}"
        job, reader = self._submitted(name, configs, until, told), Reader(told)
        while not self._is_over(job):
            if self._stopped.wait(POLL / 2):
                self._end(job)
                raise InterruptedError("the sweep was stopped")
            for evaluated in reader.new():
                self._evaluated.put(evaluated)
        answer = self._answer(job, told)
        self._cancel(job)  # SLURM may have pre-empted it as it ended, and would start it again
        for evaluated in [*reader.new(), *answer.evaluations]:
            self._evaluated.put(evaluated)
        if answer.wrong:
            raise wrong_worker(self._where, answer.wrong)
        if isinstance(answer.trained, InterruptedError) and not self._stopped.is_set():
            raise WorkerLost(LOST)  # this process slept for so long that the job took it for dead
        return opened(answer.trained)

    def _submitted(self, name: int, configs: Sequence[RunConfig], until: int | None, told: Path) -> Any:
        with self._submitting:
            if self._stopped.is_set():
                raise InterruptedError("the sweep was stopped")
            try:
                with blocked_signals():  # Ctrl-C in a terminal is for this process, not for those that submitit starts
                    self._jobs.append(self._submit(self._job, name, configs, until, told))
                return self._jobs[-1]
            except Exception as error:
                raise NoWorker(f"{self._where} takes no job ({' '.join(str(error).split())})") from error

    def _is_over(self, job: Any) -> bool:
        if job.paths.result_pickle.exists():
            return True
        return self._queue.lacks(job.job_id) if self._queue else bool(job.done())

    def _answer(self, job: Any, told: Path) -> Answer:
        """What the job left. Raises WorkerLost, and NoWorker where it could not begin."""
        if job.paths.result_pickle.exists():
            try:
                answer: Answer = job.result()
            except Exception as error:
                self.troubled = True
                says = f"{last_error(str(error))}; {job.paths.stderr} says more"
                raise (RuntimeError(says) if told.exists() else NoWorker(says)) from error
            return answer
        self.troubled = True
        raise WorkerLost(LOST)

    def _cancel(self, job: Any) -> None:
        """On SLURM. A process of this machine ends by itself: it is told to, and keeps what it has trained."""
        if self._queue is not None:
            with suppress(OSError):
                subprocess.run(["scancel", "--quiet", job.job_id], capture_output=True, check=False)

    def _end(self, job: Any) -> None:
        """Cancels it, and waits a while for its end."""
        deadline = time.monotonic() + PENDING_ENDS
        self._cancel(job)
        while not self._is_over(job) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _beat(self) -> None:
        for number in itertools.count():
            with suppress(OSError):
                self._job.alive.write_text(str(number), encoding="ascii")
            if self._stopped.wait(BEAT):
                break
        with suppress(OSError):
            self._job.alive.write_text(STOP, encoding="ascii")

    def stop(self) -> None:
        self._stopped.set()
        self._beating.join()
        self._threads.shutdown(cancel_futures=True)
        deadline = time.monotonic() + PENDING_ENDS
        while self._queue is None and not all(job.done() for job in self._jobs) and time.monotonic() < deadline:
            time.sleep(0.05)  # what a job has left is there before its process has ended


def last_error(text: str) -> str:
    """The line of a traceback, in what submitit says of a job that failed, that names the error."""
    lines = [line for line in text.splitlines() if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
    return lines[-1] if lines else "the job failed"


class SlurmQueue:
    """The jobs that SLURM has for this user, asked by squeue, which answers where there is no accounting, too."""

    AGE, GRACE = 3.0, 10.0
    """Seconds between two questions, and those that a job has been away before it counts as over: one that is requeued
    is away for a moment, and the file of its result may be late."""

    def __init__(self) -> None:
        self._lock, self._asked = threading.Lock(), -self.AGE
        self._answered, self._there = -self.AGE, set[str]()
        self._away: dict[str, float] = {}
        """Job -> the answer from which it was missing first."""

    def lacks(self, job: str) -> bool:
        """Whether it neither waits nor runs any more."""
        with self._lock:
            if time.monotonic() - self._asked > self.AGE:
                self._ask()
            if job in self._there:
                self._away.pop(job, None)
                return False
            return self._answered - self._away.setdefault(job, self._answered) > self.GRACE

    def _ask(self) -> None:
        self._asked = time.monotonic()
        command = ["squeue", "--noheader", "--me", "--format=%A"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:  # a controller that is away takes no job away
            self._answered, self._there = self._asked, set(answer.stdout.split())
