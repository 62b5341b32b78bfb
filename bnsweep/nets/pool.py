"""Layers without parameters between convolutions and after the last: pooling, and the way to a linear map.

Shapes: K members, C channels, P positions, B samples; activations are [K, C, B*P].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.conv import Image
from bnsweep.nets.layer import Layer, OverAll
from bnsweep.nets.workspace import Buffer, Workspace

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

aten = torch.ops.aten


@dataclass(frozen=True)
class Unflatten(Layer):
    """The data's rows as images, in the ordinary network: a stack's first convolution takes rows as they are."""

    image: Image
    block = 1
    name = "image"

    def module(self, config: RunConfig) -> nn.Module:
        return nn.Unflatten(1, (self.image.channels, self.image.height, self.image.width))

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        return None


@dataclass(frozen=True)
class Pool(Layer):
    """The largest, or the mean, of every two by two positions; what is left over at the edges is dropped."""

    block: int
    input: Image
    kind: str
    """max or average."""

    @property
    def name(self) -> str:
        return f"pool{self.block}"

    @property
    def window(self) -> tuple[int, int]:
        return min(2, self.input.height), min(2, self.input.width)

    @property
    def output(self) -> Image:
        h, w = self.window
        return Image(self.input.channels, self.input.height // h, self.input.width // w)

    @property
    def held(self) -> int:
        """Its output, the gradient of its input, and where the largest stood."""
        return self.input.numbers + 3 * self.output.numbers

    def module(self, config: RunConfig) -> nn.Module:
        return nn.MaxPool2d(self.window) if self.kind == "max" else nn.AvgPool2d(self.window)

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedPool(self)


class StackedPool(OverAll):
    """Over all members, channels and samples in one call."""

    def __init__(self, layer: Pool) -> None:
        self.layer = layer

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x, space, "pooled")

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x, space, f"pooled{self.layer.block}")

    def _map(self, x: Buffer, space: Workspace, name: str) -> Buffer:
        layer = self.layer
        images = layer.input.of(x.full.flatten(0, 1))
        y = space(name, layer.input.channels, images.shape[1] * layer.output.positions)
        out = layer.output.of(y.full.flatten(0, 1))
        self._x = images
        if layer.kind == "max":
            pooled, self._largest = aten.max_pool2d_with_indices(images, layer.window)
            out.copy_(pooled)
        else:
            aten.avg_pool2d(images, layer.window, out=out)
        return y

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        layer, window = self.layer, list(self.layer.window)
        given = layer.output.of(d.full.flatten(0, 1))
        below = space("d_pooled", layer.input.channels, given.shape[1] * layer.input.positions)
        out = layer.input.of(below.full.flatten(0, 1))
        if layer.kind == "max":
            aten.max_pool2d_with_indices_backward(
                given, self._x, window, window, [0, 0], [1, 1], False, self._largest, grad_input=out
            )
        else:
            aten.avg_pool2d_backward(given, self._x, window, window, [0, 0], False, True, None, grad_input=out)
        return below


class GlobalAverage(nn.Sequential):
    """The mean over all positions."""

    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten())


@dataclass(frozen=True)
class ToRow(Layer):
    """From images to rows for a linear map: the mean of each channel, or all numbers side by side."""

    block: int
    """Of the last convolution."""
    input: Image
    average: bool
    name = "row"

    @property
    def numbers(self) -> int:
        return self.input.channels if self.average else self.input.numbers

    @property
    def held(self) -> int:
        return self.input.numbers + 2 * self.numbers

    def module(self, config: RunConfig) -> nn.Module:
        return GlobalAverage() if self.average else nn.Flatten()

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedToRow(self)


class StackedToRow(OverAll):
    def __init__(self, layer: ToRow) -> None:
        self.layer = layer

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x, space)

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x, space)

    def _map(self, x: Buffer, space: Workspace) -> Buffer:
        k, channels, _ = x.full.shape
        images = x.full.view(k, channels, -1, self.layer.input.positions)
        y = space("row", self.layer.numbers, images.shape[2])
        if self.layer.average:
            torch.mean(images, 3, out=y.full)
        else:
            y.full.view(k, channels, -1, images.shape[2]).copy_(images.transpose(2, 3))
        return y

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        (k, _, samples), image = d.full.shape, self.layer.input
        below = space("d_row", image.channels, samples * image.positions)
        out = below.full.view(k, image.channels, samples, image.positions)
        if self.layer.average:
            out.copy_((d.full / image.positions)[..., None])
        else:
            out.copy_(d.full.view(k, image.channels, image.positions, samples).transpose(2, 3))
        return below
