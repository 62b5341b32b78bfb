"""How much the differences that claims are about scatter over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnsweep.report.claims.answers import Missing, compare
from bnsweep.report.claims.asked import is_asked
from bnsweep.report.claims.claims import Claim
from bnsweep.report.claims.flips import majority
from bnsweep.report.claims.quantities import Quantity, RunValues, quantities
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.frame.metrics import default_metric, task_of
from bnsweep.report.frame.source import Source

SCORED = ("final", "auc")
"""Quantities that are scores, and numbers of the summary: no history need be read."""


@dataclass(frozen=True)
class Scatter:
    claim: Claim
    quantity: Quantity
    sd: float
    """Of a difference over seeds."""


def scatter(frame: Source, claims: Sequence[Claim]) -> list[Scatter]:
    """Of those of the claims that compare scores which this sweep has: that of the comparison without which a claim has
    no majority, were all that it compares beside scores for it."""
    grid = read_grid(frame.runs, frame.info.searched)
    of_runs, metric, once = RunValues(frame, grid), default_metric(task_of(frame.runs)), np.ones((1, len(grid.bundles)))
    found = []
    for claim in claims:
        made = [
            (float(np.std(item[1].difference_N, ddof=1)), contrast.quantity)
            for contrast in claim.contrasts
            if contrast.quantity in SCORED and contrast.across is None and contrast.sign
            for item in [compare(of_runs, metric, contrast, once)]
            if not isinstance(item, Missing) and len(item[1].difference_N) > 1
        ]
        if made:
            others = sum(item.quantity not in SCORED and is_asked(grid, item) for item in claim.contrasts)
            sd, name = sorted(made)[max(majority(len(made) + others) - others, 1) - 1]
            found.append(Scatter(claim, quantities(grid.task)[name], sd))
    return found
