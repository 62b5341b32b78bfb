"""How wide a range of a setting works."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby


def tolerance_width(grid: Sequence[float], reached: Sequence[Sequence[bool]]) -> tuple[float, bool]:
    """Decades over which a setting works, and whether that is a lower bound.

    `grid` is ascending, of even ratio; `reached[i]` says for each seed at grid[i] whether it reached tau. The longest
    unbroken run of points where at least half of the seeds did, times the grid's spacing in decades; a lower bound
    where it touches an end of the grid. NaN for fewer than two points.
    """
    if len(grid) < 2:
        return math.nan, False
    works = [len(seeds) > 0 and 2 * sum(seeds) >= len(seeds) for seeds in reached]
    runs = [list(places) for ok, places in groupby(range(len(grid)), key=lambda i: works[i]) if ok]
    longest = max(runs, key=len, default=[])
    spacing = math.log10(grid[-1] / grid[0]) / (len(grid) - 1)
    return len(longest) * spacing, bool(longest) and (longest[0] == 0 or longest[-1] == len(grid) - 1)
