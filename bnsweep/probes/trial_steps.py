"""Loss and gradient of a stack on one batch, at its parameters and at others nearby, which are put back bit for bit.

K members, L hidden layers, P parameter tensors, G data seeds, B samples, A step lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.nets.passes import Layer, Passes
from bnsweep.nets.stack import Stack
from bnsweep.probes import landscape
from bnsweep.probes.gradients import norms
from bnsweep.probes.shift import covariate_shift
from bnsweep.training.loss import log_probabilities, logit_gradients
from bnsweep.training.optimizer import Optimizer, add_products


@dataclass
class Gradients:
    """What a forward and a backward pass say of a batch, mean loss. Valid until the next pass."""

    logits: Tensor
    """[K, C, B]"""
    layers: list[Layer]
    loss_K: Tensor
    d_logits: Tensor
    d: Tensor
    """dL/dz [K, H, B] of layer 1."""
    first: Tensor
    """dL/dW of layer 1."""
    rest: list[Tensor]
    """dL/d of the other parameters, in the order of `Stack.parameters`."""

    @property
    def weights(self) -> list[Tensor]:
        """Of every linear map."""
        return [self.first, *self.rest[: len(self.layers) - 1]]

    @property
    def biases(self) -> list[Tensor]:
        n = len(self.layers)
        return self.rest[n - 1 : 2 * n - 1]


def gradients(passes: Passes, x_GBD: Tensor, y_KB: Tensor, watch: Callable[[Tensor], None] | None = None) -> Gradients:
    """Without dropout or noise; `watch` as `Passes.backward` has it."""
    logits, layers = passes.forward(x_GBD)
    log_p, right_KB = log_probabilities(logits, y_KB)
    loss_K = -right_KB.mean(1, dtype=torch.float64)
    d_logits = logit_gradients(log_p, y_KB)
    d = passes.backward(layers, d_logits, watch)
    first = torch.zeros_like(passes.stack.first)
    add_products(first, d, passes.batches(x_GBD))
    return Gradients(logits, layers, loss_K, d_logits, d, first, passes.gradients.views)


class Nearby:
    """Takes steps away from where a stack stands, and back."""

    def __init__(self, stack: Stack, optimizer: Optimizer, passes: Passes, x_GBD: Tensor, y_KB: Tensor) -> None:
        self.stack, self.optimizer, self.passes = stack, optimizer, passes
        self._batch = x_GBD, y_KB
        rates = zip(stack.rates, stack.parameters, strict=True)
        self._trained = [(rate_K > 0).view(-1, *[1] * (p.dim() - 1)) for rate_K, p in rates]

    def landscape(self, lr_K: Tensor) -> dict[str, Tensor]:
        """The loss and its gradient at theta - alpha lr g, g being the gradient of all parameters that are trained,
        for every alpha of `landscape.ALPHAS`."""
        here = gradients(self.passes, *self._batch)
        g = [torch.where(on, part, 0) for on, part in zip(self._trained, (here.first, *here.rest), strict=True)]
        size_K = _size(g)
        losses, changes, lengths = [], [], []
        with self._put_back() as theta:
            for alpha in landscape.ALPHAS:
                for p, p_0, g_p in zip(self.stack.parameters, theta, g, strict=True):
                    step = (alpha * lr_K).view(-1, *[1] * (p.dim() - 1))
                    torch.sub(p_0, step * g_p, out=p)
                there = gradients(self.passes, *self._batch)
                pairs = zip(self._trained, (there.first, *there.rest), g, strict=True)
                changes.append(_size([torch.where(on, a - b, 0) for on, a, b in pairs]))
                losses.append(there.loss_K)
                lengths.append(alpha * lr_K * size_K)
        change_AK = torch.stack(changes)
        return {
            "landscape/loss_range": landscape.loss_range(torch.stack(losses)),
            "landscape/gradient_change": landscape.gradient_change(change_AK),
            "landscape/beta": landscape.effective_beta(change_AK, torch.stack(lengths)),
        }

    def covariate_shift(self) -> dict[str, Tensor]:
        """`shift.covariate_shift` of every layer that has layers below it, which are updated as the optimizer would
        on this batch."""
        values: dict[str, Tensor] = {}
        with self._put_back() as theta:
            here = gradients(self.passes, *self._batch)
            before = [g.clone() for g in here.weights]
            after = self._updated(here)
            for p, p_0 in zip(self.stack.parameters, theta, strict=True):
                p.copy_(p_0)
            for i in range(self.stack.depth):
                for p, p_1 in zip(self._layer(i, self.stack.parameters), self._layer(i, after), strict=True):
                    p.copy_(p_1)
                there = gradients(self.passes, *self._batch).weights[i + 1]
                found = covariate_shift(before[i + 1], there)
                values |= {f"layer/{i + 2}/{name}": v for name, v in zip(NAMES, found, strict=True)}
        return values

    def _updated(self, here: Gradients) -> list[Tensor]:
        """The parameters after a step of the optimizer on this batch."""
        x = self.passes.batches(self._batch[0])
        self.optimizer.update(here.d, x, self.passes.gradients.flat, None)
        return [p.clone() for p in self.stack.parameters]

    def _layer(self, i: int, parameters: list[Tensor]) -> Iterator[Tensor]:
        """Of `Stack.parameters` those of hidden layer i: weights, biases, and BN's scales and shifts."""
        n, depth = len(parameters), self.stack.depth
        places = [i, depth + 1 + i]
        if self.stack.has_bn:
            places += [n - 2 * depth + i, n - depth + i]
        return (parameters[place] for place in places)

    @contextmanager
    def _put_back(self) -> Iterator[list[Tensor]]:
        """A copy of the parameters. In the end they, the optimizer's state and the step count are as they were, in
        the memory that a captured step reads. Running statistics are not touched in between."""
        tensors = [*self.stack.parameters, self.stack.t, *self.optimizer.state]
        kept = [t.clone() for t in tensors]
        try:
            yield kept[: len(self.stack.parameters)]
        finally:
            for t, before in zip(tensors, kept, strict=True):
                t.copy_(before)


NAMES = ("ics", "ics_ratio", "ics_cosine")


def _size(parts: Sequence[Tensor]) -> Tensor:
    """[K] norm of each member's parts, all taken as one vector."""
    return torch.stack([norms(part) for part in parts]).square().sum(0).sqrt()
