"""The loss along a gradient step, as pure functions over stacks (Santurkar et al. 2018, section 3.2 and figure 4).

K members, A step lengths.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHAS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""Step lengths along -g in learning rates: the paper's [1/2, 4]."""


def loss_range(loss_AK: Tensor) -> Tensor:
    """[K] largest minus smallest loss over the steps, L(theta - alpha g)."""
    return loss_AK.amax(0) - loss_AK.amin(0)


def gradient_change(change_AK: Tensor) -> Tensor:
    """[K] max over the steps of ||g(theta) - g(theta - alpha g)||_2 ("gradient predictiveness": small is
    predictive)."""
    return change_AK.amax(0)


def effective_beta(change_AK: Tensor, length_AK: Tensor) -> Tensor:
    """[K] max over the steps of ||g(theta) - g(theta - alpha g)||_2 / ||alpha g||_2: the smoothness constant beta that
    the loss shows along the step. NaN where the gradient is 0."""
    beta_K: Tensor = (change_AK / length_AK).amax(0)
    return torch.where((length_AK > 0).all(0), beta_K, torch.nan)
