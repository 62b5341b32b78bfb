"""Theory at initialisation: its constants, its limits, and the growth that the stack's own networks show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.config.groups import ActivationConfig, BnConfig, DataConfig, InitConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.engine import Engine
from bnsweep.nets.loss import log_probabilities, logit_gradients
from bnsweep.nets.stack import Stack
from bnsweep.probes import theory as meanfield

Arm = tuple[str, float]
"""Activation and sigma_w^2."""


@pytest.mark.parametrize(
    ("activation", "sigma_w2", "rate"),
    [
        ("relu", 1, 0.5),
        ("relu", 2, 1),
        ("sigmoid", 1, 0.0557),
        ("sigmoid", 2, 0.101),
        ("tanh", 1, 1),
        ("tanh", 2, 1.106),
    ],
)
def test_chi1_at_the_fixed_point(activation: str, sigma_w2: float, rate: float) -> None:
    q = meanfield.fixed_point(activation, sigma_w2)
    assert meanfield.length_map(activation, sigma_w2, q) == pytest.approx(q, rel=1e-9)
    assert meanfield.chi1(activation, sigma_w2, q) == pytest.approx(rate, rel=5e-3)


def test_lengths_without_a_fixed_point_vanish_or_explode() -> None:
    assert meanfield.fixed_point("relu", 1.9) == 0
    assert meanfield.fixed_point("relu", 2.1) == math.inf
    assert meanfield.chi1("relu", 1.9, 0) == pytest.approx(0.95), "a slope at 0 is the mean of both sides"
    assert meanfield.chi1("relu", 2.1, math.inf) == pytest.approx(1.05)
    assert meanfield.fixed_point("relu", 2.0, start=7.0) == 7, "he keeps every length"
    assert meanfield.lengths("identity", [3.0, 0.5], 2.0) == pytest.approx([2, 6, 3])


@pytest.mark.parametrize(
    ("activation", "expected"), [("sigmoid", [-6.41, -2.50, -1.97, -0.07]), ("relu", [-4.60, -0.60, 0.01, 3.41])]
)
def test_flow_of_784_to_five_layers_of_100(activation: str, expected: list[float]) -> None:
    stds = [(0.01, 0.01), (math.sqrt(2 / 884), 0.1), (math.sqrt(2 / 784), math.sqrt(2 / 100)), (1.0, 1.0)]
    found = [meanfield.flow(activation, [100 * std**2] * 4, 784 * 0.1 * first**2) for first, std in stds]
    assert found == pytest.approx(expected, abs=0.02)


def test_the_rate_with_bn_in_closed_form() -> None:
    for batch in (4, 10):
        linear = (batch - 2) / (batch - 3)
        assert meanfield.bn_before_rate("identity", batch) == pytest.approx(linear, rel=1e-9)
    assert meanfield.bn_before_rate("relu", 10**6) == pytest.approx(math.pi / (math.pi - 1), rel=1e-5)
    assert meanfield.bn_before_rate("relu", 10) == pytest.approx(1.696, abs=5e-4)
    assert meanfield.bn_before_rate("relu", 100) == pytest.approx(1.483, abs=5e-4)


def test_bn_has_no_finite_rate_for_three_samples() -> None:
    with pytest.raises(ValueError, match=r"batch: must be > 3, got 3"):
        meanfield.bn_before_rate("relu", 3)


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
def test_the_rate_with_bn_is_a_mean_over_the_matrices_of_its_formula(activation: str) -> None:
    batch = 8
    g = np.eye(batch) - 1 / batch
    z = np.random.default_rng(0).standard_normal((60_000, batch)) @ g

    def normalise(y: meanfield.Array) -> meanfield.Array:
        return y @ g / (y @ g).std(1, keepdims=True)

    def trace(x: meanfield.Array, d: meanfield.Array) -> meanfield.Array:
        m = g - x[:, :, None] * x[:, None, :] / batch
        return np.einsum("ij,nj,njk,nk,ki->n", g, d, m, d, g, optimize=True)

    h, d = meanfield.activate(activation, normalise(z))
    c0 = ((h @ g) ** 2).sum(1).mean() / (batch - 1)
    before = batch / ((batch - 3) * c0 * (batch - 1)) * trace(normalise(z), d).mean()
    assert meanfield.bn_before_rate(activation, batch) == pytest.approx(before, rel=0.005)


def configs(arms: Sequence[Arm], placement: str, hidden: list[int], seed: int) -> list[RunConfig]:
    found = []
    for activation, sigma_w2 in arms:
        init = InitConfig("normal", std=math.sqrt(sigma_w2 / hidden[0]))
        bn, model = BnConfig(placement, eps=1e-12), ModelConfig(hidden)
        pixels = DataConfig(
            "mnist", validation=10_000
        )  # for its 784 features: from 64 inputs, 200 samples would not come independent
        found.append(RunConfig(ActivationConfig(activation), init, bn=bn, data=pixels, model=model, seed=seed))
    return found


def flow_of_stack(runs: list[RunConfig], batch: int) -> meanfield.Array:
    """ln |dL/da_l|^2 [K, L] of the cross-entropy on standard normal inputs with random labels."""
    stack = Stack(runs, torch.device("cpu"))
    engine, found = Engine(stack), []
    # Another seed than the weights', which the inputs would else repeat number by number.
    generator = torch.Generator().manual_seed(1_000_000 + runs[0].seed)
    x_GBD = torch.randn(1, batch, runs[0].data.facts.features, generator=generator, dtype=stack.dtype)
    y_KB = torch.randint(10, (1, batch), generator=generator).expand(len(stack), batch)
    log_p, _ = log_probabilities(engine.forward(x_GBD), y_KB)
    engine.backward(logit_gradients(log_p, y_KB), lambda d: found.append(d.double().square().sum((1, 2)).log()))
    flow_KL = torch.stack(found[::-1], 1)
    return flow_KL[torch.tensor(stack.positions).argsort()].numpy()


def growth(flow_KL: meanfield.Array) -> meanfield.Array:
    """Rate per backward step [K]: least-squares slope over layers 4 to L - 3, past the ends' transients."""
    inner = flow_KL[:, 3:-3]
    l = np.arange(inner.shape[1]) - (inner.shape[1] - 1) / 2
    return np.exp(-inner @ l / (l @ l))


def measured_growth(arms: Sequence[Arm], placement: str, width: int, batch: int, seeds: int) -> meanfield.Array:
    """Median over the seeds, [arms]; 14 layers."""
    found = [growth(flow_of_stack(configs(arms, placement, [width] * 14, seed), batch)) for seed in range(seeds)]
    return np.median(found, axis=0)


@pytest.mark.parametrize("sigma_w2", [0.5, 2.0, 10.0])
def test_flow_without_bn_is_the_theorys(sigma_w2: float) -> None:
    """Width 400, 10 layers, median of 3 seeds: R within .08, 3 standard errors (.03 to .06 a seed), and more where R
    depends on the lengths, whose logarithm strays by sqrt(5 / width) a layer, .3 in all: silu under he, .55 a unit."""
    width, depth = 400, 10
    arms = [(name, sigma_w2) for name in ACTIVATIONS]
    flows = [flow_of_stack(configs(arms, "none", [width] * depth, seed), batch=50) for seed in range(3)]
    measured = np.median([(f[:, 0] - f[:, -1]) / (2 * math.log(10)) for f in flows], axis=0)
    for (name, _), found in zip(arms, measured, strict=True):
        theory, longer = (
            meanfield.flow(name, [sigma_w2] * (depth - 1), q1 * sigma_w2 * 784 / width) for q1 in (1, math.exp(0.1))
        )
        assert found == pytest.approx(theory, abs=0.08 + 0.3 * abs(longer - theory) / 0.1), name


@pytest.mark.parametrize(("batch", "seeds", "tolerance"), [(6, 8, 0.05), (16, 5, 0.025), (50, 4, 0.02), (200, 3, 0.02)])
def test_gradient_growth_with_bn_before_is_the_theorys(batch: int, seeds: int, tolerance: float) -> None:
    """Width 400. The tolerance is 3 standard errors, as one unit's 1 / variance has a heavy tail in a small batch, and
    at B = 200 the finite width, which adds up to 1 %."""
    # For silu see the test on lengths below; the weights' variances, which cancel, are as they come.
    names = [name for name in ACTIVATIONS if batch < 50 or name != "silu"]
    arms = list(zip(names, (0.01, 0.5, 2.0, 10.0, 0.1, 1.0, 2.0, 100.0, 1.0), strict=False))
    measured = measured_growth(arms, "before", 400, batch, seeds)
    theory = [meanfield.bn_before_rate(name, batch) for name in names]
    assert measured == pytest.approx(theory, rel=tolerance)


def test_with_bn_samples_of_unequal_length_part_for_silu_and_gelu_only() -> None:
    spread = {name: meanfield.length_spread(name) for name in ACTIVATIONS}
    assert {name for name, factor in spread.items() if factor > 1.01} == {"silu", "gelu"}
    assert [spread["identity"], spread["relu"]] == pytest.approx([1, 1])
    lengths: dict[str, list[float]] = {}
    for name in ("silu", "elu"):
        stack = Stack(configs([(name, 2.0)], "before", [300] * 20, 0), torch.device("cpu"))
        inputs, generator = stack.configs[0].data.facts.features, torch.Generator().manual_seed(1)
        x_GBD = torch.randn(1, 200, inputs, generator=generator, dtype=stack.dtype)
        engine = Engine(stack)
        engine.forward(x_GBD)
        lengths[name] = [layer[0].a[0].square().mean(0).std().item() for layer in engine.activated]
    assert lengths["silu"][-1] > 1 and lengths["elu"][-1] < 0.4
