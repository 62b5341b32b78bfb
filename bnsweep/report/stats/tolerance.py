"""Over how wide a range of learning rates or initial weights a network still learns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """The widest range of grid points at which at least half of the seeds learn."""

    decades: float
    """Its width: 0 where there is no such point, NaN where the grid has a single one, and so no spacing."""
    low: float
    """Its first grid point, NaN where there is none."""
    high: float
    """Its last."""
    at_edge: bool
    """It touches an end of the grid: the true width may be larger, and is to be shown as ">="."""


def tolerance(reached: Mapping[float, Sequence[bool]]) -> Tolerance:
    """Tolerance to a factor on a logarithmic scale (learning rate, standard deviation of the weights).

    `reached`: grid value (> 0) -> for every seed, whether the run reached tau. The width is the number of points times
    the grid's spacing in decades; where the grid is uneven, each point counts half of the gaps on its two sides (at an
    end of the grid the one gap there is). ValueError for a value <= 0 or a point without runs.
    """
    grid = sorted(reached)
    for value in grid:
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"grid value {value}: must be a finite number > 0 to lie on a logarithmic scale")
        if not reached[value]:
            raise ValueError(f"grid value {value}: must have at least one run")
    usable = [2 * sum(reached[value]) >= len(reached[value]) for value in grid]
    widths, best = cell_widths(grid), Tolerance(0.0, math.nan, math.nan, False)
    start = 0
    for stop in range(1, len(grid) + 1):
        if not usable[stop - 1]:
            start = stop
            continue
        decades = sum(widths[start:stop])
        # Rounding must not choose between ranges of equal width: the first one stands.
        if math.isnan(decades) or decades > best.decades + 1e-9:
            best = Tolerance(decades, grid[start], grid[stop - 1], start == 0 or stop == len(grid))
    return best


def cell_widths(grid: Sequence[float]) -> list[float]:
    """Decades that each of the ascending grid values stands for; NaN where there is only one."""
    if len(grid) < 2:
        return [math.nan] * len(grid)
    gaps = [math.log10(b / a) for a, b in zip(grid[:-1], grid[1:], strict=True)]
    return [(a + b) / 2 for a, b in zip([gaps[0], *gaps], [*gaps, gaps[-1]], strict=True)]
