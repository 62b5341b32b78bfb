"""Gradient flow, steps and angles by hand, and by the rates that mean-field theory gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bnsweep.probes import gradients as flow


def columns(*members: list[float]) -> Tensor:
    """[L, K] from the norms of every member."""
    return torch.tensor(members, dtype=torch.float64).T


def test_flow_is_the_decades_from_the_last_hidden_layer_to_the_first() -> None:
    d_LK = columns([1e-3, 0.5, 10.0], [50.0, 2.0, 0.5], [3.0, 7.0, 3.0])
    assert flow.flow(d_LK).tolist() == pytest.approx([-4, 2, 0])
    assert flow.flow(columns([0.3])).tolist() == [0.0], "one hidden layer: nothing between first and last"


@pytest.mark.parametrize("rate", [1e-4, 0.5, 1.0, 1.467, 30.0])
@pytest.mark.parametrize("layers", [2, 3, 50])
def test_growth_is_the_rate_of_a_geometric_sequence(rate: float, layers: int) -> None:
    d_LK = columns([2.5 * rate ** ((layers - 1 - i) / 2) for i in range(layers)])
    assert flow.growth(d_LK)[0].item() == pytest.approx(rate, rel=1e-9)


def test_growth_is_an_ordinary_least_squares_fit() -> None:
    """Of noisy members of a stack, each on its own line."""
    d_LK = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    for k, rate in enumerate(flow.growth(d_LK)):
        design = torch.stack([torch.arange(6, -1, -1).double(), torch.ones(7).double()], 1)
        slope = torch.linalg.lstsq(design, d_LK[:, k : k + 1].square().log()).solution[0, 0]
        assert rate.item() == pytest.approx(math.exp(slope), rel=1e-12)


@pytest.mark.parametrize("broken", [0.0, math.inf, math.nan])
def test_growth_needs_every_layer_of_a_member_and_only_of_that_one(broken: float) -> None:
    first, second = flow.growth(columns([1.0, broken, 4.0], [1.0, 2.0, 4.0]))
    assert math.isnan(first) and second.item() == pytest.approx(0.25)
    assert flow.growth(columns([2.0])).isnan().all(), "one hidden layer has no slope"


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1.0, 1e25])
def test_norms_neither_underflow_nor_overflow_in_float32(size: float) -> None:
    g = torch.full((3, 4, 100), size)
    g[1] = 0
    assert flow.norms(g).tolist() == pytest.approx([20 * size, 0, 20 * size], rel=1e-6)


def test_norms_of_large_stacks_are_those_of_their_members() -> None:
    """In more than one piece, and in pieces of one member."""
    for shape in ((11, 3, 20_000), (2, 1, 200_000), (4, 5)):
        g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        expected = [row.double().norm().item() for row in g]
        assert flow.norms(g).tolist() == pytest.approx(expected, rel=1e-12)


def test_update_ratio_by_hand() -> None:
    ratio = flow.update_ratio(torch.tensor([0.1, 0.5]), torch.tensor([2.0, 1.0]), torch.tensor([4.0, 0.0]))
    assert ratio[0].item() == pytest.approx(0.05) and math.isnan(ratio[1])


def test_effective_lr_is_the_mean_over_rows_of_lr_over_squared_length() -> None:
    w = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])
    first, second = flow.effective_lr(torch.tensor([0.5, 0.5]), w)
    assert first.item() == pytest.approx((0.5 / 25 + 0.5) / 2)
    assert math.isnan(second), "a row of zeros has no direction"


def test_effective_lr_does_not_see_weights_and_lr_scaled_together() -> None:
    w = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    lr = torch.tensor([0.1, 2.0])
    assert flow.effective_lr(lr * 9, w * 3).tolist() == pytest.approx(flow.effective_lr(lr, w).tolist(), rel=1e-6)


@pytest.mark.parametrize("angle", [1e-7, 1e-4, 0.3, math.pi / 2, 3.0])
def test_angular_update_is_the_angle_that_rows_turn_by_whatever_their_length(angle: float) -> None:
    before = torch.zeros(2, 3, 5, dtype=torch.float64)
    before[..., 0] = torch.tensor([1.0, 2.0, 0.1])
    after = torch.zeros_like(before)
    after[0, :, 0], after[0, :, 1] = math.cos(angle), math.sin(angle)
    after[1] = before[1] * 7
    turned = flow.angular_update(before, after).tolist()
    assert turned[0] == pytest.approx(angle, rel=1e-6) and turned[1] < 1e-15


def test_angular_update_of_a_row_of_zeros_is_missing() -> None:
    rows = torch.ones(2, 2, 3)
    rows[1, 0] = 0
    assert math.isnan(flow.angular_update(rows, torch.ones(2, 2, 3))[1])


def test_cosine_of_the_frobenius_product() -> None:
    a = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    b = torch.tensor([[[0.0, 5.0], [5.0, 0.0]], [[-2.0, -4.0], [-6.0, -8.0]], [[1.0, 1.0], [1.0, 1.0]]])
    orthogonal, opposite, zero = flow.cosine(a, b)
    assert orthogonal == 0 and opposite.item() == pytest.approx(-1) and math.isnan(zero)
