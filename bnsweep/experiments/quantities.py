"""From the record of a run to one number: the language of `quantity:`.

flow@start, train/accuracy@end, bn_gap@20     a metric of the history: first reading, last, or after 20 steps
final_train_accuracy, auc, drift_2            a name of the summary
growth(5,17)@start                            growth of the squared gradient norm over these layers
ratio(A,B)@end, log10ratio(A,B)@end, difference(A,B)@end     of two metrics
largest(layer/*/ics), mean(layer/1/ics)       over all readings; `*`: over all hidden layers too
lr_tolerance, largest_lr, trainable_depth     of all runs of an arm: `sets.SETS`
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnsweep.catalogue.metrics import LEVELS, OFF, measured, metric_of
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.experiments.selection import Run
from bnsweep.experiments.sets import SETS
from bnsweep.records import DIVERGED

Curve = list[float]


@dataclass(frozen=True)
class Quantity:
    """What an expectation measures, read from its text."""

    text: str
    name: str
    """A metric, a summary name, or a function."""
    arguments: tuple[str, ...] = ()
    reading: str = ""
    """start, end, a number of steps, or empty: the whole curve, or none of a curve."""

    @property
    def of_sets(self) -> bool:
        """Whether it takes all runs of an arm at once."""
        return self.name in SETS


def parse_quantity(text: str, whole_curve: bool = False) -> Quantity:
    """`whole_curve`: the readings are compared one by one, so that none has to be named. Raises ConfigError."""
    found = re.fullmatch(r"([\w/]+)(?:\(([^()]*)\))?(?:@(start|end|\d+))?", text.replace(" ", ""))
    if found is None:
        says = "NAME, NAME@start, NAME@end, NAME@STEP or FUNCTION(...), with a reading where the function is of curves"
        raise ConfigError(f"quantity={text}: must be {says}")
    name, inner, reading = found[1], found[2], found[3] or ""
    arguments = tuple(inner.split(",")) if inner is not None else ()
    single = name in SETS or name in OVER_READINGS or is_summary(name)
    if inner is not None and name not in {**CURVES, **OVER_READINGS}:
        raise ConfigError(f"quantity={text}: no such function (there are {', '.join([*CURVES, *OVER_READINGS])})")
    if name in CURVES and inner is not None and len(arguments) != 2:
        raise ConfigError(f"quantity={text}: {name} takes two arguments")
    if name in OVER_READINGS and len(arguments) != 1:
        raise ConfigError(f"quantity={text}: {name} takes one metric")
    if single and (reading or whole_curve):
        raise ConfigError(f"quantity={text}: is one number of a run: it takes no reading, and has no deviation")
    if whole_curve and reading:
        raise ConfigError(f"quantity={text}: must have no reading: a deviation is of whole curves")
    if not single and not reading and not whole_curve:
        raise ConfigError(f"quantity={text}: needs a reading: @start, @end or @STEP")
    return Quantity(text, name, arguments, reading)


def is_summary(name: str) -> bool:
    """Whether it is one number of a run's summary."""
    row = metric_of(name)
    return row is not None and row.single


def check_known(quantity: Quantity, config: RunConfig) -> None:
    """Refuses what a run of this config does not measure. Raises ConfigError."""
    names = needed(quantity, config.model.layers)
    known = measured(config.model.layers, config.task)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            near = near or [other for other, row in known.items() if row.level == OFF]
            raise ConfigError(f"quantity={quantity.text}: {name}: no such metric (did you mean {', '.join(near)}?)")
    level = max((LEVELS.index(known[name].level) for name in names), default=0)
    if level > LEVELS.index(config.probes.name):
        raise ConfigError(
            f"quantity={quantity.text}: is measured under probes={LEVELS[level]} (in the experiment's file)"
        )
    steps = config.probed if level else config.evaluations
    if quantity.reading.isdigit() and int(quantity.reading) not in steps:
        some = ", ".join(map(str, steps if len(steps) < 9 else [*steps[:4], "...", *steps[-3:]]))
        raise ConfigError(f"quantity={quantity.text}: must be read after one of the steps {some}")


def needed(quantity: Quantity, hidden: int) -> list[str]:
    """The metrics that a quantity is made of, in a network of so many hidden layers."""
    if quantity.name == "growth" and quantity.arguments:
        first, last = (int(a) if a.isdigit() else 0 for a in quantity.arguments)
        if not 1 <= first < last <= hidden + 1:
            raise ConfigError(f"quantity={quantity.text}: must name two layers, from 1 to {hidden + 1}, in order")
        return [f"layer/{l}/grad_activation" for l in range(first, last + 1)]
    if quantity.name == "largest":
        return layer_names(quantity.arguments[0], hidden)
    if quantity.of_sets:
        return []
    return list(quantity.arguments) or [quantity.name]


def layer_names(name: str, hidden: int) -> list[str]:
    """The metrics that `*` stands for: those of all hidden layers that have it, or of all where none has."""
    every = list(dict.fromkeys(name.replace("*", str(l)) for l in range(1, hidden + 1)))
    return [each for each in every if each in measured(hidden)] or every


def measure(quantity: Quantity, run: Run) -> float:
    """One number; NaN where the run has none. A score that a diverged run lost is chance level."""
    if is_summary(quantity.name):
        value = run.record.summary.get(quantity.name, math.nan)
    elif quantity.name in OVER_READINGS:
        value = OVER_READINGS[quantity.name](run, quantity.arguments[0])
    else:
        value = at(curve(quantity, run), quantity.reading, run)
    lost = math.isnan(value) and run.record.status == DIVERGED
    task = run.config.task
    score = re.fullmatch(rf"(final_|best_)?(train|val|test)[/_]{task.score}", quantity.name)
    return task.chance(run.config.data.facts.classes) if lost and score else value


def curve(quantity: Quantity, run: Run) -> Curve:
    """One number an evaluation."""
    if quantity.arguments:
        return CURVES[quantity.name](run, *quantity.arguments)
    return metric(run, quantity.name)


def metric(run: Run, name: str) -> Curve:
    """One number an evaluation; NaN throughout where the run has no such metric."""
    return run.record.history.get(name, [math.nan] * len(run.record.history.get("step", ())))


def at(values: Curve, reading: str, run: Run) -> float:
    """The first reading, the last, or that after so many steps; NaN where there is none."""
    steps = run.record.history.get("step", [])
    wanted = {"start": steps[:1], "end": steps[-1:]}.get(reading) or ([float(reading)] if reading.isdigit() else [])
    return next((value for step, value in zip(steps, values, strict=True) if [step] == wanted), math.nan)


def growth(run: Run, first: str, last: str) -> Curve:
    """Factor on the squared gradient norm a backward step, fitted over the layers `first` to `last` (Yang et al. 2019,
    arXiv 1902.08129, Theorem 8): what `probes.gradients.growth` fits over all hidden layers."""
    import torch

    from bnsweep.probes.gradients import growth as rate

    norms_LE = [metric(run, f"layer/{l}/grad_activation") for l in range(int(first), int(last) + 1)]
    rates: Curve = rate(torch.tensor(norms_LE, dtype=torch.float64)).tolist()
    return rates


def pointwise(of_two: Callable[[float, float], float]) -> Callable[[Run, str, str], Curve]:
    """A function of two numbers as one of two metrics, reading by reading."""

    def combined(run: Run, a: str, b: str) -> Curve:
        return [of_two(x, y) for x, y in zip(metric(run, a), metric(run, b), strict=True)]

    return combined


def ratio(a: float, b: float) -> float:
    """NaN where b is 0."""
    return a / b if b else math.nan


def log10ratio(a: float, b: float) -> float:
    """NaN unless a / b is above 0."""
    return math.log10(a / b) if b and a / b > 0 else math.nan


def difference(a: float, b: float) -> float:
    """a less b."""
    return a - b


CURVES: dict[str, Callable[..., Curve]] = {
    "growth": growth,
    "ratio": pointwise(ratio),
    "log10ratio": pointwise(log10ratio),
    "difference": pointwise(difference),
}
"""Functions of two metrics (growth: of two layers), reading by reading."""


def largest(run: Run, name: str) -> float:
    """Largest absolute value over all readings; with `*` for the layer, over all hidden layers too."""
    layers = range(1, run.config.model.layers + 1)
    names = [name.replace("*", str(l)) for l in layers] if "*" in name else [name]
    return max((abs(value) for each in names for value in read(run, each)), default=math.nan)


def mean(run: Run, name: str) -> float:
    """Mean over the readings there are."""
    values = read(run, name)
    return sum(values) / len(values) if values else math.nan


def read(run: Run, name: str) -> Sequence[float]:
    """The readings there are of a metric that probes may not read every time; none of a run that diverged, whose last
    ones are missing for another reason."""
    return [] if run.record.status == DIVERGED else [value for value in metric(run, name) if not math.isnan(value)]


OVER_READINGS: dict[str, Callable[[Run, str], float]] = {"largest": largest, "mean": mean}
"""Functions of one metric over all its readings."""
