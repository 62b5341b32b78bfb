"""What is finished of each run is in the store while its stack trains, with the metrics so far.

It is written by a thread of its own, now and then, and whole runs come first. A store that does not take it gets it
later, with the whole run: nothing here waits for a store, and nothing is kept for it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bnsweep.config.run import RunConfig
from bnsweep.runs.executors.base import Evaluated
from bnsweep.store.backend import Begun, NewRun
from bnsweep.store.encode import milliseconds, run_under_way
from bnsweep.store.patience import LAST_WORDS, create_rest
from bnsweep.store.store import Opened, Store

log = logging.getLogger(__name__)

FIRST = 10.0
"""Seconds: a stack that is over in less is not worth it."""
REST = 33.0
"""After a write the next one waits that many times as long as it took, so that writing takes 3 % of the time."""
AFTER_FAULT = 30.0
"""Seconds before a store that did not take a write is asked again."""
POINTS = 15_000
"""Metrics in one write: a file takes them in half a second while all cores train."""
MOST = 2_000_000
"""Metrics of a stack that may wait; the oldest of more are written with the whole run."""
SETTLED = 5.0
"""Seconds in which a write that has been begun must end, before a whole run goes another way."""


@dataclass(eq=False)
class Member:
    """A run of a stack."""

    config: RunConfig
    stack: int
    """Runs in it when it began."""
    opened: Opened
    began: float
    last: int = -1
    """The newest step that was read."""
    run: NewRun | None = None
    """As it was opened, without what was so at the time."""
    is_tried: bool = False
    """Whether it is being opened, or was and that failed: it may be there."""

    def grown(self, sweep_id: str, metrics: list[tuple[str, float, int]]) -> NewRun:
        return replace(self.run or run_under_way(self.config, sweep_id, self.stack, self.opened.start), metrics=metrics)


@dataclass(eq=False)
class Part:
    """As many runs of a stack as are written at once."""

    places: dict[int, int]
    """Job -> its place in the stack."""
    waiting: deque[Evaluated]


def points(place: int, some: Sequence[Evaluated]) -> list[tuple[str, float, int]]:
    """Metrics of one of the runs; none of an evaluation in which it was over, where only its rate is a number."""
    found = []
    for evaluated in some:
        values = {name: column[place] for name, column in evaluated.values.items() if math.isfinite(column[place])}
        if values.keys() - {"lr"}:
            found += [(name, value, evaluated.step) for name, value in values.items()]
    return found


class UnderWay:
    """The runs under way of one sweep."""

    def __init__(self, store: Store, sweep_id: str, has_more: Callable[[], bool], watched: Callable[[], None]) -> None:
        """`has_more`: whether whole runs wait to be written. `watched`: called before the first run is opened."""
        self.store, self.sweep_id, self.has_more, self.watched = store, sweep_id, has_more, watched
        self.seconds = 0.0
        """Spent writing."""
        self.hangs = False
        """Whether a write may still come to the store, which took too long for it."""
        self._members: dict[int, Member] = {}
        """By their jobs."""
        self._parts: list[Part] = []
        """Those written least recently come first."""
        self._stacks: dict[tuple[int, ...], list[Part]] = {}
        """Jobs of a stack -> its parts."""
        self._lost: list[Opened] = []
        self._due = 0.0
        self._is_writing = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, jobs: Sequence[int], configs: Sequence[RunConfig], evaluated: Evaluated) -> None:
        """What was read of a stack; `configs` are its runs. They may have been others' before, whose runs are over."""
        with self._changed:
            known = [self._members[job] for job in jobs if job in self._members]
            if any(evaluated.step <= member.last for member in known):  # its executor trains it again by itself
                self._lose(jobs)
            stack = tuple(jobs)
            if stack not in self._stacks:
                self._begin(stack, configs, evaluated)
            for job in jobs:
                self._members[job].last = evaluated.step
            for part in self._stacks[stack]:
                part.waiting.append(evaluated)
            self._changed.notify_all()

    def _begin(self, stack: tuple[int, ...], configs: Sequence[RunConfig], first: Evaluated) -> None:
        now, started, batch = time.monotonic(), milliseconds(), self.store.batch
        self._divide(stack)
        for job, config in zip(stack, configs, strict=True):
            self._members.setdefault(job, Member(config, len(stack), Opened(started), now))
        most = max(1, MOST // (len(stack) * len(first.values)))
        places = [(job, place) for place, job in enumerate(stack)]
        parts = [Part(dict(places[i : i + batch]), deque(maxlen=most)) for i in range(0, len(stack), batch)]
        self._stacks[stack] = parts
        self._parts += parts

    def release(self, jobs: Sequence[int]) -> list[Opened | None]:
        """Of each job what is in the store; nothing more is written of them. One that is being opened right now is
        among them, and has its id once that is over: see `settle`."""
        with self._changed:
            members = self._taken(jobs)
        return [members[job].opened if job in members and members[job].is_tried else None for job in jobs]

    def lose(self, jobs: Sequence[int]) -> None:
        """Their stack came to nothing: they are trained again, and are other runs then."""
        with self._changed:
            self._lose(jobs)

    def _lose(self, jobs: Sequence[int]) -> None:
        self._lost += [member.opened for member in self._taken(jobs).values()]
        self._changed.notify_all()

    def _taken(self, jobs: Sequence[int]) -> dict[int, Member]:
        self._divide(jobs)
        return {job: self._members.pop(job) for job in jobs if job in self._members}

    def _divide(self, jobs: Sequence[int]) -> None:
        """These leave their stacks."""
        for stack in [stack for stack in self._stacks if not {*stack}.isdisjoint(jobs)]:
            del self._stacks[stack]
        for part in self._parts:
            for job in jobs:
                part.places.pop(job, None)
        self._parts = [part for part in self._parts if part.places]

    def settle(self) -> None:
        """Returns when nothing is being written, or when the store takes too long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_writing, SETTLED)

    def close(self) -> None:
        """Nothing more is begun."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(LAST_WORDS)
        self.hangs = self._thread.is_alive()
        log.debug("writing what was finished of runs under way took %.2f s", self.seconds)

    def _work(self) -> None:
        while work := self._next():
            began, failed = time.perf_counter(), False
            try:
                work()
            except Exception:  # a store that is away, or runs that somebody deleted: the whole runs will say so
                log.debug("what is finished of runs under way was not written", exc_info=True)
                failed = True
            took = time.perf_counter() - began
            with self._changed:
                self.seconds += took
                self._due = time.monotonic() + (AFTER_FAULT if failed else REST * took)
                self._is_writing = False
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """What to write, once it is time to; None at the end."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                lost, self._lost = [one.run_id for one in self._lost if one.run_id], []
                if lost:
                    self._is_writing = True
                    return lambda: self.store.backend.kill(lost)
                part = next((part for part in self._parts if self._is_ready(part, now)), None)
                if part is not None and now >= self._due and not (self.has_more() or self.store.patience.is_away):
                    self._is_writing = True
                    return self._writing(part)
                self._changed.wait(0.5 if self._parts else None)
        return None

    def _is_ready(self, part: Part, now: float) -> bool:
        return bool(part.waiting) and now - self._members[next(iter(part.places))].began >= FIRST

    def _writing(self, part: Part) -> Callable[[], None]:
        self._parts.remove(part)
        self._parts.append(part)
        count = max(1, POINTS // (len(part.places) * len(part.waiting[0].values)))
        some = [part.waiting.popleft() for _ in range(min(count, len(part.waiting)))]
        members = [(self._members[job], place) for job, place in part.places.items()]
        fresh = [member for member, _ in members if not member.opened.run_id]
        again = any(member.is_tried for member in fresh)
        for member in fresh:
            member.is_tried = True
        return lambda: self._write(members, some, again)

    def _write(self, members: Sequence[tuple[Member, int]], some: Sequence[Evaluated], again: bool) -> None:
        """`members`: with their places. `again`: whether those that are not there have been tried before."""
        grown = [(member, member.grown(self.sweep_id, points(place, some))) for member, place in members]
        there = [(member, run) for member, run in grown if member.opened.run_id]
        fresh = [(member, run) for member, run in grown if not member.opened.run_id]
        if there:
            self.store.backend.write([Begun(member.opened.run_id, run) for member, run in there])
        if fresh:
            self.watched()
            new, backend = [run for _, run in fresh], self.store.backend
            ids = create_rest(backend, new) if again else backend.create(new)
            for (member, run), run_id in zip(fresh, ids, strict=True):
                member.opened.run_id, member.run = run_id, replace(run, tags={}, params={}, metrics=())
        for member, run in grown:
            member.opened.steps.update(step for _, _, step in run.metrics)
