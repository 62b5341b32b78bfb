"""An activation as networks run it: the module of the ordinary network, and the kernels of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from bnsweep.catalogue.activations import ACTIVATIONS, Functions
from bnsweep.config.run import RunConfig
from bnsweep.kernels import codes
from bnsweep.nets.layer import ByNeighbours, Layer
from bnsweep.nets.workspace import LayerBuffers, Share
from bnsweep.own.functions import own_activation

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

Forward = Callable[[Tensor, Tensor], object]
Backward = Callable[[Tensor, Tensor, Tensor], object]


@cache
def functions(name: str) -> Functions:
    """What the catalogue's row of that name computes, or a function of the user's."""
    of_torch = ACTIVATIONS[name].functions
    return Functions(own_activation(name)) if of_torch is None else of_torch(torch)


def activate(a: Tensor, name: str) -> Tensor:
    """One row's function, which torch's modes see as one, whatever it calls."""
    if has_torch_function_unary(a):
        h: Tensor = handle_torch_function(activate, (a,), a, name)
        return h
    return functions(name).plain(a)


class Activation(nn.Module):
    """One row of the catalogue as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        functions(name)  # one of the user's is imported and tried now, and not inside of vmap

    def forward(self, a: Tensor) -> Tensor:
        return activate(a, self.name)

    def extra_repr(self) -> str:
        return self.name


@cache
def kernels(name: str) -> tuple[Forward, Backward]:
    """(a, h): h = f(a) written into h; (d, a, h): d = dL/dh turned into dL/da in place."""
    row = functions(name)
    if row.forward is not None and row.backward is not None:
        return row.forward, row.backward
    return by_autograd(row.plain)


def has_kernels(name: str) -> bool:
    """Whether a stack runs this activation by kernels of its own; autograd does it more slowly."""
    return functions(name).backward is not None


def by_autograd(f: Callable[[Tensor], Tensor]) -> tuple[Forward, Backward]:
    """Kernels of a function that has none."""

    def forward(a: Tensor, h: Tensor) -> None:
        h.copy_(f(a))

    def backward(d: Tensor, a: Tensor, h: Tensor) -> None:
        with torch.enable_grad():
            leaf = a.detach().requires_grad_()
            (slope,) = torch.autograd.grad(f(leaf), leaf, d)
        d.copy_(slope)

    return forward, backward


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """The activation that follows a linear map."""

    block: int
    units: int
    positions: int = 1

    @property
    def name(self) -> str:
        return f"activation{self.block}"

    @property
    def held(self) -> int:
        """Its output, and what a BN beside it keeps, each with a gradient."""
        return 4 * self.units * self.positions

    def module(self, config: RunConfig) -> nn.Module:
        return Activation(config.activation.name)

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> StackedActivation:
        return StackedActivation(stack)


class StackedActivation(ByNeighbours):
    """Leaf by leaf of the neighbours: those with the same activation."""

    watched = True
    output_needed = True

    def __init__(self, stack: Stack) -> None:
        self._names = [n.activations for n in stack.neighbours]
        self._kernels = [[kernels(name) for name in n.activations] for n in stack.neighbours]

    def acts(self, n: int) -> bool:
        return True

    def fusible(self, n: int) -> bool:
        return all(name in codes.ACTIVATIONS for name in self._names[n])

    def evaluate(self, n: int, buffers: LayerBuffers) -> None:
        for (function, _), a, h in zip(self._kernels[n], buffers.x.leaves, buffers.y.leaves, strict=True):
            function(a, h)

    def forward(self, n: int, buffers: LayerBuffers, step: Tensor | None) -> None:
        self.evaluate(n, buffers)

    def backward(self, n: int, buffers: LayerBuffers, d: Share, free: Share) -> None:
        for (_, gradient), *leaf in zip(self._kernels[n], d.leaves, buffers.x.leaves, buffers.y.leaves, strict=True):
            gradient(*leaf)
