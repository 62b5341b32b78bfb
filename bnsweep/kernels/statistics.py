"""BN's running statistics as one kernel."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def blend_kernel(
    running_ptr, batch_ptr, member_ptr, momentum_ptr, biased_ptr, alive_ptr, samples, n, BIASED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    running, batch = tl.load(running_ptr + at, inside), tl.load(batch_ptr + at, inside)
    if BIASED:
        batch -= batch * (tl.load(biased_ptr + at, inside) / samples)
    alive = tl.load(alive_ptr + tl.load(member_ptr + at, inside, 0), inside, 0)
    tl.store(running_ptr + at, running + (batch - running) * tl.load(momentum_ptr + at, inside), inside & (alive != 0))


def blend(
    running: Tensor,
    batch: Tensor,
    member: Tensor,
    momentum: Tensor,
    biased: Tensor | None,
    alive_K: Tensor,
    samples: int,
) -> None:
    """running += momentum (batch - running), element by element, of members that are alive; where `biased` is given,
    batch counts 1 - biased / samples of itself. `member` says whose an element is."""
    n = running.numel()
    blend_kernel[(triton.cdiv(n, BLOCK),)](
        running, batch, member, momentum, running if biased is None else biased, alive_K, samples, n,
        BIASED=biased is not None, BLOCK=BLOCK,
    )  # fmt: skip
