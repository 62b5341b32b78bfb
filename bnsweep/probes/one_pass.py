"""What a light probe reads of a stack: one forward and backward pass over the probe batch.

K members, L hidden layers, B probe samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.nets.engine import Engine
from bnsweep.nets.layer import Activated
from bnsweep.nets.stack import Stack
from bnsweep.probes import activations, gradients
from bnsweep.probes.trial_steps import Gradients, gradients_of
from bnsweep.records import HISTOGRAM_EDGES

Values = dict[str, Tensor]
"""Metric name -> [K]; NaN where a member has no such thing."""


class OnePass:
    """Reads every layer's activations, gradients and weights, by an engine that training does not use."""

    def __init__(self, stack: Stack, engine: Engine) -> None:
        self.stack, self.engine = stack, engine
        self._before_K = torch.tensor([c.normalisation == "before" for c in stack.configs], device=stack.device)
        hidden_K, output_K = stack.scalars(lambda c: c.lr.hidden), stack.scalars(lambda c: 1.0)
        self._rates = [hidden_K if i < stack.depth else output_K for i in range(len(stack.weight_names))]
        """[K] factors on the learning rate of every layer's weights, also where those are normalised, and what makes
        them is trained."""

    def read(
        self, histograms: bool, x_GBD: Tensor, y_KB: Tensor, lr_K: Tensor
    ) -> tuple[Values, list[Tensor], Gradients]:
        """Metrics, and where asked for the counts [K, bins] of every hidden layer's outputs."""
        norms: list[Tensor] = []
        here = gradients_of(self.engine, x_GBD, y_KB, lambda d: norms.append(gradients.norms(d)))
        d_LK = torch.stack(norms[::-1])
        values = {"flow": gradients.flow(d_LK), "growth": gradients.growth(d_LK)}
        for i, norm_K in enumerate([*d_LK, gradients.norms(here.d_logits)], start=1):
            values[f"layer/{i}/grad_activation"] = norm_K
        values |= self._of_steps([here.parameters[name] for name in self.stack.weight_names], lr_K)
        for i, layer in enumerate(here.activated, start=1):
            values |= {f"layer/{i}/{name}": v for name, v in self._of_activations(layer).items()}
        counts = [self._counts(layer) for layer in here.activated if histograms]
        return values, counts, here

    def _of_steps(self, weight_grads: list[Tensor], lr_K: Tensor) -> Values:
        """How large the weights' gradients and plain gradient steps are."""
        values: Values = {}
        lists = zip(weight_grads, self.stack.weights, self._rates, strict=True)
        for i, (g, w, factor_K) in enumerate(lists, start=1):
            rate_K, norm_K = lr_K * factor_K, gradients.norms(g)
            values[f"layer/{i}/grad_weight"] = norm_K
            values[f"layer/{i}/update_ratio"] = gradients.update_ratio(rate_K, norm_K, gradients.norms(w))
            if i <= self.stack.depth:
                values[f"layer/{i}/effective_lr"] = torch.where(
                    self._before_K, gradients.effective_lr(rate_K, w), torch.nan
                )
        return values

    def _of_activations(self, layer: Sequence[Activated]) -> Values:
        """What `activations` says of a hidden layer, some members at a time."""
        names = ("mean", "std", "saturation", "dead", "nonpositive")
        nothing_K = torch.full((len(self.stack),), torch.nan, device=self.stack.device, dtype=torch.float64)
        values = {name: nothing_K.clone() for name in names}
        for some in layer:
            start, row = some.members.start, ACTIVATIONS[some.activation]
            for a_piece, h_piece in zip(activations.pieces(some.a), activations.pieces(some.h), strict=True):
                s = slice(start, start := start + len(h_piece))
                values["mean"][s], values["std"][s] = activations.means_stds(h_piece)
                values["nonpositive"][s] = activations.nonpositive(a_piece)
                if row.flat is not None:
                    values["saturation"][s] = activations.saturation(h_piece, *row.flat)
                if row.dies:
                    values["dead"][s] = activations.dead_units(h_piece)
        return values

    def _counts(self, layer: Sequence[Activated]) -> Tensor:
        low, high, bins = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1], len(HISTOGRAM_EDGES) - 1
        outputs = [piece for some in layer for piece in activations.pieces(some.h)]
        return torch.cat([activations.histogram_counts(h, low, high, bins) for h in outputs])
