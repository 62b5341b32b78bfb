"""The optimizer's step by the kernels of `bnsweep.kernels.update`. K members, J tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnsweep.nets.layer import Product
from bnsweep.nets.stack import Stack


class KernelUpdates:
    """One kernel for the parameters whose gradients lie end to end, and one for each that is left as two factors."""

    def __init__(
        self,
        stack: Stack,
        kind: str,
        lr_K: Tensor,
        scale_TU: Tensor,
        schedule_of_K: Tensor,
        decays: Mapping[str, Tensor] | None,
    ) -> None:
        """`decays`: [K] of every parameter, where there is weight decay; schedules as `Optimizer` has them."""
        from bnsweep.kernels.update import Rates, Slots

        momentum_K, rates, members = stack.scalars(lambda c: c.optimizer.momentum), stack.rates(), len(stack)
        self._stack, self._kind = stack, kind
        self._rates = Rates(lr_K, scale_TU, schedule_of_K, momentum_K, stack.t)
        self._slots = {name: Slots(rates[name], None if decays is None else decays[name]) for name in stack.products}
        slots = [
            torch.arange(j * members, (j + 1) * members, dtype=torch.int32).repeat_interleave(p[0].numel())
            for j, p in enumerate(stack.rest.values())
        ]
        self._rest = Slots(
            torch.cat([rates[name] for name in stack.rest]),
            None if decays is None else torch.cat([decays[name] for name in stack.rest]),
            torch.cat(slots).to(stack.device),
        )
        self._everyone_K = torch.ones(members, dtype=torch.bool, device=stack.device)

    def __call__(
        self,
        products: Sequence[Product],
        state_of: Mapping[str, Sequence[Tensor]],
        rest: Tensor,
        rest_state: Sequence[Tensor],
        alive_K: Tensor | None,
    ) -> None:
        """The step that `stack.t` counts already; `alive_K` None: all are."""
        alive_K = self._everyone_K if alive_K is None else alive_K
        for product in products:
            p, of = self._stack.parameters[product.name], self._slots[product.name]
            if self._kind == "sgd" and of.decays is None:  # added to the weights by the product that gives it
                self._rates.descent(product.d, of.factors, alive_K)
                product.add_to(p)
                continue
            g = torch.empty_like(p)
            product.put_into(g)
            self._rates.update(self._kind, p, g, state_of[product.name], of, alive_K)
        self._rates.update(self._kind, self._stack.rest.flat, rest, rest_state, self._rest, alive_K)
