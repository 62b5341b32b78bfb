"""Diagnostics as pure functions: tensors [K, H, B] of one layer in, statistics [K] out (SCIENCE: a is the activation
input, h the activation output; K members, H units, B probe samples)."""

from __future__ import annotations

import torch
from torch import Tensor

SATURATED: dict[str, tuple[float, float]] = {"sigmoid": (0.05, 0.95), "tanh": (-0.95, 0.95)}
"""An output outside this range is saturated; other activations have no such notion."""


def norms(g: Tensor) -> Tensor:
    """Frobenius norm of each member's slice of g [K, ...]: of dL/da (flow) or dL/dW."""
    norm: Tensor = torch.linalg.vector_norm(g.flatten(1), dim=1)
    return norm


def means_stds(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (population) standard deviation of all activation outputs of a layer."""
    flat = h.flatten(1)
    mean = flat.mean(1)
    # Two passes: torch.var_mean is several times slower on a CPU.
    return mean, (flat - mean[:, None]).square_().mean(1).sqrt()


def saturation(h: Tensor, low_K: Tensor, high_K: Tensor) -> Tensor:
    """Share of outputs outside [low, high]; NaN for members whose bounds are NaN."""
    outside = (h < low_K.view(-1, 1, 1)).logical_or_(h > high_K.view(-1, 1, 1))
    return torch.where(low_K.isnan(), torch.nan, outside.flatten(1).sum(1).to(h.dtype) / h[0].numel())


def dead_units(h: Tensor, is_relu_K: Tensor) -> Tensor:
    """Share of units whose output is 0 on every probe sample; NaN for members that are not ReLU."""
    dead = (h.amax(dim=2) == 0).to(h.dtype).mean(1)  # a ReLU's output is never below 0
    return torch.where(is_relu_K, dead, torch.nan)


def histogram_counts(h: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Counts [K, bins] of outputs in equal bins over [low, high]; what is outside goes to the end bins, NaN to 0's."""
    scaled = h.flatten(1).nan_to_num().sub_(low).mul_(bins / (high - low))
    index = scaled.floor_().clamp_(0, bins - 1).long()
    counts = torch.zeros(len(h), bins, dtype=torch.long, device=h.device)
    return counts.scatter_add_(1, index, counts.new_ones(()).expand_as(index))
