"""Memory of a stack's passes: tensors by name that keep their place, and the views of them that layers work on.

Shapes: K members, k neighbours, j of a leaf, H units, B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor


@dataclass
class Share:
    """Some neighbours' share of a tensor [K, H, B]: two views of the same numbers."""

    members: Tensor
    """[k, H, B]"""
    leaves: list[Tensor]
    """[j, H, B] of neighbours with the same activation."""


@dataclass
class Buffer:
    """A tensor with the views of it that layers work on; none of these where only layers over all members do."""

    full: Tensor
    """[K, H, B]"""
    shares: list[Share]
    """Of each group of neighbours."""
    images: bool = False
    """Whether its B are the positions of images."""


@dataclass
class LayerBuffers:
    """The memory of one layer for some neighbours."""

    x: Share
    """Its input."""
    y: Share
    """Its output."""
    kept: Share
    """Memory that stays untouched until the way back, for a layer that needs some: the input's own where nobody needs
    that again."""


@dataclass(frozen=True)
class Neighbours:
    """Members side by side in a stack that share a normalisation, and among them leaves that share an activation."""

    members: slice
    leaves: tuple[slice, ...]
    """Within these members."""
    activations: tuple[str, ...]
    """One a leaf."""


def channels_inside(x: Tensor) -> bool:
    """Whether x [K, C, S] lies in memory as [K, S, C], which with one channel is the same."""
    return x.stride(2) != 1


INSIDE_FROM = 16
"""Mean of `model.channels` from which a CPU is faster with channels side by side: networks of 8 and 16 channels, 8 x 8
pixels, take 1.2 times as long so, those of 8, 16 and 32, 28 x 28 pixels, 1.3 times as long otherwise."""


class Workspace:
    """Buffers [K, H, B] by name that keep their memory: fresh memory costs a page fault for every 4 KiB.

    With `channels_inside` those of images lie in memory as [K, B, H], channels side by side: torch calls it channels
    last, and its convolutions on a CPU are made for it.
    """

    def __init__(
        self,
        members: int,
        neighbours: Sequence[Neighbours],
        device: torch.device,
        dtype: torch.dtype,
        channels_inside: bool,
        memory: dict[str, Tensor] | None = None,
    ) -> None:
        """`memory` may be shared by workspaces of which one at a time is in use."""
        self.channels_inside = channels_inside
        self._members, self._neighbours, self._device, self._dtype = members, neighbours, device, dtype
        self._memory = {} if memory is None else memory
        self._buffers: dict[tuple[str, int, int, bool], Buffer] = {}

    def __call__(self, name: str, units: int, samples: int, images: bool = False) -> Buffer:
        """Not initialised; valid until the same name is asked for again."""
        key = name, units, samples, images
        buffer = self._buffers.get(key)
        if buffer is None:
            size, memory = self._members * units * samples, self._memory.get(name)
            if memory is None or len(memory) < size:
                self._buffers = {key: b for key, b in self._buffers.items() if key[0] != name}
                memory = torch.empty(size, device=self._device, dtype=self._dtype)
                self._memory[name] = memory
            full = memory[:size].view(-1, units, samples)
            if images and self.channels_inside:
                full = memory[:size].view(-1, samples, units).transpose(1, 2)
            self._buffers[key] = buffer = Buffer(full, [share(full, n) for n in self._neighbours], images)
        return buffer

    def like(self, name: str, x: Buffer) -> Buffer:
        """In the shape and the order of x."""
        return self(name, x.full.shape[1], x.full.shape[2], x.images)


def share(full: Tensor, of: Neighbours) -> Share:
    """Some neighbours' share of `full` [K, H, B]."""
    members = full[of.members]
    return Share(members, [members[s] for s in of.leaves])


def runs_of(values: Sequence[object]) -> list[slice]:
    """Slices over which consecutive values are equal."""
    slices, start = [], 0
    for _, items in groupby(values):
        stop = start + len(list(items))
        slices.append(slice(start, stop))
        start = stop
    return slices
