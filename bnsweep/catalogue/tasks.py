"""The tasks: what is predicted, how well counts as learned, and what guessing gets. One row each.

The loss of a classification is cross-entropy in nats. That of a regression is the mean of (prediction - target)²,
without a factor of 1/2, of a target with mean 0 and variance 1 over the training samples: it is counted in variances of
the target. R² is 1 - SSE / SST, SST about the mean of the very samples that are predicted (sklearn.metrics.r2_score).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    name: str
    score: str
    """What the names of metrics call its score (`final_val_accuracy`), and the kind of those metrics."""
    title: str
    """The score as text writes it."""
    tau: float
    """Validation score that counts as learned where train.tau is null. That of a regression is low, as noise bounds R²:
    at 0.45 for sklearn's diabetes."""
    chance: Callable[[float], float]
    """Score of guessing, by the number of classes."""
    chance_loss: Callable[[float], float]
    """Loss of guessing, by the number of classes."""
    loss_unit: str
    capped: bool
    """Whether what is worse than guessing counts as guessing wherever runs are averaged or compared, and in single
    numbers made of several scores. R² has no lower bound: one run of -1,000 would be all that a mean tells, and a run
    that diverged, which counts as guessing, would stand before one that nearly did."""

    def counted(self, score: float) -> float:
        """A score as it counts in numbers made of several."""
        return max(score, self.chance(math.nan)) if self.capped else score


CLASSIFICATION = Task(
    "classification",
    score="accuracy",
    title="accuracy",
    tau=0.9,
    chance=lambda classes: 1 / classes,
    chance_loss=lambda classes: -math.log(1 / classes),
    loss_unit="nats",
    capped=False,
)
REGRESSION = Task(
    "regression",
    score="r2",
    title="R²",
    tau=0.3,
    chance=lambda classes: 0.0,
    chance_loss=lambda classes: 1.0,
    loss_unit="variances",
    capped=True,
)
TASKS = {task.name: task for task in (CLASSIFICATION, REGRESSION)}
