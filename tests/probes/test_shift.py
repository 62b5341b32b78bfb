"""Covariate shift in both senses, by hand and by torch's own functions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnsweep.probes import shift
from bnsweep.training.record import drift


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [1, 2, 3, 21, 1000])
def test_percentiles_are_torchs_quantiles(samples: int) -> None:
    a = normals(3, 5, samples)
    levels = torch.tensor(shift.PERCENTILES, dtype=torch.float64)
    torch.testing.assert_close(shift.percentiles(a), a.quantile(levels, dim=2), rtol=1e-12, atol=1e-12)


def test_percentiles_of_a_known_distribution() -> None:
    a = torch.linspace(0, 1, 1001, dtype=torch.float64)[torch.randperm(1001)].view(1, 1, -1)
    assert shift.percentiles(a).flatten().tolist() == pytest.approx([0.15, 0.5, 0.85])


def test_a_unit_that_moves_by_its_own_width_drifts_by_one() -> None:
    """Whatever its scale: drift is shift over spread."""
    for scale in (1e-3, 1.0, 200.0):
        a = scale * normals(2, 4, 500)
        before = shift.percentiles(a)
        width = shift.spread(before)
        now = shift.percentiles(a + width[:, None, None])
        torch.testing.assert_close(shift.shift(now, before), width)
        moved = shift.shift(now, before)[0].item()
        assert drift([math.nan, moved, moved], [width[0].item()] * 3) == pytest.approx(1)


def test_a_unit_that_widens_in_place_shifts_at_its_outer_percentiles() -> None:
    before = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1)
    assert shift.shift(3 * before, before).tolist() == pytest.approx([4 / 3])
    assert shift.spread(3 * before).tolist() == [6.0]


def test_drift_is_missing_where_nothing_moved_in_time_or_the_run_diverged() -> None:
    assert math.isnan(drift([math.nan], [1.0]))
    assert math.isnan(drift([math.nan, 0.5, math.nan], [1.0, 1.0, math.nan]))
    assert math.isnan(drift([math.nan, 0.0], [0.0, 0.0])), "a unit that never varies"
    assert drift([math.nan, math.nan, 0.3, 0.1], [1.0, math.nan, 2.0, 3.0]) == pytest.approx(0.1), "readings apart"


def test_covariate_shift_is_distance_ratio_and_cosine_of_two_gradients() -> None:
    before, after = normals(4, 6, 7), normals(4, 6, 7, seed=1)
    after[1] = before[1]
    after[2] = -2 * before[2]
    difference, ratio, cosine = shift.covariate_shift(before, after)
    for k in range(4):
        distance, size = (before[k] - after[k]).norm().item(), before[k].norm().item()
        assert difference[k].item() == pytest.approx(distance) and ratio[k].item() == pytest.approx(distance / size)
        expected = F.cosine_similarity(before[k].flatten(), after[k].flatten(), dim=0).item()
        assert cosine[k].item() == pytest.approx(expected)
    assert difference[1] == 0 and ratio[2].item() == pytest.approx(3) and cosine[2].item() == pytest.approx(-1)


def test_the_ratio_does_not_see_a_rescaled_gradient() -> None:
    before, after = normals(2, 3, 3), normals(2, 3, 3, seed=1)
    torch.testing.assert_close(
        shift.covariate_shift(50 * before, 50 * after)[1:], shift.covariate_shift(before, after)[1:]
    )
