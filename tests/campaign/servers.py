"""Servers that are killed, restarted, slow, wrong or lose what they say, while a sweep logs to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.campaign.backends import MlflowServer, Postgres, postgres_is_missing
from tests.campaign.case import Case, Kind
from tests.campaign.commands import Command, orphans
from tests.campaign.sweeps import Sweep, again, ended_well, finished, sweep_of, undisturbed
from tests.proxy import Proxy, Trouble

LIMIT = 900.0
"""Seconds after which a sweep whose store is away for good must have given up."""
SILENCE = 30.0
"""Longest time that a sweep may say nothing while its store is away, on a busy machine."""
FOR_GOOD = 10**6.0


@dataclass(frozen=True)
class Outage:
    what: str
    share: float
    """Of the undisturbed sweep's time, at which it begins."""
    seconds: float
    """That it lasts; FOR_GOOD until the sweep has ended."""

    @classmethod
    def drawn(cls, what: str, random: Random, longest: float) -> Outage:
        return cls(what, random.uniform(0.05, 0.9), random.uniform(2, longest))

    @property
    def label(self) -> str:
        long = "for good" if self.seconds == FOR_GOOD else f"for {self.seconds:.0f} s"
        return f"{self.what}, {long}, from {self.share:.0%} of the sweep on"


def endure(
    sweep: Sweep, runs: int, uri: str, outage: Outage, home: Path, begin: Callable[[], None], over: Callable[[], None]
) -> list[str]:
    """Faults of a sweep whose store is in trouble from `begin` to `over`, and of the same command after it."""
    folder, temporary = home / "here", home / "tmp"
    folder.mkdir()
    temporary.mkdir()
    place = (f"tracking.uri={uri}", f"tracking.experiment={home.name}")
    command = sweep.start(folder, temporary, *place)
    command.has_ended(outage.share * sweep.seconds)
    watch = threading.Thread(target=trouble, args=(command, outage, begin, over))
    watch.start()
    answer = command.answer(LIMIT)
    watch.join()
    faults = ended_well(answer, (0, 1)) + orphans(command.mark)
    if answer.silence > SILENCE:
        faults.append(f"silent for {answer.silence:.0f} s")
    if faults:
        faults += answer.last_lines()
    faults += again(sweep, folder, temporary, *place)
    return faults or finished(sweep, folder, runs, uri, home.name)


def trouble(command: Command, outage: Outage, begin: Callable[[], None], over: Callable[[], None]) -> None:
    if command.has_ended():
        return
    begin()
    command.has_ended(outage.seconds)
    over()


class Servers(Kind):
    """MLflow's server behind a proxy."""

    name = "servers"
    count = 20
    side_by_side = False

    def __init__(self, seed: int, home: Path, seeds: int = 4, epochs: int = 300) -> None:
        super().__init__(seed, home)
        self.runs = 4 * seeds
        self.sweep = sweep_of(seeds, epochs)

    def prepare(self) -> None:
        self.sweep = undisturbed(self.sweep, self.home / self.name, cold=False)
        self.server = MlflowServer(self.home / "mlflow")
        self.server.start()
        self.proxy = Proxy(self.server.port, self.seed, lost=0.5)
        self.proxy.__enter__()
        began = time.monotonic()
        folder = self.home / "served"
        folder.mkdir()
        (folder / "tmp").mkdir()
        place = (f"tracking.uri={self.proxy.url}", "tracking.experiment=undisturbed")
        answer = self.sweep.start(folder, folder / "tmp", *place).answer(LIMIT)
        assert answer.code == 0, answer
        self.sweep = replace(self.sweep, seconds=time.monotonic() - began)

    def close(self) -> None:
        if hasattr(self, "proxy"):
            self.proxy.__exit__()
        if hasattr(self, "server"):
            self.server.kill()

    def case(self, number: int) -> Case:
        troubles = [trouble for trouble in Trouble if trouble is not Trouble.NONE]
        random, kinds = self.draw(number), [*troubles, None]
        kind = kinds[number % len(kinds)]
        outage = Outage.drawn(f"the server {kind.value if kind else 'is killed and started again'}", random, 25)
        if number % 20 == 19 or (kind is Trouble.ERROR and number >= len(kinds) and number < 2 * len(kinds)):
            outage = replace(outage, seconds=FOR_GOOD)
        if kind is None:
            outage = replace(outage, seconds=min(outage.seconds, 25.0))
        return Case(outage.label, lambda folder: self._endure(kind, outage, folder))

    def _endure(self, kind: Trouble | None, outage: Outage, folder: Path) -> list[str]:
        def begin() -> None:
            if kind is None:
                self.server.kill()
            else:
                self.proxy.trouble = kind

        def over() -> None:
            self.proxy.trouble = Trouble.NONE
            if self.server.process is None:
                self.server.start()

        try:
            return endure(self.sweep, self.runs, self.proxy.url, outage, folder, begin, over)
        finally:
            over()


class Databases(Kind):
    """PostgreSQL, stopped and started."""

    name = "databases"
    count = 10
    side_by_side = False

    def __init__(self, seed: int, home: Path, seeds: int = 4, epochs: int = 300) -> None:
        super().__init__(seed, home)
        self.runs = 4 * seeds
        self.sweep = sweep_of(seeds, epochs)

    def missing(self) -> str:
        return postgres_is_missing()

    def prepare(self) -> None:
        self.home.chmod(0o755)
        self.sweep = undisturbed(self.sweep, self.home / self.name, cold=False)
        self.server = Postgres(self.home / "postgres")
        self.server.start()
        folder = self.home / "kept"
        folder.mkdir()
        (folder / "tmp").mkdir()
        for name in ("first", "second"):  # the first makes the tables
            began = time.monotonic()
            place = (f"tracking.uri={self.server.uri}", f"tracking.experiment={name}")
            answer = self.sweep.start(folder, folder / "tmp", *place).answer(LIMIT)
            assert answer.code == 0, answer
        self.sweep = replace(self.sweep, seconds=time.monotonic() - began)

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()

    def case(self, number: int) -> Case:
        mode = ("immediate", "fast")[number % 2]
        outage = Outage.drawn(f"PostgreSQL is stopped ({mode}) and started again", self.draw(number), 25)
        if number % 10 == 9:
            outage = replace(outage, seconds=FOR_GOOD)

        def faults(folder: Path) -> list[str]:
            begin, over = (lambda: self.server.stop(mode)), self.server.start
            return endure(self.sweep, self.runs, self.server.uri, outage, folder, begin, over)

        return Case(outage.label, faults)
