"""What a stack is trained to make small and what its score is counted from, by task.

K members, G data seeds, C outputs, B samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bnsweep.catalogue.tasks import CLASSIFICATION, REGRESSION, Task
from bnsweep.kernels import codes

PLACE_BELOW = 20_000
"""Logits from which a CPU tells three times as fast whether one is the largest as which one is."""


class Loss(ABC):
    """The loss of a sample, of which a batch has the mean, and the score of a split."""

    @abstractmethod
    def of_samples(self, outputs_KCB: Tensor, y_KB: Tensor) -> tuple[Tensor, Tensor]:
        """[K, B] loss of each sample, and what `gradient` takes."""

    @abstractmethod
    def gradient(self, kept: Tensor, y_KB: Tensor) -> Tensor:
        """d mean loss / d outputs [K, C, B]; may overwrite what `of_samples` kept."""

    @abstractmethod
    def by_kernel(self, outputs_KCB: Tensor, y_KB: Tensor, alive_K: Tensor, survived_K: Tensor) -> Tensor:
        """`gradient` in one kernel, which counts the step of the members whose loss is finite; others are alive no
        longer."""

    @abstractmethod
    def counts(self, outputs_KCB: Tensor, y_KB: Tensor) -> Tensor:
        """[K] sum over samples of what the score is counted from."""

    def add_totals(
        self, outputs_KCB: Tensor, y_KB: Tensor, loss_K: Tensor, count_K: Tensor, kernels: bool = False
    ) -> None:
        """Adds the sums over samples of losses and `counts`, float64; by `kernels` of Triton where there is one."""
        loss_K += self.of_samples(outputs_KCB, y_KB)[0].sum(1)
        count_K += self.counts(outputs_KCB, y_KB)

    @abstractmethod
    def score(self, mean_K: Tensor, y_GB: Tensor, group_of_K: Tensor) -> Tensor:
        """[K] score of a split: of the mean of its `counts`, and of all of its targets by data seed."""


class CrossEntropy(Loss):
    """Of classes, whose score is accuracy."""

    smoothing_K: Tensor | None = None

    def of_samples(self, outputs_KCB: Tensor, y_KB: Tensor) -> tuple[Tensor, Tensor]:
        log_p, right_KB = log_probabilities(outputs_KCB, y_KB)
        return right_KB.neg_(), log_p

    def gradient(self, kept: Tensor, y_KB: Tensor) -> Tensor:
        return logit_gradients(kept, y_KB)

    def by_kernel(self, outputs_KCB: Tensor, y_KB: Tensor, alive_K: Tensor, survived_K: Tensor) -> Tensor:
        from bnsweep.kernels.loss import cross_entropy

        return cross_entropy(outputs_KCB, y_KB, self.smoothing_K, alive_K, survived_K)

    def add_totals(
        self, outputs_KCB: Tensor, y_KB: Tensor, loss_K: Tensor, count_K: Tensor, kernels: bool = False
    ) -> None:
        if not kernels or not codes.fits(outputs_KCB.shape[1], codes.TOTALS_BLOCK):
            super().add_totals(outputs_KCB, y_KB, loss_K, count_K)
            return
        from bnsweep.kernels.loss import add_totals

        add_totals(outputs_KCB, y_KB, loss_K, count_K)

    def counts(self, outputs_KCB: Tensor, y_KB: Tensor) -> Tensor:
        return is_right(outputs_KCB, y_KB).sum(1)

    def score(self, mean_K: Tensor, y_GB: Tensor, group_of_K: Tensor) -> Tensor:
        return mean_K


class SmoothedCrossEntropy(CrossEntropy):
    """Trained on targets that give every class a share, and the right one the rest (Szegedy et al. 2016, arXiv
    1512.00567, section 7), as torch's cross_entropy(label_smoothing=...) has it. Only the gradient is of these: losses
    are told as those of other runs are."""

    def __init__(self, smoothing_K: Tensor) -> None:
        self.smoothing_K, self._smoothing_K11 = smoothing_K, smoothing_K.view(-1, 1, 1)

    def gradient(self, kept: Tensor, y_KB: Tensor) -> Tensor:
        return smoothed_gradients(kept, y_KB, self._smoothing_K11)


class SquaredError(Loss):
    """Of one number, whose score is R² (see `catalogue.tasks`)."""

    def of_samples(self, outputs_KCB: Tensor, y_KB: Tensor) -> tuple[Tensor, Tensor]:
        error_KB = outputs_KCB[:, 0] - y_KB
        return error_KB.square(), error_KB

    def gradient(self, kept: Tensor, y_KB: Tensor) -> Tensor:
        return kept.mul_(2 / y_KB.shape[1])[:, None]

    def by_kernel(self, outputs_KCB: Tensor, y_KB: Tensor, alive_K: Tensor, survived_K: Tensor) -> Tensor:
        from bnsweep.kernels.loss import squared_error

        return squared_error(outputs_KCB, y_KB, alive_K, survived_K)

    def counts(self, outputs_KCB: Tensor, y_KB: Tensor) -> Tensor:
        return (outputs_KCB[:, 0].double() - y_KB).square().sum(1)

    def score(self, mean_K: Tensor, y_GB: Tensor, group_of_K: Tensor) -> Tensor:
        variance_K = y_GB.double().var(1, correction=0)[group_of_K]
        perfect_K = (mean_K == 0).double()  # 1 or 0, as sklearn has it, where all targets are one number
        return torch.where(variance_K > 0, 1 - mean_K / variance_K, perfect_K)


LOSSES: dict[str, Loss] = {CLASSIFICATION.name: CrossEntropy(), REGRESSION.name: SquaredError()}
"""By task."""


def loss_of(task: Task, smoothing_K: Tensor) -> Loss:
    """Of members that smooth their labels so much."""
    return SmoothedCrossEntropy(smoothing_K) if bool(smoothing_K.any()) else LOSSES[task.name]


def log_probabilities(logits_KCB: Tensor, y_KB: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all classes [K, C, B] and of the right one [K, B]; minus the latter is the cross-entropy."""
    log_p = torch.log_softmax(logits_KCB, 1)
    return log_p, log_p.gather(1, y_KB[:, None])[:, 0]


def logit_gradients(log_p_KCB: Tensor, y_KB: Tensor) -> Tensor:
    """d mean cross-entropy / d logits [K, C, B]: (softmax - one-hot) / B. Overwrites the log-probabilities."""
    y_K1B = y_KB[:, None]
    minus_one = log_p_KCB.new_full((1, 1, 1), -1.0).expand(y_K1B.shape)
    return log_p_KCB.exp_().scatter_add_(1, y_K1B, minus_one).div_(y_KB.shape[1])


def smoothed_gradients(log_p_KCB: Tensor, y_KB: Tensor, smoothing_K11: Tensor) -> Tensor:
    """As `logit_gradients`, with (1 - smoothing) one-hot + smoothing / C in the one-hot's place. The same bits where it
    is 0."""
    y_K1B = y_KB[:, None]
    p_KCB = log_p_KCB.exp_().scatter_add_(1, y_K1B, (smoothing_K11 - 1).expand(y_K1B.shape))
    return p_KCB.sub_(smoothing_K11 / p_KCB.shape[1]).div_(y_KB.shape[1])


def is_right(logits_KCB: Tensor, y_KB: Tensor) -> Tensor:
    """[K, B] whether a sample's class has the largest logit: of equals, and of several NaN, the first."""
    if logits_KCB.device.type != "cpu" or logits_KCB.numel() < PLACE_BELOW:
        return first_is_right(logits_KCB, y_KB)
    largest_K1B = logits_KCB.amax(1, keepdim=True)
    right_KB = (logits_KCB.gather(1, y_KB[:, None]) == largest_K1B)[:, 0]
    equals_KB = torch.eq(logits_KCB, largest_K1B, out=torch.empty_like(logits_KCB)).sum(1)
    unclear = (equals_KB != 1).any(1).nonzero()[:, 0]  # more than one, or none where it is NaN
    if len(unclear):
        right_KB[unclear] = first_is_right(logits_KCB[unclear], y_KB[unclear])
    return right_KB


def first_is_right(logits_KCB: Tensor, y_KB: Tensor) -> Tensor:
    """`is_right` by the place of the largest."""
    return logits_KCB.max(1).indices == y_KB
