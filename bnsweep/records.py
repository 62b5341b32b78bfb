"""What training leaves of a run: plain numbers, no tensors, so that tracking and report need no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FINISHED, DIVERGED, FAILED = "finished", "diverged", "failed"

HISTOGRAM_EDGES = [round(-1 + i * 0.05, 2) for i in range(61)]
"""Bin edges for activation outputs; values outside are counted in the first and last bin."""


LIGHT = ("flow", "growth")
"""Metrics of a light probe: gradient flow R and its rate per layer."""

LIGHT_LAYER = (
    *("grad_activation", "grad_weight", "update_ratio"),
    *("mean", "std", "saturation", "dead", "nonpositive", "effective_lr"),
)
"""And of each layer, as `layer/{l}/NAME` with l from 1. The output layer, last, has the first three only, the gradient
of its logits standing for that of an activation input. `saturation` is of sigmoid and tanh, `dead` of ReLU,
`effective_lr` of BN before the activation."""

FULL = (
    *("batch/loss", "batch/accuracy", "bn_gap", "mates"),
    *("landscape/loss_range", "landscape/gradient_change", "landscape/beta"),
)
"""What a full probe reads besides: loss and accuracy of the probe batch with batch statistics, that loss minus the one
with running statistics, how much outputs depend on batch mates, and the loss along a gradient step."""

FULL_LAYER = (
    *("unit_q15", "unit_q50", "unit_q85", "spread", "shift"),
    *("ics", "ics_ratio", "ics_cosine"),
    *("angular_update", "weight_cosine", "grad_bias", "running_variance", "dropout_ratio"),
)
"""And of each hidden layer: percentiles of the first unit's activation input, the mean over units of q85 - q15, and of
how far the percentiles moved since the last reading; Santurkar's covariate shift; the angle in radians by which rows
turned in the last step, the cosine of weights and their gradient, the norm of the biases' gradient, the mean running
variance, and the variance of linear outputs without dropout over that with it. The `ics` names and `dropout_ratio` are
of what has a hidden layer below it: of layers 2 to the output layer."""


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


@dataclass
class RunRecord:
    """The numbers of one run. A missing number is NaN, never 0."""

    status: str
    """finished, diverged (loss no longer finite) or failed (nothing could be measured)."""
    reason: str = ""
    """Why it failed; where it diverged."""
    diverged_step: int | None = None
    """First step, from 1, whose training loss was not finite."""
    history: dict[str, list[float]] = field(default_factory=dict)
    """Metric name -> one value an evaluation: `step`, `epoch`, `lr`, `{train,val,test}/{loss,accuracy}`, and those of
    its probes, LIGHT to FULL_LAYER above. NaN where nothing was read; a metric that a run never has (saturation of a
    ReLU) is left out."""
    histograms: dict[str, list[list[int]]] = field(default_factory=dict)
    """`start` and `end` -> hidden layer -> counts in HISTOGRAM_EDGES of the probe batch's activation outputs."""
    summary: dict[str, float] = field(default_factory=dict)
    """Single numbers: `final_*` of the last evaluation, `best_*` at the evaluation of best validation accuracy (both
    for {train,val,test}_{loss,accuracy}; `best_step` too), `gap_accuracy` (train − test) and `gap_loss` (test − train)
    at the end, both positive where a network overfits; `steps_to_tau` (the budget when never reached), `tau_reached` (0
    or 1), `auc` (time-mean validation accuracy); `drift_{l}` (full probes: mean `shift` over mean `spread`)."""
    seconds: float = math.nan
    """This run's share of its stack's training time."""
    stack_size: int = 1
    device: str = ""
    """What trained it, in words."""
    dataset: DatasetInfo | None = None
