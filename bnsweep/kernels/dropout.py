"""Dropout of a layer as one kernel forward and one back, by the draws of `nets.chance.dropout_uniforms`, bit for bit.

K members, H units, B samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def mix(x):
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def dropout_kernel(
    x_ptr, y_ptr, seed_ptr, threshold_ptr, factor_ptr, added_ptr, share_ptr, step_ptr, salt, size, ADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    k, at = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, here = at < size, k.to(tl.int64) * size + at
    seed, step = tl.load(seed_ptr + k).to(tl.uint32), tl.load(step_ptr).to(tl.uint32)
    key = mix(mix(seed) + (step + 1) * 0x9E3779B9 + salt.to(tl.uint32))
    kept = mix(mix(at.to(tl.uint32)) ^ key).to(tl.int64) >= tl.load(threshold_ptr + k)
    # A product, not a choice: what is not finite stays so where it is dropped, as in torch.
    y = tl.load(x_ptr + here, inside, 0.0) * tl.where(kept, tl.load(factor_ptr + k), 0.0)
    if ADDED:
        y += (tl.where(kept, 0.0, 1.0) - tl.load(share_ptr + k)) * tl.load(added_ptr + k)
    tl.store(y_ptr + here, y, inside)


@dataclass(frozen=True)
class Drops:
    """What members drop of one layer. All are [K]."""

    seed: Tensor
    threshold: Tensor
    """Whole numbers: what is drawn, of 2^32, is dropped below."""
    factor: Tensor
    """What is kept is multiplied by it."""
    share: Tensor
    """That is dropped."""
    added: Tensor | None
    """What is added where a unit is dropped, less its mean everywhere; None: nothing is."""
    layer: int
    """From 1."""

    def forward(self, x: Tensor, y: Tensor, step: Tensor) -> None:
        """y from x [K, H, B] at 0-based `step`."""
        self._apply(x, y, step, self.added)

    def backward(self, d: Tensor, step: Tensor) -> None:
        """dL/dy becomes dL/dx, in place."""
        self._apply(d, d, step, None)

    def _apply(self, x: Tensor, y: Tensor, step: Tensor, added: Tensor | None) -> None:
        size = x[0].numel()
        dropout_kernel[len(x), triton.cdiv(size, BLOCK)](
            x, y, self.seed, self.threshold, self.factor, self.share if added is None else added, self.share, step,
            self.layer * 0x85EBCA6B, size, ADDED=added is not None, BLOCK=BLOCK,
        )  # fmt: skip
