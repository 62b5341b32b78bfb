"""Arms interleaved: all of them are warmed up and pass the gate, then each repeat times every arm once."""

from __future__ import annotations

import math
import statistics
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tests.benchmarks.arm import Arm, NotRun
from tests.benchmarks.arms import ARMS, make
from tests.benchmarks.gate import Verdict, check
from tests.benchmarks.memory import growth
from tests.benchmarks.work import EPOCH_STEPS, Spec, Work

WARM_UP = 2
"""Passes before anything is timed; the gate judges them."""


@dataclass
class Result:
    """One row of the table."""

    spec: Spec
    key: str
    label: str = ""
    note: str = ""
    refused: str = ""
    """Why there is no speed."""
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


def seconds_of(arm: Arm, numbers: Sequence[int]) -> float:
    started = time.perf_counter()
    for number in numbers:
        arm.epoch(number)
    return time.perf_counter() - started


def warm_up(key: str, spec: Spec, **settings: Any) -> tuple[Result, Arm | None]:
    """Make an arm, train its warm-up and let the gate judge it; no arm when it has no speed to show."""
    kind = ARMS[key]
    spec = replace(spec, optimizer=kind.optimizer)
    result, work, arm = Result(spec, key, kind.label), Work(spec), None
    try:
        before = torch.cuda.memory_allocated() if spec.device == "cuda" else 0
        started = time.perf_counter()
        arm = make(key, work, **settings)
        arm.epoch(0)
        first = time.perf_counter() - started
        result.warm = seconds_of(arm, range(1, WARM_UP)) / (WARM_UP - 1)
        result.trained, result.note, result.cold = len(arm.configs), arm.note, max(0.0, first - result.warm)
        result.settings = arm.settings
        if spec.device == "cuda":
            result.memory = float(torch.cuda.max_memory_allocated() - before)
        result.verdict = check(arm, WARM_UP)
        result.refused = f"refused: {result.verdict.reason}" if result.verdict.reason else ""
    except NotRun as reason:
        result.refused = f"not run: {reason}"
    except Exception as error:  # one arm that breaks must not cost the others' figures
        traceback.print_exc()
        result.refused = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if result.refused:
        if arm is not None:
            arm.close()
        return result, None
    return result, arm


def measure(
    spec: Spec, keys: Sequence[str], repeats: int, seconds: float, settings: dict[str, dict[str, Any]] | None = None
) -> list[Result]:
    """All arms on the members of a Spec; a repeat of an arm takes about `seconds`, and one pass at least, all of
    them together no more steps than a run has.

    `settings` are further arguments of an arm, by its key: what it would choose by trial otherwise.
    """
    results: dict[str, Result] = {}
    arms: dict[str, Arm] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in keys:
            if spec.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            results[key], arm = warm_up(key, spec, **(settings or {}).get(key, {}))
            if arm is not None:
                arms[key] = arm
                results[key].passes = max(
                    1, min((spec.passes - WARM_UP) // repeats, round(seconds / results[key].warm))
                )
        for repeat in range(repeats):
            order = [*arms][repeat % max(1, len(arms)) :] + [*arms][: repeat % max(1, len(arms))]
            for key in order:
                passes = results[key].passes
                numbers = range(WARM_UP + repeat * passes, WARM_UP + (repeat + 1) * passes)
                results[key].seconds.append(seconds_of(arms[key], numbers))
        for arm in arms.values():
            arm.close()
    if spec.device == "cpu":
        for key in arms:
            results[key].memory = growth(key, results[key].spec, **results[key].settings)
    return list(results.values())
