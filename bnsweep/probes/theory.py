"""What theory says of a network at initialisation, in the limit of infinite width: how lengths and gradients grow.

Biases are 0. sigma_w2 is fan_in times a weight's variance: 1 for xavier at equal widths, 2 for he. Rates multiply the
squared norm of dL/da (a: the activation input) per layer on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from bnsweep.nets.activation import functions

Array = npt.NDArray[np.float64]

PANEL = np.polynomial.legendre.leggauss(24)
"""Nodes and weights on [-1, 1]."""

GROWTH = 2.0**600
"""Lengths outside [1/GROWTH, GROWTH] count as 0 and infinite."""


def activate(name: str, a: Array) -> tuple[Array, Array]:
    """phi(a) and phi'(a), the latter by autograd."""
    leaf = torch.from_numpy(np.ascontiguousarray(a)).requires_grad_()
    with torch.enable_grad():
        h = functions(name).plain(leaf)
        (slope,) = torch.autograd.grad(h.sum(), leaf)
    return h.detach().numpy(), slope.numpy()


def panels(edges: Sequence[float] | Array) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights of every panel between consecutive edges, end to end."""
    left, right = np.asarray(edges)[..., :-1, None], np.asarray(edges)[..., 1:, None]
    x, w = PANEL
    shape = (*left.shape[:-2], -1)
    return ((right + left + (right - left) * x) / 2).reshape(shape), ((right - left) / 2 * w).reshape(shape)


@cache
def normal_nodes() -> tuple[Array, Array]:
    """Nodes and weights of E[f(z)], z ~ N(0, 1): panels that halve towards 0, where f may have a kink or, as
    phi(sqrt(q) z) for large q, all its structure."""
    half = [0.0, *(12.0 * 2.0**-k for k in range(24, -1, -1))]
    z, w = panels([-edge for edge in reversed(half)] + half[1:])
    density = w * np.exp(-z * z / 2)
    return z, density / density.sum()


def _moments(activation: str, q: float) -> tuple[float, float]:
    """E[phi(sqrt(q) z)^2] and E[phi'(sqrt(q) z)^2]. At q = 0 the limit from above: a kink has two slopes."""
    z, w = normal_nodes()
    scale = min(max(math.sqrt(q), GROWTH**-0.5), GROWTH**0.5)
    h, slope = activate(activation, scale * z)
    return float(w @ h**2), float(w @ slope**2)


def length_map(activation: str, sigma_w2: float, q: float) -> float:
    """q of the next layer, the variance of its activation input over the weights: sigma_w2 E[phi(sqrt(q) z)^2], z ~
    N(0, 1) (Poole et al. 2016, 1606.05340, section 2.1)."""
    return sigma_w2 * _moments(activation, q)[0]


def chi1(activation: str, sigma_w2: float, q: float) -> float:
    """Rate of the squared gradient norm through a layer of length q: sigma_w2 E[phi'(sqrt(q) z)^2] (Schoenholz et al.
    2017, 1611.01232, section 4)."""
    return sigma_w2 * _moments(activation, q)[1]


def lengths(activation: str, sigma_w2: Sequence[float], q1: float) -> list[float]:
    """q of layers 1, 2, ...: q1 = std^2 |x|^2 of the first, then one application of the length map for each of the
    `sigma_w2`, those of layers 2, 3, ..."""
    found = [q1]
    for variance in sigma_w2:
        found.append(length_map(activation, variance, found[-1]))
    return found


def flow(activation: str, sigma_w2: Sequence[float], q1: float) -> float:
    """R = log10(|dL/da_1| / |dL/da_L|): half the sum of log10 chi1 of layers 1 to L - 1, each at its own length with
    the weight variance of the layer above it. `sigma_w2` are those of layers 2 to L."""
    below = lengths(activation, sigma_w2, q1)
    rates = [chi1(activation, variance, q) for variance, q in zip(sigma_w2, below, strict=False)]
    return sum(math.log10(rate) for rate in rates) / 2


def fixed_point(activation: str, sigma_w2: float, start: float = 1.0) -> float:
    """Length that depth leads to from `start` (Poole et al. 2016, section 2.1); 0 and inf are possible answers, and
    so is `start` itself: relu keeps every length under he."""

    def grows(q: float) -> bool:
        return length_map(activation, sigma_w2, q) > q

    if math.isclose(length_map(activation, sigma_w2, start), start, rel_tol=1e-12):
        return start
    up = grows(start)
    near, far = start, start
    while grows(far) == up:
        near, far = far, far * 2 if up else far / 2
        if not 1 / GROWTH < far < GROWTH:
            return math.inf if up else 0.0
    for _ in range(60):
        middle = math.sqrt(near * far)
        near, far = (middle, far) if grows(middle) == up else (near, middle)
    return far


def _angle(power: int, split: Array) -> tuple[Array, Array]:
    """cos(theta) and weights [..., nodes] of the density proportional to sin(theta)^power on [0, pi], which is panelled
    about split [...], an angle, and cut where it is below e^-40 of its peak."""
    reach = min(math.pi / 2, 9 / math.sqrt(max(power, 1)))
    low, high = math.pi / 2 - reach, math.pi / 2 + reach
    middle = np.clip(split, low, high)[..., None]
    share = np.array([0, 0.25, 0.5, 0.75, 1])
    theta, w = panels(np.concatenate([low + (middle - low) * share, (middle + (high - middle) * share)[..., 1:]], -1))
    density = w * np.sin(theta) ** power
    return np.cos(theta), density / density.sum(-1, keepdims=True)


@cache
def _pairs(batch: int) -> tuple[Array, Array, Array]:
    """x_1 [n], x_2 [n, m] and weights [n, m] of two entries of x uniform on the sphere |x|^2 = batch, sum(x) = 0.

    That is a sphere in batch - 1 dimensions, on which the entries have correlation rho = -1 / (batch - 1); panels
    meet where an entry is 0, where phi may have a kink.
    """
    rho, radius = -1 / (batch - 1), math.sqrt(batch - 1)
    t, w_t = _angle(batch - 3, np.array(math.pi / 2))
    rest = math.sqrt(1 - rho**2) * np.sqrt(1 - t**2)
    r, w_r = _angle(batch - 4, np.arccos(np.clip(-rho * t / rest, -1, 1)))
    return radius * t, radius * (rho * t[:, None] + rest[:, None] * r), w_t[:, None] * w_r


def bn_before_rate(activation: str, batch: int) -> float:
    """Rate with BatchNorm (scale 1, shift 0, eps 0) before the activation, at the fixed point of the batch's
    covariance that treats all samples alike (BSB1 of Yang et al. 2019, 1902.08129, section 3); the weight
    variance cancels.

    With B samples, x = BN(z) uniform on the sphere |x|^2 = B, sum(x) = 0, h = phi(x), D = diag(phi'(x)), G = I - 11'/B,
    M = G - xx'/B, c0 = E[h_1^2] - E[h_1 h_2]: z is N(0, sigma_w2 c0 G) up to its mean, 1 / variance has mean
    B / (sigma_w2 c0 (B - 3)), dL/dh has covariance proportional to G, and the rate is
    B / ((B - 3) c0 (B - 1)) E[tr(G D M D)]. Linear: (B - 2) / (B - 3). ReLU: pi / (pi - 1) for large B (Theorem 8).
    A fixed point that networks leave where `length_spread` is above 1. Raises ValueError for B <= 3, where the mean is
    infinite.
    """
    if batch <= 3:
        raise ValueError(f"batch: must be > 3, got {batch}: with BatchNorm 1 / variance has no finite mean below that")
    x1, x2, w = _pairs(batch)
    (h1, d1), (h2, d2) = activate(activation, x1), activate(activation, x2)
    w1 = w.sum(1)
    c0 = w1 @ h1**2 - np.sum(w * h1[:, None] * h2)
    square, cross = w1 @ d1**2, np.sum(w * d1[:, None] * d2)
    x_square, x_cross = w1 @ (x1 * d1) ** 2, np.sum(w * (x1 * d1)[:, None] * x2 * d2)
    # tr(G D G D) and x' D G D x / B, in expectation
    trace = (batch - 1) * square + (batch - 1) / batch * (cross - square)
    along = (batch - 1) / batch * (x_square - x_cross)
    return float(batch / ((batch - 3) * c0 * (batch - 1)) * (trace - along))


def length_spread(activation: str, q: float = 1.0) -> float:
    """Factor per layer on a small difference between the samples' lengths in a large batch with BatchNorm; above 1
    (silu, gelu) networks leave the fixed point that treats all samples alike.

    A sample of length (1 + e) q has phi's centred square E[(phi(sqrt((1 + e) q) z) - m)^2], m = E[phi(sqrt(q) z)] being
    the batch's mean: to first order the factor is E[sqrt(q) z phi' (phi - m)] / Var(phi). BN before the activation:
    q = 1; after: q = sigma_w2. Derived here; the stability of such fixed points is a theme of Yang et al. 2019.
    """
    z, w = normal_nodes()
    h, slope = activate(activation, math.sqrt(q) * z)
    h = h - w @ h
    return float(w @ (math.sqrt(q) * z * slope * h) / (w @ h**2))
