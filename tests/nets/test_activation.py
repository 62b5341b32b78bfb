"""What is written out by hand is what autograd and torch's own functions give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from members import CPU, make

from bnsweep.catalogue.activations import ACTIVATIONS, ActivationKind, Functions
from bnsweep.config.groups import DataConfig
from bnsweep.data import dataset as data
from bnsweep.nets import activation
from bnsweep.nets.activation import by_autograd, functions, has_kernels, kernels
from bnsweep.training.trainer import train


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_torchs_and_so_is_its_gradient(name: str) -> None:
    a = torch.linspace(-8, 8, 401, dtype=torch.float64).requires_grad_()
    d = torch.randn(401, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = functions(name).plain(a)
    (gradient,) = torch.autograd.grad(expected, a, d)
    for function, backward in (kernels(name), by_autograd(functions(name).plain)):
        h, slope = torch.empty_like(d), d.clone()
        with torch.no_grad():
            function(a, h)
            backward(slope, a, h)
        assert torch.equal(h, expected)
        torch.testing.assert_close(slope, gradient, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_activation_hides_a_nan(name: str) -> None:
    h = torch.empty(1)
    kernels(name)[0](torch.tensor([torch.nan]), h)
    assert h.isnan().all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_row_says_what_its_function_does(name: str) -> None:
    row, a = ACTIVATIONS[name], torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    h = functions(name).plain(a)
    assert row.name == name
    assert h.min() >= row.lowest and h.max() <= row.highest
    if row.flat is not None:
        slope = torch.gradient(h, spacing=(a,))[0].abs()
        outside = (h < row.flat[0]) | (h > row.flat[1])
        assert outside.any() and slope[outside].max() < 0.1 < slope.max()
    assert row.linear == torch.equal(h / h[-1], a / a[-1])
    assert row.dies == bool((h == 0).float().mean() > 0.4)


def test_an_activation_without_kernels_trains_like_its_twin_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of one function alone: a stack runs it by autograd, to the same numbers."""
    bare = ActivationKind("bare", "bare", lambda torch: Functions(torch.nn.functional.silu))
    monkeypatch.setitem(ACTIVATIONS, "bare", bare)
    assert has_kernels("silu") and not has_kernels("bare")
    digits = data.load(DataConfig())
    with_kernels = [make(("silu", "he", "constant", place), i) for i, place in enumerate(("none", "before", "after"))]
    without = [replace(c, activation=replace(c.activation, name="bare")) for c in with_kernels]
    records, _ = train([*with_kernels, *without], digits, CPU)
    for one, other in zip(records[:3], records[3:], strict=True):
        for name, values in one.history.items():
            assert other.history[name] == pytest.approx(values, rel=1e-9, abs=1e-12, nan_ok=True), name
    activation.functions.cache_clear()
    activation.kernels.cache_clear()
