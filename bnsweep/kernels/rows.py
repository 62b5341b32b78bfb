"""What stands between two linear maps, BN before or after the activation, as one kernel forward and one back.

A row is one unit of one member: its B samples lie side by side, and a program holds a few rows of one member. Each
number is read once and written once; the way back computes again what the way forward knew. Which activation, and where
its BN stands, is a member's own: numbers that the kernel reads.

K members, H units, B samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from bnsweep.kernels.activations import activate, passed_back
from bnsweep.kernels.codes import PLACES

BEFORE = tl.constexpr(PLACES.index("before"))
AFTER = tl.constexpr(PLACES.index("after"))
ELSEWHERE = tl.constexpr(PLACES.index("elsewhere"))


@triton.jit
def standardised(x, inside, samples, eps):
    """Of rows x: mean 0 and variance 1 over the samples that are `inside`; their means, variances and the inverse
    deviations that they were multiplied by."""
    mean = tl.sum(tl.where(inside, x, 0.0), 1) / samples
    centred = tl.where(inside, x - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, 1) / samples
    inverse = tl.rsqrt(variance + eps)
    return centred * inverse[:, None], mean, variance, inverse


@triton.jit
def bn_back(d, x_hat, inside, samples, scale, d_gamma_ptr, d_beta_ptr, here):
    """From dL/dy of y = gamma x_hat + beta to that of x; `scale`: gamma over the deviation. Those of gamma and beta are
    stored."""
    d = tl.where(inside, d, 0.0)
    d_beta = tl.sum(d, 1)
    d_gamma = tl.sum(d * x_hat, 1)
    tl.store(d_gamma_ptr, d_gamma, here)
    tl.store(d_beta_ptr, d_beta, here)
    return (d - x_hat * (d_gamma / samples)[:, None] - (d_beta / samples)[:, None]) * scale[:, None]


@triton.jit
def tile_of(k, columns, units, samples, ROWS: tl.constexpr):
    """A program's rows of member k and which of them there are, its numbers' places and which of those there are."""
    unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    here, row = unit < units, k * units + unit
    inside = here[:, None] & (columns < samples)[None, :]
    return row, here, row.to(tl.int64)[:, None] * samples + columns[None, :], inside


@triton.jit
def rows_forward(
    x_ptr, bias_ptr, y_ptr, gamma_ptr, beta_ptr, mean_ptr, variance_ptr, kind_ptr, place_ptr, eps_ptr, units, samples,
    BIAS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y from x [K, H, B], with BIAS from x + bias; the batch's mean and unbiased variance [K, H] of members that have a
    BN."""
    k, columns = tl.program_id(0), tl.arange(0, BLOCK)
    row, here, at, inside = tile_of(k, columns, units, samples, ROWS)
    place, kind, eps = tl.load(place_ptr + k), tl.load(kind_ptr + k), tl.load(eps_ptr + k)
    if place != ELSEWHERE:
        y = tl.load(x_ptr + at, inside, 0.0)
        if BIAS:
            y += tl.load(bias_ptr + row, here, 0.0)[:, None]
        if place != BEFORE:
            y = activate(y, kind)
        if (place == BEFORE) | (place == AFTER):
            gamma, beta = tl.load(gamma_ptr + row, here, 0.0), tl.load(beta_ptr + row, here, 0.0)
            y, mean, variance, _ = standardised(y, inside, samples, eps)
            y = y * gamma[:, None] + beta[:, None]
            tl.store(mean_ptr + row, mean, here)
            tl.store(variance_ptr + row, variance * samples / (samples - 1), here)
        if place == BEFORE:
            y = activate(y, kind)
        tl.store(y_ptr + at, y, inside)


@triton.jit
def rows_backward(
    d_ptr, x_ptr, bias_ptr, gamma_ptr, beta_ptr, d_bias_ptr, d_gamma_ptr, d_beta_ptr, kind_ptr, place_ptr, eps_ptr,
    units, samples, BIAS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d = dL/dy [K, H, B] becomes dL/dx, in place; dL/dgamma and dL/dbeta [K, H] where there is a BN; with BIAS
    dL/dbias, its sum over the samples."""
    k, columns = tl.program_id(0), tl.arange(0, BLOCK)
    row, here, at, inside = tile_of(k, columns, units, samples, ROWS)
    place, kind, eps = tl.load(place_ptr + k), tl.load(kind_ptr + k), tl.load(eps_ptr + k)
    if place != ELSEWHERE:
        x, d = tl.load(x_ptr + at, inside, 0.0), tl.load(d_ptr + at, inside, 0.0)
        if BIAS:
            x += tl.load(bias_ptr + row, here, 0.0)[:, None]
        if place == BEFORE:
            gamma, beta = tl.load(gamma_ptr + row, here, 0.0), tl.load(beta_ptr + row, here, 0.0)
            x_hat, _, _, inverse = standardised(x, inside, samples, eps)
            d = passed_back(d, x_hat * gamma[:, None] + beta[:, None], kind)
            d = bn_back(d, x_hat, inside, samples, gamma * inverse, d_gamma_ptr + row, d_beta_ptr + row, here)
        else:
            if place == AFTER:
                gamma = tl.load(gamma_ptr + row, here, 0.0)
                x_hat, _, _, inverse = standardised(activate(x, kind), inside, samples, eps)
                d = bn_back(d, x_hat, inside, samples, gamma * inverse, d_gamma_ptr + row, d_beta_ptr + row, here)
            d = passed_back(d, x, kind)
        tl.store(d_ptr + at, d, inside)
        if BIAS:
            tl.store(d_bias_ptr + row, tl.sum(tl.where(inside, d, 0.0), 1), here)


@triton.jit
def rows_evaluate(
    x_ptr, bias_ptr, y_ptr, gamma_ptr, beta_ptr, mean_ptr, variance_ptr, kind_ptr, place_ptr, eps_ptr, units, samples,
    BIAS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As `rows_forward` with given means and variances; rows may be of any length, and y may be x."""
    k, columns = tl.program_id(0), tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    row, here, at, inside = tile_of(k, columns, units, samples, ROWS)
    place, kind, eps = tl.load(place_ptr + k), tl.load(kind_ptr + k), tl.load(eps_ptr + k)
    if place != ELSEWHERE:
        y = tl.load(x_ptr + at, inside, 0.0)
        if BIAS:
            y += tl.load(bias_ptr + row, here, 0.0)[:, None]
        if place != BEFORE:
            y = activate(y, kind)
        if (place == BEFORE) | (place == AFTER):
            scale = tl.load(gamma_ptr + row, here, 0.0) * tl.rsqrt(tl.load(variance_ptr + row, here, 1.0) + eps)
            shift = tl.load(beta_ptr + row, here, 0.0) - tl.load(mean_ptr + row, here, 0.0) * scale
            y = y * scale[:, None] + shift[:, None]
        if place == BEFORE:
            y = activate(y, kind)
        tl.store(y_ptr + at, y, inside)


@dataclass
class Rows:
    """What the kernels of one place read and write, besides the numbers that pass through. All vectors are [K, H]."""

    bias: Tensor | None
    """Added to what comes from below; None: that has it already."""
    d_bias: Tensor | None
    gamma: Tensor
    beta: Tensor
    d_gamma: Tensor
    d_beta: Tensor
    mean: Tensor
    """Of the last batch."""
    variance: Tensor
    """Of the last batch, unbiased."""
    running_mean: Tensor
    running_variance: Tensor
    kind: Tensor
    """[K] places in `codes.ACTIVATIONS`."""
    place: Tensor
    """[K] places in `codes.PLACES`."""
    eps: Tensor
    """[K]"""

    def forward(self, x: Tensor, y: Tensor) -> None:
        """y from x [K, H, B], for members whose BN is not elsewhere."""
        k, units, samples = x.shape
        rows, block, warps = tile(samples)
        rows_forward[k, triton.cdiv(units, rows)](
            x, self.gamma if self.bias is None else self.bias, y, self.gamma, self.beta, self.mean, self.variance,
            self.kind, self.place, self.eps, units, samples,
            BIAS=self.bias is not None, ROWS=rows, BLOCK=block, num_warps=warps,
        )  # fmt: skip

    def evaluate(self, x: Tensor, y: Tensor) -> None:
        """y from x [K, H, B] with the running statistics; y may be x."""
        k, units, samples = x.shape
        rows, block, warps = tile(min(samples, 128))
        rows_evaluate[k, triton.cdiv(units, rows), triton.cdiv(samples, block)](
            x, self.gamma if self.bias is None else self.bias, y, self.gamma, self.beta, self.running_mean,
            self.running_variance, self.kind, self.place, self.eps, units, samples,
            BIAS=self.bias is not None, ROWS=rows, BLOCK=block, num_warps=warps,
        )  # fmt: skip

    def backward(self, d: Tensor, x: Tensor) -> None:
        """d = dL/dy becomes dL/dx, in place."""
        k, units, samples = x.shape
        rows, block, warps = tile(samples)
        bias, d_bias = (self.d_gamma if t is None else t for t in (self.bias, self.d_bias))
        rows_backward[k, triton.cdiv(units, rows)](
            d, x, bias, self.gamma, self.beta, d_bias, self.d_gamma, self.d_beta, self.kind, self.place, self.eps,
            units, samples, BIAS=self.bias is not None, ROWS=rows, BLOCK=block, num_warps=warps,
        )  # fmt: skip


def tile(samples: int) -> tuple[int, int, int]:
    """Rows of a program, its columns and its warps. No register is spilled so on sm_90 (`make kernels` says it)."""
    block = max(32, triton.next_power_of_2(samples))
    return max(1, 1024 // block), block, 4 if block <= 1024 else 8
