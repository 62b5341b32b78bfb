"""An activation as networks run it: the module of the ordinary network, and the kernels of a stack."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from bnsweep.catalogue.activations import ACTIVATIONS, Functions

Forward = Callable[[Tensor, Tensor], object]
Backward = Callable[[Tensor, Tensor, Tensor], object]


@cache
def functions(name: str) -> Functions:
    return ACTIVATIONS[name].functions(torch)


class Activation(nn.Module):
    """One row of the catalogue as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, a: Tensor) -> Tensor:
        return functions(self.name).plain(a)

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
