"""Convolutions: the ordinary module and the stacked form.

Members are convolved one after the other, each on its own images: on two cores as fast as one grouped convolution over
all members, and their copies cost a hundredth of it. The first convolution sees the data, of which all members of a
data seed have the same batch: what the kernel sees at each position is written out once (unfolded), and all members'
convolutions are one wide product with it. A signal is an image of height 1.

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
from bnsweep.nets.linear import blocks_of
from bnsweep.nets.norm import bias_is_removed
from bnsweep.nets.workspace import Buffer, Workspace

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

aten = torch.ops.aten


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

    @property
    def name(self) -> str:
        return f"conv{self.block}"

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
        """Its output and that one's gradient, and a copy of its input: of the data, what the kernel sees everywhere."""
        return 2 * self.size + (self.seen * self.output.positions if self.first else self.input.numbers)

    def module(self, config: RunConfig) -> nn.Module:
        h, w = self.window
        dtype, bias = getattr(torch, config.train.dtype), config.model.bias
        conv = nn.Conv2d(
            self.input.channels, self.channels, (h, w), self.stride, (h // 2, w // 2), bias=bias, dtype=dtype
        )
        if conv.bias is not None:
            conv.bias.requires_grad_(self._bias_rate(config) > 0)
        return conv

    def kept(self) -> dict[str, Kept]:
        shape = (self.channels, self.input.channels, *self.window)

        def initial(config: RunConfig, z: Tensor) -> Tensor:
            weight = initial_weight(config.init, z.flatten(1), prod(self.window))
            return weight.view(shape) * (config.init.gain * self.branch.factor(config.init))

        return {
            "weight": Kept(shape, initial, lambda config: config.lr.hidden, drawn=True),
            "bias": Kept((self.channels, 1), lambda config, z: 0.0, self._bias_rate),
        }

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

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x, space, "z", "images")

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x, space, f"z{self.layer.block}", f"images{self.layer.block}")

    def _map(self, x: Buffer, space: Workspace, name: str, images: str) -> Buffer:
        layer = self.layer
        samples = x.full.shape[2] // layer.input.positions
        z = space(name, layer.channels, samples * layer.output.positions)
        self._x = space(images, *x.full.shape[1:]).full.view(len(x.full), samples, *x.full.shape[1:2], -1)
        for x_k, kept_k, z_k, weight, bias in zip(x.full, self._x, z.full, self._weight, self._bias, strict=True):
            image = kept_k.view(samples, -1, layer.input.height, layer.input.width)
            image.copy_(layer.input.of(x_k).transpose(0, 1))
            y = self._kernels.forward(image, weight)
            torch.add(y.transpose(0, 1), bias[:, :, None, None], out=layer.output.of(z_k))
        return z

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        layer, samples = self.layer, self._x.shape[1]
        torch.sum(d.full, 2, keepdim=True, out=self._d_bias)
        below = space(f"d{layer.block % 2}", layer.input.channels, samples * layer.input.positions)
        for d_k, x_k, below_k, weight, d_weight in zip(
            d.full, self._x, below.full, self._weight, self._d_weight, strict=True
        ):
            image = x_k.view(samples, -1, layer.input.height, layer.input.width)
            of_output = layer.output.of(d_k).transpose(0, 1).contiguous()
            of_input, of_weight = self._kernels.backward(of_output, image, weight)
            layer.input.of(below_k).copy_(of_input.transpose(0, 1))
            d_weight.copy_(of_weight)
        return below


class FirstConvolution(OverAll):
    """The one that sees the data [G, B, D]: for neighbours that share their batch one wide product."""

    def __init__(self, layer: Convolution, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer = layer
        weight, bias = (stack.parameters[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        d_weight, self._d_bias = (gradients[f"{layer.name}.{of}"] for of in ("weight", "bias"))
        self._blocks = [
            (
                members,
                seeds,
                weight[members].view(n, -1, layer.seen),
                d_weight[members].view(n, -1, layer.seen),
                bias[members].view(n, -1, 1),
            )
            for members, seeds in blocks_of([c.data_seed for c in stack.configs], stack.data_seeds)
            for n in [seeds.stop - seeds.start]
        ]
        """Members, their g data seeds, weights and the gradients of these [g, n*O, R], biases [g, n*O, 1]."""
        self._seen: Tensor

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x.full, space, "z")

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x.full, space, f"z{self.layer.block}")

    def _map(self, x: Tensor, space: Workspace, name: str) -> Buffer:
        self._seen = self._unfolded(x)
        z = space(name, self.layer.channels, self._seen.shape[2])
        for members, seeds, weight, _, bias in self._blocks:
            out = z.full[members].view(len(weight), -1, z.full.shape[2])
            torch.baddbmm(bias, weight, self._seen[seeds], out=out)
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
        for members, seeds, _, d_weight, _ in self._blocks:
            of_output = d.full[members].view(len(d_weight), -1, d.full.shape[2])
            # As long as this way round the product is, the other way it takes 1.7 times as long.
            d_weight.copy_(torch.bmm(self._seen[seeds], of_output.transpose(1, 2)).transpose(1, 2))
        return d
