"""What training leaves of a run: plain numbers, no tensors, so that tracking and report need no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FINISHED, DIVERGED, FAILED = "finished", "diverged", "failed"
STOPPED = "stopped"
AT_RUNG = "stopped at rung "
"""How the reason of a stopped run begins that fell behind others; any other one stopped by its own curve."""


class Stopped(float):
    """What a job returns of a run that was stopped: its score so far. Of a search, its trial is a pruned one."""


HISTOGRAM_EDGES = [round(-1 + i * 0.05, 2) for i in range(61)]
"""Bin edges for activation outputs; values outside are counted in the first and last bin."""


@dataclass(frozen=True)
class DatasetInfo:
    """What a run was trained on, for provenance."""

    name: str
    digest: str
    """First 16 hex digits of the sha256 over pixels and labels."""
    source: str
    """Where it came from, in words: a package or a folder."""
    samples: int
    features: int
    classes: int
    """0 in a regression."""


@dataclass
class RunRecord:
    """The numbers of one run. A missing number is NaN, never 0."""

    status: str
    """finished, diverged (loss no longer finite), stopped (by a strategy, before its last step) or failed (nothing
    could be measured)."""
    reason: str = ""
    """Why it failed; where it diverged; where and why it was stopped."""
    diverged_step: int | None = None
    """First step, from 1, whose training loss was not finite."""
    stopped_step: int | None = None
    """Steps taken by a run that a strategy stopped: those up to its last evaluation."""
    history: dict[str, list[float]] = field(default_factory=dict)
    """Metric name -> one value an evaluation, as `catalogue.metrics` lists them. NaN where nothing was read; a metric
    that a run never has (saturation of a ReLU) is left out."""
    histograms: dict[str, list[list[int]]] = field(default_factory=dict)
    """`start` and `end` -> hidden layer -> counts in HISTOGRAM_EDGES of the probe batch's activation outputs."""
    summary: dict[str, float] = field(default_factory=dict)
    """Metric name -> its single number, as `catalogue.metrics` lists them: `final_*` is of the last evaluation,
    `best_*` of the one of best validation score."""
    seconds: float = math.nan
    """This run's share of its stack's training time."""
    stack_size: int = 1
    device: str = ""
    """What trained it, in words."""
    host: str = ""
    """The machine of a cluster that trained it; empty for the one that logged it."""
    dataset: DatasetInfo | None = None
