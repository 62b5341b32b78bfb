"""Diagnostics of a layer's activations as pure functions: tensors [K, H, B] in, statistics [K] out.

a is the activation input (after BN where BN stands before the activation, else what the linear map gave), h the
activation output; K members, H units, B probe samples. Members never mix: each is read as it would be alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PIECE = 2**18
"""Elements that temporary tensors hold on a CPU: they stay in its cache, and their memory is not asked for anew."""


def pieces(x: Tensor) -> Sequence[Tensor]:
    """x [K, ...] in pieces of a few members each; whole on a GPU."""
    if x.device.type != "cpu":
        return [x]
    pieces: Sequence[Tensor] = x.split(max(1, PIECE // max(1, x[0].numel())))
    return pieces


def means_stds(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (population) standard deviation of all activation outputs of a layer."""
    flat = h.flatten(1)
    mean = flat.mean(1)
    # Two passes: torch.var_mean is several times slower on a CPU.
    return mean, torch.linalg.vector_norm(flat - mean[:, None], dim=1) / flat.shape[1] ** 0.5


def saturation(h: Tensor, low: float, high: float) -> Tensor:
    """Share of outputs outside [low, high], which the catalogue calls flat: on the flat parts of a sigmoid or tanh
    (Glorot & Bengio 2010, section 3)."""
    return _share(torch.lt, h, low) + _share(torch.gt, h, high)


def dead_units(h: Tensor) -> Tensor:
    """Share of ReLU units whose output is 0 on every probe sample: no sample sends a gradient through them."""
    return (h.amax(dim=2) == 0).to(h.dtype).mean(1)  # a ReLU's output is never below 0


def nonpositive(a: Tensor) -> Tensor:
    """Share of activation inputs a <= 0; for ReLU the share of outputs that are 0, be their unit dead or not."""
    return _share(torch.le, a, 0.0)


def histogram_counts(h: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Counts [K, bins] of outputs in equal bins over [low, high]; what is outside goes to the end bins, NaN to 0's."""
    scaled = h.flatten(1).nan_to_num().sub_(low).mul_(bins / (high - low))
    index = scaled.clamp_(0, bins - 1).int()
    index += torch.arange(len(h), dtype=torch.int32, device=h.device)[:, None] * bins
    return torch.bincount(index.view(-1), minlength=len(h) * bins).view(-1, bins)


def _share(compare: Callable[..., Tensor], x: Tensor, bound: float) -> Tensor:
    # Into floats: to sum booleans is four times slower on a CPU.
    return compare(x, bound, out=torch.empty_like(x)).flatten(1).mean(1)
