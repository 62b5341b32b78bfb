"""K networks as one set of [K, ...] tensors, each with the numbers it would have had alone.

`engine.py` runs them forward and backward, the optimizer updates them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor, nn

from bnsweep.config.identity import stack_key
from bnsweep.config.run import RunConfig
from bnsweep.nets.families import layers_of
from bnsweep.nets.layer import kept_by, neighbour_key, normals_of
from bnsweep.nets.loss import loss_of
from bnsweep.nets.norm import NATIVE_BELOW
from bnsweep.nets.plain import build
from bnsweep.nets.weight_norm import normed_weights
from bnsweep.nets.workspace import INSIDE_FROM, Neighbours, runs_of


def lies_inside(config: RunConfig, device: torch.device) -> bool:
    """Whether images lie with their channels side by side: as is faster there."""
    return device.type == "cpu" and fmean(config.model.channels) >= INSIDE_FROM


def order(configs: Sequence[RunConfig]) -> list[int]:
    """Positions of `configs` such that members of equal normalisation, then activation, then data, are neighbours."""

    def key(i: int) -> tuple[object, ...]:
        return (*neighbour_key(configs[i]), configs[i].activation.name, configs[i].data_seed, i)

    return sorted(range(len(configs)), key=key)


def neighbours_of(configs: Sequence[RunConfig]) -> list[Neighbours]:
    """Of members in the order of `order`."""
    found = []
    for members in runs_of([neighbour_key(c) for c in configs]):
        names = [c.activation.name for c in configs[members]]
        leaves = tuple(runs_of(names))
        found.append(Neighbours(members, leaves, tuple(names[leaf.start] for leaf in leaves)))
    return found


class Blocks(Mapping[str, Tensor]):
    """Named tensors [K, ...] that lie end to end in one, `flat`, so that one operator serves them all."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device, dtype: torch.dtype) -> None:
        sizes = [math.prod(shape) for shape in shapes.values()]
        self.flat = torch.zeros(sum(sizes), device=device, dtype=dtype)
        pairs = zip(shapes.items(), self.flat.split(sizes), strict=True)
        self._views: dict[str, Tensor] = {name: part.view(shape) for (name, shape), part in pairs}

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def alike(self) -> Blocks:
        """Zeros under the same names."""
        shapes = {name: tuple(view.shape) for name, view in self.items()}
        return Blocks(shapes, self.flat.device, self.flat.dtype)

    def part(self, members: slice) -> Blocks:
        """Those members' views, which do not lie end to end: there is no `flat`."""
        part = copy.copy(self)
        part._views, part.flat = {name: view[members] for name, view in self.items()}, self.flat[:0]
        return part

    def members(self) -> Tensor:
        """For every element of `flat`, the member it belongs to."""
        places = [torch.arange(len(v), dtype=torch.int32).repeat_interleave(v[0].numel()) for v in self.values()]
        return torch.cat(places or [torch.empty(0, dtype=torch.int32)]).to(self.flat.device)


class Stack:
    """Networks of one `stack_key`, trained together. Members keep the order of `order(configs)`; see `positions`."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        device: torch.device,
        native_below: int = NATIVE_BELOW,
        channels_inside: bool | None = None,
    ) -> None:
        """`channels_inside`: how images lie in memory (see `Workspace`); None: as is faster there."""
        assert len({stack_key(c) for c in configs}) == 1, "members of a stack share shapes and steps"
        self.positions = order(configs)
        """`positions[k]` is the place of member k in the given list."""
        self.configs = [configs[i] for i in self.positions]
        self.device, self.dtype = device, getattr(torch, configs[0].train.dtype)
        self.native_below = native_below
        self.channels_inside = lies_inside(configs[0], device) if channels_inside is None else channels_inside
        self._choose_loss()
        self.layers = layers_of(self.configs)
        self._kept = kept_by(self.layers)
        self.data_seeds = sorted({c.data_seed for c in configs})
        self.group_of_K = self.index(lambda c: self.data_seeds.index(c.data_seed))
        """[K] place of each member's data seed in `data_seeds`."""
        self.seeds = sorted({c.seed for c in configs})
        self.seed_of_K = self.index(lambda c: self.seeds.index(c.seed))
        self.neighbours = neighbours_of(self.configs)
        self.buffers: dict[str, Tensor] = {}
        """Tensors [K, …] of any kind that networks of the user's change as they run, and no gradient moves."""
        self._allocate()
        self._initialise()
        self.t = torch.zeros((), device=device, dtype=torch.long)
        """Training steps taken; on the device, where a captured step counts as well."""

    def __len__(self) -> int:
        return len(self.configs)

    def scalars(self, of: Callable[[RunConfig], float]) -> Tensor:
        """[K] tensor of one number of every member."""
        return torch.tensor([of(c) for c in self.configs], device=self.device, dtype=self.dtype)

    def index(self, of: Callable[[RunConfig], int]) -> Tensor:
        """[K] tensor of one whole number of every member."""
        return torch.tensor([of(c) for c in self.configs], device=self.device)

    def part(self, members: slice) -> Stack:
        """Some members as a stack of their own, in the same memory: passes over it need less of theirs. It is there to
        be read, not trained."""
        part = copy.copy(self)
        part.configs, part.positions = self.configs[members], self.positions[members]
        part.group_of_K, part.seed_of_K = self.group_of_K[members], self.seed_of_K[members]
        part.products = {name: weight[members] for name, weight in self.products.items()}
        part.rest, part.running, part.batch = (b.part(members) for b in (self.rest, self.running, self.batch))
        part.buffers = {name: buffer[members] for name, buffer in self.buffers.items()}
        part.neighbours = neighbours_of(part.configs)
        part._choose_loss()
        part._name()
        return part

    def _choose_loss(self) -> None:
        self.loss = loss_of(self.configs[0].task, self.scalars(lambda c: c.train.label_smoothing))

    def _allocate(self) -> None:
        shapes = {name: (len(self), *kept.shape) for name, kept in self._kept.items()}
        self.products = {
            name: torch.empty(shapes[name], device=self.device, dtype=self.dtype)
            for name, kept in self._kept.items()
            if kept.as_product
        }
        """Parameters whose gradient is left as two factors: the weights of layer 1, most of all there are."""
        rest = {name: shapes[name] for name, kept in self._kept.items() if not (kept.as_product or kept.statistic)}
        self.rest = Blocks(rest, self.device, self.dtype)
        """All other parameters."""
        statistics = {name: shapes[name] for name, kept in self._kept.items() if kept.statistic}
        self.running, self.batch = (Blocks(statistics, self.device, self.dtype) for _ in range(2))
        """Running means and (unbiased) variances of every BN, and those of the last batch under the same names."""
        self._name()

    def _name(self) -> None:
        self.parameters: dict[str, Tensor] = {
            name: self.products[name] if kept.as_product else self.rest[name]
            for name, kept in self._kept.items()
            if not kept.statistic
        }
        """What training updates, by name, in the layers' order."""
        self.normed = normed_weights(self.configs, self.parameters)
        """By the names of the weights, those that members normalise."""

    def _initialise(self) -> None:
        normals = {seed: normals_of(self._kept, seed) for seed in self.seeds}
        tensors, nothing = {**self.parameters, **self.running}, torch.empty(0)
        for k, config in enumerate(self.configs):
            start = {layer.prefix + name: t for layer in self.layers for name, t in layer.start(config).items()}
            for name, kept in self._kept.items():
                given = start.pop(name, None)
                drawn_z = normals[config.seed].get(name, nothing)
                tensors[name][k] = kept.initial(config, drawn_z) if given is None else given
            for name, t in start.items():
                buffer = self.buffers.setdefault(name, t.new_empty(len(self), *t.shape, device=self.device))
                buffer[k] = t

    def rates(self) -> dict[str, Tensor]:
        """For each of `parameters`, [K] factors on the learning rate: 0 where a member keeps it as it is."""
        return {name: self.scalars(self._kept[name].rate) for name in self.parameters}

    @property
    def weight_names(self) -> list[str]:
        """Of the linear maps, from the first to the output; those of shortcuts left out."""
        return [name for name, kept in self._kept.items() if kept.drawn and not kept.shortcut]

    @property
    def all_weight_names(self) -> list[str]:
        """Of the linear maps and of shortcuts, with what weight normalisation makes them of; of a network of the user's
        those of two dimensions or more."""
        own = self.configs[0].model.is_own
        return [n for n, kept in self._kept.items() if kept.drawn or kept.drawn_as or (own and len(kept.shape) > 1)]

    @property
    def variance_names(self) -> list[str]:
        """Of the running variances behind the linear maps; those of shortcuts left out."""
        of_maps = (name for name, kept in self._kept.items() if kept.statistic and not kept.shortcut)
        return [name for name in of_maps if name.endswith("running_var")]

    @property
    def weights(self) -> list[Tensor]:
        """Of the linear maps, as they are computed with."""
        for normed in self.normed.values():
            normed.refresh()
        return [self.parameters[name] for name in self.weight_names]

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return len(self.weight_names) - 1

    @property
    def widest(self) -> int:
        """Numbers that the largest linear map of a member gives for a sample."""
        return max(layer.size for layer in self.layers)

    def block(self, number: int) -> list[str]:
        """Names of the parameters that belong to one linear map, counted from 1."""
        names = kept_by([layer for layer in self.layers if layer.block == number])
        return [name for name in names if name in self.parameters]

    @torch.no_grad()
    def export(self, k: int) -> nn.Module:
        """Member k as the ordinary network of `plain.build`, on the CPU, in eval mode."""
        model = build(self.configs[k])
        tensors = {**self.parameters, **self.running, **self.buffers}
        for name, t in (*model.named_parameters(), *model.named_buffers()):
            t.copy_(tensors[name][k].reshape(t.shape) if name in tensors else self.t)
        return model.eval()
