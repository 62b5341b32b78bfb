"""Skip connections: what a block's input is added to again where the run has `skip=on` (He et al. 2016, arXiv
1512.03385).

A `Skip` stands where a block begins and an `Add` where its sum is taken; runs without skips pass both over.
Shapes: K members, C channels, P positions, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.conv import Image
from bnsweep.nets.layer import Layer, OverAll
from bnsweep.nets.workspace import Buffer, Share, Workspace

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack


class Shortcut(nn.Module):
    """The input of a block in the shape of its output, without parameters: every so many positions of it, and zeros in
    the channels that it does not have (He et al. 2016, section 4.2, option A)."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Projection(nn.Sequential):
    """The input of a block in the shape of its output by a convolution of one position, with the run's normalisation
    behind it (section 3.3, option B)."""


class Addition(nn.Module):
    """The sum of a block's output and its shortcut."""

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return x + shortcut


class ResidualNetwork(nn.Sequential):
    """Modules one after the other; what a Shortcut or a Projection gives goes past those that follow, to the next
    Addition."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x
        for module in self:
            if isinstance(module, Shortcut | Projection):
                kept = module(x)
            else:
                x = module(x, kept) if isinstance(module, Addition) else module(x)
        return x


def skips(config: RunConfig) -> bool:
    return config.skip.name == "on"


@dataclass(frozen=True)
class Skip(Layer):
    """Where a block begins."""

    block: int
    """The first linear map of the residual block."""
    input: Image
    output: Image
    """Of the block."""
    stride: int = 1
    """Of the block."""

    @property
    def name(self) -> str:
        return f"skip{self.block}"

    @property
    def held(self) -> int:
        return 2 * self.output.numbers

    def module(self, config: RunConfig) -> nn.Module | None:
        return Shortcut(self.stride, self.output.channels - self.input.channels) if skips(config) else None

    def of_output(self, name: str, x: Buffer, space: Workspace) -> Buffer:
        """Memory in the shape of the block's output, for as many samples as x, which has that of its input."""
        samples = x.full.shape[2] // self.input.positions
        return space(name, self.output.channels, samples * self.output.positions, images=x.images)

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedSkip(self, stack)


@dataclass(frozen=True)
class Add(Layer):
    """Where a block's sum is taken."""

    block: int
    """The last linear map of the residual block."""

    @property
    def name(self) -> str:
        return f"add{self.block}"

    def module(self, config: RunConfig) -> nn.Module | None:
        return Addition() if skips(config) else None

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedAdd(stack)


def skipping(stack: Stack) -> list[int]:
    """The groups of neighbours that have skips."""
    return [n for n, neighbours in enumerate(stack.neighbours) if skips(stack.configs[neighbours.members.start])]


class StackedSkip(OverAll):
    """Puts a copy of the input by for `StackedAdd`, as what follows may overwrite it; of one block at a time."""

    def __init__(self, layer: Skip, stack: Stack) -> None:
        self.layer, self._groups = layer, skipping(stack)

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._keep(x, space)

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._keep(x, space)

    def _keep(self, x: Buffer, space: Workspace) -> Buffer:
        kept = self.layer.of_output("skip", x, space)
        for n in self._groups:
            if self.layer.input == self.layer.output:
                kept.shares[n].members.copy_(x.shares[n].members)
                continue
            kept.shares[n].members.zero_()
            self._there(kept.shares[n]).copy_(self._here(x.shares[n]))
        return x

    def _here(self, x: Share) -> Tensor:
        """The positions of the input that the shortcut takes."""
        return self.layer.input.of(x.members)[..., :: self.layer.stride, :: self.layer.stride]

    def _there(self, y: Share) -> Tensor:
        """The channels of the output that it gives."""
        return self.layer.output.of(y.members)[:, : self.layer.input.channels]

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        d_skip = self.layer.of_output("d_skip", d, space)
        for n in self._groups:
            self._here(d.shares[n]).add_(self._there(d_skip.shares[n]))
        return d


class StackedAdd(OverAll):
    """Adds what the last `StackedSkip` put by, in place."""

    def __init__(self, stack: Stack) -> None:
        self._groups = skipping(stack)

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._add(x, space)

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._add(x, space)

    def _add(self, x: Buffer, space: Workspace) -> Buffer:
        kept = space.like("skip", x)
        for n in self._groups:
            x.shares[n].members.add_(kept.shares[n].members)
        return x

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        d_skip = space.like("d_skip", d)
        for n in self._groups:
            d_skip.shares[n].members.copy_(d.shares[n].members)
        return d
