"""Runs a stack forward and backward through its layers, written out in place of autograd: nothing is stored that need
not be, and memory is kept from step to step.

The engine knows the list of layers and nothing of what is in them. Shapes: K members, j of a leaf, G data seeds,
B samples, D inputs, H units, C classes. Activations are [K, H, B]: a member's numbers lie side by side, so neighbours
that share an activation or a BN setting are views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.nets.layer import Activated, ByNeighbours, OverAll, Product
from bnsweep.nets.stack import Stack
from bnsweep.nets.workspace import Buffer, LayerBuffers, Share, Workspace


class Engine:
    """Passes over a stack. Tensors it returns are valid until its next pass."""

    def __init__(self, stack: Stack, memory: dict[str, Tensor] | None = None, kernels: bool = False) -> None:
        """`memory` may be shared by engines of which one at a time is in use. `kernels`: whether those of
        Triton are taken, which leave nothing for `watch` and `activated` to see."""
        self.stack = stack
        self.gradients = stack.rest.alike()
        """What `backward` leaves: gradients of all parameters but those that `products` are of."""
        self._space = Workspace(len(stack), stack.neighbours, stack.device, stack.dtype, stack.channels_inside, memory)
        self._layers: list[OverAll] = []
        alike: list[ByNeighbours] = []
        for layer in (layer.stacked(stack, self.gradients) for layer in stack.layers):
            if layer is None:
                continue
            if isinstance(layer, ByNeighbours):
                alike.append(layer)
                continue
            self._layers += [self._between(alike, kernels)] if alike else []
            self._layers.append(layer)
            alike = []
        for layer in self._layers:
            layer.kernels = kernels
        assert not alike, "the last layer gives the logits of all members"
        self._watched = [layer for layer in self._layers if layer.watched]

    def _between(self, layers: Sequence[ByNeighbours], kernels: bool) -> OverAll:
        number = len(self._layers)
        if not kernels:
            return Between(number, layers, self.stack)
        from bnsweep.nets.fused import FusedBetween

        return FusedBetween(number, layers, self.stack, self.gradients, self._layers[-1] if self._layers else None)

    @torch.no_grad()
    def evaluate(self, x_GBD: Tensor) -> Tensor:
        """Logits [K, C, B] with BN's running statistics (eval mode)."""
        x = Buffer(x_GBD, [])
        for layer in self._layers:
            x = layer.evaluate(x, self._space)
        return x.full

    @torch.no_grad()
    def forward(self, x_GBD: Tensor, step: Tensor | None = None) -> Tensor:
        """Logits [K, C, B] with the batch's BN statistics, which are left in `stack.batch` (training mode). Units are
        dropped, and noise is put behind BN, only where a `step` is given; outputs are then scaled as in training, else
        as at test."""
        x = Buffer(x_GBD, [])
        for layer in self._layers:
            x = layer.forward(x, self._space, step)
        return x.full

    @torch.no_grad()
    def backward(self, d_logits: Tensor, watch: Callable[[Tensor], None] | None = None) -> None:
        """From dL/dlogits [K, C, B] to the gradients of all parameters: `gradients` and `products`.

        L is the sum of the members' losses, which share no parameter. `watch` sees dL/da [K, H, B] of every hidden
        layer, from the last one down.
        """
        for layer in self._watched:
            layer.watch = watch
        d = Buffer(d_logits, [])
        for layer in reversed(self._layers):
            d = layer.backward(d, self._space)

    @property
    def products(self) -> list[Product]:
        """The gradients that are left as two factors."""
        return [layer.product for layer in self._layers if layer.product is not None]

    @property
    def activated(self) -> list[list[Activated]]:
        """Of every hidden layer, what its activations saw and gave in the last forward pass, members in order."""
        return [activated for layer in self._watched for activated in layer.activated()]

    @torch.no_grad()
    def keep_buffers(self, alive_K: Tensor | None) -> None:
        """Buffers become what the last forward pass made of them; None: all members are alive."""
        for layer in self._layers:
            layer.keep_buffers(alive_K)


@dataclass(frozen=True)
class Call:
    """One layer for some neighbours."""

    layer: ByNeighbours
    n: int
    buffers: LayerBuffers


@dataclass(frozen=True)
class Route:
    """What runs between two buffers, layer by layer and group by group."""

    x: Buffer
    y: Buffer
    calls: list[Call]
    back: list[tuple[ByNeighbours, list[Call]]]
    """Layer by layer, from the last."""


class HandsOn(ByNeighbours):
    """For neighbours that have none of the layers between two others."""

    def acts(self, n: int) -> bool:
        return True

    def evaluate(self, n: int, buffers: LayerBuffers) -> None:
        buffers.y.members.copy_(buffers.x.members)

    def forward(self, n: int, buffers: LayerBuffers, step: Tensor | None) -> None:
        self.evaluate(n, buffers)

    def backward(self, n: int, buffers: LayerBuffers, d: Share, free: Share) -> None:
        pass


HANDS_ON = HandsOn()


class Between(OverAll):
    """Layers between two that run over all members: each group of neighbours goes through those that it has."""

    def __init__(
        self, number: int, layers: Sequence[ByNeighbours], stack: Stack, groups: Sequence[int] | None = None
    ) -> None:
        """`groups`: places of the neighbours that it runs for; None: all of them."""
        self._groups = range(len(stack.neighbours)) if groups is None else groups
        self._number, self._layers, self._stack = number, layers, stack
        self._routes: dict[tuple[bool, int], Route] = {}
        """(Training mode, samples) -> what runs."""
        self._ran: Route
        """In the last forward pass."""
        self.watched = any(layer.watched for layer in layers)

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        route = self._route(x, space, training=False)
        for call in route.calls:
            call.layer.evaluate(call.n, call.buffers)
        return route.y

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        self._ran = route = self._route(x, space, training=True)
        for call in route.calls:
            call.layer.forward(call.n, call.buffers, step)
        return route.y

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        free = space.like("d_spare", d)
        for layer, calls in self._ran.back:
            for call in calls:
                layer.backward(call.n, call.buffers, d.shares[call.n], free.shares[call.n])
            if layer.watched and self.watch is not None:
                self.watch(d.full)
        return d

    def activated(self) -> list[list[Activated]]:
        return [list(self._activated())]

    def _activated(self) -> Iterator[Activated]:
        for call in self._ran.calls:
            if call.layer.watched:
                here = self._stack.neighbours[call.n]
                pieces = zip(here.leaves, here.activations, call.buffers.x.leaves, call.buffers.y.leaves, strict=True)
                for leaf, name, a, h in pieces:
                    start = here.members.start
                    yield Activated(slice(start + leaf.start, start + leaf.stop), name, a, h)

    def _route(self, x: Buffer, space: Workspace, training: bool) -> Route:
        key = training, x.full.shape[2]
        route = self._routes.get(key)
        if route is None or route.x is not x:  # the workspace has moved to larger memory
            route = self._routes[key] = self._new_route(x, space, training)
        return route

    def _new_route(self, x: Buffer, space: Workspace, training: bool) -> Route:
        """Where each layer reads and writes. In eval mode all of a network's layers share their memory."""
        number = str(self._number) if training else ""
        out, calls = space.like(f"out{number}", x), dict[tuple[int, int], Call]()
        for n in self._groups:
            acting = [(i, layer) for i, layer in enumerate(self._layers) if layer.acts(n)] or [
                (len(self._layers), HANDS_ON)
            ]
            here, free = x.shares[n], True
            for stage, (i, layer) in enumerate(acting, start=1):
                to = out if stage == len(acting) else space.like(f"stage{number}.{stage}", x)
                y = to.shares[n]
                own = training and layer.memory_needed and not free
                kept = space.like(f"kept{number}", x).shares[n] if own else here
                calls[i, n] = Call(layer, n, LayerBuffers(here, y, kept))
                here, free = y, not layer.output_needed
        in_order = [calls[place] for place in sorted(calls)]
        layers = [HANDS_ON, *reversed(self._layers)]
        back = [(layer, [call for call in in_order if call.layer is layer]) for layer in layers]
        return Route(x, out, in_order, back)
