"""Where an arm lives: a process of its own, so that one that crashes or hangs spoils no figures of others.

`Session` makes and trains the arm where it is; `ProcessSession` is one in another process, which it can put an end to.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

from tests.benchmarks import gate, memory
from tests.benchmarks.arm import Arm, NotRun
from tests.benchmarks.arms import make
from tests.benchmarks.work import Spec, Work


class CutOff(Exception):
    """An arm took longer than it may."""


class Failed(Exception):
    """An arm raised something; its traceback is the note."""


@dataclass(frozen=True)
class Made:
    """What is known of an arm after its first pass."""

    cold: float
    """Seconds of making it and of that pass."""
    trained: int
    note: str
    settings: dict[str, Any]


class Session:
    """One arm on the members of a Spec."""

    def __init__(self, key: str, spec: Spec, settings: dict[str, Any]) -> None:
        self.key, self.spec, self.settings = key, spec, settings
        self.arm: Arm | None = None

    def begin(self, limit: float) -> Made:
        """Makes the arm and trains its first pass. Limits are kept by who can put an end to it."""
        work = Work(self.spec)
        self.before = memory.begin(work)
        started = time.perf_counter()
        self.arm = make(self.key, work, **self.settings)
        self.arm.epoch(0)
        cold = time.perf_counter() - started
        return Made(cold, len(self.arm.configs), self.arm.note, self.arm.settings)

    def train(self, numbers: Sequence[int], limit: float) -> float:
        """Seconds that these passes take."""
        started = time.perf_counter()
        for number in numbers:
            self.arm.epoch(number)
        return time.perf_counter() - started

    def losses(self, limit: float) -> list[float]:
        """Of the members that the gate compares."""
        return gate.losses(self.arm)

    def memory(self, limit: float) -> float | None:
        return memory.growth(self.arm, self.before)

    def close(self) -> None:
        if self.arm is not None:
            self.arm.close()


@cache
def server() -> ForkServerContext:
    """A process that has imported torch once and forks the others."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class ProcessSession:
    """A Session in another process. Its methods raise NotRun and Failed as they come from there, CutOff after `limit`
    seconds; the process is gone then."""

    def __init__(self, key: str, spec: Spec, settings: dict[str, Any]) -> None:
        self.pipe, far_end = server().Pipe()
        self.process = server().Process(target=serve, args=(far_end, key, spec, settings))
        self.process.start()
        far_end.close()

    def ask(self, limit: float, name: str, *arguments: Any) -> Any:
        try:
            self.pipe.send((name, arguments, limit))
            if not self.pipe.poll(limit):
                self.kill()
                raise CutOff
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode or 0
            ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise Failed(f"its process ended ({ended}), as it does for want of memory") from None
        if isinstance(answer, NotRun | Failed):
            raise answer
        return answer

    def begin(self, limit: float) -> Made:
        made: Made = self.ask(limit, "begin")
        return made

    def train(self, numbers: Sequence[int], limit: float) -> float:
        return float(self.ask(limit, "train", numbers))

    def losses(self, limit: float) -> list[float]:
        return list(self.ask(limit, "losses"))

    def memory(self, limit: float) -> float | None:
        found: float | None = self.ask(limit, "memory")
        return found

    def close(self) -> None:
        """Waits a moment for it to end what it has started itself."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)
        self.kill()

    def kill(self) -> None:
        """With all processes of its own, which are in its group."""
        if self.process.exitcode is None:
            assert self.process.pid
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join()


def serve(pipe: Connection, key: str, spec: Spec, settings: dict[str, Any]) -> None:
    """The life of an arm's process: names of methods come down the pipe, what they give goes up."""
    os.setsid()
    warnings.simplefilter("ignore")
    session = Session(key, spec, settings)
    with suppress(EOFError):
        while (asked := pipe.recv()) is not None:
            name, arguments, limit = asked
            try:
                answer = getattr(session, name)(*arguments, limit)
            except NotRun as reason:
                answer = reason
            except Exception as error:
                answer = Failed(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
                answer.add_note(traceback.format_exc())
            pipe.send(answer)
    session.close()
