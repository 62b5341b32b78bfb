"""The difference that so many seeds find."""

from __future__ import annotations

import math

import pytest

from bnsweep.report.stats.power import least_difference


def test_thirty_four_pairs_find_half_a_standard_deviation() -> None:
    """G*Power 3.1, difference of two dependent means: dz = 0.5, alpha .05 two-sided, power .80 takes 34 pairs."""
    assert least_difference(1, 34) < 0.5 < least_difference(1, 33)


@pytest.mark.parametrize(("n", "effect"), [(8, 1.15603), (15, 0.77802)])
def test_small_samples_find_what_the_noncentral_t_says(n: int, effect: float) -> None:
    """Where the power by both tails of scipy.stats.nct is .80."""
    assert least_difference(1, n) == pytest.approx(effect, abs=1e-4)


def test_it_grows_with_the_scatter_and_with_the_claims_and_falls_with_the_seeds() -> None:
    assert least_difference(2, 10) == pytest.approx(2 * least_difference(1, 10))
    assert least_difference(1, 10, 8) > least_difference(1, 10, 2) > least_difference(1, 20, 2)
    assert math.isinf(least_difference(1, 5)), "five seeds decide nothing"
