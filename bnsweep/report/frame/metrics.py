"""What may rank, and the score of a run that diverged. Only the validation split ranks; test is quoted beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bnsweep.catalogue.metrics import LOSS, Metric, metrics
from bnsweep.catalogue.tasks import CLASSIFICATION, TASKS, Task
from bnsweep.config.checks import ConfigError
from bnsweep.records import DIVERGED, FINISHED

if TYPE_CHECKING:
    import pandas as pd

WHY = "validation ranks, test only reports"


def rankable(task: Task) -> dict[str, Metric]:
    """What may rank the runs of a task, by name; the default comes first."""
    return {name: metric for name, metric in metrics(task).items() if metric.test}


def default_metric(task: Task) -> Metric:
    return metrics(task)[f"final_val_{task.score}"]


def check_metric(name: str) -> None:
    """Raises ConfigError for one that ranks no task's runs."""
    names = dict.fromkeys(name for task in TASKS.values() for name in rankable(task))
    if name not in names:
        raise ConfigError(f"metric={name}: must be one of {', '.join(names)} ({WHY})")


def metric_named(name: str | None, task: Task) -> Metric:
    """The default where no name is given. Raises ConfigError for one that cannot rank runs of the task."""
    found = rankable(task)
    if name is not None and name not in found:
        raise ConfigError(f"metric={name}: must be one of {', '.join(found)} in a {task.name} ({WHY})")
    return default_metric(task) if name is None else found[name]


def task_of(runs: pd.DataFrame) -> Task:
    """The task that all runs have. Raises ConfigError where they have several."""
    given = runs["data.task"].fillna(CLASSIFICATION.name).unique() if "data.task" in runs else ()
    names = [str(name) for name in given]
    if len(names) > 1:
        says = "must be one in all runs of a sweep: their scores do not rank together"
        raise ConfigError(f"data.task={','.join(names)}: {says}")
    return TASKS[names[0]] if names else CLASSIFICATION


def chance(runs: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """What guessing gets in the score or the loss, by the number of classes of each run's data; NaN where that is not
    known."""
    of = metric.task.chance_loss if metric.kind == LOSS else metric.task.chance
    return column(runs, "classes").map(of)


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

    Divergence scores 1/classes for an accuracy, ln(classes) for its loss; 0 for R², 1 for its loss, where what is worse
    counts as much. All else is as recorded: steps-to-tau is what was reached before the divergence, else the whole
    budget.
    """
    value = diverged = column(runs, metric.name)
    if metric.is_score or metric.kind == LOSS:
        diverged = chance(runs, metric)
        if metric.task.capped:
            value = value.clip(lower=diverged) if metric.is_score else value.clip(upper=diverged)
    known = runs["status"] == FINISHED
    return value.where(known, diverged.where(runs["status"] == DIVERGED, math.nan))
