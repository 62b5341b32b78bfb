"""A case of the campaign, a kind of cases, and the count of those that held."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar


@dataclass(frozen=True)
class Case:
    label: str
    """What is done, in one line."""
    faults: Callable[[Path], list[str]]
    """Does it in an empty folder and gives what did not hold, a line each."""


class Kind(ABC):
    """Cases by number. A seed and a number make the same case anywhere; moments are as exact as the machine is idle."""

    name: ClassVar[str]
    count: ClassVar[int]
    """How many are tried unless a number is given."""
    side_by_side: ClassVar[bool] = True
    """Whether cases may run at the same time."""

    def __init__(self, seed: int, home: Path) -> None:
        self.seed, self.home = seed, home

    def draw(self, number: int) -> Random:
        return Random(f"{self.seed} {self.name} {number}")

    def missing(self) -> str:
        """Why none of it can be tried here; empty if it can."""
        return ""

    def prepare(self) -> None:  # noqa: B027 (some need nothing)
        """Once, before the first case: what all of them are compared with."""

    def close(self) -> None:  # noqa: B027
        """Once, after the last."""

    @abstractmethod
    def case(self, number: int) -> Case: ...

    def remarks(self) -> list[str]:
        """Further figures, a line each."""
        return []


@dataclass
class Count:
    """How the cases of a kind went."""

    name: str
    tried: int = 0
    held: int = 0
    skipped: str = ""
    """Why none was tried."""
    seconds: float = 0.0
    remarks: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped, {self.skipped}"
        return f"{self.name}: {self.tried} tried, {self.held} held ({self.seconds:.0f} s)"


def try_case(case: Case) -> list[str]:
    """Its faults; one that the campaign itself stumbles over counts as one."""
    folder = Path(tempfile.mkdtemp(prefix="bnc-"))
    try:
        return case.faults(folder)
    except Exception:
        return ["the campaign itself failed", *traceback.format_exc().splitlines()[-4:]]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def try_all(kind: Kind, numbers: Sequence[int], jobs: int = 1) -> Count:
    """Prints each case that does not hold, and how to repeat it alone."""
    count = Count(kind.name, skipped=kind.missing())
    if count.skipped:
        return count
    began = time.monotonic()
    try:
        kind.prepare()
        cases = [kind.case(number) for number in numbers]
        with ThreadPoolExecutor(jobs if kind.side_by_side else 1) as pool:
            for number, case, faults in zip(numbers, cases, pool.map(try_case, cases), strict=True):
                count.tried += 1
                count.held += not faults
                if faults:
                    again = f"python -m tests.campaign {kind.name} --seed {kind.seed} --only {number}"
                    print("\n  ".join([f"{kind.name} {number} did not hold: {case.label}", *faults, again]), flush=True)
                elif sys.stdout.isatty():
                    print(f"\r{count.line}", end="\r", flush=True)
        count.remarks = kind.remarks()
    finally:
        kind.close()
        count.seconds = time.monotonic() - began
    return count
