"""What is read off a stack on the probe batch, besides its scores: the functions of `probes` on its tensors.

K members, H units, B probe samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnsweep import probes
from bnsweep.batches import Batches
from bnsweep.loss import log_probabilities, logit_gradients
from bnsweep.optim import add_products
from bnsweep.passes import Layer, Passes
from bnsweep.records import HISTOGRAM_EDGES
from bnsweep.stack import Stack


class Diagnostics:
    """Reads a stack's diagnostics with `passes` of their own, which training does not use."""

    def __init__(self, stack: Stack, passes: Passes, batches: Batches) -> None:
        self.stack, self.passes, self.batches = stack, passes, batches
        names = [c.activation.name for c in stack.configs]
        bounds = [probes.SATURATED.get(n, (torch.nan, torch.nan)) for n in names]
        self._low_K, self._high_K = torch.tensor(bounds, device=stack.device, dtype=stack.dtype).unbind(1)
        self._relu_K = torch.tensor([n == "relu" for n in names], device=stack.device)

    @torch.no_grad()
    def light(self, histograms: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Diagnostics [K] by metric name on the probe batch, mean loss: batch statistics as in training, but without
        dropout, whose draws would be noise between readings."""
        x_GBD, y_KB = self.batches.take(self.batches.rows["probe"])
        logits, layers = self.passes.forward(x_GBD)
        log_p, _ = log_probabilities(logits, y_KB)
        d_logits = logit_gradients(log_p, y_KB)
        flow = [probes.norms(d_logits)]
        d = self.passes.backward(layers, d_logits, lambda d: flow.append(probes.norms(d)))
        first = torch.zeros_like(self.stack.first)
        add_products(first, d, self.passes.batches(x_GBD))
        weight_grads = [first, *self.stack.parts(self.passes.gradients)[0]]
        values: dict[str, Tensor] = {}
        for i, (g_activation, g_weight) in enumerate(zip(reversed(flow), weight_grads, strict=True), start=1):
            values[f"layer/{i}/grad_activation"] = g_activation
            values[f"layer/{i}/grad_weight"] = probes.norms(g_weight)
        for i, layer in enumerate(layers[:-1], start=1):
            values |= {f"layer/{i}/{name}": v for name, v in self._of_outputs(layer).items()}
        low, high, bins = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1], len(HISTOGRAM_EDGES) - 1
        counts = [
            torch.cat([probes.histogram_counts(h, low, high, bins) for h in layer.outputs])
            for layer in layers[:-1]
            if histograms
        ]
        return values, counts

    def _of_outputs(self, layer: Layer) -> dict[str, Tensor]:
        """Diagnostics [K] of a hidden layer's activation outputs, segment by segment."""
        found = []
        for s, h in zip(self.stack.bn_segments, layer.outputs, strict=True):
            mean, std = probes.means_stds(h)
            saturation = probes.saturation(h, self._low_K[s], self._high_K[s])
            found.append({"mean": mean, "std": std, "saturation": saturation})
            found[-1]["dead"] = probes.dead_units(h, self._relu_K[s])
        return {name: torch.cat([values[name] for values in found]) for name in found[0]}
