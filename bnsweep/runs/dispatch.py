"""The stacks of a plan on their way through an executor: what a sweep and an experiment have in common."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace

from bnsweep.config.run import RunConfig
from bnsweep.records import FAILED, RunRecord
from bnsweep.runs.executors.base import NO_CHECKPOINT, Evaluated, Executor, NoWorker, Trained, WorkerLost
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.plan import Plan
from bnsweep.runs.progress import Progress

log = logging.getLogger(__name__)

Until = Callable[[RunConfig], int | None]
"""The step at which runs like this one are held; None: they go on to the end."""


@dataclass(frozen=True)
class Listeners:
    """Who is told of the jobs of stacks on their way, in the dispatching thread."""

    on_trained: Callable[[Sequence[int], Trained], None]
    """Of those that are over, and what training left of them."""
    on_evaluated: Callable[[Sequence[int], Evaluated], None] = lambda jobs, evaluated: None
    """Of a stack that trains, and what was read there."""
    on_lost: Callable[[Sequence[int]], None] = lambda jobs: None
    """Of a stack that failed and is trained again."""


@dataclass(frozen=True)
class Rung:
    """Where runs are held, and who is told of those that are, with what they would leave if they ended there."""

    until: Until
    on_held: Callable[[Sequence[int], Trained], None]


AGAIN = "with more room in TMPDIR the same command trains these runs again"


class Dispatch:
    """Trains every stack of a plan and tells `on_trained` of each, in this thread, as soon as it is over.

    A stack that fails, or whose worker is lost, is trained again by halves, until the run that fails stands alone: its
    record is a failed one that says why, and every other run is trained. A run that loses its worker is trained once
    more when all others are over, as it may have lost it for the memory that they took.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        interrupts: Interrupts,
        listeners: Listeners,
        rung: Rung | None = None,
    ) -> None:
        """`rung`: of runs that do not train to the end. Without one, those that are held go on at once, as a stack."""
        self.rung = rung
        self.plan, self.executor, self.interrupts, self.listeners = plan, executor, interrupts, listeners
        self._left = deque[Sequence[int]](plan.stacks)
        self._running: dict[Future[Trained], Sequence[int]] = {}
        self._alone = deque[Sequence[int]]()
        self._reasons: set[str] = set()
        self._said_unsaved = self._said_unkept = False
        steps = {stack[0]: (len(stack), self._last_step(stack)) for stack in plan.stacks}
        self._progress = Progress(steps, plan.begun)
        # One more waits for each worker, which would stand idle while `on_trained` writes; but where the plan wants
        # fewer at a time than there are workers, for want of memory, none may wait.
        self._most = plan.workers if plan.workers < executor.workers else 2 * executor.workers

    def run(self) -> None:
        """Raises KeyboardInterrupt between two stacks where one is pending, and NoWorker."""
        with self._progress:
            while self._left or self._running or self._alone:
                self.interrupts.check()
                self._submit()
                done = wait(self._running, timeout=0.2, return_when=FIRST_COMPLETED).done
                for evaluated in self.executor.new_evaluations():
                    self._progress.advance(evaluated.stack, evaluated.step, evaluated.diverged)
                    jobs = next(jobs for jobs in self._running.values() if jobs[0] == evaluated.stack)
                    self.listeners.on_evaluated(jobs, evaluated)
                for future in done:
                    self.interrupts.check()
                    self._conclude(self._running.pop(future), future)

    def _submit(self) -> None:
        if self._alone and not self._left and not self._running:
            self._left.append(self._alone.popleft())
            self._most = 1
        while self._left and len(self._running) < self._most:
            jobs = self._left.popleft()
            configs = [self.plan.configs[job] for job in jobs]
            until = () if self.rung is None else (self.rung.until(configs[0]),)
            self._running[self.executor.submit(jobs[0], configs, *until)] = jobs

    def _last_step(self, jobs: Sequence[int]) -> int:
        """Of this stack, here."""
        config = self.plan.configs[jobs[0]]
        until = None if self.rung is None else self.rung.until(config)
        return config.total_steps if until is None else until

    def _conclude(self, jobs: Sequence[int], future: Future[Trained]) -> None:
        error = future.exception()
        if error is None:
            trained = future.result()
        elif isinstance(error, NoWorker) or not isinstance(error, Exception):
            raise error
        else:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._say(len(jobs), reason, error)
            self.listeners.on_lost(jobs)
            if len(jobs) > 1:
                self._halve(jobs)
                return
            if isinstance(error, WorkerLost):
                if self._most > 1:
                    self._alone.append(jobs)
                    return
                reason += "; it trained alone, so that only a smaller network or batch takes less"
            trained = Trained([RunRecord(FAILED, reason=reason)], [None], 0.0)
        if trained.unsaved and not self._said_unsaved:
            self._said_unsaved = True
            log.error("networks cannot be saved (%s): their runs are logged without them; %s", trained.unsaved, AGAIN)
        if trained.unkept and not self._said_unkept:
            self._said_unkept = True
            says = "training goes on, and a sweep that is cut short repeats more of it"
            log.error("%s (%s): %s", NO_CHECKPOINT, trained.unkept, says)
        self._settle(jobs, trained)

    def _settle(self, jobs: Sequence[int], trained: Trained) -> None:
        """Hands on what is over, and holds what is not."""
        over = [place for place in range(len(jobs)) if place not in {*trained.held}]
        held, rest = [jobs[place] for place in trained.held], part_of(trained, trained.held)
        if over:
            part, rest.seconds = part_of(trained, over), 0.0
            self.listeners.on_trained([jobs[place] for place in over], part)
            for record in part.records:
                self._progress.end(record.status)
        if held and self.rung is None:
            self._progress.thin(jobs[0], held[0], len(held), rest.records[0].stopped_step or 0)
            self._left.appendleft(held)
            return
        if held and self.rung is not None:
            self.rung.on_held(held, rest)
        self._progress.settle(jobs[0])

    def _say(self, runs: int, reason: str, error: Exception) -> None:
        """Once for each reason all there is to say, and not for every half of every stack that fails alike."""
        first = reason not in self._reasons
        self._reasons.add(reason)
        if not isinstance(error, WorkerLost):
            log.error("stack of %d failed: %s", runs, reason, exc_info=error if first else None)
        elif first:
            log.error(
                "stack of %d failed: %s; its runs are trained again, in smaller stacks or alone (%s)",
                runs,
                reason,
                less_memory(runs),
            )
        else:
            log.error("stack of %d failed: %s", runs, reason)

    def _halve(self, jobs: Sequence[int]) -> None:
        halves = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]
        self._progress.divide(jobs[0], {half[0]: len(half) for half in halves})
        self._left.extendleft(reversed(halves))


def part_of(trained: Trained, places: Sequence[int]) -> Trained:
    """Of some of the runs."""
    records, models = [trained.records[i] for i in places], [trained.models[i] for i in places]
    return replace(trained, records=records, models=models, held=[])


def less_memory(runs: int) -> str:
    """What to do about workers that are lost with stacks of so many runs."""
    smaller = f"sweep.max_stack={runs // 2} makes smaller stacks from the start, " if runs > 1 else ""
    return f"{smaller}OMP_NUM_THREADS=1 trains one at a time"
