"""Fixup's scalars (Zhang et al. 2019, arXiv 1901.09321, section 3): one number a network that is added to all that a
linear map sees, and to all that an activation sees; and one that the output of a residual branch is multiplied by.

They train at the learning rate of biases. k neighbours, H units, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.layer import ByNeighbours, Kept, Layer
from bnsweep.nets.workspace import LayerBuffers, Share

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack


class Scaled(nn.Module):
    """x times a number, which a module may not have, plus another."""

    def __init__(self, scaled: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1, dtype=dtype)) if scaled else None
        self.bias = nn.Parameter(torch.zeros(1, 1, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.scale is None else x * self.scale.view(())) + self.bias.view(())


@dataclass(frozen=True)
class Scalars(Layer):
    """Those before a linear map, or behind it."""

    block: int
    numbers: int
    """That a sample has here."""
    place: str
    """in or out."""
    scaled: bool = False
    """Whether there is a multiplier: at the end of a residual branch."""

    @property
    def name(self) -> str:
        return f"scalars{self.block}_{self.place}"

    @property
    def held(self) -> int:
        return self.numbers

    def module(self, config: RunConfig) -> nn.Module | None:
        return Scaled(self.scaled, getattr(torch, config.train.dtype)) if config.has_scalars else None

    def kept(self) -> dict[str, Kept]:
        def rate(config: RunConfig) -> float:
            return float(config.has_scalars)

        scale = {"scale": Kept((1, 1), lambda config, z: 1.0, rate)} if self.scaled else {}
        return scale | {"bias": Kept((1, 1), lambda config, z: 0.0, rate)}

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> StackedScalars:
        return StackedScalars(self, stack, gradients)


class StackedScalars(ByNeighbours):
    """Of the neighbours that have them."""

    def __init__(self, layer: Scalars, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self._members = [n.members if stack.configs[n.members.start].has_scalars else None for n in stack.neighbours]
        self._bias, self._d_bias = (of[f"{layer.name}.bias"] for of in (stack.parameters, gradients))
        self._scale, self._d_scale = (of.get(f"{layer.name}.scale") for of in (stack.parameters, gradients))

    def acts(self, n: int) -> bool:
        return self._members[n] is not None

    def evaluate(self, n: int, buffers: LayerBuffers) -> None:
        x, members = buffers.x.members, self._members[n]
        if self._scale is None:
            torch.add(x, self._bias[members], out=buffers.y.members)
        else:
            torch.addcmul(self._bias[members], x, self._scale[members], out=buffers.y.members)

    def forward(self, n: int, buffers: LayerBuffers, step: Tensor | None) -> None:
        self.evaluate(n, buffers)

    def backward(self, n: int, buffers: LayerBuffers, d: Share, free: Share) -> None:
        members, over = self._members[n], (1, 2)
        self._d_bias[members] = d.members.sum(over, keepdim=True)
        if self._scale is not None and self._d_scale is not None:
            product = torch.mul(d.members, buffers.x.members, out=free.members)
            self._d_scale[members] = product.sum(over, keepdim=True)
            d.members.mul_(self._scale[members])
