"""K networks as one set of [K, ...] tensors, each with the numbers it would have had alone.

Shapes: K members, D inputs, H units, C classes. `passes.py` runs them forward and backward, `optim.py` updates them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from bnsweep.config.identity import stack_key
from bnsweep.config.run import RunConfig
from bnsweep.nets.plain import bias_is_removed, build, draw_normals, initial_weight


def order(configs: Sequence[RunConfig]) -> list[int]:
    """Positions of `configs` such that members of equal BN setting, then activation, then data stand side by side."""

    def key(i: int) -> tuple[object, ...]:
        bn = configs[i].bn
        return (bn.placement, bn.eps, bn.noise > 0, configs[i].activation.name, configs[i].data_seed, i)

    return sorted(range(len(configs)), key=key)


def runs_of(values: Sequence[object]) -> list[slice]:
    """Slices over which consecutive values are equal."""
    slices, start = [], 0
    for _, items in groupby(values):
        stop = start + len(list(items))
        slices.append(slice(start, stop))
        start = stop
    return slices


def blocks_of(data_seeds: Sequence[int], groups: Sequence[int]) -> list[tuple[slice, slice]]:
    """Slices of members and of `groups` such that, in each, every group has the same number of members, in order."""
    blocks: list[tuple[slice, slice]] = []
    for s in runs_of(data_seeds):
        g = groups.index(data_seeds[s.start])
        if blocks:
            members, seen = blocks[-1]
            if g == seen.stop and (s.stop - s.start) * (seen.stop - seen.start) == members.stop - members.start:
                blocks[-1] = slice(members.start, s.stop), slice(seen.start, g + 1)
                continue
        blocks.append((s, slice(g, g + 1)))
    return blocks


class Blocks:
    """Tensors of given shapes [K, ...] laid end to end in one, so that one operator serves them all."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], device: torch.device, dtype: torch.dtype) -> None:
        sizes = [math.prod(shape) for shape in shapes]
        self.flat = torch.zeros(sum(sizes), device=device, dtype=dtype)
        self.views = [v.view(shape) for v, shape in zip(self.flat.split(sizes), shapes, strict=True)]

    def part(self, members: slice) -> Blocks:
        """Those members' views, which do not lie end to end: there is no `flat`."""
        part = copy.copy(self)
        part.views, part.flat = [v[members] for v in self.views], self.flat[:0]
        return part

    def members(self) -> Tensor:
        """For every element of `flat`, the member it belongs to."""
        places = [torch.arange(len(v), dtype=torch.int32).repeat_interleave(v[0].numel()) for v in self.views]
        return torch.cat(places or [torch.empty(0, dtype=torch.int32)]).to(self.flat.device)


def halves(blocks: Blocks) -> tuple[list[Tensor], list[Tensor]]:
    middle = len(blocks.views) // 2
    return blocks.views[:middle], blocks.views[middle:]


class Stack:
    """Networks of one `stack_key`, trained together. Members keep the order of `order(configs)`; see `positions`."""

    def __init__(self, configs: Sequence[RunConfig], device: torch.device) -> None:
        assert len({stack_key(c) for c in configs}) == 1, "members of a stack share shapes and steps"
        self.positions = order(configs)
        """`positions[k]` is the place of member k in the given list."""
        self.configs = [configs[i] for i in self.positions]
        self.device, self.dtype = device, getattr(torch, configs[0].train.dtype)
        self.sizes = configs[0].sizes
        self.depth = len(self.sizes) - 2
        """Hidden layers."""
        self.data_seeds = sorted({c.data_seed for c in configs})
        self.group_of_K = self.index(lambda c: self.data_seeds.index(c.data_seed))
        """[K] place of each member's data seed in `data_seeds`."""
        self.seeds = sorted({c.seed for c in configs})
        self.seed_of_K = self.index(lambda c: self.seeds.index(c.seed))
        self.has_bn = any(c.bn.placement != "none" for c in configs)
        self._find_neighbours()
        self._allocate()
        self._initialise()

    def __len__(self) -> int:
        return len(self.configs)

    def scalars(self, of: Callable[[RunConfig], float]) -> Tensor:
        """[K] tensor of one number of every member."""
        return torch.tensor([of(c) for c in self.configs], device=self.device, dtype=self.dtype)

    def index(self, of: Callable[[RunConfig], int]) -> Tensor:
        """[K] tensor of one whole number of every member."""
        return torch.tensor([of(c) for c in self.configs], device=self.device)

    def part(self, members: slice) -> Stack:
        """Neighbours of this stack as one of their own, in the same memory: passes over it need less of theirs. It is
        there to be read, not trained."""
        part = copy.copy(self)
        part.configs, part.positions = self.configs[members], self.positions[members]
        part.group_of_K, part.seed_of_K = self.group_of_K[members], self.seed_of_K[members]
        part._rest_shapes = [(len(part.configs), *shape[1:]) for shape in self._rest_shapes]
        part.first = self.first[members]
        part.rest, part.running, part.batch = (blocks.part(members) for blocks in (self.rest, self.running, self.batch))
        part._find_neighbours()
        part._name_views()
        return part

    def _find_neighbours(self) -> None:
        self.activation_segments = runs_of([c.activation.name for c in self.configs])
        self.bn_segments = runs_of([(c.bn.placement, c.bn.eps, c.bn.noise > 0) for c in self.configs])
        self.batch_blocks = blocks_of([c.data_seed for c in self.configs], self.data_seeds)
        """(members, data seeds): neighbours whose first layer is one batched product over those seeds' batches."""

    def _allocate(self) -> None:
        k, h = len(self), self.sizes[1:-1] if self.has_bn else []
        matrices = [(k, n_out, n_in) for n_in, n_out in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        self._rest_shapes = [*matrices[1:], *[(k, n, 1) for n in self.sizes[1:]], *[(k, n) for n in (*h, *h)]]
        self.first = torch.empty(matrices[0], device=self.device, dtype=self.dtype)
        """Weights of layer 1 [K, H, D]: most of the parameters."""
        self.rest = self.like_rest()
        """All other parameters."""
        self.running, self.batch = (Blocks([(k, n) for n in (*h, *h)], self.device, self.dtype) for _ in range(2))
        """Running means then (unbiased) variances of every layer, and those of the last batch in the same places."""
        self._name_views()

    def _name_views(self) -> None:
        later, self.biases, self.gammas, self.betas = self.parts(self.rest)
        self.weights = [self.first, *later]
        self.means, self.variances = halves(self.running)

    def like_rest(self) -> Blocks:
        """Zeros in the layout of `rest`."""
        return Blocks(self._rest_shapes, self.device, self.dtype)

    def parts(self, rest: Blocks) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """What `rest` is made of: weights of the layers after the first, all biases, BN's scales, BN's shifts."""
        n, views = self.depth, rest.views
        norms = n if self.has_bn else 0
        return views[:n], views[n : 2 * n + 1], views[2 * n + 1 : 2 * n + 1 + norms], views[2 * n + 1 + norms :]

    def _initialise(self) -> None:
        draws = {seed: draw_normals(seed, self.sizes) for seed in self.seeds}
        for layer, weight in enumerate(self.weights):
            for k, config in enumerate(self.configs):
                gain = config.init.gain if layer < self.depth else 1.0
                weight[k] = initial_weight(config.init, draws[config.seed][layer]) * gain
        initial_K = self.scalars(lambda c: c.bn.initial_variance)
        for gamma, variance in zip(self.gammas, self.variances, strict=True):
            gamma.fill_(1.0)
            variance.copy_(initial_K[:, None].expand_as(variance))
        self.t = torch.zeros((), device=self.device, dtype=torch.long)
        """Training steps taken; on the device, where a captured step counts as well."""

    @property
    def parameters(self) -> list[Tensor]:
        """What training updates; the BN scales and shifts come last."""
        return [*self.weights, *self.biases, *self.gammas, *self.betas]

    @property
    def rates(self) -> list[Tensor]:
        """For each of `parameters`, [K] factors on the learning rate: 0 where a member keeps it as it is."""
        hidden_K, output_K = self.scalars(lambda c: c.lr.hidden), self.scalars(lambda c: 1.0)
        bias_K = self.scalars(lambda c: float(c.model.bias and not bias_is_removed(c)))
        last_K = self.scalars(lambda c: float(c.model.bias))
        affine_K = self.scalars(lambda c: float(c.bn.affine and c.bn.placement != "none"))
        weights = [hidden_K] * self.depth + [output_K]
        return [*weights, *[bias_K] * self.depth, last_K, *[affine_K] * 2 * len(self.gammas)]

    def export(self, k: int) -> nn.Sequential:
        """Member k as the plain network of `model.build`, on the CPU, in eval mode."""
        model = build(self.configs[k])
        state: dict[str, Tensor] = {}
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            state |= {f"linear{i}.weight": w[k]} | (
                {f"linear{i}.bias": b[k, :, 0]} if self.configs[k].model.bias else {}
            )
        if self.configs[k].bn.placement != "none":
            for i in range(self.depth):
                name = f"bn{i + 1}"
                state |= {f"{name}.running_mean": self.means[i][k], f"{name}.running_var": self.variances[i][k]}
                if self.configs[k].bn.affine:
                    state |= {f"{name}.weight": self.gammas[i][k], f"{name}.bias": self.betas[i][k]}
                state[f"{name}.num_batches_tracked"] = self.t
        model.load_state_dict(state)
        return model.eval()
