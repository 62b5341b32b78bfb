"""What a layer is: one place in a network, described for a run and run for all members of a stack.

Each kind is one file, which holds its ordinary module and its stacked form side by side. Shapes: K members of a stack,
g data seeds of a block, D inputs, H units, B samples. Of images the units are channels, and every position of a sample
counts as one of the B.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.init import draw_normals

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack
    from bnsweep.nets.workspace import Buffer, LayerBuffers, Share, Workspace


def never(config: RunConfig) -> float:
    """The rate of what no gradient moves."""
    return 0.0


@dataclass(frozen=True)
class Kept:
    """A tensor that a stack keeps for each member, under the name that it has in the ordinary network's state."""

    shape: tuple[int, ...]
    """Of one member."""
    initial: Callable[[RunConfig, Tensor], Tensor | float]
    """Its value at the start, of a run and of its seed's standard normals in that shape (empty where not `drawn`)."""
    rate: Callable[[RunConfig], float] = never
    """Factor on the run's learning rate; 0 where the run keeps it as it is."""
    drawn: bool = False
    """Whether it takes standard normals of its own."""
    drawn_as: str = ""
    """Of which of its layer it takes the normals, where it starts by what that starts by."""
    as_product: bool = False
    """Whether its gradient is left as two factors, for the optimizer to add."""
    statistic: bool = False
    """Whether it is a running statistic, and no parameter."""
    positions: int = 1
    """Numbers that a unit has of a sample, all of which a statistic is over."""
    shortcut: bool = False
    """Whether it belongs to a shortcut, which is none of the layers that are counted."""


class Layer(ABC):
    """One place in a network."""

    block: int
    """The linear map that it belongs to, from 1."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of its module in the ordinary network."""

    @property
    def prefix(self) -> str:
        """What stands before its names in the ordinary network's state."""
        return f"{self.name}."

    @abstractmethod
    def module(self, config: RunConfig) -> nn.Module | None:
        """The ordinary module of a run; None where that run has nothing here."""

    @abstractmethod
    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll | ByNeighbours | None:
        """Its form for all members of a stack, which leaves in `gradients` those of its parameters; None where a stack
        has no use for it."""

    def kept(self) -> dict[str, Kept]:
        """Parameters and statistics, by their names in the module's state."""
        return {}

    def start(self, config: RunConfig) -> dict[str, Tensor]:
        """What parameters start as, by their names in the module's state, where `kept` does not say it; and buffers,
        tensors of any kind that change as the module runs and get no gradient."""
        return {}

    @property
    def size(self) -> int:
        """Numbers that a linear map gives for a sample."""
        return 0

    @property
    def flops(self) -> int:
        """Multiplications and additions of a sample's way forward and back, where they count."""
        return 0

    @property
    def held(self) -> int:
        """Numbers that are held for each sample of a batch from its way forward to its way back."""
        return 0


@dataclass(frozen=True)
class Activated:
    """Inputs a and outputs h [j, H, B] of some members' activation in one layer. Valid until the next pass."""

    members: slice
    activation: str
    a: Tensor
    h: Tensor


@dataclass
class Product:
    """The gradient of a stack's first weights, as two factors: it is as large as they are, and is only ever added."""

    name: str
    """Of the weights [K, H, D] in `Stack.parameters`."""
    d: Tensor
    """dL/dz [K, H, B]; free to be overwritten."""
    x: list[tuple[slice, Tensor]]
    """Members in blocks, and the batches [g, B, D] that they see."""

    def add_to(self, target: Tensor) -> None:
        """target [K, H, D] += d x, a wide product for every data seed of a block of members."""
        for members, x in self.x:
            g, samples, inputs = x.shape
            target[members].view(g, -1, inputs).baddbmm_(self.d[members].view(g, -1, samples), x)

    def parts(self, most: int) -> list[tuple[slice, Product]]:
        """Members, at most so many, and the product of these alone."""
        if len(self.d) <= most:
            return [(slice(0, len(self.d)), self)]
        found = []
        for members, x in self.x:
            of_seed = (members.stop - members.start) // len(x)
            seeds = max(1, most // of_seed)
            for i in range(0, len(x), seeds):
                start, some = members.start + i * of_seed, x[i : i + seeds]
                stop, step = start + len(some) * of_seed, most if of_seed > most else seeds * of_seed
                for s in (slice(k, min(k + step, stop)) for k in range(start, stop, step)):
                    d = self.d[s]
                    found.append((s, Product(self.name, d, [(slice(0, len(d)), some)])))
        return found

    def put_into(self, target: Tensor) -> None:
        """target [K, H, D] = d x."""
        for members, x in self.x:
            g, samples, inputs = x.shape
            torch.bmm(self.d[members].view(g, -1, samples), x, out=target[members].view(g, -1, inputs))


class OverAll(ABC):
    """A layer that runs over all members of a stack in one call."""

    product: Product | None = None
    """The gradient of its weights from the last way back, where they are kept `as_product`."""
    watched: bool = False
    """Whether there is an activation in it."""
    kernels = False
    """Whether Triton's may take the place of torch's operators."""
    bias: tuple[Tensor, Tensor] | None = None
    """[K, H, 1] what it adds to its output last, and where the gradient of that is left; None: no such thing."""
    bias_above = False
    """Whether the layer above does both."""
    watch: Callable[[Tensor], None] | None = None
    """Sees the gradients of activation inputs on the way back, where it is `watched`."""

    @abstractmethod
    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        """In eval mode. May write into x."""

    @abstractmethod
    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        """In training mode. Chance (dropout, noise) plays a part only where a 0-based `step` is given."""

    @abstractmethod
    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        """From the gradient of the output, which may be overwritten, to that of the input. The first layer gives back
        what it was given: nothing below it needs a gradient."""

    def activated(self) -> list[list[Activated]]:
        """Of each of its activations, in order, what the members' saw and gave in the last forward pass."""
        return []

    def keep_buffers(self, alive_K: Tensor | None) -> None:
        """Buffers become what the last forward pass made of them, but for members that are no longer alive; None: all
        are."""
        return


class ByNeighbours(ABC):
    """A layer that runs for one group of neighbours in a stack at a time, those that are alike, and may pass over some.

    `n` is the place of the neighbours in `Stack.neighbours`.
    """

    watched = False
    """Whether probes look at the gradient of its input."""
    output_needed = False
    """Whether its output is read again on the way back, and so must not be overwritten."""
    memory_needed = False
    """Whether it writes what it needs on the way back into `LayerBuffers.kept`."""

    @abstractmethod
    def acts(self, n: int) -> bool:
        """Whether these members have this layer."""

    def fusible(self, n: int) -> bool:
        """Whether `fused.py` can run it for these members, which have it."""
        return False

    @abstractmethod
    def evaluate(self, n: int, buffers: LayerBuffers) -> None:
        """In eval mode."""

    @abstractmethod
    def forward(self, n: int, buffers: LayerBuffers, step: Tensor | None) -> None:
        """In training mode, with noise only where a `step` is given."""

    @abstractmethod
    def backward(self, n: int, buffers: LayerBuffers, d: Share, free: Share) -> None:
        """Turns d, the gradient of the output, into that of the input; `free` is memory to work in."""


def neighbour_key(config: RunConfig) -> tuple[Hashable, ...]:
    """Members of one stack with equal keys stand side by side, and their normalisation runs as one."""
    bn, norm = config.bn, config.norm
    groups = (norm.groups or 0) if norm.name == "group" else 0
    return config.normalisation, bn.eps, bn.noise > 0, groups, config.skip.name, config.has_scalars


def kept_by(layers: Sequence[Layer]) -> dict[str, Kept]:
    """What a stack keeps for these layers, by name; places of one normalisation share theirs."""
    return {f"{layer.prefix}{name}": kept for layer in layers for name, kept in layer.kept().items()}


def normals_of(kept: Mapping[str, Kept], seed: int) -> dict[str, Tensor]:
    """The standard normals that all arms of a seed share, by name. Those of shortcuts come last, so that all others are
    the same with them and without."""
    drawn = sorted((name for name, k in kept.items() if k.drawn), key=lambda name: kept[name].shortcut)
    found = dict(zip(drawn, draw_normals(seed, [kept[name].shape for name in drawn]), strict=True))
    again = {name: f"{name.rpartition('.')[0]}.{k.drawn_as}" for name, k in kept.items() if k.drawn_as}
    return found | {name: found[of] for name, of in again.items()}
