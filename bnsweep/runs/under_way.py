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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
class Part:
    """As many runs of a stack as are written at once."""

    jobs: Sequence[int]
    configs: Sequence[RunConfig]
    places: range
    """Theirs in the stack."""
    stack: int
    """Runs in it."""
    began: float
    opened: list[Opened]
    waiting: deque[Evaluated]
    last: int = -1
    """The newest step that was read."""
    runs: list[NewRun] = field(default_factory=list)
    """As they were opened."""
    is_tried: bool = False
    """Whether they are being opened, or were and that failed: some of them may be there."""

    @property
    def is_open(self) -> bool:
        return bool(self.opened[0].run_id)

    def points(self, place: int, some: Sequence[Evaluated]) -> list[tuple[str, float, int]]:
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
        self._parts: list[Part] = []
        """Those written least recently come first."""
        self._lost: list[Opened] = []
        self._due = 0.0
        self._is_writing = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, jobs: Sequence[int], configs: Sequence[RunConfig], evaluated: Evaluated) -> None:
        """What was read of a stack; `configs` are its runs."""
        with self._changed:
            found = [part for part in self._parts if part.jobs[0] in jobs]
            if any(evaluated.step <= part.last for part in found):  # its executor trains it again by itself
                self._lose(jobs)
                found = []
            if not found:
                found = list(self._divided(jobs, configs, evaluated))
                self._parts += found
            for part in found:
                part.waiting.append(evaluated)
                part.last = evaluated.step
            self._changed.notify_all()

    def _divided(self, jobs: Sequence[int], configs: Sequence[RunConfig], first: Evaluated) -> Iterator[Part]:
        step, now, started = self.store.batch, time.monotonic(), milliseconds()
        most = max(1, MOST // (len(jobs) * len(first.values)))
        for i in range(0, len(jobs), step):
            places = range(i, min(i + step, len(jobs)))
            opened = [Opened(started) for _ in places]
            some = jobs[i : i + step], configs[i : i + step]
            yield Part(*some, places, len(jobs), now, opened, deque(maxlen=most))

    def release(self, jobs: Sequence[int]) -> list[Opened | None]:
        """Of each job what is in the store; nothing more is written of them. One that is being opened right now is
        among them, and has its id once that is over: see `settle`."""
        with self._changed:
            opened: dict[int, Opened] = {}
            for part in self._taken(jobs):
                if part.is_tried:
                    opened |= zip(part.jobs, part.opened, strict=True)
        return [opened.get(job) for job in jobs]

    def lose(self, jobs: Sequence[int]) -> None:
        """Their stack came to nothing: they are trained again, and are other runs then."""
        with self._changed:
            self._lose(jobs)

    def _lose(self, jobs: Sequence[int]) -> None:
        self._lost += [one for part in self._taken(jobs) for one in part.opened]
        self._changed.notify_all()

    def _taken(self, jobs: Sequence[int]) -> list[Part]:
        taken = [part for part in self._parts if part.jobs[0] in jobs]
        self._parts = [part for part in self._parts if part not in taken]
        return taken

    def settle(self) -> None:
        """Returns when nothing is being written, or the store takes too long."""
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
                part = next((part for part in self._parts if part.waiting and now - part.began >= FIRST), None)
                if part is not None and now >= self._due and not (self.has_more() or self.store.patience.is_away):
                    self._is_writing = True
                    return self._writing(part)
                self._changed.wait(0.5 if self._parts else None)
        return None

    def _writing(self, part: Part) -> Callable[[], None]:
        self._parts.remove(part)
        self._parts.append(part)
        count = max(1, POINTS // (len(part.jobs) * len(part.waiting[0].values)))
        some = [part.waiting.popleft() for _ in range(min(count, len(part.waiting)))]
        return lambda: self._write(part, some)

    def _write(self, part: Part, some: Sequence[Evaluated]) -> None:
        runs, backend = self._runs(part, some), self.store.backend
        if part.is_open:
            backend.write([Begun(one.run_id, run) for one, run in zip(part.opened, runs, strict=True)])
        else:
            self.watched()
            again, part.is_tried = part.is_tried, True
            ids = create_rest(backend, runs) if again else backend.create(runs)
            for one, run_id in zip(part.opened, ids, strict=True):
                one.run_id = run_id
            part.runs = [replace(run, tags={}, params={}) for run in runs]
        for one, run in zip(part.opened, runs, strict=True):
            one.steps.update(step for _, _, step in run.metrics)

    def _runs(self, part: Part, some: Sequence[Evaluated]) -> list[NewRun]:
        runs = part.runs or [
            run_under_way(config, self.sweep_id, part.stack, one.start)
            for config, one in zip(part.configs, part.opened, strict=True)
        ]
        return [replace(run, metrics=part.points(place, some)) for run, place in zip(runs, part.places, strict=True)]
