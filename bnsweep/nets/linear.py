"""Linear maps: the ordinary module, the stacked form, and what makes the first one fast.

Shapes: K members, G data seeds, g of a block, n members a data seed of a block, D inputs, H outputs, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.init import ELSEWHERE, Branch, initial_weight
from bnsweep.nets.layer import Kept, Layer, OverAll, Product
from bnsweep.nets.norm import bias_is_removed
from bnsweep.nets.weight_norm import WeightNormLinear, kept_of
from bnsweep.nets.workspace import Buffer, Workspace, runs_of

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack


@dataclass(frozen=True)
class Linear(Layer):
    """A linear map with its bias. Weights start by `init`, biases at 0."""

    block: int
    inputs: int
    outputs: int
    hidden: bool
    """Whether another linear map follows: `init.gain` and `lr.hidden` are for these, and BN may remove their bias."""
    branch: Branch = ELSEWHERE
    normed: bool = False
    """Whether some runs of the stack normalise its weights."""

    @property
    def name(self) -> str:
        return f"linear{self.block}"

    @property
    def first(self) -> bool:
        """Whether it sees the data, of which all members of a data seed have the same."""
        return self.block == 1

    @property
    def size(self) -> int:
        return self.outputs

    @property
    def flops(self) -> int:
        """No gradient is needed of the data."""
        return (4 if self.first else 6) * self.inputs * self.outputs

    @property
    def held(self) -> int:
        return 2 * self.outputs

    def module(self, config: RunConfig) -> nn.Module:
        kind = WeightNormLinear if self.normed and config.weight_norm else nn.Linear
        linear = kind(self.inputs, self.outputs, bias=config.model.bias, dtype=getattr(torch, config.train.dtype))
        if config.model.bias:
            linear.bias.requires_grad_(self._bias_rate(config) > 0)
        return linear

    def kept(self) -> dict[str, Kept]:
        weight = Kept(
            (self.outputs, self.inputs),
            self._initial,
            lambda config: config.lr.hidden if self.hidden else 1.0,
            drawn=True,
            as_product=self.first,
        )
        # A column, as the batched product adds it.
        bias = Kept((self.outputs, 1), lambda config, z: 0.0, self._bias_rate)
        return kept_of(weight, self.normed) | {"bias": bias}

    def _initial(self, config: RunConfig, z: Tensor) -> Tensor:
        gain = config.init.gain if self.hidden else 1.0
        return initial_weight(config.init, z) * (gain * self.branch.factor(config.init))

    def _bias_rate(self, config: RunConfig) -> float:
        return float(config.model.bias and not (self.hidden and bias_is_removed(config)))

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return FirstLinear(self, stack, gradients) if self.first else StackedLinear(self, stack, gradients)


class StackedLinear(OverAll):
    """A batched product over members."""

    def __init__(self, layer: Linear, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer, self._z, self._d = layer, f"z{layer.block}", f"d{layer.block % 2}"
        self._weight, self._bias = (stack.parameters[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        self._d_weight, self._d_bias = (gradients[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        self.bias = self._bias, self._d_bias
        self._normed, self._gradients = stack.normed.get(f"{layer.name}.weight"), gradients

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x.full, space("z", self.layer.outputs, x.full.shape[2]))

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        self._x = x.full
        return self._map(x.full, space(self._z, self.layer.outputs, x.full.shape[2]))

    def _map(self, x: Tensor, z: Buffer) -> Buffer:
        if self._normed is not None:
            self._normed.refresh()
        product(None if self.bias_above else self._bias, self._weight, x, z.full)
        return z

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        torch.bmm(d.full, self._x.transpose(1, 2), out=self._d_weight)
        if self._normed is not None:
            self._normed.backward(self._d_weight[self._normed.members], self._gradients)
        if not self.bias_above:
            torch.sum(d.full, 2, keepdim=True, out=self._d_bias)
        below = space(self._d, self.layer.inputs, d.full.shape[2])
        torch.bmm(self._weight.transpose(1, 2), d.full, out=below.full)
        return below


class FirstLinear(OverAll):
    """The map that sees the data [G, B, D]: for neighbours that share their batch one wide product."""

    def __init__(self, layer: Linear, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer, self._z = layer, f"z{layer.block}"
        weight, bias = (stack.parameters[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        self._d_bias = gradients[f"{layer.name}.bias"]
        self.bias = bias, self._d_bias
        self._blocks = [
            (members, seeds, weight[members].view(n, -1, layer.inputs), bias[members].view(n, -1, 1))
            for members, seeds in blocks_of([c.data_seed for c in stack.configs], stack.data_seeds)
            for n in [seeds.stop - seeds.start]
        ]
        """Members, their g data seeds, weights [g, n*H, D], biases [g, n*H, 1]."""
        self._name, self._gradients = f"{layer.name}.weight", gradients
        self._normed = stack.normed.get(self._name)
        normed = stack.configs[self._normed.members] if self._normed is not None else []
        self._normed_blocks = blocks_of([c.data_seed for c in normed], stack.data_seeds)
        """Members counted among those that normalise their weights, and their data seeds."""

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x.full, space("z", self.layer.outputs, x.full.shape[1]))

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        self._x = x.full
        return self._map(x.full, space(self._z, self.layer.outputs, x.full.shape[1]))

    def _map(self, x: Tensor, z: Buffer) -> Buffer:
        if self._normed is not None:
            self._normed.refresh()
        for members, seeds, w, b in self._blocks:
            out = z.full[members].view(len(w), -1, z.full.shape[2])
            product(None if self.bias_above else b, w, x[seeds].transpose(1, 2), out)
        return z

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        if not self.bias_above:
            torch.sum(d.full, 2, keepdim=True, out=self._d_bias)
        batches = [(members, self._x[seeds]) for members, seeds, _, _ in self._blocks]
        self.product = Product(self._name, d.full, batches)
        if self._normed is not None:
            own, batches = d.full[self._normed.members], [(m, self._x[seeds]) for m, seeds in self._normed_blocks]
            d_weight = own.new_zeros(len(own), self.layer.outputs, self.layer.inputs)
            Product(self._name, own, batches).add_to(d_weight)
            self._normed.backward(d_weight, self._gradients)
        return d


def product(bias: Tensor | None, w: Tensor, x: Tensor, out: Tensor) -> None:
    """out = w x + bias."""
    if bias is None:
        torch.bmm(w, x, out=out)
    else:
        torch.baddbmm(bias, w, x, out=out)


def blocks_of(data_seeds: Sequence[int], groups: Sequence[int]) -> list[tuple[slice, slice]]:
    """Slices of members and of `groups` such that, in each, every group has the same number of members, in order."""
    blocks: list[tuple[slice, slice]] = []
    for s in runs_of(data_seeds):
        g = groups.index(data_seeds[s.start])
        members, seen = blocks[-1] if blocks else (slice(0, 0), slice(0, 0))
        if g == seen.stop and (s.stop - s.start) * (seen.stop - seen.start) == members.stop - members.start > 0:
            blocks[-1] = slice(members.start, s.stop), slice(seen.start, g + 1)
        else:
            blocks.append((s, slice(g, g + 1)))
    return blocks
