"""Which factors mattered, how much, and how sure: seed-blocked analysis of variance over whatever was swept."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

COLUMNS = ["effect", "order", "df", "omega2", "low", "high", "p", "p_holm"]


@dataclass(frozen=True)
class Analysis:
    table: pd.DataFrame
    """COLUMNS; one row an effect, the largest share first: main effects (order 1), two-way interactions (order 2), then
    `higher interactions` and `seeds and chance` (order 0; no p). omega2 is a share of the variance within seeds."""
    n: int
    """Seeds that have every cell."""
    cells: int
    note: str = ""
    """Why nothing was analysed, or what was left out."""
