"""Forward and backward pass of a stack, written out in place of autograd: nothing is stored that need not be, memory is
kept from step to step, and the gradient of layer 1's weights is left as two factors for the optimizer to add.

Shapes: K members, G data seeds, B samples, D inputs, H units, C classes. Activations are [K, H, B]: a member's slice
is contiguous, so segments of members that share an activation or a BN setting are views, BatchNorm runs over the rows
of [k*H, B], and layer 1 of neighbours that share their batch is one wide matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.nets.dropout import dropout_uniforms
from bnsweep.nets.plain import scaled_in_training
from bnsweep.nets.segment import Piece, Saved, Segment
from bnsweep.nets.stack import Stack


@dataclass
class Buffer:
    full: Tensor
    """[K, H, B]"""
    pieces: list[Piece]
    """Its segments."""


class Workspace:
    """Tensors [K, H, B] by name that keep their memory: fresh memory costs a page fault for every 4 KiB."""

    def __init__(self, stack: Stack, segments: list[Segment], memory: dict[str, Tensor]) -> None:
        self._stack, self._segments, self._memory = stack, segments, memory
        self._buffers: dict[tuple[str, int, int], Buffer] = {}

    def __call__(self, name: str, units: int, samples: int) -> Buffer:
        """Not initialised; valid until the same name is asked for again."""
        key = name, units, samples
        buffer = self._buffers.get(key)
        if buffer is None:
            size, memory = len(self._stack) * units * samples, self._memory.get(name)
            if memory is None or len(memory) < size:
                self._buffers = {key: b for key, b in self._buffers.items() if key[0] != name}
                memory = torch.empty(size, device=self._stack.device, dtype=self._stack.dtype)
                self._memory[name] = memory
            full = memory[:size].view(-1, units, samples)
            self._buffers[key] = buffer = Buffer(full, [s.piece(full) for s in self._segments])
        return buffer


@dataclass
class Layer:
    """What a forward pass leaves of one hidden layer for the backward pass."""

    x: Tensor
    """What its linear map saw: [G, B, D] in layer 1, then [K, H, B]."""
    ran: list[tuple[Piece, Piece, Saved]]
    """Of every segment: activation inputs, activation outputs, what BN saved."""
    kept: Tensor | None = None
    """Dropout's factor: 0, or 1 / (1 - rate), or 1 where that is made up for at test."""

    @property
    def outputs(self) -> list[Tensor]:
        """Activation outputs [k, H, B] of every segment."""
        return [h.whole for _, h, _ in self.ran]


class Passes:
    """Runs a stack forward and backward. Tensors it returns are valid until its next pass."""

    def __init__(self, stack: Stack, memory: dict[str, Tensor] | None = None) -> None:
        """`memory` may be shared by passes of which one at a time is in use."""
        self.stack = stack
        self.gradients = stack.like_rest()
        """What `backward` leaves: gradients of all parameters but the weights of layer 1."""
        self._weight_grads, self._bias_grads, *_ = stack.parts(self.gradients)
        self._segments = [Segment(stack, s, self.gradients) for s in stack.bn_segments]
        self._first = [
            (s, groups, stack.first[s].view(n, -1, stack.sizes[0]), stack.biases[0][s].view(n, -1, 1))
            for s, groups in stack.batch_blocks
            for n in [groups.stop - groups.start]
        ]
        """Layer 1 in blocks: members, their g data seeds, weights [g, n*H, D], biases [g, n*H, 1]."""
        self._space = Workspace(stack, self._segments, {} if memory is None else memory)
        rates = [c.model.dropout for c in stack.configs]
        self._dropout_K11 = stack.scalars(lambda c: c.model.dropout).view(-1, 1, 1) if any(rates) else None
        in_training = [scaled_in_training(c) for c in stack.configs]
        self._kept_K11 = stack.scalars(lambda c: 1 - c.model.dropout if scaled_in_training(c) else 1).view(-1, 1, 1)
        """What kept outputs are divided by in training."""
        self._test_K11: Tensor | None = None
        if self._dropout_K11 is not None and not all(in_training):
            self._test_K11 = (1 - self._dropout_K11) / self._kept_K11
        """What outputs are multiplied by at test."""
        self._seeds_S = torch.tensor(stack.seeds, device=stack.device)

    def batches(self, x_GBD: Tensor) -> list[tuple[slice, Tensor]]:
        """Members in blocks, and their batches [g, B, D]; members [k, ...] are [g, n, ...] there."""
        return [(s, x_GBD[groups]) for s, groups, _, _ in self._first]

    @torch.no_grad()
    def evaluate(self, x_GBD: Tensor) -> Tensor:
        """Logits [K, C, B] of the batches x with BN's running statistics (eval mode)."""
        h, samples = x_GBD, x_GBD.shape[1]
        for i in range(self.stack.depth):
            z, out, spare, _ = self._buffers(i, 0, samples)  # all layers in the same memory
            self._linear(i, h, z.full)
            for segment, *pieces in zip(self._segments, z.pieces, out.pieces, spare.pieces, strict=True):
                segment.evaluate(i, *pieces)
            h = out.full if self._test_K11 is None else out.full.mul_(self._test_K11)
        return self._logits(h)

    @torch.no_grad()
    def forward(self, x_GBD: Tensor, step: Tensor | None = None) -> tuple[Tensor, list[Layer]]:
        """Logits with the batch's BN statistics, which are left in `stack.batch`, and what `backward` needs (training
        mode). Units are dropped, and noise is put behind BN, only where a `step` is given; outputs are then scaled as
        in training, else as at test."""
        h, samples, layers = x_GBD, x_GBD.shape[1], []
        for i in range(self.stack.depth):
            z, out, spare, x_hat = self._buffers(i, i, samples)
            self._linear(i, h, z.full)
            pieces = zip(z.pieces, out.pieces, spare.pieces, x_hat.pieces, strict=True)
            layer = Layer(h, [s.forward(i, *p, step) for s, p in zip(self._segments, pieces, strict=True)])
            h = out.full
            layer.kept = self._test_K11 if step is None else self._kept(i, h, step)
            if layer.kept is not None:
                h = torch.mul(h, layer.kept, out=self._space(f"dropped{i}", *h.shape[1:]).full)
            layers.append(layer)
        layers.append(Layer(h, []))
        return self._logits(h), layers

    def _buffers(self, i: int, place: int, samples: int) -> tuple[Buffer, Buffer, Buffer, Buffer]:
        """Of layer i: what the linear map gives, the layer's output, and two for the stages of BN."""
        shape = self.stack.sizes[i + 1], samples
        z, out = self._space(f"z{place}", *shape), self._space(f"out{place}", *shape)
        if not self.stack.has_bn:
            return z, out, out, out
        spare = self._space(f"spare{place}", *shape)
        # torch's own BN needs no x_hat, and on a CPU memory that is not touched costs nothing.
        x_hat = self._space(f"x_hat{place}", *shape) if self.stack.device.type == "cpu" else spare
        return z, out, spare, x_hat

    def _logits(self, h: Tensor) -> Tensor:
        logits = self._space("logits", self.stack.sizes[-1], h.shape[-1]).full
        return self._linear(self.stack.depth, h, logits)

    def _linear(self, i: int, h: Tensor, z: Tensor) -> Tensor:
        if i > 0:
            return torch.baddbmm(self.stack.biases[i], self.stack.weights[i], h, out=z)
        for s, groups, w, b in self._first:
            torch.baddbmm(b, w, h[groups].transpose(1, 2), out=z[s].view(len(w), -1, z.shape[2]))
        return z

    def _kept(self, i: int, h: Tensor, step: Tensor) -> Tensor | None:
        if self._dropout_K11 is None:
            return None
        uniform_SHB = dropout_uniforms(self._seeds_S, step, i, h.shape[1], h.shape[2])
        keep_KHB = uniform_SHB[self.stack.seed_of_K] >= self._dropout_K11
        return keep_KHB / self._kept_K11

    @torch.no_grad()
    def backward(self, layers: list[Layer], d_logits: Tensor, watch: Callable[[Tensor], None] | None = None) -> Tensor:
        """dL/dz [K, H, B] of layer 1, z being what its linear map gives: its weights' gradient is that times x. All
        other gradients are left in `gradients`.

        L is the sum of the members' losses, which share no parameter: d_logits is dL/dlogits [K, C, B]. `watch`
        sees dL/da [K, H, B] of every hidden layer, from the last one down.
        """
        d = d_logits
        for i in reversed(range(self.stack.depth)):
            layer, above, w = layers[i], layers[i + 1], self.stack.weights[i + 1]
            torch.bmm(d, above.x.transpose(1, 2), out=self._weight_grads[i])
            torch.sum(d, 2, keepdim=True, out=self._bias_grads[i + 1])
            shape = w.shape[2], d.shape[2]
            buffer, spare = self._space(f"d{i % 2}", *shape), self._space("d_spare", *shape)
            d = torch.bmm(w.transpose(1, 2), d, out=buffer.full)
            if layer.kept is not None:
                d.mul_(layer.kept)
            ran = list(zip(self._segments, buffer.pieces, spare.pieces, layer.ran, strict=True))
            for segment, piece, free, (a, h, saved) in ran:
                segment.activation_backward(i, piece, a, h, saved, free)
            if watch is not None:
                watch(d)
            for segment, piece, free, (_, _, saved) in ran:
                segment.linear_backward(i, piece, saved, free)
        torch.sum(d, 2, keepdim=True, out=self._bias_grads[0])
        return d
