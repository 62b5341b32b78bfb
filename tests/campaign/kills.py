"""Kills at random moments, from the first instant on; afterwards the same command goes on as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.campaign.case import Case, Kind
from tests.campaign.commands import Command, alive, orphans, parent_of
from tests.campaign.sweeps import Sweep, again, ended_well, finished, left_running, sweep_of, undisturbed

INT, TERM, KILL, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP
WAYS: tuple[tuple[str, tuple[signal.Signals, ...]], ...] = (
    *(("group", signals) for signals in ((INT,), (INT, INT), (TERM,), (KILL,), (TERM, TERM), (HUP,))),
    *(("parent", signals) for signals in ((INT,), (INT, INT), (TERM,), (KILL,), (INT, TERM), (HUP,))),
    *(("worker", signals) for signals in ((KILL,), (TERM,), (KILL, KILL))),
)
"""Who gets which signals, one after the other."""
PATIENCE = 60.0
"""Seconds in which a sweep that was asked to stop must have ended."""


@dataclass(frozen=True)
class Moment:
    """When what is done to a sweep."""

    to: str
    signals: tuple[signal.Signals, ...]
    cold: bool
    """Whether it starts in an empty folder, where the database is made first."""
    share: float
    """Of the time that it would take undisturbed."""
    gap: float
    """Seconds between two signals."""
    workers: int

    @classmethod
    def drawn(cls, number: int, random: Random, cold: bool = True) -> Moment:
        """`cold`: whether half of them start in an empty folder."""
        to, signals = WAYS[number % len(WAYS)]
        cold = random.random() < 0.5 and cold and to != "worker"
        share = random.uniform(0.25, 0.9) if to == "worker" else random.random() ** 1.5
        workers = 2 if to == "worker" else random.choice((1, 2))
        return cls(to, signals, cold, share, random.choice((0.01, 0.1, 0.5, 2.0)), workers)

    @property
    def label(self) -> str:
        names = " and ".join(number.name for number in self.signals)
        where = "an empty folder" if self.cold else "a folder with a database"
        gap = f" ({self.gap} s apart)" if len(self.signals) > 1 else ""
        return f"{names}{gap} to the {self.to} at {self.share:.0%} of a sweep in {where}, {self.workers} threads"


class Kills(Kind):
    name = "kills"
    count = 60

    def __init__(self, seed: int, home: Path, seeds: int = 4, epochs: int = 300, cold: bool = True) -> None:
        """`cold`: whether the creation of the database is killed, too."""
        super().__init__(seed, home)
        self.runs, self.cold = 4 * seeds, cold
        self.sweep = sweep_of(seeds, epochs)

    def missing(self) -> str:
        return "" if Path("/proc/self/environ").exists() else "processes are looked for in /proc, which is not here"

    def prepare(self) -> None:
        self.sweep = undisturbed(self.sweep, self.home / self.name, self.cold)

    def case(self, number: int) -> Case:
        moment = Moment.drawn(number, self.draw(number), self.cold)
        return Case(moment.label, lambda folder: kill(self.sweep, self.runs, moment, folder))


def kill(sweep: Sweep, runs: int, moment: Moment, home: Path) -> list[str]:
    """Faults of a sweep that is disturbed so, and of the same command after it."""
    folder, temporary = home / "here", home / "tmp"
    folder.mkdir()
    temporary.mkdir()
    if not moment.cold:
        assert sweep.database is not None
        shutil.copyfile(sweep.database, folder / "mlflow.db")
    variables: dict[str, Any] = {"OMP_NUM_THREADS": str(moment.workers)}
    command = sweep.start(folder, temporary, **variables)
    command.has_ended(moment.share * (sweep.cold_seconds if moment.cold else sweep.seconds))
    disturb(command, moment)
    answer = command.answer(PATIENCE if moment.to != "worker" else PATIENCE + 4 * sweep.seconds)
    faults = ended_well(answer, codes_of(moment)) + orphans(command.mark) + left_running(folder)
    faults += again(sweep, folder, temporary, **variables)
    return faults or finished(sweep, folder, runs)


def disturb(command: Command, moment: Moment) -> None:
    for place, number in enumerate(moment.signals):
        if command.has_ended(moment.gap if place else 0):
            return
        if moment.to == "worker":
            if pid := worker_of(command):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        else:
            command.send(number, moment.to)


def worker_of(command: Command) -> int:
    """A process that trains, waited for; 0 where the sweep ends without one."""
    while not command.has_ended():
        servers = [pid for pid in alive(command.mark) if parent_of(pid) == command.process.pid]
        workers = [pid for pid in alive(command.mark) if parent_of(pid) in servers]
        if workers:
            return max(workers)
        time.sleep(0.02)
    return 0


def codes_of(moment: Moment) -> tuple[int, ...]:
    """Exit statuses that fit: of the signal where it was asked to stop, 0 where it had ended or lost a worker only.
    Python itself dies by a signal that comes before it has read a line of ours."""
    if moment.to == "worker":
        return (0,)
    codes = {0}
    for number in moment.signals:
        codes |= {-number, 130} if number == INT else {-number, 128 + number, 130}
    return tuple(sorted(codes))
