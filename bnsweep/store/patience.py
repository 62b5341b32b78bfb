"""A store that stops answering for a while is waited for, with a line now and then."""

from __future__ import annotations

import errno
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TypeVar

from bnsweep.config.checks import ConfigError
from bnsweep.store.address import reason_of
from bnsweep.store.backend import RUNNING, Backend, Begun, ExperimentGone, KeptRun, NewRun

T = TypeVar("T")

GIVE_UP = 300.0
"""Seconds without an answer after which a store counts as gone: servers and databases restart within minutes, and who
started the sweep may still be there to be told."""
FIRST_LINE, NEXT_LINE = 3.0, 5.0
"""Seconds without an answer before the first line, and between two."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a call is made again; the last one from then on."""
LAST_WORDS = 1.0
"""Seconds that a call under way has to end in when nobody waits for it any more: most leave nothing half-written."""
PASSING = {errno.EIO, errno.EBUSY, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
"""Errors of a disk or a network that another try may not meet again; a full disk is none of them."""

REFUSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class StoreAway(ConfigError):
    """The store did not answer for so long that nobody waits any more."""


def is_passing(error: BaseException) -> bool:
    """Whether the store may take the same call later: it was busy, out of reach, or at fault itself. Of an error and
    its causes the innermost that says anything decides."""
    causes = [error]
    while inner := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(inner)
    return next((said for cause in reversed(causes) if (said := says_passing(cause)) is not None), False)


def says_passing(error: BaseException) -> bool | None:
    """None where this one says nothing."""
    if isinstance(error, sqlite3.OperationalError):
        return "locked" in str(error) or "busy" in str(error)
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    if isinstance(error, OSError):  # of the libraries' own, which have no number, too
        return error.errno is None or error.errno in PASSING
    status = getattr(error, "get_http_status_code", None)  # MLflow's
    if status is not None:
        return bool(status() >= 500 or status() == 429)
    drivers = {base.__name__ for base in type(error).__mro__}  # sqlalchemy's and the drivers' own
    return True if drivers & {"OperationalError", "InterfaceError", "TimeoutError"} else None


def is_refusal(error: BaseException) -> bool:
    """Whether it is the store that will not take the call, rather than the call that is wrong."""
    if isinstance(error, OSError):
        return error.errno in REFUSING
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, sqlite3.Error | ExperimentGone) or library in ("mlflow", "sqlalchemy", "requests")


class Patience:
    """Makes the calls of one store, each in a thread of its own, so that whoever waits can be told and interrupted."""

    def __init__(self, uri: str) -> None:
        """`uri`: as it may be shown."""
        self.uri = uri
        self.has_answered = False
        """A store that never did is not waited for."""
        self.is_away = False
        self.say_kept: Callable[[], str] = lambda: ""
        """What is safe meanwhile, in words; asked for before each line."""
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Whoever waits for the store that is away gets StoreAway now."""
        self._stopped.set()

    def call(self, operation: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """What `operation` returns or raises. Where it raises what may pass, `again` (by default the same) is called
        until it does not; StoreAway after GIVE_UP seconds."""
        wait = Wait(self, self._stopped)
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        while True:
            future = wait.until_done(operation)
            error = future.exception()
            if error is None or not is_passing(error) or not self.has_answered:
                self.has_answered |= error is None
                wait.end(answered=error is None)
                if error is not None and is_refusal(error):
                    says = f"must be a store that can be read and written ({reason_of(error)})"
                    raise ConfigError(f"tracking.uri={self.uri}: {says}") from error
                return future.result()
            self.is_away, wait.error, operation = True, error, again or operation
            wait.pause(next(pauses))


class Wait:
    """For one call: since when, why, and what was said of it."""

    def __init__(self, patience: Patience, stopped: threading.Event) -> None:
        self.patience, self.stopped = patience, stopped
        self.error: BaseException | None = None
        self.began = time.monotonic()
        self.told = self.began + FIRST_LINE - NEXT_LINE
        self.has_told = False

    def until_done(self, operation: Callable[[], T]) -> Future[T]:
        """The call, made and over; raises StoreAway where that takes too long."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(operation())
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.1)
                if thread.is_alive():
                    self.look()
        except BaseException:
            thread.join(LAST_WORDS)
            raise
        return future

    def pause(self, seconds: float) -> None:
        """Between two tries."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(0.1)

    def look(self) -> None:
        """Says how long it has been, where it is time to; raises StoreAway where it is too long."""
        now = time.monotonic()
        reason = f" ({reason_of(self.error)})" if self.error else ""
        if (self.stopped.is_set() and self.patience.is_away) or now - self.began > GIVE_UP:
            self.end(answered=False)
            says = f"must be a store that answers; this one has not for {now - self.began:.0f} s{reason}"
            raise StoreAway(f"tracking.uri={self.patience.uri}: {says}") from self.error
        if now - self.told < NEXT_LINE:
            return
        self.told, self.has_told, self.patience.is_away = now, True, True
        kept = self.patience.say_kept()
        trying = "trying again" if self.error else "waiting"
        print(f"the store has not answered for {now - self.began:.0f} s{reason}; {kept}{trying}", flush=True)

    def end(self, answered: bool) -> None:
        if answered and self.has_told:
            print(f"the store answers again, after {time.monotonic() - self.began:.0f} s", flush=True)
        self.patience.is_away = False


class PatientBackend:
    """A backend whose calls wait for a store that is away."""

    def __init__(self, backend: Backend, patience: Patience) -> None:
        self.backend, self.patience = backend, patience
        self.doubted: list[tuple[NewRun, str]] = []
        """Runs whose writing had to be tried again, and their ids: the store may yet carry out the try whose answer
        never came."""

    @property
    def experiment_id(self) -> str:
        return self.backend.experiment_id

    @property
    def batch(self) -> int:
        return self.backend.batch

    @property
    def most_asked(self) -> int | None:
        return self.backend.most_asked

    def create(self, runs: Sequence[NewRun]) -> list[str]:
        tries = 0

        def again() -> list[str]:
            nonlocal tries
            tries += 1
            return create_rest(self.backend, runs)

        ids = self.patience.call(lambda: self.backend.create(runs), again)
        if tries:
            self.doubted += zip(runs, ids, strict=True)
        return ids

    def create_rest(self, runs: Sequence[NewRun]) -> list[str]:
        """The same where another `create` of these runs may have come before."""
        return self.patience.call(lambda: create_rest(self.backend, runs))

    def write(self, begun: Sequence[Begun]) -> None:
        self.patience.call(lambda: self.backend.write(begun))

    def kill(self, run_ids: Sequence[str]) -> None:
        self.patience.call(lambda: self.backend.kill(run_ids))

    def remove_doubles(self) -> None:
        """What came of earlier tries after all, once a later one had been taken."""
        ids, runs = {run_id for _, run_id in self.doubted}, [run for run, _ in self.doubted]
        for place, kept in found_again(self, runs):
            if kept.run_id not in ids:
                put_away(self, runs[place], kept)

    def remove(self, run_id: str) -> None:
        self.patience.call(lambda: self.backend.remove(run_id))

    def end(self, run_id: str, status: str, tags: dict[str, str]) -> None:
        self.patience.call(lambda: self.backend.end(run_id, status, tags))

    def tag_runs(self, run_ids: Sequence[str], key: str, value: str) -> None:
        self.patience.call(lambda: self.backend.tag_runs(run_ids, key, value))

    def tag_experiment(self, key: str, value: str) -> None:
        self.patience.call(lambda: self.backend.tag_experiment(key, value))

    def runs(
        self,
        kind: str,
        status: str | None = None,
        tag: tuple[str, str, str] | None = None,
        limit: int | None = None,
        params: bool = False,
        identities: Collection[str] | None = None,
    ) -> list[KeptRun]:
        """Where they are asked for by their identities, those of each are newest first."""
        most = self.backend.most_asked
        if identities is None or most is None:
            return self.patience.call(lambda: self.backend.runs(kind, status, tag, limit, params, identities))
        assert limit is None, "the newest of some runs, not of each part of them"
        names, found = list(identities), list[KeptRun]()
        for first in range(0, len(names), most):
            some = names[first : first + most]
            found += self.patience.call(partial(self.backend.runs, kind, status, tag, None, params, some))
        return found

    def metric_names(self, run_ids: Sequence[str]) -> set[str]:
        return self.patience.call(lambda: self.backend.metric_names(run_ids))

    def artifact(self, run: KeptRun, name: str) -> Path:
        return self.patience.call(lambda: self.backend.artifact(run, name))

    def files_of(self, runs: Sequence[KeptRun], name: str) -> list[Path]:
        return self.patience.call(lambda: self.backend.files_of(runs, name))

    def attach(self, run: KeptRun, name: str, files: Sequence[Path]) -> None:
        self.patience.call(lambda: self.backend.attach(run, name, files))


def create_rest(backend: Backend, runs: Sequence[NewRun]) -> list[str]:
    """Writes what an earlier `create` of the same runs, which raised, left unwritten; returns the ids of all. What it
    left half-written is KILLED, or removed where that would not tell it from a whole one."""
    written: dict[int, str] = {}
    for place, kept in found_again(backend, runs):
        if kept.status == runs[place].status and kept.status not in UNSURE:
            written[place] = kept.run_id
        else:
            put_away(backend, runs[place], kept)
    rest = [place for place in range(len(runs)) if place not in written]
    written |= zip(rest, backend.create([runs[place] for place in rest]), strict=True)
    return [written[place] for place in range(len(runs))]


UNSURE = ("KILLED", RUNNING)
"""Of a run of these it cannot be told whether it was written to its end."""


def put_away(backend: Backend, run: NewRun, kept: KeptRun) -> None:
    """A try to write `run` that does not count."""
    if run.status in UNSURE:
        backend.remove(kept.run_id)
    elif kept.status == RUNNING:
        backend.kill([kept.run_id])
    elif kept.status != "KILLED":
        backend.end(kept.run_id, "KILLED", {})


def found_again(backend: Backend, runs: Sequence[NewRun]) -> Iterator[tuple[int, KeptRun]]:
    """Runs in the store that are of the very training that made `runs`: place in `runs`, and the run."""
    places = {mark_of(run.tags, run.start): place for place, run in enumerate(runs)}
    asked = {(run.tags["bnsweep.kind"], run.tags["bnsweep.sweep_id"]) for run in runs}
    for kind, sweep_id in sorted(asked):
        for kept in backend.runs(kind, tag=("bnsweep.sweep_id", "=", sweep_id)):
            place = places.get(mark_of(kept.tags, kept.start))
            if place is not None:
                yield place, kept


def mark_of(tags: dict[str, str], start: int) -> tuple[str, str, int]:
    """What two writings of one training have in common, and no two trainings."""
    return tags["bnsweep.kind"], tags.get("bnsweep.identity", ""), start
