"""SGD, momentum and Adam over stacked parameters [K, ...]: torch.optim's formulas with one learning rate a member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from bnsweep.catalogue.optimizers import OPTIMIZERS
from bnsweep.config.run import RunConfig
from bnsweep.nets.layer import Product
from bnsweep.nets.stack import Stack
from bnsweep.training.clip import Clip
from bnsweep.training.kernel_updates import KernelUpdates

PIECE = 2**18
"""Elements of a gradient that a CPU holds at once."""

Schedule = tuple[str, float, tuple[float, ...], float]


class Optimizer:
    """Updates a stack's parameters in place. Members of one stack share the family, not its numbers.

    The parameters of a member that is no longer alive stay as they are, as far as they are finite.
    """

    def __init__(self, stack: Stack, kernels: bool = False) -> None:
        """`kernels`: whether Triton's take the place of torch's operators."""
        self.stack = stack
        self.kind = OPTIMIZERS[stack.configs[0].optimizer.name]
        self._lr_K = stack.scalars(lambda c: c.rate)
        schedules = sorted({schedule_of(c) for c in stack.configs})
        self._schedule_of_K = stack.index(lambda c: schedules.index(schedule_of(c)))
        self._scale_TU = self._scales(schedules)
        self._constant = bool((self._scale_TU == 1).all())
        rates = stack.rates()
        self._factor_of = {name: None if bool((rates[name] == 1).all()) else rates[name] for name in stack.products}
        self._factor_rest = repeated(rates, stack)
        self._of_rest = stack.rest.members()
        self._set_rates()
        decay_K = stack.scalars(lambda c: c.optimizer.weight_decay)
        self._decay_K11 = decay_K.view(-1, 1, 1) if decay_K.any() else None
        momentum_K = stack.scalars(lambda c: c.optimizer.momentum)
        self._momentum_K11 = momentum_K.view(-1, 1, 1)
        decays = None
        if self._decay_K11 is not None:
            only_K = stack.index(lambda c: int(c.optimizer.decayed == "weights")) > 0
            weights = set(stack.all_weight_names)
            decays = {n: decay_K if n in weights else decay_K.where(~only_K, 0) for n in stack.parameters}
            self._decay_rest = repeated(decays, stack)
        self._momentum_rest = momentum_K[self._of_rest] if self.kind.accumulates else momentum_K
        states = range(self.kind.states)
        self._state_of = {name: [torch.zeros_like(p) for _ in states] for name, p in stack.products.items()}
        self._rest_blocks = [stack.rest.alike() for _ in states]
        self._rest_state = [blocks.flat for blocks in self._rest_blocks]
        self._gradient_of: dict[str, Tensor] = {}
        self._members_of = {name: most_members(p) for name, p in stack.products.items()}
        """Of which the gradient is held at once."""
        if self.kind.direction is not None and not (self.kind.accumulates or kernels):
            self._gradient_of = {n: torch.empty_like(p[: self._members_of[n]]) for n, p in stack.products.items()}
        self._zero = torch.zeros((), device=stack.device, dtype=stack.dtype)
        self._epsilon, self._factor = self._zero, self._zero
        schedule = self._lr_K, self._scale_TU, self._schedule_of_K
        self._kernels = KernelUpdates(stack, self.kind.name, *schedule, decays) if kernels else None
        self._clip = Clip(stack, self._of_rest) if any(c.optimizer.clip is not None for c in stack.configs) else None

    @property
    def state(self) -> list[Tensor]:
        """What is kept between steps, besides their count."""
        return [*chain.from_iterable(self._state_of.values()), *self._rest_state]

    @property
    def state_by_name(self) -> dict[str, Tensor]:
        """The same, [K, …] for each parameter and number."""
        kept = [*self._state_of.items(), *((n, [b[n] for b in self._rest_blocks]) for n in self.stack.rest)]
        return {f"{name}.{i}": tensor for name, tensors in kept for i, tensor in enumerate(tensors)}

    def _scales(self, schedules: Sequence[Schedule]) -> Tensor:
        """[T, U] factors of each schedule at each step; of one step where none of them changes."""
        one_of = {schedule_of(c): c.lr for c in self.stack.configs}
        total = self.stack.configs[0].total_steps
        steps = max(1, total) if any(name != "constant" for name, *_ in schedules) else 1
        columns = [np.fromiter((one_of[u].scale(t, total) for t in range(steps)), float, steps) for u in schedules]
        return torch.from_numpy(np.stack(columns, axis=1)).to(self.stack.device, self.stack.dtype)

    def lr_K(self, step: Tensor) -> Tensor:
        """[K] learning rates at 0-based `step`; past the end, those of the last."""
        if self._constant:
            return self._lr_K
        step = step.clamp(max=len(self._scale_TU) - 1)
        return self._lr_K * self._scale_TU.index_select(0, step.view(1))[0].index_select(0, self._schedule_of_K)

    def _set_rates(self) -> None:
        """Minus the learning rate of this step: [K] of each product's weights, and of every element of the rest."""
        rate_K = -self.lr_K(self.stack.t)
        self._rate_of = {name: rate_K if f is None else rate_K * f for name, f in self._factor_of.items()}
        self._rate_rest = rate_K.index_select(0, self._of_rest).mul_(self._factor_rest)

    @torch.no_grad()
    def update(self, products: Sequence[Product], rest: Tensor, alive_K: Tensor | None) -> None:
        """One step, with the gradients that `Engine.backward` leaves: those that are two factors, and all others end to
        end. Both are overwritten. `alive_K` None: all are."""
        if not self._constant and self._kernels is None:
            self._set_rates()
        self.stack.t += 1
        if self._clip is not None:
            self._clip(products, rest)
        if self._kernels is not None:
            self._kernels(products, self._state_of, rest, self._rest_state, alive_K)
            return
        if self.kind.correction is not None:
            self._epsilon, self._factor = self.kind.correction(self.stack.t.to(self.stack.dtype))
        for product in products:
            self._update_by(product, alive_K)
        self._update_rest(rest, alive_K)

    def _update_by(self, product: Product, alive_K: Tensor | None) -> None:
        # Masked at d, the smallest tensor on the way: a frozen member has gradient 0, hence a finite state, and rate 0.
        # where, never a product with a mask: 0 * NaN is NaN.
        rate_K = self._rate_of[product.name]
        if alive_K is not None:
            torch.where(alive_K.view(-1, 1, 1), product.d, self._zero, out=product.d)
            rate_K = torch.where(alive_K, rate_K, self._zero)
        if self.kind.correction is not None:
            rate_K = rate_K * self._factor
        rate, decay = rate_K.view(-1, 1, 1), self._decay_K11
        if self.kind.direction is None:
            p = self.stack.parameters[product.name]
            if decay is not None:
                p.addcmul_(p, decay * rate)
            product.d.mul_(rate)
            product.add_to(p)
            return
        for members, part in product.parts(self._members_of[product.name]):
            self._move(part, members, rate[members], None if decay is None else decay[members])

    def _move(self, product: Product, members: slice, rate: Tensor, decay: Tensor | None) -> None:
        """Some members' weights, against a direction that is kept or computed."""
        p = self.stack.parameters[product.name][members]
        state = [tensor[members] for tensor in self._state_of[product.name]]
        momentum = self._momentum_K11[members]
        if self.kind.accumulates:
            direction = state[0].mul_(momentum)
            if decay is not None:
                direction.addcmul_(p, decay)
            product.add_to(direction)
        else:
            assert self.kind.direction is not None
            g = self._gradient_of[product.name][: len(p)]
            product.add_to(g.zero_() if decay is None else torch.mul(p, decay, out=g))
            direction = self.kind.direction(torch, g, state, momentum, self._epsilon)
        p.addcmul_(direction, rate)

    def _update_rest(self, g: Tensor, alive_K: Tensor | None) -> None:
        p, state = self.stack.rest.flat, self._rest_state
        if self._decay_K11 is not None:
            g = g.addcmul_(p, self._decay_rest)
        if self.kind.direction is not None:
            g = self.kind.direction(torch, g, state, self._momentum_rest, self._epsilon)
        if self.kind.correction is not None:
            g.mul_(self._factor)
        if alive_K is not None:
            g = torch.where(alive_K.index_select(0, self._of_rest), g, self._zero)
        p.addcmul_(g, self._rate_rest)


def schedule_of(config: RunConfig) -> Schedule:
    """What its learning rate follows; equal where the factors on it are."""
    lr = config.lr
    return lr.schedule, lr.warmup, lr.milestones, lr.factor


def repeated(of_name: Mapping[str, Tensor], stack: Stack) -> Tensor:
    """One number [K] of each parameter, for every element of the rest."""
    return torch.cat([of_name[name].repeat_interleave(p[0].numel()) for name, p in stack.rest.items()])


def most_members(p: Tensor) -> int:
    """Members of p [K, ...] whose gradient is computed and used before the next ones', on a CPU: what stays in its
    caches need not be fetched again. A GPU takes all at once."""
    return max(1, PIECE // p[0].numel()) if p.device.type == "cpu" else len(p)


def tensors_held(name: str, as_product: bool) -> int:
    """Tensors as large as a parameter that are held at once: itself, state, gradient; and, where its gradient is no
    product, the rates and members of its elements."""
    kind = OPTIMIZERS[name]
    return (2 if as_product else 9 + kind.accumulates) + kind.states
