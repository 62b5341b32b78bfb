"""The metrics: one row each. What a run can leave, in its history or in its summary, and what is to be known of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from bnsweep.catalogue.tasks import CLASSIFICATION, REGRESSION, TASKS, Task

LEVELS = ("off", "light", "full")
"""Of probes; each reads what those before it read."""
OFF, LIGHT, FULL = LEVELS
ACCURACY, R2 = (task.score for task in TASKS.values())
LOSS, STEPS, NUMBER = "loss", "steps", "number"


@dataclass(frozen=True)
class Layers:
    """The layers that have a metric."""

    first: int
    output: bool
    """Whether the output layer, which comes after the hidden ones, has it too."""

    def of(self, hidden: int) -> range:
        """In a network of so many hidden layers."""
        return range(self.first, hidden + self.output + 1)


HIDDEN, EVERY, ABOVE_FIRST = Layers(1, False), Layers(1, True), Layers(2, True)


@dataclass(frozen=True)
class Metric:
    name: str
    """`{l}` stands for the number of a layer."""
    title: str
    """As text writes it."""
    kind: str = NUMBER
    """ACCURACY, R2, LOSS, STEPS or NUMBER: how it is written, and what a run that diverged scores."""
    sign: int = 0
    """+1 where more is better, -1 where less is, 0 where neither is."""
    single: bool = False
    """Whether it is one number of the summary; else one an evaluation, of the history."""
    level: str = OFF
    """The least of LEVELS that measures it."""
    layers: Layers | None = None
    """None: it is of the network."""
    test: str = ""
    """The test-split number quoted beside it in a ranking; empty: it cannot rank."""
    task: Task = CLASSIFICATION
    """Of the runs that have it."""

    def names(self, hidden: int) -> list[str]:
        """What it is called in a network of so many hidden layers."""
        return [self.name.format(l=l) for l in self.layers.of(hidden)] if self.layers else [self.name]

    @property
    def is_score(self) -> bool:
        """Whether it is the task's score, which lies between 0 and 1 wherever runs are averaged."""
        return self.kind == self.task.score

    @property
    def unit(self) -> str:
        """Of the bare number in a table."""
        if self.kind == LOSS or self.name in OF_LOSS:
            return self.task.loss_unit
        kinds = {self.task.score: "share", STEPS: "steps"}
        return kinds.get(self.kind) or UNITS.get(self.name, NUMBER)

    def text(self, value: float) -> str:
        """A value with its unit; a dash where it is missing."""
        if not math.isfinite(value):
            return "–"
        if self.kind == ACCURACY:
            return f"{100 * value:.1f} %"
        return (f"{value:,.0f}" if self.kind == STEPS else f"{value:.3f}").replace("-", "−")


OF_LOSS = ("gap_loss", "bn_gap")
"""Differences of losses."""
UNITS = {
    "gap_accuracy": "share",
    "gap_r2": "share",
    "tau_reached": "0 or 1",
    "flow": "decades",
    "growth": "factor",
    "target_mean": "the target's own",
    "target_std": "the target's own",
}
"""Of numbers that have one."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def signs(task: Task) -> dict[str, int]:
    """Of each kind that an evaluation has of every split: +1 where more is better, -1 where less is."""
    return {LOSS: -1, task.score: +1}


def curves(task: Task) -> Iterable[Metric]:
    """The scores of every evaluation."""
    for split, title in SPLITS.items():
        for kind, sign in signs(task).items():
            yield Metric(f"{split}/{kind}", f"{title} {name_of(kind, task)}", kind, sign)


def scores(when: str, kind: str, task: Task) -> Iterable[Metric]:
    """The scores of one evaluation: the `final` one, or that of the `best` validation score. Only validation ranks."""
    score = task.score
    beside = {"final_val_loss": f"final_test_{score}"} | {f"{w}_val_{score}": f"{w}_test_{score}" for w in WHEN}
    for split, title in SPLITS.items():
        name = f"{when}_{split}_{kind}"
        text = f"{when} {title} {name_of(kind, task)}"
        yield Metric(name, text, kind, signs(task)[kind], single=True, test=beside.get(name, ""))


WHEN = ("final", "best")


def name_of(kind: str, task: Task) -> str:
    return task.title if kind == task.score else kind


def probed(level: str, layers: Layers | None, titles: dict[str, str]) -> Iterable[Metric]:
    """Readings of the probe batch."""
    for name, title in titles.items():
        yield Metric(f"layer/{{l}}/{name}" if layers else name, title, level=level, layers=layers)


def of_training(task: Task) -> Iterable[Metric]:
    """What every run has, whatever its probes."""
    score, title, test = task.score, task.title, f"final_test_{task.score}"
    yield Metric("step", "training steps taken")
    yield Metric("epoch", "epochs trained")
    yield Metric("lr", "learning rate")
    yield from curves(task)
    yield from scores("final", score, task)
    yield from scores("best", score, task)
    yield Metric("auc", f"time-mean validation {title}", score, +1, single=True, test=test)
    yield from scores("final", LOSS, task)
    yield from scores("best", LOSS, task)
    yield Metric("best_step", f"step of the best validation {title}", STEPS, single=True)
    # Positive where a network overfits.
    yield Metric(f"gap_{score}", f"train − test {title}", NUMBER, -1, single=True)
    yield Metric("gap_loss", "test − train loss", NUMBER, -1, single=True)
    # The whole budget where it was never reached.
    yield Metric("steps_to_tau", "steps to τ", STEPS, -1, single=True, test=test)
    yield Metric("tau_reached", f"whether validation {title} stayed at τ, 0 or 1", NUMBER, +1, single=True)
    yield Metric("total_steps", "steps of the whole training", STEPS, single=True)
    if task is REGRESSION:
        # A prediction times the second plus the first is a number as it was given; an RMSE is the second times the
        # root of a loss.
        yield Metric("target_mean", "mean of the training targets", single=True)
        yield Metric("target_std", "standard deviation of the training targets", single=True)


READINGS = (
    *probed(
        LIGHT,
        None,
        {
            "flow": "gradient flow R: log10 of the gradient norm at the first hidden layer over that at the last",
            "growth": "factor on the squared gradient norm from a layer to the one below",
        },
    ),
    *probed(
        LIGHT,
        EVERY,
        {
            "grad_activation": "norm of the gradient at the activation input; of the output layer at the logits",
            "grad_weight": "norm of the weights' gradient",
            "update_ratio": "size of a gradient step over that of the weights",
        },
    ),
    *probed(
        LIGHT,
        HIDDEN,
        {
            "mean": "mean of the activation outputs",
            "std": "standard deviation of the activation outputs",
            "saturation": "share of saturated outputs, of activations that have flat parts",
            "dead": "share of dead units, of activations that die",
            "nonpositive": "share of activation inputs that are not positive",
            "effective_lr": "learning rate over the squared norm of a row, with BN before the activation",
        },
    ),
    *probed(
        FULL,
        None,
        {
            "batch/loss": "loss of the probe batch with batch statistics",
            "bn_gap": "loss with batch statistics less that with running statistics",
            "landscape/loss_range": "range of the loss along a gradient step",
            "landscape/gradient_change": "change of the gradient along a gradient step",
            "landscape/beta": "effective smoothness along a gradient step",
        },
    ),
    *probed(
        FULL,
        HIDDEN,
        {
            "unit_q15": "15 % quantile of the first unit's activation input",
            "unit_q50": "median of the first unit's activation input",
            "unit_q85": "85 % quantile of the first unit's activation input",
            "spread": "85 % quantile less 15 % quantile of activation inputs, mean over units",
            "shift": "how far the quantiles of activation inputs moved since the last reading, mean over units",
            "angular_update": "angle in radians by which rows turned in the last step",
            "weight_cosine": "cosine of the weights and their gradient",
            "grad_bias": "norm of the biases' gradient",
            "running_variance": "mean running variance of BN",
        },
    ),
    *probed(
        FULL,
        ABOVE_FIRST,
        {
            "ics": "change of the gradient by the layers below: Santurkar's covariate shift",
            "ics_ratio": "change of gradients by the layers below",
            "ics_cosine": "cosine of the gradient before and after the layers below took their step",
            "dropout_ratio": "variance of linear outputs without dropout over that with it; not before norms but BN",
        },
    ),
    Metric("drift_{l}", "drift of activation inputs", single=True, level=FULL, layers=HIDDEN),
)
"""Of the probe batch, in runs of any task."""


def of_probes(task: Task) -> Iterable[Metric]:
    """Readings of the probe batch that not every task has, or has by another name."""
    titles = {f"batch/{task.score}": f"{task.title} on the probe batch with batch statistics"}
    if task is CLASSIFICATION:
        titles["mates"] = "how much outputs depend on batch mates"
    return probed(FULL, None, titles)


@cache
def metrics(task: Task) -> dict[str, Metric]:
    """Everything that the runs of a task can leave, by its name in the table."""
    rows = (*of_training(task), *of_probes(task), *READINGS)
    return {row.name: replace(row, task=task) for row in rows}


METRICS = metrics(REGRESSION) | metrics(CLASSIFICATION)
"""Of every task; a name that several have is that of a classification."""


def metric_of(name: str) -> Metric | None:
    """The row of a name that a run may have: `layer/3/std` is `layer/{l}/std`'s."""
    return METRICS.get(re.sub(r"(?<=^layer/)\d+(?=/)|(?<=^drift_)\d+$", "{l}", name))


@cache
def measured(hidden: int, task: Task = CLASSIFICATION) -> dict[str, Metric]:
    """Everything that a network of so many hidden layers can have measured, by its name there."""
    return {name: row for row in metrics(task).values() for name in row.names(hidden)}
