"""The catalogue's activations and their slopes, element by element: what a kernel does with its tile of numbers.

`exp` is only taken of what is not above 0. Triton's is off by |a| 2^-23 of its value in float32, and there that is less
than a rounding of 1. NaN stays NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl

from bnsweep.kernels.codes import ACTIVATIONS

SIGMOID = tl.constexpr(ACTIVATIONS.index("sigmoid"))
TANH = tl.constexpr(ACTIVATIONS.index("tanh"))
RELU = tl.constexpr(ACTIVATIONS.index("relu"))
LEAKY = tl.constexpr(ACTIVATIONS.index("leaky_relu"))
ELU = tl.constexpr(ACTIVATIONS.index("elu"))
SELU = tl.constexpr(ACTIVATIONS.index("selu"))
GELU = tl.constexpr(ACTIVATIONS.index("gelu"))
SILU = tl.constexpr(ACTIVATIONS.index("silu"))

SCALE = tl.constexpr(1.0507009873554805)
"""Of SELU, and what it has of a negative input (`catalogue.activations.SELU`)."""
NEGATIVE = tl.constexpr(1.6732632423543772 * 1.0507009873554805)


@triton.jit
def sigmoid(a):
    e = tl.exp(-tl.abs(a))
    return tl.where(a < 0, e, 1.0) / (1.0 + e)


@triton.jit
def tanh(a):
    # Near 0 the quotient of exponentials loses digits: there Cephes' rational function (S. Moshier, tanh.c), which is
    # exact to a rounding of float64.
    s = a * a
    p = (-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3
    q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3
    e = tl.exp(-2.0 * tl.abs(a))
    far = (1.0 - e) / (1.0 + e)
    return tl.where(s < 0.390625, a + a * s * (p / q), tl.where(a < 0, -far, far))


@triton.jit
def exp_less_one(a):
    """Of a <= 0."""
    t = tanh(0.5 * a)
    return 2.0 * t / (1.0 - t)


@triton.jit
def half_erfc(a):
    """The share of a normal distribution that is below a."""
    return 0.5 * (1.0 + tl.erf(a * 0.7071067811865476))


@triton.jit
def activate(a, kind):
    """f(a)."""
    h = a
    if kind == SIGMOID:
        h = sigmoid(a)
    elif kind == TANH:
        h = tanh(a)
    elif kind == RELU:
        h = tl.where(a <= 0, 0.0, a)
    elif kind == LEAKY:
        h = tl.where(a > 0, a, a * 0.01)
    elif kind == ELU:
        h = tl.where(a <= 0, exp_less_one(a), a)
    elif kind == SELU:
        h = tl.where(a <= 0, exp_less_one(a) * NEGATIVE, a * SCALE)
    elif kind == GELU:
        h = a * half_erfc(a)
    elif kind == SILU:
        h = a * sigmoid(a)
    return h


@triton.jit
def passed_back(d, a, kind):
    """d f'(a)."""
    slope = d
    if kind == SIGMOID:
        h = sigmoid(a)
        slope = d * (1.0 - h) * h
    elif kind == TANH:
        h = tanh(a)
        slope = d * (1.0 - h * h)
    elif kind == RELU:
        slope = tl.where(a <= 0, 0.0, d)
    elif kind == LEAKY:
        slope = tl.where(a > 0, d, d * 0.01)
    elif kind == ELU:
        slope = tl.where(a <= 0, d * tl.exp(tl.where(a <= 0, a, 0.0)), d)
    elif kind == SELU:
        slope = tl.where(a <= 0, d * NEGATIVE * tl.exp(tl.where(a <= 0, a, 0.0)), d * SCALE)
    elif kind == GELU:
        slope = d * (half_erfc(a) + a * 0.3989422804014327 * tl.exp(-0.5 * a * a))
    elif kind == SILU:
        h = sigmoid(a)
        slope = d * h * (1.0 + a * (1.0 - h))
    return slope
