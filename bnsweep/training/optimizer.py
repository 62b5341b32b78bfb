"""SGD, momentum and Adam over stacked parameters [K, ...]: torch.optim's formulas with one learning rate a member."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnsweep.catalogue.optimizers import OPTIMIZERS
from bnsweep.nets.stack import Stack


class Optimizer:
    """Updates a stack's parameters in place. Members of one stack share the family, not its numbers.

    The parameters of a member that is no longer alive stay as they are, as far as they are finite.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.kind = OPTIMIZERS[stack.configs[0].optimizer.name]
        self._lr_K = stack.scalars(lambda c: c.rate)
        schedules = sorted({(c.lr.schedule, c.lr.warmup) for c in stack.configs})
        self._schedule_of_K = stack.index(lambda c: schedules.index((c.lr.schedule, c.lr.warmup)))
        self._scale_TU = self._scales(schedules)
        self._constant = bool((self._scale_TU == 1).all())
        first_K, *rest = stack.rates
        self._hidden_K = None if bool((first_K == 1).all()) else first_K
        self._factor_rest = torch.cat(
            [factor_K.repeat_interleave(p[0].numel()) for factor_K, p in zip(rest, stack.rest.views, strict=True)]
        )
        self._of_rest = stack.rest.members()
        self._rate_K, self._rate_rest = self._rates()
        decay_K = stack.scalars(lambda c: c.optimizer.weight_decay)
        self._decay_K11 = decay_K.view(-1, 1, 1) if decay_K.any() else None
        momentum_K = stack.scalars(lambda c: c.optimizer.momentum)
        self._momentum_K11 = momentum_K.view(-1, 1, 1)
        if self._decay_K11 is not None:
            self._decay_rest = decay_K[self._of_rest]
        self._momentum_rest = momentum_K[self._of_rest] if self.kind.accumulates else momentum_K
        states = range(self.kind.states)
        self._first_state = [torch.zeros_like(stack.first) for _ in states]
        self._rest_state = [torch.zeros_like(stack.rest.flat) for _ in states]
        self._zero = torch.zeros((), device=stack.device, dtype=stack.dtype)

    @property
    def state(self) -> list[Tensor]:
        """What is kept between steps, besides their count."""
        return [*self._first_state, *self._rest_state]

    def _scales(self, schedules: Sequence[tuple[str, float]]) -> Tensor:
        one_of = {(c.lr.schedule, c.lr.warmup): c.lr for c in self.stack.configs}
        total = self.stack.configs[0].total_steps
        rows = [[one_of[u].scale(t, total) for u in schedules] for t in range(max(1, total))]
        return torch.tensor(rows, device=self.stack.device, dtype=self.stack.dtype)

    def lr_K(self, step: Tensor) -> Tensor:
        """[K] learning rates at 0-based `step`; past the end, those of the last."""
        if self._constant:
            return self._lr_K
        step = step.clamp(max=len(self._scale_TU) - 1)
        return self._lr_K * self._scale_TU.index_select(0, step.view(1))[0].index_select(0, self._schedule_of_K)

    def _rates(self) -> tuple[Tensor, Tensor]:
        """Minus the learning rate of this step: [K] of layer 1's weights, and of every element of the rest."""
        rate_K = -self.lr_K(self.stack.t)
        rate_rest = rate_K.index_select(0, self._of_rest).mul_(self._factor_rest)
        return rate_K if self._hidden_K is None else rate_K * self._hidden_K, rate_rest

    @torch.no_grad()
    def update(self, d_KHB: Tensor, x: Sequence[tuple[slice, Tensor]], rest: Tensor, alive_K: Tensor | None) -> None:
        """One step. The gradient of layer 1's weights is d [K, H, B] times x, given as `Passes.batches` does; that of
        all else is `rest`. Both are overwritten. `alive_K` None: all are."""
        if not self._constant:
            self._rate_K, self._rate_rest = self._rates()
        self.stack.t += 1
        self._update_first(d_KHB, x, alive_K)
        self._update_rest(rest, alive_K)

    def _update_first(self, d: Tensor, x: Sequence[tuple[slice, Tensor]], alive_K: Tensor | None) -> None:
        # Masked at d, the smallest tensor on the way: a frozen member has gradient 0, hence a finite state, and rate 0.
        # where, never a product with a mask: 0 * NaN is NaN.
        rate_K = self._rate_K
        if alive_K is not None:
            torch.where(alive_K.view(-1, 1, 1), d, self._zero, out=d)
            rate_K = torch.where(alive_K, rate_K, self._zero)
        rate = rate_K.view(-1, 1, 1)
        p, state, decay = self.stack.first, self._first_state, self._decay_K11
        if self.kind.direction is None:
            if decay is not None:
                p.addcmul_(p, decay * rate)
            add_products(p, d.mul_(rate), x)
        elif self.kind.accumulates:
            state[0].mul_(self._momentum_K11)
            if decay is not None:
                state[0].addcmul_(p, decay)
            add_products(state[0], d, x)
            p.addcmul_(state[0], rate)
        else:
            g = torch.zeros_like(p) if decay is None else p * decay
            add_products(g, d, x)
            p.addcmul_(self.kind.direction(g, state, self.stack.t, self._momentum_K11), rate)

    def _update_rest(self, g: Tensor, alive_K: Tensor | None) -> None:
        p, state = self.stack.rest.flat, self._rest_state
        if self._decay_K11 is not None:
            g = g.addcmul_(p, self._decay_rest)
        if self.kind.direction is not None:
            g = self.kind.direction(g, state, self.stack.t, self._momentum_rest)
        if alive_K is not None:
            g = torch.where(alive_K.index_select(0, self._of_rest), g, self._zero)
        p.addcmul_(g, self._rate_rest)


def add_products(target_KHD: Tensor, d_KHB: Tensor, x: Sequence[tuple[slice, Tensor]]) -> None:
    """target += d x, a wide product for every data seed of a block of members; x is [g, B, D] of each block."""
    for s, x_GBD in x:
        g, samples, inputs = x_GBD.shape
        target_KHD[s].view(g, -1, inputs).baddbmm_(d_KHB[s].view(g, -1, samples), x_GBD)


def first_tensors(name: str) -> int:
    """Tensors as large as layer 1's weights that are held at once: weights, state, gradient, temporaries."""
    kind = OPTIMIZERS[name]
    return 2 + kind.states + kind.temporaries


def rest_tensors(name: str) -> int:
    """The same for all other parameters, whose gradients, rates and members stand beside them."""
    kind = OPTIMIZERS[name]
    return 9 + kind.states + kind.temporaries + kind.accumulates
