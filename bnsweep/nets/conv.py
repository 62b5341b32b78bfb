"""Convolutions: the ordinary module and the stacked form.

Members are convolved one after the other, each on its own images, which a CPU has with their channels side by side.
The first convolution sees the data, of which all members of a data seed have the same batch: what the kernel sees at
each position is written out once (unfolded), and all members' convolutions are products with it. A signal is an image
of height 1.

Shapes: K members, G data seeds, g of a block, n members a data seed of it, C channels, O of the output, P positions
(H times W) of the output, B samples, R numbers that a kernel sees. Activations are [K, C, B*P], the positions of a
sample side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.init import ELSEWHERE, Branch, initial_weight
from bnsweep.nets.layer import Kept, Layer, OverAll
from bnsweep.nets.norm import bias_is_removed
from bnsweep.nets.weight_norm import WeightNormConv2d, kept_of
from bnsweep.nets.workspace import Buffer, Workspace, channels_inside, runs_of

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

aten = torch.ops.aten

NARROW = 12
"""Channels below which a product with them side by side takes two to ten times as long as one with positions side by
side, and a copy."""


@dataclass(frozen=True)
class Image:
    """Shape of what a layer gives for a sample."""

    channels: int
    height: int
    width: int

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def numbers(self) -> int:
        return self.channels * self.positions

    def strided(self, channels: int, stride: int) -> Image:
        """After a convolution that keeps the size, but for its stride."""
        return Image(channels, -(-self.height // stride), -(-self.width // stride))

    def along(self, axis: int) -> int:
        """Its size along an axis, -1 of the width or -2 of the height."""
        return self.width if axis == -1 else self.height

    def halved(self, axis: int) -> Image:
        """After every two positions along an axis have become one."""
        return Image(self.channels, self.height // (2 if axis == -2 else 1), self.width // (2 if axis == -1 else 1))

    def of(self, x: Tensor) -> Tensor:
        """[..., C, B*P] as [..., C, B, H, W]."""
        return x.view(*x.shape[:-1], -1, self.height, self.width)

    def batch(self, x: Tensor) -> Tensor:
        """A member's [C, B*P] as torch's convolutions take it, [B, C, H, W]: a view where channels lie side by side,
        which torch calls channels last, else a copy."""
        images = self.of(x).transpose(0, 1)
        return images if channels_inside(x[None]) else images.contiguous()


@dataclass(frozen=True)
class Convolution(Layer):
    """A convolution with its bias, padded with zeros such that stride 1 keeps the size. Weights start by `init`, biases
    at 0."""

    block: int
    input: Image
    channels: int
    """Of its output."""
    kernel: int
    stride: int
    branch: Branch = ELSEWHERE
    within: str = ""
    """Name of the layer that it is part of."""
    normed: bool = False
    """Whether some runs of the stack normalise its weights."""

    @property
    def name(self) -> str:
        return f"{self.within}.conv" if self.within else f"conv{self.block}"

    @property
    def output(self) -> Image:
        return self.input.strided(self.channels, self.stride)

    @property
    def window(self) -> tuple[int, int]:
        """Of the kernel: 1 along an axis that a signal does not have."""
        return (self.kernel if self.input.height > 1 else 1), (self.kernel if self.input.width > 1 else 1)

    @property
    def first(self) -> bool:
        """Whether it sees the data, of which all members of a data seed have the same."""
        return self.block == 1

    @property
    def size(self) -> int:
        return self.output.numbers

    @property
    def flops(self) -> int:
        """No gradient is needed of the data."""
        return (4 if self.first else 6) * self.seen * self.size

    @property
    def seen(self) -> int:
        """Numbers that the kernel sees at a position."""
        return self.input.channels * prod(self.window)

    @property
    def held(self) -> int:
        """Its output and that one's gradient, and the copy of its input that a GPU makes: of the data, what the kernel
        sees everywhere."""
        return 2 * self.size + (self.seen * self.output.positions if self.first else self.input.numbers)

    def module(self, config: RunConfig) -> nn.Module:
        h, w = self.window
        dtype, bias = getattr(torch, config.train.dtype), config.model.bias
        kind = WeightNormConv2d if config.weight_norm else nn.Conv2d
        conv = kind(self.input.channels, self.channels, (h, w), self.stride, (h // 2, w // 2), bias=bias, dtype=dtype)
        if conv.bias is not None:
            conv.bias.requires_grad_(self._bias_rate(config) > 0)
        return conv

    def kept(self) -> dict[str, Kept]:
        shape = (self.channels, self.input.channels, *self.window)

        def initial(config: RunConfig, z: Tensor) -> Tensor:
            return initial_weight(config.init, z) * (config.init.gain * self.branch.factor(config.init))

        weight = Kept(shape, initial, lambda config: config.lr.hidden, drawn=True)
        bias = Kept((self.channels, 1), lambda config, z: 0.0, self._bias_rate)
        return kept_of(weight, self.normed) | {"bias": bias}

    def _bias_rate(self, config: RunConfig) -> float:
        return float(config.model.bias and not bias_is_removed(config))

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return FirstConvolution(self, stack, gradients) if self.first else StackedConvolution(self, stack, gradients)


class Kernels:
    """torch's convolution of one shape, forward and back."""

    def __init__(self, layer: Convolution) -> None:
        self._stride, (h, w) = [layer.stride] * 2, layer.window
        self._padding = [h // 2, w // 2]

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.conv2d(x, weight, None, self._stride, self._padding)

    def backward(self, d: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the input and of the weights."""
        how = (self._stride, self._padding, [1, 1], False, [0, 0], 1)
        found: tuple[Tensor, Tensor, Tensor] = aten.convolution_backward(d, x, weight, None, *how, [True, True, False])
        return found[:2]


class StackedConvolution(OverAll):
    """Member by member."""

    def __init__(self, layer: Convolution, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer, self._kernels = layer, Kernels(layer)
        self._weight, self._bias = (stack.parameters[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        self._d_weight, self._d_bias = (gradients[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        self._normed, self._gradients = stack.normed.get(f"{layer.name}.weight"), gradients

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x, space, "z")

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x, space, f"z {self.layer.name}")

    def _map(self, x: Buffer, space: Workspace, name: str) -> Buffer:
        layer = self.layer
        if self._normed is not None:
            self._normed.refresh()
        samples = x.full.shape[2] // layer.input.positions
        z = space(name, layer.channels, samples * layer.output.positions, images=True)
        self._x = [layer.input.batch(x_k) for x_k in x.full]
        for x_k, z_k, weight, bias in zip(self._x, z.full, self._weight, self._bias, strict=True):
            y = self._kernels.forward(x_k, weight)
            torch.add(y.transpose(0, 1), bias[:, :, None, None], out=layer.output.of(z_k))
        return z

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        layer, samples = self.layer, len(self._x[0])
        torch.sum(d.full, 2, keepdim=True, out=self._d_bias)
        below = space(f"d{layer.block % 2}", layer.input.channels, samples * layer.input.positions, images=True)
        for d_k, x_k, below_k, weight, d_weight in zip(
            d.full, self._x, below.full, self._weight, self._d_weight, strict=True
        ):
            of_input, of_weight = self._kernels.backward(layer.output.batch(d_k), x_k, weight)
            layer.input.of(below_k).copy_(of_input.transpose(0, 1))
            d_weight.copy_(of_weight)
        if self._normed is not None:
            self._normed.backward(self._d_weight[self._normed.members], self._gradients)
        return below


class FirstConvolution(OverAll):
    """The one that sees the data [G, B, D]: products with what the kernel sees everywhere, one for each data seed."""

    def __init__(self, layer: Convolution, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer = layer
        self._bias, self._d_bias = (of[f"{layer.name}.bias"] for of in (stack.parameters, gradients))
        self._weight, self._d_weight = (of[f"{layer.name}.weight"].flatten(2) for of in (stack.parameters, gradients))
        self._normed, self._gradients = stack.normed.get(f"{layer.name}.weight"), gradients
        seeds = [c.data_seed for c in stack.configs]
        self._shares = [(members, stack.data_seeds.index(seeds[members.start])) for members in runs_of(seeds)]
        """Members, and the place of their data seed."""
        self._seen: Tensor

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x.full, space, "z")

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x.full, space, f"z{self.layer.block}")

    def _map(self, x: Tensor, space: Workspace, name: str) -> Buffer:
        if self._normed is not None:
            self._normed.refresh()
        self._seen = self._unfolded(x)
        z = space(name, self.layer.channels, self._seen.shape[2], images=True)
        for members, g in self._shares:
            weight, bias, out = self._weight[members], self._bias[members], z.full[members]
            if channels_inside(out) and self.layer.channels < NARROW:
                for out_k, weight_k, bias_k in zip(out, weight, bias, strict=True):
                    out_k.copy_(torch.addmm(bias_k, weight_k, self._seen[g]))
            elif channels_inside(out):
                seen = self._seen[g].T.expand(len(weight), -1, -1)
                torch.baddbmm(bias.mT, seen, weight.mT, out=out.mT)
            else:
                out = out.view(-1, out.shape[2])
                torch.addmm(bias.view(-1, 1), weight.view(-1, self.layer.seen), self._seen[g], out=out)
        return z

    def _unfolded(self, x: Tensor) -> Tensor:
        """[G, R, B*P]: what the kernel sees at every position of x [G, B, D]."""
        layer, (h, w) = self.layer, self.layer.window
        images = x.reshape(len(x), -1, layer.input.channels, layer.input.height, layer.input.width)
        padded = F.pad(images, (w // 2, w // 2, h // 2, h // 2))
        windows = padded.unfold(3, h, layer.stride).unfold(4, w, layer.stride)  # [G, B, C, H, W, h, w]
        # F.unfold goes sample by sample and takes seven times as long.
        return windows.permute(0, 2, 5, 6, 1, 3, 4).reshape(len(x), layer.seen, -1)

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        torch.sum(d.full, 2, keepdim=True, out=self._d_bias)
        for members, g in self._shares:
            of_output, d_weight = d.full[members], self._d_weight[members]
            # The batch times the gradient: as long as that product is, the other way round takes two to four times.
            if channels_inside(of_output):
                d_weight.copy_(torch.bmm(self._seen[g].expand(len(d_weight), -1, -1), of_output.mT).mT)
            else:
                rows = of_output.view(-1, of_output.shape[2])
                d_weight.view(-1, self.layer.seen).copy_(torch.mm(self._seen[g], rows.T).T)
        if self._normed is not None:
            self._normed.backward(self._d_weight[self._normed.members], self._gradients)
        return d
