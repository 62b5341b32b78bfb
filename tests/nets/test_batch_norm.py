"""BN of a stack, forward and backward, is exact to rounding: in our own operations and by torch's kernel.

Shapes: R rows (members times units), B samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from members import CPU, make
from torch import Tensor

from bnsweep.nets.norm import BatchNorm
from bnsweep.nets.stack import Stack

EPS = torch.finfo(torch.float32).eps
BN_EPS = 1e-5
BOUND = 4
"""Correct code is off by 0.5 to 2 of the units below, a one-pass variance by 200 to 12,000 on shifted inputs, and an
epsilon of BN that is 1 % off by 100 where the variance is small."""

WAYS = pytest.mark.parametrize("way", ["own BN", "torch BN", "own BN, channels inside"])
INPUTS = pytest.mark.parametrize(
    ("mean", "std", "samples"), [(0.0, 1.0, 128), (1.0, 0.01, 20), (1e3, 1.0, 20), (0.5, 0.01, 25_088)]
)


@dataclass
class Problem:
    """Inputs of one BN layer, float32."""

    x_RB: Tensor
    d_RB: Tensor
    """Gradient of the loss by the outputs."""
    gamma_R1: Tensor
    beta_R1: Tensor

    @classmethod
    def draw(cls, mean: float, std: float, samples: int) -> Problem:
        generator = torch.Generator().manual_seed(0)
        rows = 64
        x_RB = torch.randn(rows, samples, generator=generator, dtype=torch.float64) * std + mean
        d_RB = torch.randn(rows, samples, generator=generator)
        gamma_R1 = torch.empty(rows, 1).uniform_(0.5, 2, generator=generator)
        return cls(x_RB.float(), d_RB, gamma_R1, torch.randn(rows, 1, generator=generator))


def stacked(problem: Problem, way: str, eps: float = BN_EPS) -> dict[str, Tensor]:
    """What the stack's BN makes of a problem, by name."""
    configs = [make(("relu", "he", "constant", "before"), i, dtype="float32") for i in (0, 2)]
    inside = way == "own BN, channels inside"
    stack = Stack(configs, CPU, native_below=10**9 if way == "torch BN" else 0)
    norm = BatchNorm(stack, stack.rest.alike(), "bn1", slice(0, 2), eps)
    norm.gamma.copy_(problem.gamma_R1.view(2, -1, 1))
    norm.beta.copy_(problem.beta_R1.view(2, -1, 1))

    def members(rows: Tensor) -> Tensor:
        x = rows.view(2, -1, rows.shape[1])
        return x.mT.contiguous().mT if inside else x.clone()

    x, dx = members(problem.x_RB), members(problem.d_RB)
    y = torch.empty_like(x)
    saved = norm.forward(x, y, torch.empty_like(x))
    norm.backward(dx, saved, torch.empty_like(x))
    statistics = {"mean": norm.batch_mean, "variance": norm.batch_variance}
    found = {"y": y, "dx": dx, "d_gamma": norm.d_gamma, "d_beta": norm.d_beta, **statistics}
    return {name: t.reshape(len(problem.x_RB), -1) for name, t in found.items()}


def by_kernels(problem: Problem) -> dict[str, Tensor]:
    """The same of the kernels for a GPU."""
    from interpreted import DEVICE

    from bnsweep.kernels.codes import ACTIVATIONS, PLACES
    from bnsweep.kernels.rows import Rows

    x, dx, *vectors = (t[None].to(DEVICE) for t in (problem.x_RB, problem.d_RB, problem.gamma_R1, problem.beta_R1))
    dx, y = dx.clone(), torch.empty_like(x)
    d_gamma, d_beta, mean, variance = (torch.empty_like(vectors[0]) for _ in range(4))
    codes = torch.tensor([ACTIVATIONS.index("identity"), PLACES.index("before")], device=DEVICE, dtype=torch.int32)
    eps = torch.full_like(vectors[0][0, 0], BN_EPS)
    rows = Rows(
        None, None, *vectors, d_gamma, d_beta, mean, variance, mean, variance, codes[:1], codes[1:].clone(), eps
    )
    rows.forward(x, y)
    rows.backward(dx, x)
    found = {"y": y, "dx": dx, "d_gamma": d_gamma, "d_beta": d_beta, "mean": mean, "variance": variance}
    return {name: t[0].cpu() for name, t in found.items()}


def exact(problem: Problem) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same in float64 (Ioffe & Szegedy 2015, section 3), and the unit in which float32 rounds each of them.

    An input is rounded by eps |x|, which is eps |mean| / sd after the division by sd; x_hat and every product with it
    are rounded by eps of their own size. The backward pass has x_hat's error times what x_hat is multiplied by there.
    """
    x, d, gamma, beta = (t.double() for t in (problem.x_RB, problem.d_RB, problem.gamma_R1, problem.beta_R1))
    samples = x.shape[1]
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    inverse_std = (variance + BN_EPS).rsqrt()
    x_hat = (x - mean) * inverse_std
    d_beta, d_gamma = d.sum(1, keepdim=True), (d * x_hat).sum(1, keepdim=True)
    unbiased = variance * samples / (samples - 1)
    values = {
        "y": gamma * x_hat + beta,
        "dx": gamma * inverse_std * (d - d_beta / samples - x_hat * d_gamma / samples),
        "d_gamma": d_gamma,
        "d_beta": d_beta,
        "mean": mean,
        "variance": unbiased,
    }
    largest, size = x_hat.abs().amax(1, keepdim=True), d.abs()
    unit = EPS * (1 + mean.abs() * inverse_std + largest)
    units = {
        "y": gamma * unit + EPS * beta.abs(),
        "dx": gamma * inverse_std * unit * (size.amax(1, keepdim=True) + largest * size.mean(1, keepdim=True)),
        "d_gamma": unit * size.sum(1, keepdim=True),
        "d_beta": EPS * size.sum(1, keepdim=True),
        "mean": unit / inverse_std,
        "variance": 2 * EPS * unbiased,
    }
    return values, units


def errors(found: dict[str, Tensor], problem: Problem) -> dict[str, float]:
    """Largest error of each result, in its unit."""
    values, units = exact(problem)
    return {name: ((t.double() - values[name]).abs() / units[name]).max().item() for name, t in found.items()}


@INPUTS
@WAYS
def test_batch_norm_is_exact_to_rounding(way: str, mean: float, std: float, samples: int) -> None:
    problem = Problem.draw(mean, std, samples)
    for name, error in errors(stacked(problem, way), problem).items():
        assert error < BOUND, name


@INPUTS
def test_batch_norm_by_kernels_is_exact_to_rounding(mean: float, std: float, samples: int) -> None:
    problem = Problem.draw(mean, std, min(samples, 2000))  # a row of theirs is no longer
    for name, error in errors(by_kernels(problem), problem).items():
        assert error < BOUND, name


@WAYS
def test_an_epsilon_one_percent_off_is_seen(way: str) -> None:
    problem = Problem.draw(mean=1.0, std=0.01, samples=20)
    off = errors(stacked(problem, way, eps=1.01 * BN_EPS), problem)
    assert min(off["y"], off["dx"], off["d_gamma"]) > BOUND


@pytest.mark.parametrize(("mean", "std"), [(1.0, 0.01), (1e3, 1.0)])
def test_a_one_pass_variance_is_seen(mean: float, std: float) -> None:
    problem = Problem.draw(mean, std, samples=20)
    x, average = problem.x_RB, problem.x_RB.mean(1, keepdim=True)
    variance = (x.square().mean(1, keepdim=True) - average.square()).clamp_min(0)
    y = (x - average) * (variance + BN_EPS).rsqrt() * problem.gamma_R1 + problem.beta_R1
    assert errors({"y": y}, problem)["y"] > BOUND
