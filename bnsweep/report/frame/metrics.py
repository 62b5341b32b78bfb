"""What may rank, and the score of a run that diverged. Only the validation split ranks; test is quoted beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bnsweep.catalogue.metrics import ACCURACY, LOSS, METRICS, Metric
from bnsweep.config.checks import ConfigError
from bnsweep.records import DIVERGED, FINISHED

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_METRIC = "final_val_accuracy"
RANKABLE = {name: metric for name, metric in METRICS.items() if metric.test}


def metric_named(name: str) -> Metric:
    """Raises ConfigError for one that cannot rank."""
    if name not in RANKABLE:
        raise ConfigError(f"metric={name}: must be one of {', '.join(RANKABLE)} (validation ranks, test only reports)")
    return RANKABLE[name]


def chance(runs: pd.DataFrame) -> pd.Series[float]:
    """Accuracy of guessing, 1/classes of each run's data; NaN where the number of classes is not known."""
    return 1 / column(runs, "classes")


def untrained(runs: pd.DataFrame) -> bool:
    """Whether no run of the sweep has a single step to train. Runs of old stores do not say how many steps they have:
    no epochs are none."""
    steps = column(runs, "total_steps").fillna(column(runs, "train.steps")).fillna(column(runs, "train.epochs"))
    return bool(len(steps) and (steps == 0).all())


def column(runs: pd.DataFrame, name: str) -> pd.Series[float]:
    """A column of numbers, all missing where the frame has none."""
    import pandas as pd

    if name not in runs:
        return pd.Series(math.nan, index=runs.index, dtype=float)
    return pd.to_numeric(runs[name], errors="coerce").astype(float)


def reached(runs: pd.DataFrame) -> pd.Series[float]:
    """Of each run: 1 where its steps to τ end at τ, 0 where they are its whole budget (or what was left of it when it
    diverged), NaN where that is not known."""
    known = column(runs, "tau_reached")
    return known.mask(known.isna() & (runs["status"] == DIVERGED), 0.0)


def scored(runs: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """The score of each run: as recorded when finished; chance level when diverged; missing when failed or missing.

    Divergence scores 1/classes for an accuracy, ln(classes) for a loss. All else is as recorded: steps-to-tau is what
    was reached before the divergence, else the whole budget.
    """
    value, guess = column(runs, metric.name), chance(runs)
    diverged = value
    if metric.kind == ACCURACY:
        diverged = guess
    elif metric.kind == LOSS:
        diverged = guess.map(lambda share: -math.log(share))
    known = runs["status"] == FINISHED
    return value.where(known, diverged.where(runs["status"] == DIVERGED, math.nan))
