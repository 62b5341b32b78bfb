"""Shortcuts by a convolution, option B of He et al. 2016 (arXiv 1512.03385, section 3.3): a convolution of one position
with the stride of the block, and behind it the normalisation that the run has before its activations.

Runs that have such shortcuts share no stack with others. K members, C channels, P positions, B samples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from bnsweep.config.network import MOST_LAYERS
from bnsweep.config.run import RunConfig
from bnsweep.nets.conv import Convolution
from bnsweep.nets.layer import Kept, OverAll
from bnsweep.nets.norm import Norm, StackedNorm
from bnsweep.nets.residual import Projection, Skip
from bnsweep.nets.workspace import Buffer, LayerBuffers, Workspace

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack


@dataclass(frozen=True)
class ProjectedSkip(Skip):
    """Where a block begins that changes the shape of what it is given."""

    normalised: bool = True
    """Whether a normalisation may stand behind the convolution."""
    weights_normed: bool = False
    """Whether some runs of the stack normalise the convolution's weights."""

    @property
    def conv(self) -> Convolution:
        """It has the number of the block's last one, beside which it stands: on the way back that one's memory is
        free by then."""
        of, normed = (self.block + 1, self.input, self.output.channels, 1, self.stride), self.weights_normed
        return Convolution(*of, within=self.name, normed=normed)

    @property
    def norm(self) -> Norm:
        """By its number noise is drawn: no other layer has it."""
        number, output = MOST_LAYERS + self.block, self.output
        return Norm(number, output.channels, "before", output.positions, images=True, within=self.name)

    @property
    def flops(self) -> int:
        return self.conv.flops

    @property
    def held(self) -> int:
        return super().held + self.conv.held

    def module(self, config: RunConfig) -> nn.Module | None:
        modules = {"conv": self.conv.module(config), "bn": self.norm.module(config) if self.normalised else None}
        return Projection(OrderedDict((name, module) for name, module in modules.items() if module is not None))

    def kept(self) -> dict[str, Kept]:
        def only_before(rate: Callable[[RunConfig], float]) -> Callable[[RunConfig], float]:
            return lambda config: rate(config) if config.placement == "before" else 0.0

        found = {f"conv.{name}": replace(kept, shortcut=True) for name, kept in self.conv.kept().items()}
        if self.normalised:
            for name, kept in self.norm.kept().items():
                found[f"bn.{name}"] = replace(kept, rate=only_before(kept.rate), shortcut=True)
        return found

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedProjection(self, stack, gradients)


Call = tuple[StackedNorm, int, LayerBuffers]
"""A normalisation for some neighbours."""


class StackedProjection(OverAll):
    """Puts its output by for `StackedAdd`."""

    def __init__(self, layer: ProjectedSkip, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer, self._conv = layer, layer.conv.stacked(stack, gradients)
        self._norm = layer.norm.stacked(stack, gradients) if layer.normalised else None
        self._ran: list[Call] = []
        """Of the last forward pass."""

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        for norm, n, buffers in self._calls(self._conv.evaluate(x, space), space):
            norm.evaluate(n, buffers)
        return x

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        self._ran = self._calls(self._conv.forward(x, space, step), space)
        for norm, n, buffers in self._ran:
            norm.forward(n, buffers, step)
        return x

    def _calls(self, z: Buffer, space: Workspace) -> list[Call]:
        """Neighbours whose normalisation puts the convolution's output z by; that of the others is put by here."""
        kept, calls = space.like("skip", z), []
        for n, (given, put_by) in enumerate(zip(z.shares, kept.shares, strict=True)):
            if self._norm is not None and self._norm.acts(n):
                calls.append((self._norm, n, LayerBuffers(given, put_by, given)))
            else:
                put_by.members.copy_(given.members)
        return calls

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        d_skip = self.layer.of_output("d_skip", d, space)
        free = space.like("d_spare", d_skip)
        for norm, n, buffers in self._ran:
            norm.backward(n, buffers, d_skip.shares[n], free.shares[n])
        d.full.add_(self._conv.backward(d_skip, space).full)
        return d
