"""What may rank, and the score of a run that diverged. Only the validation split ranks; test is quoted beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsweep.config.checks import ConfigError
from bnsweep.config.datasets import DATASETS
from bnsweep.records import DIVERGED, FINISHED

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_METRIC = "final_val_accuracy"


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    kind: str
    """accuracy, loss or steps: decides the direction, the unit and what divergence scores."""
    test: str
    """The test-split number quoted beside it."""

    @property
    def sign(self) -> int:
        """+1 where more is better."""
        return 1 if self.kind == "accuracy" else -1

    def text(self, value: float) -> str:
        if not math.isfinite(value):
            return "–"
        return {"accuracy": f"{100 * value:.1f} %", "loss": f"{value:.3f}", "steps": f"{value:,.0f}"}[self.kind]


METRICS = {
    m.name: m
    for m in (
        Metric(DEFAULT_METRIC, "final validation accuracy", "accuracy", "final_test_accuracy"),
        Metric("best_val_accuracy", "best validation accuracy", "accuracy", "best_test_accuracy"),
        Metric("auc", "time-mean validation accuracy", "accuracy", "final_test_accuracy"),
        Metric("final_val_loss", "final validation loss", "loss", "final_test_accuracy"),
        Metric("steps_to_tau", "steps to τ", "steps", "final_test_accuracy"),
    )
}


def metric_named(name: str) -> Metric:
    if name not in METRICS:
        raise ConfigError(f"metric={name}: must be one of {', '.join(METRICS)} (validation ranks, test only reports)")
    return METRICS[name]


def chance(runs: pd.DataFrame) -> pd.Series[float]:
    """Accuracy of guessing, 1/classes of each run's data set; NaN where the data set is not known."""
    import pandas as pd

    levels = {name: 1 / facts.classes for name, facts in DATASETS.items()}
    return column(runs, "data", text=True).map(levels).astype(float) if len(runs) else pd.Series(dtype=float)


def budget(runs: pd.DataFrame) -> pd.Series[float]:
    """Steps of a whole training: where a diverged run's steps-to-tau is censored. Mirrors RunConfig.total_steps."""
    import numpy as np

    pools = {name: float(facts.pool) for name, facts in DATASETS.items()}
    left = column(runs, "data", text=True).map(pools).astype(float) - column(runs, "data.validation")
    samples = column(runs, "data.subset").fillna(left)
    steps = np.ceil(samples / column(runs, "train.batch_size"))
    return column(runs, "train.steps").fillna(column(runs, "train.epochs") * steps)


def untrained(runs: pd.DataFrame) -> bool:
    """Whether no run of the sweep has a single step to train."""
    steps = budget(runs)
    return bool(len(steps) and (steps == 0).all())


def column(runs: pd.DataFrame, name: str, text: bool = False) -> pd.Series[float]:
    """A column, all missing where the frame has none."""
    import pandas as pd

    if name not in runs:
        return pd.Series(math.nan, index=runs.index, dtype=object if text else float)
    return runs[name] if text else pd.to_numeric(runs[name], errors="coerce").astype(float)


def scored(runs: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """The score of each run: as recorded when finished; chance level when diverged; missing when failed or missing.

    Divergence scores 1/classes for an accuracy, ln(classes) for a loss; steps-to-tau keeps what was reached before
    the divergence and is censored at the budget otherwise.
    """
    value = column(runs, metric.name)
    if metric.kind == "steps":
        diverged = value.fillna(budget(runs))
    else:
        level = chance(runs)
        diverged = level if metric.kind == "accuracy" else level.map(lambda share: -math.log(share))
    known = runs["status"] == FINISHED
    return value.where(known, diverged.where(runs["status"] == DIVERGED, math.nan))
