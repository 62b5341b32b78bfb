"""What a light probe reads of a stack: one forward and backward pass over the probe batch.

K members, L hidden layers, B probe samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.nets.passes import Layer, Passes
from bnsweep.nets.stack import Stack, runs_of
from bnsweep.probes import activations as probes
from bnsweep.probes import gradients as flow
from bnsweep.probes.trial_steps import Gradients, gradients
from bnsweep.records import HISTOGRAM_EDGES

Values = dict[str, Tensor]
"""Metric name -> [K]; NaN where a member has no such thing."""


@dataclass
class Leaf:
    """Neighbours in a stack that share a BN setting and an activation: one tensor in each layer."""

    members: slice
    activation: str


class Light:
    """Reads every layer's activations, gradients and weights, by passes that training does not use."""

    def __init__(self, stack: Stack, passes: Passes) -> None:
        self.stack, self.passes = stack, passes
        self._leaves = [
            Leaf(slice(s.start + r.start, s.start + r.stop), names[r.start])
            for s in stack.bn_segments
            for names in [[c.activation.name for c in stack.configs[s]]]
            for r in runs_of(names)
        ]
        self._before_K = torch.tensor([c.bn.placement == "before" for c in stack.configs], device=stack.device)
        self._rates = stack.rates[: len(stack.weights)]
        """[K] factors on the learning rate of every layer's weights."""

    def read(
        self, histograms: bool, x_GBD: Tensor, y_KB: Tensor, lr_K: Tensor
    ) -> tuple[Values, list[Tensor], Gradients]:
        """Metrics, and where asked for the counts [K, bins] of every hidden layer's outputs."""
        norms: list[Tensor] = []
        here = gradients(self.passes, x_GBD, y_KB, lambda d: norms.append(flow.norms(d)))
        d_LK = torch.stack(norms[::-1])
        values = {"flow": flow.flow(d_LK), "growth": flow.growth(d_LK)}
        for i, norm_K in enumerate([*d_LK, flow.norms(here.d_logits)], start=1):
            values[f"layer/{i}/grad_activation"] = norm_K
        values |= self._of_steps(here.weights, lr_K)
        for i, layer in enumerate(here.layers[:-1], start=1):
            values |= {f"layer/{i}/{name}": v for name, v in self._of_activations(layer).items()}
        counts = [self._counts(layer) for layer in here.layers[:-1] if histograms]
        return values, counts, here

    def _of_steps(self, weight_grads: list[Tensor], lr_K: Tensor) -> Values:
        """How large the weights' gradients and plain gradient steps are."""
        values: Values = {}
        lists = zip(weight_grads, self.stack.weights, self._rates, strict=True)
        for i, (g, w, factor_K) in enumerate(lists, start=1):
            rate_K, norm_K = lr_K * factor_K, flow.norms(g)
            values[f"layer/{i}/grad_weight"] = norm_K
            values[f"layer/{i}/update_ratio"] = flow.update_ratio(rate_K, norm_K, flow.norms(w))
            if i <= self.stack.depth:
                values[f"layer/{i}/effective_lr"] = torch.where(self._before_K, flow.effective_lr(rate_K, w), torch.nan)
        return values

    def _of_activations(self, layer: Layer) -> Values:
        """What `probes` says of a hidden layer's activations, leaf by leaf."""
        leaves = [pair for a, h, _ in layer.ran for pair in zip(a.leaves, h.leaves, strict=True)]
        names = ("mean", "std", "saturation", "dead", "nonpositive")
        nothing_K = torch.full((len(self.stack),), torch.nan, device=self.stack.device, dtype=torch.float64)
        values = {name: nothing_K.clone() for name in names}
        for leaf, (a, h) in zip(self._leaves, leaves, strict=True):
            start = leaf.members.start
            for a_piece, h_piece in zip(probes.pieces(a), probes.pieces(h), strict=True):
                s = slice(start, start := start + len(h_piece))
                values["mean"][s], values["std"][s] = probes.means_stds(h_piece)
                values["nonpositive"][s] = probes.nonpositive(a_piece)
                row = ACTIVATIONS[leaf.activation]
                if row.flat is not None:
                    values["saturation"][s] = probes.saturation(h_piece, *row.flat)
                if row.dies:
                    values["dead"][s] = probes.dead_units(h_piece)
        return values

    def _counts(self, layer: Layer) -> Tensor:
        low, high, bins = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1], len(HISTOGRAM_EDGES) - 1
        outputs = [piece for h in layer.outputs for piece in probes.pieces(h)]
        return torch.cat([probes.histogram_counts(h, low, high, bins) for h in outputs])
