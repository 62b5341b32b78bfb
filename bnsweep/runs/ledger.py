"""What became of a sweep's jobs, and how that is said."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bnsweep.config.run import SweepConfig, TrackingConfig
from bnsweep.records import FAILED


@dataclass
class Outcome:
    """What became of a job."""

    status: str
    """finished, diverged or failed."""
    summary: dict[str, float]
    reason: str = ""
    run_id: str = ""

    @property
    def objective(self) -> float:
        """What a sweeper maximises: final validation accuracy, 0 for a run that diverged."""
        value = self.summary.get("final_val_accuracy", math.nan)
        return 0.0 if math.isnan(value) else value


@dataclass
class Result:
    """What a sweep leaves to its caller."""

    settings: SweepConfig
    tracking: TrackingConfig
    outcomes: list[Outcome]
    """One a job, in the order of the jobs."""
    trained: int
    """Runs trained now; the others stood already."""
    view_url: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by part."""


def describe_ledger(ledger: dict[str, int], outcomes: dict[str, Outcome], trained: int) -> str:
    text = ", ".join(f"{count} {name}" for name, count in ledger.items())
    missing = ledger["planned"] - ledger["finished"] - ledger["diverged"] - ledger["failed"]
    lines = [f"ledger: {text}" + (f", {missing} not reached" if missing else "") + f" ({trained} trained now)"]
    lines += [f"  failed {name}: {o.reason}" for name, o in outcomes.items() if o.status == FAILED]
    return "\n".join(lines)
