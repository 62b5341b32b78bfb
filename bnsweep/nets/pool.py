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
from bnsweep.nets.workspace import Buffer, Workspace, channels_inside

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
        """Its output, what lies half way, and the gradients of its input and of that, with memory to work in."""
        return 5 * self.input.numbers // 2 + 2 * self.output.numbers

    def module(self, config: RunConfig) -> nn.Module:
        return nn.MaxPool2d(self.window) if self.kind == "max" else nn.AvgPool2d(self.window)

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedPool(self)


AXES = (-1, -2)
"""Of the width and of the height."""


class StackedPool(OverAll):
    """Over all members, channels and samples, first along each axis that has two positions. Of equal ones the first is
    taken for the largest, as torch has it; its own kernel takes as long with channels side by side, and eight times as
    long with positions."""

    def __init__(self, layer: Pool) -> None:
        self.layer = layer
        self._axes = [axis for axis, size in zip(AXES, reversed(layer.window), strict=True) if size == 2]

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        return self._map(x, space, "")

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        return self._map(x, space, str(self.layer.block))

    def _map(self, x: Buffer, space: Workspace, number: str) -> Buffer:
        image, y = self.layer.input, x
        self._halves: list[tuple[Tensor, Tensor]] = []
        for axis in self._axes:
            halves = pairs_along(image.of(y.full), axis)
            self._halves.append(halves)
            smaller = image.halved(axis)
            samples = y.full.shape[2] // image.positions
            y = space(f"pooled{axis}{number}", image.channels, samples * smaller.positions, images=True)
            image = smaller
            out = image.of(y.full)
            if self.layer.kind == "max":
                torch.maximum(*halves, out=out)
            else:
                torch.add(*halves, out=out).mul_(0.5)
        return y

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        shapes = [self.layer.input]
        for axis in self._axes:
            shapes.append(shapes[-1].halved(axis))
        for axis, halves, image, of_output in zip(
            reversed(self._axes), reversed(self._halves), reversed(shapes[:-1]), reversed(shapes[1:]), strict=True
        ):
            given = of_output.of(d.full)
            d = space(f"d_pooled{axis}", image.channels, given.shape[2] * image.positions, images=True)
            if image.along(axis) % 2:
                d.full.zero_()
            first, second = pairs_along(image.of(d.full), axis)
            if self.layer.kind == "max":
                # With positions side by side every other one is slow to work on, with channels it is not.
                inside = channels_inside(d.full)
                of_second = second
                if not inside:
                    of_second = of_output.of(space("pool_spare", image.channels, given[0, 0].numel(), True).full)
                # Where the second is larger: a product with a mask takes twice as long, and `where` three times.
                torch.sub(halves[1], halves[0], out=of_second)
                aten.threshold_backward.grad_input(given, of_second, 0.0, grad_input=of_second)
                torch.sub(given, of_second, out=first)
                if not inside:
                    second.copy_(of_second)
            else:
                torch.mul(given, 0.5, out=first)
                second.copy_(first)
        return d


def pairs_along(images: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Every first and every second position along an axis; one that is left over is in neither."""
    size = images.shape[axis] // 2 * 2
    even = images.narrow(axis, 0, size).unflatten(axis, (-1, 2))
    return even.select(axis, 0), even.select(axis, 1)


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
        below = space("d_row", image.channels, samples * image.positions, images=True)
        out = below.full.view(k, image.channels, samples, image.positions)
        if self.layer.average:
            out.copy_((d.full / image.positions)[..., None])
        else:
            out.copy_(d.full.view(k, image.channels, image.positions, samples).transpose(2, 3))
        return below
