"""K networks as one set of [K, ...] tensors, each with the numbers it would have had alone.

Shapes: K members, G data seeds, B samples, D inputs, H units, C classes. Activations are [K, H, B]: a member's slice
is contiguous, so segments of members that share an activation or a BN setting are views, BatchNorm runs natively over
[1, K*H, B], and layer 1 of members that share their batch is one wide matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config import RunConfig
from bnsweep.identity import stack_key
from bnsweep.model import ACTIVATIONS, bias_is_removed, build, draw_normals, initial_weight

BatchStats = dict[tuple[int, int], tuple[Tensor, Tensor]]
"""(layer, first member of a BN segment) -> batch mean and unbiased batch variance, each flat [k*H]."""


@dataclass
class Trace:
    """What a forward pass saw, layer by layer: activation inputs a [K, H, B] (logits last) and outputs h [K, H, B]."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def order(configs: Sequence[RunConfig]) -> list[int]:
    """Positions of `configs` such that members of equal BN setting, then equal activation, stand side by side."""

    def key(i: int) -> tuple[object, ...]:
        bn = configs[i].bn
        return (bn.placement, bn.eps, configs[i].activation.name, i)

    return sorted(range(len(configs)), key=key)


def runs_of(values: Sequence[object]) -> list[slice]:
    """Slices over which consecutive values are equal."""
    slices, start = [], 0
    for _, items in groupby(values):
        stop = start + len(list(items))
        slices.append(slice(start, stop))
        start = stop
    return slices


def dropout_uniforms(seeds_S: Tensor, step: int, layer: int, units: int, batch: int) -> Tensor:
    """Uniforms [S, H, B] in [0, 1) that depend on nothing but (seed, step, layer, unit, sample).

    Counter-based (two rounds of the 32-bit mixer "lowbias32" by C. Wellons, on int64), so that every arm of a seed
    drops the same units, on every device, whatever it is stacked with.
    """
    mask = 0xFFFFFFFF

    def mix(x: Tensor) -> Tensor:
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
        x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
        return x ^ (x >> 16)

    key_S = mix(mix(seeds_S & mask) + 0x9E3779B9 * (step + 1) + 0x85EBCA6B * (layer + 1) & mask)
    counter_N = torch.arange(units * batch, device=seeds_S.device)
    bits_SN = mix(mix(counter_N) ^ key_S[:, None])
    return (bits_SN.double() / 2**32).view(-1, units, batch)


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
        seeds = sorted({c.seed for c in configs})
        self._seeds_S = torch.tensor(seeds, device=device)
        self._seed_of_K = torch.tensor([seeds.index(c.seed) for c in self.configs], device=device)
        self._dropout_K11 = self.scalars(lambda c: c.model.dropout).view(-1, 1, 1)
        self._momentum_K1 = self.scalars(lambda c: c.bn.momentum).view(-1, 1)
        self._has_dropout = any(c.model.dropout > 0 for c in configs)
        self._activation_segments = runs_of([c.activation.name for c in self.configs])
        self._bn_segments = runs_of([(c.bn.placement, c.bn.eps) for c in self.configs])
        self.steps = 0
        """Training steps taken."""
        self._initialise()

    def __len__(self) -> int:
        return len(self.configs)

    def scalars(self, of: Callable[[RunConfig], float]) -> Tensor:
        """[K] tensor of one number of every member."""
        return torch.tensor([of(c) for c in self.configs], device=self.device, dtype=self.dtype)

    def _initialise(self) -> None:
        draws = {seed: draw_normals(seed, self.sizes) for seed in {c.seed for c in self.configs}}
        self.weights, self.biases = [], []
        for layer, (n_in, n_out) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            w = torch.empty(len(self), n_out, n_in, dtype=self.dtype)
            for k, config in enumerate(self.configs):
                w[k] = initial_weight(config.init, draws[config.seed][layer])
            self.weights.append(w.to(self.device))
            self.biases.append(torch.zeros(len(self), n_out, 1, device=self.device, dtype=self.dtype))
        shapes = [(len(self), h) for h in self.sizes[1:-1]] if self.has_bn else []
        self.gammas = [torch.ones(s, device=self.device, dtype=self.dtype) for s in shapes]
        self.betas = [torch.zeros(s, device=self.device, dtype=self.dtype) for s in shapes]
        self.means = [torch.zeros_like(b) for b in self.betas]
        self.variances = [torch.ones_like(b) for b in self.betas]

    @property
    def trained(self) -> list[Tensor]:
        """For each of `parameters`, [K] of 1 where the member trains it and 0 where it stays as it is."""
        all_K = self.scalars(lambda c: 1.0)
        bias_K = self.scalars(lambda c: float(not bias_is_removed(c)))
        affine_K = self.scalars(lambda c: float(c.bn.affine))
        linear = [all_K] * len(self.weights) + [bias_K] * self.depth + [all_K]
        return linear + [affine_K] * 2 * len(self.gammas)

    @property
    def has_bn(self) -> bool:
        return any(c.bn.placement != "none" for c in self.configs)

    @property
    def parameters(self) -> list[Tensor]:
        """What training updates; the BN scales and shifts come last."""
        return [*self.weights, *self.biases, *self.gammas, *self.betas]

    def _linear(self, layer: int, h: Tensor) -> Tensor:
        w, b = self.weights[layer], self.biases[layer]
        if layer > 0 or h.dim() == 3:
            return torch.baddbmm(b, w, h)
        z = torch.addmm(b.flatten()[:, None], w.flatten(0, 1), h)
        return z.view(len(self), -1, h.shape[1])

    def _normalise(self, place: str, layer: int, x: Tensor, stats: BatchStats | None) -> Tensor:
        """BN of the members that have it at `place`; others pass. Batch statistics when `stats` is given to fill."""
        segments = self._bn_segments
        if not any(self.configs[s.start].bn.placement == place for s in segments):
            return x
        # split, not slices: its backward is one cat, theirs a full-size sum each.
        pieces = list(x.split([s.stop - s.start for s in segments]))
        for i, s in enumerate(segments):
            if self.configs[s.start].bn.placement == place:
                pieces[i] = self._batch_norm(layer, s, pieces[i], stats)
        return torch.cat(pieces)

    def _batch_norm(self, layer: int, s: slice, x: Tensor, stats: BatchStats | None) -> Tensor:
        mean, var = self.means[layer][s].flatten(), self.variances[layer][s].flatten()
        if stats is not None:
            # Momentum 1 into zeros: torch leaves this batch's mean and unbiased variance there.
            mean, var = torch.zeros_like(mean), torch.zeros_like(var)
            stats[layer, s.start] = mean, var
        gamma, beta = self.gammas[layer][s].flatten(), self.betas[layer][s].flatten()
        flat, eps = x.reshape(1, -1, x.shape[2]), self.configs[s.start].bn.eps
        normal = F.batch_norm(flat, mean, var, gamma, beta, training=stats is not None, momentum=1.0, eps=eps)
        return normal.view(x.shape)

    def _activate(self, a: Tensor) -> Tensor:
        segments = self._activation_segments
        pieces = a.split([s.stop - s.start for s in segments])
        outputs = [ACTIVATIONS[self.configs[s.start].activation.name](p) for s, p in zip(segments, pieces, strict=True)]
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def _drop(self, layer: int, h: Tensor, step: int) -> Tensor:
        uniform_SHB = dropout_uniforms(self._seeds_S, step, layer, h.shape[1], h.shape[2])
        keep_KHB = uniform_SHB[self._seed_of_K] >= self._dropout_K11
        return h * keep_KHB / (1 - self._dropout_K11)

    def forward(
        self, x: Tensor, stats: BatchStats | None = None, step: int | None = None, trace: Trace | None = None
    ) -> Tensor:
        """Logits [K, C, B] of a batch x: [D, B] shared by all members, or [K, D, B].

        Running statistics are used unless `stats` is given: then batch statistics are, and left in it. Units are
        dropped only where a training `step` is given.
        """
        h = x
        for layer in range(self.depth):
            a = self._normalise("before", layer, self._linear(layer, h), stats)
            h = self._activate(a)
            if trace is not None:
                trace.inputs.append(a)
                trace.outputs.append(h)
            h = self._normalise("after", layer, h, stats)
            if step is not None and self._has_dropout:
                h = self._drop(layer, h, step)
        logits = self._linear(self.depth, h)
        if trace is not None:
            trace.inputs.append(logits)
        return logits

    @torch.no_grad()
    def update_running(self, stats: BatchStats, alive_K: Tensor) -> None:
        """Blend batch statistics into the running ones, each member with its own momentum, frozen members not."""
        for (layer, start), batch in stats.items():
            k = len(batch[0]) // self.means[layer].shape[1]
            s = slice(start, start + k)
            momentum = self._momentum_K1[s]
            for running, new in zip((self.means[layer], self.variances[layer]), batch, strict=True):
                blended = (1 - momentum) * running[s] + momentum * new.view(k, -1)
                running[s] = torch.where(alive_K[s, None], blended, running[s])

    def export(self, k: int) -> nn.Sequential:
        """Member k as the plain network of `model.build`, on the CPU, in eval mode."""
        model = build(self.configs[k])
        state: dict[str, Tensor] = {}
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            state |= {f"linear{i}.weight": w[k], f"linear{i}.bias": b[k, :, 0]}
        if self.configs[k].bn.placement != "none":
            for i in range(self.depth):
                name = f"bn{i + 1}"
                state |= {f"{name}.running_mean": self.means[i][k], f"{name}.running_var": self.variances[i][k]}
                if self.configs[k].bn.affine:
                    state |= {f"{name}.weight": self.gammas[i][k], f"{name}.bias": self.betas[i][k]}
                state[f"{name}.num_batches_tracked"] = torch.tensor(self.steps)
        model.load_state_dict(state)
        return model.eval()
