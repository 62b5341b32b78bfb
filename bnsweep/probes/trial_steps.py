"""Loss and gradient of a stack on one batch, at its parameters and at others nearby, which are put back bit for bit.

K members, C classes, G data seeds, B samples, A step lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnsweep.nets.engine import Engine
from bnsweep.nets.layer import Activated
from bnsweep.nets.stack import Stack
from bnsweep.probes import landscape
from bnsweep.probes.gradients import norms
from bnsweep.probes.shift import covariate_shift

if TYPE_CHECKING:
    from bnsweep.training.optimizer import Optimizer


@dataclass
class Gradients:
    """What a forward and a backward pass say of a batch, mean loss. Valid until the next pass."""

    logits: Tensor
    """[K, C, B]"""
    loss_K: Tensor
    d_logits: Tensor
    parameters: dict[str, Tensor]
    """dL/d of every parameter, under the names of `Stack.parameters`."""
    activated: list[list[Activated]]
    """Of every hidden layer."""


def gradients_of(
    engine: Engine, x_GBD: Tensor, y_KB: Tensor, watch: Callable[[Tensor], None] | None = None
) -> Gradients:
    """Without dropout or noise; `watch` as `Engine.backward` has it."""
    logits = engine.forward(x_GBD)
    loss_KB, kept = engine.stack.loss.of_samples(logits, y_KB)
    loss_K = loss_KB.mean(1, dtype=torch.float64)
    d_logits = engine.stack.loss.gradient(kept, y_KB)
    engine.backward(d_logits, watch)
    found = dict(engine.gradients)
    for product in engine.products:
        found[product.name] = torch.zeros_like(engine.stack.parameters[product.name])
        product.add_to(found[product.name])
    parameters = {name: found[name] for name in engine.stack.parameters}
    return Gradients(logits, loss_K, d_logits, parameters, engine.activated)


class TrialSteps:
    """Takes steps away from where a stack stands, and back."""

    def __init__(self, stack: Stack, optimizer: Optimizer, engine: Engine, x_GBD: Tensor, y_KB: Tensor) -> None:
        self.stack, self.optimizer, self.engine = stack, optimizer, engine
        self._batch = x_GBD, y_KB
        rates = stack.rates()
        self._trained = {n: (rates[n] > 0).view(-1, *[1] * (p.dim() - 1)) for n, p in stack.parameters.items()}

    def landscape(self, lr_K: Tensor) -> dict[str, Tensor]:
        """The loss and its gradient at theta - alpha lr g, g being the gradient of all parameters that are trained,
        for every alpha of `landscape.ALPHAS`."""
        g = self._of_trained(gradients_of(self.engine, *self._batch))
        size_K = _size(g.values())
        losses, changes, lengths = [], [], []
        with self._put_back() as theta:
            for alpha in landscape.ALPHAS:
                for name, p in self.stack.parameters.items():
                    step = (alpha * lr_K).view(-1, *[1] * (p.dim() - 1))
                    torch.sub(theta[name], step * g[name], out=p)
                there = gradients_of(self.engine, *self._batch)
                changes.append(_size([part - g[name] for name, part in self._of_trained(there).items()]))
                losses.append(there.loss_K)
                lengths.append(alpha * lr_K * size_K)
        change_AK = torch.stack(changes)
        return {
            "landscape/loss_range": landscape.loss_range(torch.stack(losses)),
            "landscape/gradient_change": landscape.gradient_change(change_AK),
            "landscape/beta": landscape.effective_beta(change_AK, torch.stack(lengths)),
        }

    def _of_trained(self, here: Gradients) -> dict[str, Tensor]:
        """Gradients of what each member trains; 0 elsewhere."""
        return {name: torch.where(self._trained[name], g, 0) for name, g in here.parameters.items()}

    def covariate_shift(self) -> dict[str, Tensor]:
        """`shift.covariate_shift` of every layer that has layers below it, which are updated as the optimizer would
        on this batch."""
        values: dict[str, Tensor] = {}
        with self._put_back() as theta:
            here = gradients_of(self.engine, *self._batch)
            before = {name: here.parameters[name].clone() for name in self.stack.weight_names}
            after = self._updated()
            for name, p in self.stack.parameters.items():
                p.copy_(theta[name])
            for i, weight in enumerate(self.stack.weight_names[1:], start=2):
                for name in self.stack.block(i - 1):
                    self.stack.parameters[name].copy_(after[name])
                there = gradients_of(self.engine, *self._batch).parameters[weight]
                found = covariate_shift(before[weight], there)
                values |= {f"layer/{i}/{name}": v for name, v in zip(NAMES, found, strict=True)}
        return values

    def _updated(self) -> dict[str, Tensor]:
        """The parameters after a step of the optimizer by the gradients of the last pass."""
        self.optimizer.update(self.engine.products, self.engine.gradients.flat, None)
        return {name: p.clone() for name, p in self.stack.parameters.items()}

    @contextmanager
    def _put_back(self) -> Iterator[dict[str, Tensor]]:
        """A copy of the parameters. In the end they, the optimizer's state and the step count are as they were, in
        the memory that a captured step reads. Running statistics are not touched in between."""
        tensors = [*self.stack.parameters.values(), self.stack.t, *self.optimizer.state]
        kept = [t.clone() for t in tensors]
        try:
            yield dict(zip(self.stack.parameters, kept, strict=False))
        finally:
            for t, before in zip(tensors, kept, strict=True):
                t.copy_(before)


NAMES = ("ics", "ics_ratio", "ics_cosine")


def _size(parts: Iterable[Tensor]) -> Tensor:
    """[K] norm of each member's parts, all taken as one vector."""
    return torch.stack([norms(part) for part in parts]).square().sum(0).sqrt()
