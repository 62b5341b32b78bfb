"""SGD, momentum and Adam over stacked parameters [K, ...]: torch.optim's formulas with one learning rate a member."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnsweep.config import RunConfig
from bnsweep.stack import Stack

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma & Ba 2015, algorithm 1), torch's defaults."""

STATES = {"sgd": 0, "momentum": 1, "adam": 2}
"""Tensors as large as the parameters that an optimizer keeps between steps."""


class Optimizer:
    """Updates a stack's parameters in place. Members of one stack share the family, not its numbers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.family = stack.configs[0].optimizer.name
        self.total_steps = stack.configs[0].total_steps
        self._decay_K = stack.scalars(lambda c: c.optimizer.weight_decay)
        self._has_decay = any(c.optimizer.weight_decay > 0 for c in stack.configs)
        self._momentum_K = stack.scalars(lambda c: c.optimizer.momentum)
        self._lr_K = stack.scalars(lambda c: c.lr.value)
        # A parameter that is not trained has learning rate 0.
        self._trained = stack.trained
        schedules = sorted({(c.lr.schedule, c.lr.warmup) for c in stack.configs})
        self._schedule_of_K = torch.tensor(
            [schedules.index((c.lr.schedule, c.lr.warmup)) for c in stack.configs], device=stack.device
        )
        self._scale_TU = self._scales(schedules)
        self._state = [[torch.zeros_like(p) for _ in range(STATES[self.family])] for p in stack.parameters]

    def _scales(self, schedules: Sequence[tuple[str, float]]) -> Tensor:
        one_of = {(c.lr.schedule, c.lr.warmup): c.lr for c in self.stack.configs}
        rows = [[one_of[u].scale(t, self.total_steps) for u in schedules] for t in range(self.total_steps)]
        return torch.tensor(rows, device=self.stack.device, dtype=self.stack.dtype)

    def lr_K(self, step: int) -> Tensor:
        """[K] learning rates at 0-based `step`."""
        return self._lr_K * self._scale_TU[step].index_select(0, self._schedule_of_K)

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], alive_K: Tensor) -> None:
        """One step for the members that are alive; the parameters of the others stay as they are, bit for bit."""
        stack, lr_K = self.stack, self.lr_K(self.stack.steps)
        stack.steps += 1
        for i, (p, g) in enumerate(zip(stack.parameters, gradients, strict=True)):
            shape = (-1,) + (1,) * (p.dim() - 1)
            if self._has_decay:
                g = torch.addcmul(g, self._decay_K.view(shape), p)
            direction = self._direction(g, self._state[i], shape)
            # where, never a product with a mask: 0 * NaN is NaN.
            direction = torch.where(alive_K.view(shape), direction, 0.0)
            p.addcmul_(direction, -(lr_K * self._trained[i]).view(shape))

    def _direction(self, g: Tensor, state: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        if self.family == "momentum":
            buffer: Tensor = state[0].mul_(self._momentum_K.view(shape)).add_(g)
            return buffer
        if self.family == "adam":
            t = self.stack.steps
            first, second = state
            first.lerp_(g, 1 - BETA1)
            second.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            denominator = (second.sqrt() / (1 - BETA2**t) ** 0.5).add_(EPS)
            return first.div(denominator).div_(1 - BETA1**t)
        return g


def state_tensors(config: RunConfig) -> int:
    """Tensors as large as the parameters that training holds at once: parameters, gradients, state, one temporary."""
    return 3 + STATES[config.optimizer.name]
