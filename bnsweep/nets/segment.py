"""Neighbours in a stack that share a BN setting: one layer's BatchNorm and activations, forward and backward.

Shapes: k members of the segment, H units, B samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.nets.activation import kernels
from bnsweep.nets.dropout import bn_noise
from bnsweep.nets.plain import epsilon
from bnsweep.nets.stack import Blocks, Stack, halves, runs_of

aten = torch.ops.aten


@dataclass
class Piece:
    """One segment's share of a tensor [K, H, B]: three views of the same numbers."""

    whole: Tensor
    """[k, H, B]"""
    flat: Tensor
    """[k*H, B]"""
    leaves: list[Tensor]
    """[j, H, B] of neighbours with the same activation."""


SMALL = 30_000
"""Elements up to which torch's own BN is faster on a CPU: it is one call, but a slow one."""

Saved = tuple[Tensor, ...]
"""What a BN keeps for its backward pass."""


class BatchNorm:
    """The BN of one layer of one segment. Vectors are [k*H, 1], views of the stack's tensors; x, y, d are [k*H, B]."""

    def __init__(self, stack: Stack, gradients: Blocks, layer: int, s: slice, eps: float) -> None:
        def view(tensors: list[Tensor]) -> Tensor:
            return tensors[layer][s].view(-1, 1)

        self.eps = eps
        self.gamma, self.beta = view(stack.gammas), view(stack.betas)
        self.d_gamma, self.d_beta = (view(part) for part in stack.parts(gradients)[2:])
        self.mean, self.variance = (view(half) for half in halves(stack.running))
        self.batch_mean, self.batch_variance = (view(half) for half in halves(stack.batch))

    def evaluate(self, x: Tensor, y: Tensor) -> None:
        """With the running statistics."""
        scale = self.gamma * (self.variance + self.eps).rsqrt()
        torch.mul(x, scale, out=y).add_(self.beta - self.mean * scale)

    def forward(self, x: Tensor, y: Tensor, x_hat: Tensor) -> Saved:
        """With the batch's statistics, which are left in the stack. x_hat may be x's own memory."""
        if x.is_cuda or x.numel() < SMALL:
            return self._native_forward(x, y)
        samples = x.shape[1]
        torch.mean(x, 1, keepdim=True, out=self.batch_mean)
        torch.sub(x, self.batch_mean, out=x_hat)
        square = torch.linalg.vector_norm(x_hat, dim=1, keepdim=True).square_()
        torch.div(square, samples - 1, out=self.batch_variance)
        inverse_std = square.div_(samples).add_(self.eps).rsqrt_()
        torch.mul(x_hat.mul_(inverse_std), self.gamma, out=y).add_(self.beta)
        return x_hat, inverse_std

    def _native_forward(self, x: Tensor, y: Tensor) -> Saved:
        # Momentum 1 into zeros: torch leaves the batch's mean and unbiased variance there.
        mean, variance = self.batch_mean.zero_().view(-1), self.batch_variance.zero_().view(-1)
        saved, gamma = (torch.empty_like(mean), torch.empty_like(mean)), self.gamma.view(-1)
        torch.native_batch_norm(
            x[None], gamma, self.beta.view(-1), mean, variance, True, 1.0, self.eps, out=(y[None], *saved)
        )
        return x, *saved

    def backward(self, d: Tensor, saved: Saved, spare: Tensor) -> None:
        """d = dL/dy becomes dL/dx (Ioffe & Szegedy 2015, section 3)."""
        if len(saved) == 3:
            self._native_backward(d, *saved)
            return
        x_hat, inverse_std = saved
        samples = d.shape[1]
        torch.sum(d, 1, keepdim=True, out=self.d_beta)
        torch.sum(torch.mul(d, x_hat, out=spare), 1, keepdim=True, out=self.d_gamma)
        d.sub_(torch.mul(x_hat, self.d_gamma / samples, out=spare)).sub_(self.d_beta / samples)
        d.mul_(self.gamma * inverse_std)

    def _native_backward(self, d: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor) -> None:
        gamma, wanted = self.gamma.view(-1), [True, True, True]
        dx, d_gamma, d_beta = aten.native_batch_norm_backward(
            d[None], x[None], gamma, None, None, mean, inverse_std, True, self.eps, wanted
        )
        d.copy_(dx[0])
        self.d_gamma.copy_(d_gamma[:, None])
        self.d_beta.copy_(d_beta[:, None])


class Noise:
    """What follows each BN of a segment in training where `bn.noise` is set."""

    def __init__(self, stack: Stack, members: slice) -> None:
        configs = stack.configs[members]
        self._seeds = torch.tensor([c.seed for c in configs], device=stack.device)
        self._amplitudes = torch.tensor([c.bn.noise for c in configs], device=stack.device)
        self._scales: dict[int, Tensor] = {}

    def forward(self, i: int, y: Tensor, step: Tensor | None) -> None:
        """On the outputs y [k, H, B] of layer i's BN; none without a `step`."""
        self._scales.pop(i, None)
        if step is not None:
            scale, shift = bn_noise(self._seeds, step, i, y.shape[1], y.shape[2], self._amplitudes)
            self._scales[i] = scale.to(y.dtype)
            y.mul_(self._scales[i]).add_(shift.to(y.dtype))

    def backward(self, i: int, d: Tensor) -> None:
        if i in self._scales:
            d.mul_(self._scales[i])


class Segment:
    """Neighbours of one BN setting in every hidden layer."""

    def __init__(self, stack: Stack, members: slice, gradients: Blocks) -> None:
        configs = stack.configs[members]
        self.members, self.placement = members, configs[0].bn.placement
        names = [c.activation.name for c in configs]
        self._leaves = runs_of(names)
        self._activations = [kernels(names[s.start]) for s in self._leaves]
        layers = range(stack.depth) if self.placement != "none" else ()
        self._norms = [BatchNorm(stack, gradients, i, members, epsilon(configs[0])) for i in layers]
        self._noise = Noise(stack, members) if layers and configs[0].bn.noise > 0 else None

    def piece(self, x: Tensor) -> Piece:
        """This segment's share of x [K, H, B]."""
        whole = x[self.members]
        return Piece(whole, whole.view(-1, x.shape[2]), [whole[s] for s in self._leaves])

    def _activate(self, a: Piece, h: Piece) -> None:
        for (function, _), a_leaf, h_leaf in zip(self._activations, a.leaves, h.leaves, strict=True):
            function(a_leaf, h_leaf)

    def evaluate(self, i: int, z: Piece, out: Piece, spare: Piece) -> None:
        """From z, what layer i's linear map gave, to its output, with BN's running statistics."""
        if self.placement == "before":
            self._norms[i].evaluate(z.flat, spare.flat)
            self._activate(spare, out)
        elif self.placement == "after":
            self._activate(z, spare)
            self._norms[i].evaluate(spare.flat, out.flat)
        else:
            self._activate(z, out)

    def forward(
        self, i: int, z: Piece, out: Piece, spare: Piece, x_hat: Piece, step: Tensor | None
    ) -> tuple[Piece, Piece, Saved]:
        """The same with the batch's statistics, and with noise where there is a `step`; returns the activations' inputs
        and outputs, and what BN saved."""
        if self.placement == "before":
            saved = self._normalise(i, z, spare, z, step)
            self._activate(spare, out)
            return spare, out, saved
        if self.placement == "after":
            self._activate(z, spare)
            return z, spare, self._normalise(i, spare, out, x_hat, step)
        self._activate(z, out)
        return z, out, ()

    def _normalise(self, i: int, x: Piece, y: Piece, x_hat: Piece, step: Tensor | None) -> Saved:
        saved = self._norms[i].forward(x.flat, y.flat, x_hat.flat)
        if self._noise is not None:
            self._noise.forward(i, y.whole, step)
        return saved

    def _normalise_backward(self, i: int, d: Piece, saved: Saved, spare: Piece) -> None:
        if self._noise is not None:
            self._noise.backward(i, d.whole)
        self._norms[i].backward(d.flat, saved, spare.flat)

    def activation_backward(self, i: int, d: Piece, a: Piece, h: Piece, saved: Saved, spare: Piece) -> None:
        """d, the gradient of layer i's output, becomes that of its activation input."""
        if self.placement == "after":
            self._normalise_backward(i, d, saved, spare)
        for (_, gradient), *leaf in zip(self._activations, d.leaves, a.leaves, h.leaves, strict=True):
            gradient(*leaf)

    def linear_backward(self, i: int, d: Piece, saved: Saved, spare: Piece) -> None:
        """d, the gradient of layer i's activation input, becomes that of its linear map's output."""
        if self.placement == "before":
            self._normalise_backward(i, d, saved, spare)
