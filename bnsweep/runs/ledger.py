"""What became of a sweep's runs, and how that is said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bnsweep.catalogue.tasks import TASKS
from bnsweep.config.run import TrackingConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.records import DIVERGED, FAILED, FINISHED, STOPPED


@dataclass
class RunResult:
    """What became of a run."""

    status: str
    """finished, diverged, stopped or failed."""
    summary: dict[str, float]
    reason: str = ""
    """Why it failed; where it diverged; where and why it was stopped."""
    run_id: str = ""
    """MLflow's."""

    @property
    def objective(self) -> float:
        """What a sweeper maximises: the final validation score, a stopped run's last one, 0 for a run that diverged and
        for what is worse."""
        names = [f"final_val_{task.score}" for task in TASKS.values()]
        value = next((self.summary[name] for name in names if name in self.summary), math.nan)
        return 0.0 if math.isnan(value) else max(value, 0.0)


@dataclass
class SweepResult:
    """What a sweep leaves to its caller."""

    sweep: SweepConfig
    tracking: TrackingConfig
    runs: list[RunResult]
    """One a job that was reached, in the order of the jobs."""
    trained: int
    """Runs trained now; the others were done before."""
    own_run: str = ""
    """Id of the sweep's own run in MLflow; empty where it has none."""
    view_url: str = ""
    """Of the comparison in MLflow."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by part."""
    jobs: Sequence[int] = ()
    """Places of those jobs among all that were given, of which this machine may have had a share."""


def together(parts: Sequence[SweepResult]) -> SweepResult:
    """Of the batches of one sweep, each of which holds the runs of those before it."""
    seconds = {name: sum(part.seconds[name] for part in parts) for name in parts[-1].seconds}
    return replace(parts[-1], trained=sum(part.trained for part in parts), seconds=seconds)


def describe_shards(planned: int, counts: Mapping[str, int], under_way: int) -> str:
    """How far the whole sweep is, of which this machine had a share. `counts`: status -> runs; `under_way`: shards."""
    done = counts[FINISHED] + counts[DIVERGED]
    text = f"whole sweep: {done:,} of {planned:,} runs have a result"
    if done == planned:
        return text
    if not under_way:
        return f"{text}; no other shard is under way, their commands train the rest"
    are = "shards are" if under_way > 1 else "shard is"
    return f"{text}, {under_way} {are} still under way; the last to end writes the whole report"


def count_statuses(planned: int, results: Mapping[str, RunResult]) -> dict[str, int]:
    """The ledger: runs planned, and of those how many finished, diverged, were stopped (where any was) and failed."""
    counts = Counter(result.status for result in results.values())
    statuses = (FINISHED, DIVERGED, *([STOPPED] if counts[STOPPED] else []), FAILED)
    return {"planned": planned, **{status: counts[status] for status in statuses}}


def describe_ledger(
    planned: int, results: Mapping[str, RunResult], trained: int, unlogged: int = 0, shard: str = ""
) -> str:
    """`results`: by identity, of the runs that were reached and logged; `unlogged`: runs trained beside them; `shard`:
    which share of the sweep these runs are."""
    ledger = count_statuses(planned, results) | ({"trained and not logged": unlogged} if unlogged else {})
    text = ", ".join(f"{count} {name}" for name, count in ledger.items())
    missing = planned - len(results) - unlogged
    head = f"ledger of shard {shard}" if shard else "ledger"
    lines = [f"{head}: {text}" + (f", {missing} not reached" if missing else "") + f" ({trained} trained now)"]
    lines += [f"  failed {name}: {run.reason}" for name, run in results.items() if run.status == FAILED]
    return "\n".join(lines)
