"""What the loss looks like along a gradient step: of a quadratic everything is known."""

from __future__ import annotations

import math

import pytest
import torch

from bnsweep.probes import landscape


def test_steps_cover_half_to_four_learning_rates() -> None:
    assert min(landscape.ALPHAS) == 0.5 and max(landscape.ALPHAS) == 4


@pytest.mark.parametrize("curvature", [0.01, 1.0, 7.0])
def test_beta_of_a_quadratic_is_its_curvature(curvature: float) -> None:
    """L = c |theta|^2 / 2: g = c theta, and a step along -g changes the gradient by c times its length."""
    lr, theta = 0.1, torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    g = curvature * theta
    alphas = torch.tensor(landscape.ALPHAS, dtype=torch.float64).view(-1, 1, 1)
    there = theta - alphas * lr * g
    change_AK, length_AK = (curvature * (there - theta)).norm(dim=2), (alphas * lr * g).norm(dim=2)
    assert landscape.effective_beta(change_AK, length_AK).tolist() == pytest.approx([curvature] * 2)
    expected = [curvature * 4 * lr * curvature * size for size in (5, 1)]
    assert landscape.gradient_change(change_AK).tolist() == pytest.approx(expected)
    loss_AK = curvature * there.square().sum(2) / 2
    ends = [curvature * size**2 / 2 * (1 - a * lr * curvature) ** 2 for size in (5, 1) for a in (0.5, 4)]
    if curvature < 1 / (4 * lr):  # the largest step stops short of the minimum
        expected = [ends[0] - ends[1], ends[2] - ends[3]]
        assert landscape.loss_range(loss_AK).tolist() == pytest.approx(expected)


def test_members_do_not_mix_and_a_gradient_of_zero_has_no_beta() -> None:
    change = torch.tensor([[1.0, 0.0, math.nan], [6.0, 0.0, 1.0]])
    length = torch.tensor([[2.0, 0.0, 1.0], [4.0, 0.0, 2.0]])
    first, flat, broken = landscape.effective_beta(change, length)
    assert first == 1.5 and math.isnan(flat) and math.isnan(broken)
    assert landscape.loss_range(torch.tensor([[1.0, 5.0], [4.0, 5.0], [2.0, 5.0]])).tolist() == [3.0, 0.0]
    assert landscape.gradient_change(change)[0] == 6
