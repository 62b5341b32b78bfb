"""A network of the user's as one layer: torch.func calls all members of a stack as one function of their stacked
parameters and buffers, and autograd goes back through it. What it cannot vectorise is called member by member.

K members, G data seeds, B samples, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.config.network import NetworkFacts
from bnsweep.config.run import RunConfig
from bnsweep.nets.layer import Activated, Kept, Layer, OverAll
from bnsweep.nets.module_calls import (
    EVAL,
    RECORD,
    TRAIN,
    Calls,
    Given,
    OneByOne,
    Recorded,
    Tensors,
    Together,
    why_alone,
)
from bnsweep.nets.module_parts import build_module
from bnsweep.nets.workspace import Buffer, Workspace

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack


@dataclass(frozen=True)
class ModuleLayer(Layer):
    """All of a network."""

    facts: NetworkFacts
    outputs: int
    block: int = 1

    @property
    def name(self) -> str:
        return "network"

    @property
    def prefix(self) -> str:
        """Parameters have the names that the user's module gives them."""
        return ""

    def module(self, config: RunConfig) -> nn.Module:
        return build_module(config)

    def kept(self) -> dict[str, Kept]:
        def trained(config: RunConfig) -> float:
            return 1.0

        def nothing(config: RunConfig, z: Tensor) -> float:
            return 0.0

        return {
            name: Kept(shape, nothing, trained) if is_trained else Kept(shape, nothing)
            for name, shape, is_trained in self.facts.parameters
        }

    def start(self, config: RunConfig) -> Tensors:
        module = build_module(config)
        return {name: t.detach() for name, t in (*module.named_parameters(), *module.named_buffers())}

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedModule(self, stack, gradients)

    @property
    def size(self) -> int:
        return max(self.outputs, self.facts.widest)

    @property
    def flops(self) -> int:
        return self.facts.flops

    @property
    def held(self) -> int:
        """With gradients, and what is recorded of activations."""
        return 3 * self.facts.held


@dataclass
class Pass:
    """What a pass forward leaves for the way back."""

    given: Given
    """Whose parameters and zeros are leaves of the graph, and whose buffers are as the pass left them."""
    outputs: Tensor
    """[K, B, …] with their graph."""
    recorded: Recorded


class StackedModule(OverAll):
    """Gradients are those of autograd."""

    watched = True

    def __init__(self, layer: ModuleLayer, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self._layer, self._stack, self._gradients = layer, stack, gradients
        self._calls: Calls = (OneByOne if why_alone(layer.facts, stack.device) else Together)(stack)
        self._trained = [name for name, _, is_trained in layer.facts.parameters if is_trained]
        self._leaves = {n: p.detach().requires_grad_(n in self._trained) for n, p in stack.parameters.items()}
        self._in_order = stack.group_of_K.tolist() == [*range(len(stack.data_seeds))]
        """Whether each member has the data seed in its place."""
        self._pass: Pass

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        given = self._given(x, space, dict(self._stack.parameters), None)
        outputs, _ = self._calls(given, EVAL)
        return Buffer(self._by_output(outputs), [])

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        given = self._given(x, space, self._leaves, step)
        if step is None:
            given.zeros = self._zeros(x.full.shape[1])
        with torch.enable_grad():
            outputs, recorded = self._calls(given, TRAIN if step is not None else RECORD)
        self._pass = Pass(given, outputs, recorded)
        return Buffer(self._by_output(outputs.detach()), [])

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        made = self._pass
        wanted = [*(self._leaves[name] for name in self._trained), *made.given.zeros]
        d_outputs = d.full.transpose(1, 2).reshape(made.outputs.shape)
        found = torch.autograd.grad(made.outputs, wanted, d_outputs, materialize_grads=True, allow_unused=True)
        for name, gradient in zip(self._trained, found, strict=False):
            self._gradients[name].copy_(gradient)
        if self.watch is not None:
            for gradient, (a, _) in zip(reversed(found[len(self._trained) :]), reversed(made.recorded), strict=True):
                # A member that made other calls has no numbers of these.
                self.watch(by_unit(torch.where(a.detach().isnan(), torch.nan, gradient)))
        made.outputs = made.outputs.detach()  # lets go of the graph
        return d

    def activated(self) -> list[list[Activated]]:
        members = slice(0, len(self._stack))
        of_calls = zip(self._layer.facts.activations, self._pass.recorded, strict=True)
        return [[Activated(members, row, *(by_unit(t.detach()) for t in pair))] for (_, row), pair in of_calls]

    def keep_buffers(self, alive_K: Tensor | None) -> None:
        for name, kept in self._stack.buffers.items():
            new = self._pass.given.buffers[name]
            kept.copy_(new if alive_K is None else torch.where(alive_K.view(-1, *[1] * (kept.dim() - 1)), new, kept))

    def _given(self, x: Buffer, space: Workspace, parameters: Tensors, step: Tensor | None) -> Given:
        """With copies of the buffers, as only training keeps what a pass makes of them."""
        shape, shared, inputs = self._stack.configs[0].sample_shape, len(x.full) == 1, x.full
        if shared:
            inputs = inputs[0]
        elif not self._in_order:
            inputs = space("inputs", *x.full.shape[1:]).full
            torch.index_select(x.full, 0, self._stack.group_of_K, out=inputs)
        buffers = {name: buffer.clone() for name, buffer in self._stack.buffers.items()}
        return Given(parameters, buffers, inputs.view(*inputs.shape[:-1], *shape), shared, step)

    def _by_output(self, outputs: Tensor) -> Tensor:
        """[K, C, B]"""
        return outputs.reshape(*outputs.shape[:2], self._layer.outputs).transpose(1, 2).contiguous()

    def _zeros(self, samples: int) -> list[Tensor]:
        k, device, dtype = len(self._stack), self._stack.device, self._stack.dtype
        shapes = [(k, samples, *shape) for shape, _ in self._layer.facts.activations]
        return [torch.zeros(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes]


def by_unit(x: Tensor) -> Tensor:
    """[K, B, H, …] as [K, H, B·…]."""
    return x.transpose(1, 2).flatten(2) if x.dim() > 2 else x[:, None]
