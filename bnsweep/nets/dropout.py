"""Dropout: the ordinary modules and the stacked form. Shapes: K members, S seeds, H units, B samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.catalogue.activations import SELU
from bnsweep.config.run import RunConfig
from bnsweep.nets.chance import dropout_uniforms
from bnsweep.nets.layer import Layer, OverAll
from bnsweep.nets.workspace import Buffer, Workspace

if TYPE_CHECKING:
    from bnsweep.kernels.dropout import Drops
    from bnsweep.nets.stack import Stack


DROPPED = -math.prod(SELU)
"""What alpha dropout has in place of a dropped unit's output."""


def scaled_in_training(config: RunConfig) -> bool:
    """Whether kept outputs are divided by 1 - p in training, as torch does, rather than multiplied by it at test."""
    return config.model.dropout_scaling == "train"


def is_alpha(config: RunConfig) -> bool:
    return config.model.dropout_kind == "alpha"


def multiple(config: RunConfig) -> float:
    """What kept outputs are divided by in training."""
    p = config.model.dropout
    if is_alpha(config):
        return math.sqrt((1 - p) * (1 + p * DROPPED**2))
    return 1 - p if scaled_in_training(config) else 1


class UnscaledDropout(nn.Module):
    """Dropout as first published: units are dropped in training, and at test all outputs are multiplied by the share
    that was kept (Srivastava et al. 2014, section 4)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.p) * (1 - self.p) if self.training else h * (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout of a hidden layer's outputs."""

    block: int
    units: int

    @property
    def name(self) -> str:
        return f"dropout{self.block}"

    def module(self, config: RunConfig) -> nn.Module | None:
        p = config.model.dropout
        if p == 0:
            return None
        if is_alpha(config):
            return nn.AlphaDropout(p)
        return nn.Dropout(p) if scaled_in_training(config) else UnscaledDropout(p)

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> StackedDropout:
        return StackedDropout(self, stack)


class StackedDropout(OverAll):
    """Drops the same units in every arm of a seed."""

    def __init__(self, layer: Dropout, stack: Stack) -> None:
        self._layer = layer
        self._seeds_S = torch.tensor(stack.seeds, device=stack.device)
        self._seed_of_K = stack.seed_of_K
        self._rate_K11 = stack.scalars(lambda c: c.model.dropout).view(-1, 1, 1)
        self._multiple_K11 = stack.scalars(multiple).view(-1, 1, 1)
        at_test = stack.scalars(lambda c: 1.0 if scaled_in_training(c) else 1 - c.model.dropout)
        self._at_test_K11 = None if bool((at_test == 1).all()) else at_test.view(-1, 1, 1)
        """What outputs are multiplied by at test."""
        alpha_K11 = stack.scalars(lambda c: DROPPED * is_alpha(c)).view(-1, 1, 1) / self._multiple_K11
        self._dropped_K11 = alpha_K11 if bool(alpha_K11.any()) else None
        """What is added in training where a unit is dropped; less the mean of that everywhere."""
        self._factor: Tensor | None = None
        """Of the last forward pass, where no kernel took it."""
        self._step: Tensor | None = None
        """Of the last forward pass, where a kernel took it."""

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        if self._at_test_K11 is not None:
            x.full.mul_(self._at_test_K11)
        return x

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        """Without a `step` nothing is dropped, and outputs are scaled as at test."""
        self._step = step if self.kernels else None
        if self._step is not None:
            y = space.like(f"dropped{self._layer.block}", x)
            self._drops.forward(x.full, y.full, self._step)
            return y
        self._factor = self._at_test_K11 if step is None else self._draw(x.full, step)
        if self._factor is None:
            return x
        y = space.like(f"dropped{self._layer.block}", x)
        torch.mul(x.full, self._factor, out=y.full)
        if self._dropped_K11 is not None and step is not None:
            y.full.add_((self._factor == 0).to(y.full.dtype).sub_(self._rate_K11).mul_(self._dropped_K11))
        return y

    def _draw(self, x: Tensor, step: Tensor) -> Tensor:
        """0, or one over `multiple`."""
        uniform_SHB = dropout_uniforms(self._seeds_S, step, self._layer.block - 1, x.shape[1], x.shape[2])
        return (uniform_SHB[self._seed_of_K] >= self._rate_K11) / self._multiple_K11

    @cached_property
    def _drops(self) -> Drops:
        from bnsweep.kernels.dropout import Drops

        rate_K = self._rate_K11.flatten()
        return Drops(
            seed=self._seeds_S[self._seed_of_K],
            threshold=(rate_K.double() * 2**32).ceil().long(),
            factor=1 / self._multiple_K11.flatten(),
            share=rate_K,
            added=None if self._dropped_K11 is None else self._dropped_K11.flatten(),
            layer=self._layer.block,
        )

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        if self._step is not None:
            self._drops.backward(d.full, self._step)
        elif self._factor is not None:
            d.full.mul_(self._factor)
        return d
