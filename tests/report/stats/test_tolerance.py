"""Tolerance is a width in decades: of the longest run of grid points at which at least half of the seeds learn."""

from __future__ import annotations

import math

import pytest

from bnsweep.report.stats.tolerance import Tolerance, tolerance

YES, HALF, NO = [True, True, False], [True, False], [True, False, False]


def grid(points: list[list[bool]], lowest: float = 1e-4, step: float = 10) -> dict[float, list[bool]]:
    return {lowest * step**i: seeds for i, seeds in enumerate(points)}


def test_three_points_a_decade_apart_in_the_middle_are_three_decades() -> None:
    found = tolerance(grid([NO, YES, HALF, YES, NO]))
    assert found == Tolerance(pytest.approx(3), pytest.approx(1e-3), pytest.approx(0.1), at_edge=False)


@pytest.mark.parametrize(("step", "decades"), [(10, 2), (10**0.5, 1), (2, 2 * math.log10(2))])
def test_the_width_scales_with_the_spacing_of_the_grid(step: float, decades: float) -> None:
    assert tolerance(grid([NO, YES, YES, NO, NO], step=step)).decades == pytest.approx(decades)


@pytest.mark.parametrize("points", [[YES, YES, NO, NO], [NO, NO, YES, YES], [YES] * 4])
def test_a_range_that_touches_the_edge_is_a_lower_bound(points: list[list[bool]]) -> None:
    found = tolerance(grid(points))
    assert found.at_edge and found.decades == pytest.approx(sum(seeds is YES for seeds in points))


def test_a_hole_splits_a_range_and_the_longer_part_counts() -> None:
    found = tolerance(grid([YES, YES, NO, YES, YES, YES, NO]))
    assert found.decades == pytest.approx(3) and not found.at_edge and found.low == pytest.approx(0.1)
    assert tolerance(grid([NO, YES, NO, YES, NO])).low == pytest.approx(1e-3), "the first of equals"


def test_order_of_the_grid_does_not_matter() -> None:
    points = grid([NO, YES, YES, HALF, NO, YES], step=3)
    assert tolerance(dict(reversed(points.items()))) == tolerance(points)


def test_no_point_is_no_width() -> None:
    found = tolerance(grid([NO, NO, NO]))
    assert found.decades == 0 and not found.at_edge and math.isnan(found.low) and math.isnan(found.high)


def test_half_of_the_seeds_are_enough_and_fewer_are_not() -> None:
    assert tolerance(grid([NO, [True, True, False, False], NO])).decades == pytest.approx(1)
    assert tolerance(grid([NO, [True, True, False, False, False], NO])).decades == 0


def test_an_uneven_grid_gives_each_point_half_of_the_gaps_beside_it() -> None:
    """.01, .1, 1, 1.1, 100: the point at 1 stands for half a decade below it and next to nothing above."""
    found = tolerance({0.01: NO, 0.1: NO, 1.0: YES, 1.1: NO, 100.0: NO})
    assert found.decades == pytest.approx((1 + math.log10(1.1)) / 2)


def test_a_single_point_has_no_spacing() -> None:
    found = tolerance({0.1: YES})
    assert math.isnan(found.decades) and found.at_edge and found.low == found.high == 0.1
    assert tolerance({0.1: NO}).decades == 0


@pytest.mark.parametrize(
    ("reached", "says"),
    [
        ({0.0: YES, 0.1: YES}, "grid value 0.0: must be a finite number > 0"),
        ({math.inf: YES}, "grid value inf: must be a finite number > 0"),
        ({0.1: YES, 1.0: []}, "grid value 1.0: must have at least one run"),
    ],
)
def test_what_cannot_lie_on_the_grid_is_refused(reached: dict[float, list[bool]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tolerance(reached)
