"""Arms interleaved: all of them are warmed up and pass the gate, then each repeat times every arm once."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tests.benchmarks.arm import NotRun
from tests.benchmarks.arms import ARMS
from tests.benchmarks.gate import Verdict, judge_passes
from tests.benchmarks.session import CutOff, Failed, ProcessSession, Session
from tests.benchmarks.work import EPOCH_STEPS, Spec, Work

WARM_UP = 2
"""Passes before anything is timed; the gate judges them."""

LEEWAY = 1.5
"""Times as long as expected a repeat may take that is begun."""

LIMIT = 90.0
"""Seconds that an arm may take for one K, all together."""


@dataclass
class Result:
    """One row of the table."""

    spec: Spec
    key: str
    label: str = ""
    note: str = ""
    refused: str = ""
    """Why there is no speed."""
    traceback: str = ""
    """Of an arm that failed."""
    trained: int = 0
    """Members that the arm trained; the costs of all are extrapolated from them."""
    passes: int = 1
    """Passes of spec.steps steps in each repeat."""
    cold: float = math.nan
    """Seconds of import, compile and capture: the first pass with all before it, less a warm one."""
    warm: float = math.nan
    """Seconds of a pass after that, before the repeats."""
    seconds: list[float] = field(default_factory=list)
    """Of each repeat."""
    verdict: Verdict | None = None
    memory: float | None = None
    """Bytes."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the arm chose by trial."""

    def model_epoch(self, seconds: float) -> float:
        """Seconds that one member takes for 60,000 samples, when a repeat took `seconds`."""
        return seconds / (self.trained * self.passes * self.spec.steps) * EPOCH_STEPS

    @property
    def median(self) -> float:
        """Of model_epoch; NaN where there is no speed."""
        return self.model_epoch(statistics.median(self.seconds)) if self.seconds else math.nan

    @property
    def extrapolated(self) -> bool:
        return 0 < self.trained < self.spec.members


@dataclass
class Budget:
    """Of an arm: how many repeats of how many seconds, and all its seconds for one K."""

    repeats: int = 5
    seconds: float = 0.4
    limit: float = LIMIT


Where = Callable[[str, Spec, dict[str, Any]], Session | ProcessSession]
"""Makes the session that an arm lives in."""


class Turn:
    """One arm on its way through warm-up, gate and repeats. What goes wrong in it is the note of its row."""

    def __init__(self, key: str, spec: Spec, budget: Budget, settings: dict[str, Any], where: Where) -> None:
        kind = ARMS[key]
        self.result = Result(replace(spec, optimizer=kind.optimizer), key, kind.label)
        self.budget, self.left = budget, budget.limit
        self.session = where(key, self.result.spec, settings)

    def attempt(self, part: Callable[[], None]) -> None:
        """A part of its way, unless an earlier one has failed."""
        if self.result.refused:
            return
        try:
            part()
        except NotRun as reason:
            self.result.refused = f"not run: {reason}"
        except CutOff:
            self.result.refused = f"cut off: not over within {self.budget.limit:g} s (--limit)"
        except Exception as error:  # one arm that breaks must not cost the others' figures
            says = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            self.result.refused = f"failed: {says}"
            self.result.traceback = "".join(getattr(error, "__notes__", []))
        if self.result.refused:
            self.session.close()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Of the session, within what is left of the arm's time."""
        started = time.perf_counter()
        answer = getattr(self.session, method)(*arguments, self.left)
        self.left -= time.perf_counter() - started
        return answer

    def warm_up(self) -> None:
        """The plain loop's losses, which the gate wants, are for all arms and cost this one nothing."""
        result, made = self.result, self.ask("begin")
        result.trained, result.note, result.settings = made.trained, made.note, made.settings
        losses = [self.ask("losses")]
        for number in range(1, WARM_UP):
            result.warm = self.ask("train", [number])
            losses.append(self.ask("losses"))
        result.cold, result.memory = max(0.0, made.cold - result.warm), self.ask("memory")
        result.verdict = judge_passes(Work(result.spec), result.trained, losses)
        result.refused = f"refused: {result.verdict.reason}" if result.verdict.reason else ""
        fits = (result.spec.passes - WARM_UP) // self.budget.repeats
        result.passes = max(1, min(fits, round(self.budget.seconds / result.warm)))
        if self.left < LEEWAY * result.passes * result.warm:
            result.passes, result.seconds = 1, [result.warm]

    def repeat(self, number: int) -> None:
        """Skipped where the arm's time is up, which leaves it the repeats before, or its warm pass."""
        seconds, passes = self.result.seconds, self.result.passes
        if self.left > LEEWAY * max([passes * self.result.warm, *seconds]):
            first = WARM_UP + number * passes
            seconds.append(self.ask("train", range(first, first + passes)))


def measure(
    spec: Spec,
    keys: Sequence[str],
    budget: Budget,
    settings: dict[str, dict[str, Any]] | None = None,
    where: Where = ProcessSession,
) -> list[Result]:
    """All arms on the members of a Spec; a repeat of an arm takes about `budget.seconds`, and one pass at least, all of
    them together no more steps than a run has.

    `settings` are further arguments of an arm, by its key: what it would choose by trial otherwise. What one has chosen
    for others too is put there.
    """
    settings = {} if settings is None else settings
    turns: list[Turn] = []
    try:
        for key in keys:
            tuned_as = ARMS[key].tuned_as
            turn = Turn(key, spec, budget, settings.get(tuned_as or key, {}), where)
            turns.append(turn)
            turn.attempt(turn.warm_up)
            if tuned_as == key and turn.result.settings:
                settings[key] = turn.result.settings
        going = [turn for turn in turns if not turn.result.refused]
        for number in range(budget.repeats):
            at = number % max(1, len(going))
            for turn in going[at:] + going[:at]:
                turn.attempt(partial(turn.repeat, number))
    finally:
        for turn in turns:
            if not turn.result.refused:
                turn.session.close()
    return [turn.result for turn in turns]
