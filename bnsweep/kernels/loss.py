"""The loss of a training step, its gradient, and whether a member is alive, as one kernel: a program a member.

K members, C outputs, B samples.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bnsweep.kernels.codes import TOTALS_BLOCK


@triton.jit
def judge(loss, k, alive_ptr, survived_ptr):
    """A member whose loss is not finite stops for good; the steps of the others are counted."""
    alive = tl.load(alive_ptr + k).to(tl.int1) & (loss - loss == 0)
    tl.store(alive_ptr + k, alive)
    tl.store(survived_ptr + k, tl.load(survived_ptr + k) + alive.to(tl.int64))


@triton.jit
def cross_entropy_kernel(
    z_ptr, y_ptr, y_stride, d_ptr, smoothing_ptr, alive_ptr, survived_ptr, classes, samples, SMOOTHED: tl.constexpr,
    CLASSES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    k, c, b = tl.program_id(0), tl.arange(0, CLASSES)[:, None], tl.arange(0, BLOCK)
    here = b < samples
    inside = (c < classes) & here[None, :]
    at = (k * classes + c).to(tl.int64) * samples + b[None, :]
    z = tl.where(c < classes, tl.load(z_ptr + at, inside, 0.0), -float("inf"))
    right = c == tl.load(y_ptr + k * y_stride + b, here, 0)[None, :]
    z -= tl.max(z, 0)[None, :]
    e = tl.exp(z)
    total = tl.sum(e, 0)
    of_right = tl.sum(tl.where(right, z, 0.0), 0)
    judge(tl.sum(tl.where(here, tl.log(total) - of_right, 0.0), 0), k, alive_ptr, survived_ptr)
    d = e / total[None, :]
    if SMOOTHED:
        smoothing = tl.load(smoothing_ptr + k)
        d -= tl.where(right, 1.0 - smoothing, 0.0) + smoothing / classes
    else:
        d -= tl.where(right, 1.0, 0.0)
    tl.store(d_ptr + at, d / samples, inside)


@triton.jit
def totals_kernel(
    z_ptr, y_ptr, y_stride, loss_ptr, right_ptr, classes, samples, CLASSES: tl.constexpr, BLOCK: tl.constexpr
):
    """Logarithms and sums are in float64: of a sample that is classed with confidence the loss is next to nothing."""
    k, c = tl.program_id(0), tl.arange(0, CLASSES)[:, None]
    loss, right, start = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64), 0
    while start < samples:
        b = start + tl.arange(0, BLOCK)
        here = b < samples
        at = (k * classes + c).to(tl.int64) * samples + b[None, :]
        z = tl.where(c < classes, tl.load(z_ptr + at, (c < classes) & here[None, :], 0.0), -float("inf"))
        y = tl.load(y_ptr + k * y_stride + b, here, 0)
        missing = (z != z).to(tl.int32)  # which is the largest to torch
        largest = tl.where(tl.max(missing, 0) > 0, tl.argmax(missing, 0), tl.argmax(z, 0))
        z -= tl.max(z, 0)[None, :]
        total, of_right = tl.sum(tl.exp(z).to(tl.float64), 0), tl.sum(tl.where(c == y[None, :], z, 0.0), 0)
        loss += tl.where(here, tl.log(total) - of_right, 0.0)
        right += tl.where(here & (largest == y), 1.0, 0.0)
        start += BLOCK
    tl.store(loss_ptr + k, tl.load(loss_ptr + k) + tl.sum(loss, 0))
    tl.store(right_ptr + k, tl.load(right_ptr + k) + tl.sum(right, 0))


@triton.jit
def squared_error_kernel(z_ptr, y_ptr, y_stride, d_ptr, alive_ptr, survived_ptr, samples, BLOCK: tl.constexpr):
    k, b = tl.program_id(0), tl.arange(0, BLOCK)
    here = b < samples
    error = tl.load(z_ptr + k * samples + b, here, 0.0) - tl.load(y_ptr + k * y_stride + b, here, 0.0)
    judge(tl.sum(error * error, 0), k, alive_ptr, survived_ptr)
    tl.store(d_ptr + k * samples + b, error * 2.0 / samples, here)


def cross_entropy(
    outputs_KCB: Tensor, y_KB: Tensor, smoothing_K: Tensor | None, alive_K: Tensor, survived_K: Tensor
) -> Tensor:
    """d mean loss / d outputs; `alive_K` and `survived_K` are brought up to date. Rows of `y_KB` may be one row."""
    k, classes, samples = outputs_KCB.shape
    block, rows = triton.next_power_of_2(samples), triton.next_power_of_2(classes)
    warps = 4 if block * rows <= 4096 else 8
    d, smoothing = torch.empty_like(outputs_KCB), alive_K if smoothing_K is None else smoothing_K
    cross_entropy_kernel[(k,)](
        outputs_KCB, y_KB, y_KB.stride(0), d, smoothing, alive_K, survived_K, classes, samples,
        SMOOTHED=smoothing_K is not None, CLASSES=rows, BLOCK=block, num_warps=warps,
    )  # fmt: skip
    return d


def add_totals(outputs_KCB: Tensor, y_KB: Tensor, loss_K: Tensor, right_K: Tensor) -> None:
    """Adds each member's cross-entropies and the number of samples whose class has its largest output: float64."""
    k, classes, samples = outputs_KCB.shape
    totals_kernel[(k,)](
        outputs_KCB, y_KB, y_KB.stride(0), loss_K, right_K, classes, samples,
        CLASSES=triton.next_power_of_2(classes), BLOCK=TOTALS_BLOCK,
    )  # fmt: skip


def squared_error(outputs_K1B: Tensor, y_KB: Tensor, alive_K: Tensor, survived_K: Tensor) -> Tensor:
    """The same of a regression."""
    k, _, samples = outputs_K1B.shape
    d, block = torch.empty_like(outputs_K1B), triton.next_power_of_2(samples)
    squared_error_kernel[(k,)](outputs_K1B, y_KB, y_KB.stride(0), d, alive_K, survived_K, samples, BLOCK=block)
    return d
