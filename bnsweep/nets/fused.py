"""Normalisation and activation of a stack's members by the kernels of `bnsweep.kernels`: one call forward, one back.

Nothing is left of what an activation saw and gave, so that probes take an engine without kernels. Members that have
something which kernels do not know (another normalisation, noise, a function of the user's) go the way of `Between`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnsweep.kernels import codes
from bnsweep.kernels.codes import ACTIVATIONS, PLACES
from bnsweep.nets.activation import StackedActivation
from bnsweep.nets.engine import Between
from bnsweep.nets.layer import ByNeighbours, OverAll
from bnsweep.nets.norm import StackedNorm, epsilon
from bnsweep.nets.workspace import Buffer, Workspace, channels_inside

if TYPE_CHECKING:
    from bnsweep.kernels.rows import Rows
    from bnsweep.nets.stack import Stack


class FusedBetween(OverAll):
    """A `Between` whose members are mostly run by kernels; all of them go its own way where a batch that is trained on
    is too long, or where images lie with their channels side by side."""

    def __init__(
        self,
        number: int,
        layers: Sequence[ByNeighbours],
        stack: Stack,
        gradients: Mapping[str, Tensor],
        below: OverAll | None,
    ) -> None:
        """What runs right `below`: kernels add its bias, where they serve all members."""
        others = [n for n in range(len(stack.neighbours)) if not all(is_known(layer, n) for layer in layers)]
        self._all, self._others = Between(number, layers, stack), Between(number, layers, stack, others)
        self._bias = None if others or below is None else below.bias
        if below is not None:
            below.bias_above = self._bias is not None
        self._rows = rows_of(layers, others, stack, gradients, self._bias)

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        if channels_inside(x.full):
            return self._all.evaluate(self._biased(x), space)
        y = self._others.evaluate(x, space)
        self._rows.evaluate(x.full, y.full)
        return y

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        self._x, self._fits = x.full, x.full.shape[2] <= codes.LONGEST_ROW and not channels_inside(x.full)
        if not self._fits:
            return self._all.forward(self._biased(x), space, step)
        y = self._others.forward(x, space, step)
        self._rows.forward(x.full, y.full)
        return y

    def _biased(self, x: Buffer) -> Buffer:
        if self._bias is not None:
            x.full.add_(self._bias[0])
        return x

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        if not self._fits:
            d = self._all.backward(d, space)
            if self._bias is not None:
                torch.sum(d.full, 2, keepdim=True, out=self._bias[1])
            return d
        d = self._others.backward(d, space)
        self._rows.backward(d.full, self._x)
        return d


def is_known(layer: ByNeighbours, n: int) -> bool:
    """Whether kernels have this layer for these neighbours, or these pass it over."""
    return not layer.acts(n) or layer.fusible(n)


def rows_of(
    layers: Sequence[ByNeighbours],
    others: Sequence[int],
    stack: Stack,
    gradients: Mapping[str, Tensor],
    bias: tuple[Tensor, Tensor] | None,
) -> Rows:
    """What the kernels take for all members but those of the groups `others`."""
    from bnsweep.kernels.rows import Rows

    norms = {layer.layer.place: layer.layer for layer in layers if isinstance(layer, StackedNorm)}
    activated = any(isinstance(layer, StackedActivation) for layer in layers)
    names = [c.activation.name if activated and c.activation.name in ACTIVATIONS else "identity" for c in stack.configs]
    places = [c.placement if c.placement in norms else "none" for c in stack.configs]
    for n in others:
        members = stack.neighbours[n].members
        places[members] = ["elsewhere"] * (members.stop - members.start)

    def known_by(words: Sequence[str], table: Sequence[str]) -> Tensor:
        return torch.tensor([table.index(word) for word in words], device=stack.device, dtype=torch.int32)

    def of_norm(tensors: Mapping[str, Tensor], name: str) -> Tensor:
        norm = next(iter(norms.values()), None)
        return stack.rest.flat[:0] if norm is None else tensors[f"{norm.name}.{name}"]

    return Rows(
        bias=None if bias is None else bias[0],
        d_bias=None if bias is None else bias[1],
        gamma=of_norm(stack.parameters, "weight"),
        beta=of_norm(stack.parameters, "bias"),
        d_gamma=of_norm(gradients, "weight"),
        d_beta=of_norm(gradients, "bias"),
        mean=of_norm(stack.batch, "running_mean"),
        variance=of_norm(stack.batch, "running_var"),
        running_mean=of_norm(stack.running, "running_mean"),
        running_variance=of_norm(stack.running, "running_var"),
        kind=known_by(names, ACTIVATIONS),
        place=known_by(places, PLACES),
        eps=stack.scalars(epsilon),
    )
