"""A step of SGD, momentum or Adam over all parameters of a kind in one kernel: torch.optim's formulas, as
`catalogue.optimizers` has them.

Numbers of one member are told by a slot: of a tensor [K, ...] the member itself, of several that lie end to end the
member within its tensor, so that a factor may differ between tensors. K members, J tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from bnsweep.catalogue.optimizers import BETA1, BETA2, EPS

BLOCK = 1024
KINDS = ("sgd", "momentum", "adam")
MOMENTUM = tl.constexpr(KINDS.index("momentum"))
ADAM = tl.constexpr(KINDS.index("adam"))
FIRST, SECOND, SMALL = tl.constexpr(BETA1), tl.constexpr(BETA2), tl.constexpr(EPS)
LOG_FIRST, LOG_SECOND = tl.constexpr(math.log2(BETA1)), tl.constexpr(math.log2(BETA2))


@triton.jit
def rate(lr_ptr, scale_ptr, schedule_ptr, t_ptr, k, lengths, schedules):
    """Learning rate of a member at the step that `t` counts as taken."""
    step = tl.minimum(tl.load(t_ptr) - 1, lengths - 1)
    return tl.load(lr_ptr + k) * tl.load(scale_ptr + step * schedules + tl.load(schedule_ptr + k))


@triton.jit
def places(slot_ptr, members, size, n, TABLE: tl.constexpr, BLOCK: tl.constexpr):
    """A program's elements, which of them there are, their slots and members: by a table, or a member a row of
    programs."""
    if TABLE:
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        slot = tl.load(slot_ptr + at, inside, 0)
        k = slot % members
    else:
        k = tl.program_id(0)
        offset = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        at, inside, slot = k.to(tl.int64) * size + offset, offset < size, k
    return at, inside, slot, k


@triton.jit
def update_kernel(
    p_ptr, g_ptr, first_ptr, second_ptr, slot_ptr, factor_ptr, decay_ptr, momentum_ptr, lr_ptr, scale_ptr, schedule_ptr,
    alive_ptr, t_ptr, members, size, n, lengths, schedules, KIND: tl.constexpr, TABLE: tl.constexpr,
    DECAYED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at, inside, slot, k = places(slot_ptr, members, size, n, TABLE, BLOCK)
    moves = inside & (tl.load(alive_ptr + k) != 0)
    p, g = tl.load(p_ptr + at, moves, 0.0), tl.load(g_ptr + at, moves, 0.0)
    lr = rate(lr_ptr, scale_ptr, schedule_ptr, t_ptr, k, lengths, schedules) * tl.load(factor_ptr + slot)
    if DECAYED:
        g += p * tl.load(decay_ptr + slot)
    if KIND == MOMENTUM:
        g += tl.load(first_ptr + at, moves, 0.0) * tl.load(momentum_ptr + k)
        tl.store(first_ptr + at, g, moves)
    if KIND == ADAM:
        t = tl.load(t_ptr).to(tl.float64)
        left, right = 1.0 - tl.exp2(t * LOG_FIRST), tl.sqrt(1.0 - tl.exp2(t * LOG_SECOND))
        first, second = tl.load(first_ptr + at, moves, 0.0), tl.load(second_ptr + at, moves, 0.0)
        first += (g - first) * (1.0 - FIRST)
        second = second * SECOND + g * g * (1.0 - SECOND)
        tl.store(first_ptr + at, first, moves)
        tl.store(second_ptr + at, second, moves)
        g = first / (tl.sqrt(second) / right.to(p.dtype) + SMALL) / left.to(p.dtype)
    tl.store(p_ptr + at, p - lr * g, moves)


@triton.jit
def descent_kernel(
    d_ptr, factor_ptr, lr_ptr, scale_ptr, schedule_ptr, alive_ptr, t_ptr, size, lengths, schedules, BLOCK: tl.constexpr
):
    at, inside, slot, k = places(d_ptr, 0, size, 0, False, BLOCK)
    lr = rate(lr_ptr, scale_ptr, schedule_ptr, t_ptr, k, lengths, schedules) * tl.load(factor_ptr + slot)
    # Never a product with a mask: 0 * NaN is NaN.
    d = tl.where(tl.load(alive_ptr + k) != 0, tl.load(d_ptr + at, inside, 0.0) * -lr, 0.0)
    tl.store(d_ptr + at, d, inside)


@dataclass(frozen=True)
class Rates:
    """What a step of a stack is taken by, besides gradients."""

    lr_K: Tensor
    scale_TU: Tensor
    """Factors of each schedule at each step; past the end, those of the last."""
    schedule_K: Tensor
    """Which of them a member follows."""
    momentum_K: Tensor
    t: Tensor
    """Steps taken, this one among them."""

    def update(self, kind: str, p: Tensor, g: Tensor, state: Sequence[Tensor], of: Slots, alive_K: Tensor) -> None:
        """Parameters and state by gradients g, of members that are alive. All have the shape of p."""
        members, n = len(self.lr_K), p.numel()
        size, first = n // members, p if not state else state[0]
        blocks = triton.cdiv(size if of.slots is None else n, BLOCK)
        update_kernel[(members, blocks) if of.slots is None else (blocks, 1)](
            p, g, first, state[-1] if state else p, p if of.slots is None else of.slots, of.factors,
            of.factors if of.decays is None else of.decays, self.momentum_K, self.lr_K, self.scale_TU, self.schedule_K,
            alive_K, self.t, members, size, n, *self.scale_TU.shape, KIND=KINDS.index(kind),
            TABLE=of.slots is not None, DECAYED=of.decays is not None, BLOCK=BLOCK,
        )  # fmt: skip

    def descent(self, d: Tensor, factors: Tensor, alive_K: Tensor) -> None:
        """d [K, ...] times minus each member's learning rate and factor, in place; 0 where it is no longer alive."""
        size = d[0].numel()
        descent_kernel[len(d), triton.cdiv(size, BLOCK)](
            d, factors, self.lr_K, self.scale_TU, self.schedule_K, alive_K, self.t, size, *self.scale_TU.shape,
            BLOCK=BLOCK,
        )  # fmt: skip


@dataclass(frozen=True)
class Slots:
    """What the members' parameters of one or several tensors are multiplied by."""

    factors: Tensor
    """[J*K] on the learning rate."""
    decays: Tensor | None
    """[J*K] weight decay; None where there is none."""
    slots: Tensor | None = None
    """int32, of every element, where several tensors lie end to end."""
